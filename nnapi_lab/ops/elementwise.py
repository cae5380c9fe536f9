"""Element by element: ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW on two operands; ABS … SQRT on one.

Two operands broadcast. ADD, SUB, MUL and DIV clamp afterwards, even with fuse NONE: infinities become the
largest float there. Where NaN goes follows the order in which the reference compares.
Source: AOSP 13 Broadcast.cpp, MaximumMinimum.cpp, Pow.cpp, Elementwise.cpp, Neg.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, float32_text
from nnapi_lab.numerics.activation_range import clamp_float
from nnapi_lab.numerics.elementwise import add_codes, mul_codes, rsqrt_codes, sub_codes
from nnapi_lab.numerics.quantize import requantize_elementwise
from nnapi_lab.ops.broadcast import broadcast_constraint, broadcast_shape
from nnapi_lab.ops.geometry import codes_seen
from nnapi_lab.ops.scales import chosen_quant, free_type, scale_given, with_scales
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Undefined, fuse_slot, tensor

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

Result = tuple[OperandType, ...]

# IEEE results, whatever they are: overflow is infinity, 0/0 is NaN, integers wrap.
_ieee = np.errstate(all="ignore")


def pair_type(call: Call) -> Result:
    """The shape both operands broadcast to; the quantization is the caller's choice."""
    return (free_type(call, broadcast_shape(call["input0"].shape, call["input1"].shape)),)


# --- ADD, SUB, MUL, DIV ------------------------------------------------------------------------------------


@_ieee
def add(input0: np.ndarray, input1: np.ndarray, *, fuse: int, call: Call | None = None) -> np.ndarray:
    """input0 + input1, clamped; int32 wraps; codes: clamp(z + R(u0 + u1; t / (2^20 s_out)))."""
    if input0.dtype in (np.float32, np.int32):
        plain: np.ndarray = input0 + input1
        return plain if input0.dtype == np.int32 else clamp_float(plain, fuse)
    call = with_scales(call)
    return add_codes(input0, call["input0"], input1, call["input1"], call.out, fuse)


@_ieee
def sub(input0: np.ndarray, input1: np.ndarray, *, fuse: int, call: Call | None = None) -> np.ndarray:
    """input0 - input1, clamped; int32 wraps; codes as ADD, with the second multiplier negated."""
    if input0.dtype in (np.float32, np.int32):
        plain: np.ndarray = input0 - input1
        return plain if input0.dtype == np.int32 else clamp_float(plain, fuse)
    call = with_scales(call)
    return sub_codes(input0, call["input0"], input1, call["input1"], call.out, fuse)


@_ieee
def mul(input0: np.ndarray, input1: np.ndarray, *, fuse: int, call: Call | None = None) -> np.ndarray:
    """input0 * input1, clamped; int32 wraps; codes: clamp(z + R((q0 - z0)(q1 - z1); f32(s0 s1) / s_out))."""
    if input0.dtype in (np.float32, np.int32):
        plain: np.ndarray = input0 * input1
        return plain if input0.dtype == np.int32 else clamp_float(plain, fuse)
    call = with_scales(call)
    return mul_codes(input0, call["input0"], input1, call["input1"], call.out, fuse)


@_ieee
def div(input0: np.ndarray, input1: np.ndarray, *, fuse: int) -> np.ndarray:
    """input0 / input1, clamped; int32 rounds toward minus infinity and gives 0 for a division by 0."""
    if input0.dtype == np.int32:
        return np.where(input1 == 0, np.int32(0), np.floor_divide(input0, input1))
    return clamp_float(input0 / input1, fuse)


def _fused_integer_seen(call: Call) -> str | None:
    fused = call["fuse"] is not None and call["fuse"] != 0 and codes_seen(call) is None
    return f"fuse={call['fuse']} on TENSOR_INT32" if call.key == I32 and fused else None


def _sum_scale_seen(call: Call) -> str | None:
    """A result scale so small that the last multiplier, 2 max(s) / (2^20 s_out), is not below 1."""
    chosen = chosen_quant(call)
    if not call.is_quantized or chosen is None:
        return None
    larger = max(call["input0"].scale, call["input1"].scale)
    if chosen.scale > larger / 2**19:
        return None
    return (
        f"the result's scale {float32_text(chosen.scale)} is not above {larger / 2**19:.9g}, "
        f"the larger input scale {float32_text(larger)} / 2^19"
    )


def _product_scale_seen(call: Call) -> str | None:
    """A result scale not above the product of the input scales, rounded to float32."""
    chosen = chosen_quant(call)
    if not call.is_quantized or chosen is None:
        return None
    scale0, scale1 = call["input0"].scale, call["input1"].scale
    product = float(np.float32(scale0) * np.float32(scale1))
    if chosen.scale > product:
        return None
    return (
        f"the result's scale {float32_text(chosen.scale)} is not above {float32_text(product)}, "
        f"the product of the input scales {float32_text(scale0)} and {float32_text(scale1)}"
    )


_FUSED_PAIR = (
    Form("only", (tensor("input0", rank=(1, 4)), tensor("input1", rank=(1, 4)), fuse_slot())),
)  # fmt: skip
_FUSED_RULES = (
    broadcast_constraint("C1"),
    Constraint("C2", "fuse is a FuseCode", codes_seen),
    Constraint("C3", "TENSOR_INT32 takes no fused activation", _fused_integer_seen),
)
_SUM_RULES = (
    *_FUSED_RULES,
    scale_given("C4"),
    Constraint("C5", "quantized: the result's scale is above the larger input scale / 2^19", _sum_scale_seen),
)
_PRODUCT_RULES = (
    *_FUSED_RULES,
    scale_given("C4"),
    Constraint("C5", "quantized: the result's scale is above the product of the input scales", _product_scale_seen),
)


# --- where C++ has no result -------------------------------------------------------------------------------

_SMALLEST = np.iinfo(np.int32).min


def _is_int32(call: Call) -> bool:
    return call.key == I32


def _overflow_seen(wide: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., str | None]:
    """Looks for results that do not fit into an int32; `wide` computes them in 64 bits."""

    def seen(call: Call, input0: np.ndarray, input1: np.ndarray) -> str | None:
        exact = wide(input0.astype(np.int64), input1.astype(np.int64))
        count = int(np.count_nonzero(exact != exact.astype(np.int32)))
        return f"{count} of {exact.size} results do not fit into an int32" if count else None

    return seen


def _wrapping(wide: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[Undefined, ...]:
    rule = "a sum, difference or product of int32 fits into an int32"
    return (Undefined("U1", rule, "they wrap around", _is_int32, _overflow_seen(wide)),)


def _zero_seen(call: Call, input0: np.ndarray, input1: np.ndarray) -> str | None:
    count = int(np.count_nonzero(input1 == 0))
    return f"{count} of {input1.size} divisors are 0" if count else None


def _far_quotient_seen(call: Call, input0: np.ndarray, input1: np.ndarray) -> str | None:
    count = int(np.count_nonzero((input0 == _SMALLEST) & (input1 == -1)))
    return f"{count} of {input0.size} dividends are {_SMALLEST}, to be divided by -1" if count else None


_DIVISION = (
    Undefined("U1", "TENSOR_INT32 is not divided by 0", "the quotient given is 0", _is_int32, _zero_seen),
    Undefined("U2", "the smallest int32 is not divided by -1", "it stays as it is", _is_int32, _far_quotient_seen),
)


def _smallest_seen(call: Call, input: np.ndarray) -> str | None:
    count = int(np.count_nonzero(input == _SMALLEST))
    return f"{count} of {input.size} elements are {_SMALLEST}" if count else None


_NO_TWIN = (Undefined("U1", "the smallest int32 has no positive twin", "it stays as it is", _is_int32, _smallest_seen),)


def _arithmetic(
    kind: str,
    code: int,
    summary: str,
    kernel: Callable[..., np.ndarray],
    types: Mapping[OperandCode, int],
    rules: tuple[Constraint, ...],
    undefined: tuple[Undefined, ...],
    *notes: str,
) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=types[F32],
        summary=summary,
        types=types,
        forms=_FUSED_PAIR,
        result=pair_type,
        kernel=kernel,
        source="AOSP 13 Broadcast.cpp",
        constraints=rules,
        undefined=undefined,
        zero_sized=3,
        notes=("fuse NONE still clamps floats to ±FLT_MAX: infinities do not survive; NaN does.", *notes),
    )


_ARITHMETIC = (
    _arithmetic("ADD", 0, "Sum of two tensors, broadcast, with a fused activation.", add,
                {F32: 1, F16: 3, Q8: 1, Q8S: 4, I32: 4}, _SUM_RULES, _wrapping(np.add)),
    _arithmetic("SUB", 36, "Difference of two tensors, broadcast, with a fused activation.", sub,
                {F32: 2, F16: 3, Q8: 3, Q8S: 4, I32: 4}, _SUM_RULES, _wrapping(np.subtract)),
    _arithmetic("MUL", 18, "Product of two tensors, broadcast, with a fused activation.", mul,
                {F32: 1, F16: 3, Q8: 1, Q8S: 4, I32: 4}, _PRODUCT_RULES, _wrapping(np.multiply),
                "The rule on scales holds at every feature level, unlike that of the convolutions."),
    _arithmetic("DIV", 30, "Quotient of two tensors, broadcast, with a fused activation.", div,
                {F32: 2, F16: 3, I32: 4}, _FUSED_RULES, _DIVISION,
                "TENSOR_INT32 is floored: -7 / 2 is -4. Division by 0 is undefined by the documentation; "
                "the kernel gives 0."),
)  # fmt: skip


# --- MAXIMUM, MINIMUM, POW ---------------------------------------------------------------------------------


def maximum(input0: np.ndarray, input1: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """input1 where input0 < input1, else input0: NaN stays from input0 and is dropped from input1.

    Codes are brought to the result's scale first, each rounded by itself.
    """
    a, b = _in_result_scale(input0, input1, call)
    return np.where(a < b, b, a)


def minimum(input0: np.ndarray, input1: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """input1 where input1 < input0, else input0; as MAXIMUM otherwise."""
    a, b = _in_result_scale(input0, input1, call)
    return np.where(b < a, b, a)


def _in_result_scale(input0: np.ndarray, input1: np.ndarray, call: Call | None) -> tuple[np.ndarray, np.ndarray]:
    if input0.dtype not in (np.uint8, np.int8):
        return input0, input1
    call = with_scales(call)
    held = ((input0, call["input0"]), (input1, call["input1"]))
    scale, zero_point = call.out.scale, call.out.zero_point
    first, second = (
        requantize_elementwise(codes, type_.scale, type_.zero_point, scale, zero_point) for codes, type_ in held
    )
    return first, second


def _extremum(kind: str, code: int, summary: str, kernel: Callable[..., np.ndarray]) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=3,
        summary=summary,
        types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
        forms=(Form("only", (tensor("input0"), tensor("input1"))),),
        result=pair_type,
        kernel=kernel,
        source="AOSP 13 MaximumMinimum.cpp",
        constraints=(broadcast_constraint("C1"), scale_given("C2")),
        notes=(
            "Beside a NaN the result is the first operand: (1, NaN) gives 1, (NaN, 1) gives NaN.",
            "Codes are rounded with the zero point already added, ties away from zero: signed and unsigned "
            "twins differ there.",
        ),
    )


@_ieee
def power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """base to the power of exponent, C's powf: NaN for a negative base and a fractional exponent."""
    raised: np.ndarray = np.power(base, exponent)
    return raised


_POW = OpSpec(
    kind="POW",
    code=70,
    since=3,
    summary="One tensor to the power of another, broadcast.",
    types={F32: 3, F16: 3},
    forms=(Form("only", (tensor("base"), tensor("exponent"))),),
    result=lambda call: (OperandType(call.key, broadcast_shape(call["base"].shape, call["exponent"].shape)),),
    kernel=power,
    source="AOSP 13 Pow.cpp",
    constraints=(broadcast_constraint("C1", "base", "exponent"),),
)


# --- one operand -------------------------------------------------------------------------------------------


def _each(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """A kernel that applies a NumPy function to every element."""

    @_ieee
    def kernel(input: np.ndarray) -> np.ndarray:
        return function(input)

    return kernel


@_ieee
def rsqrt(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """1 / sqrt(input): infinity at 0, NaN below; for codes both give the largest code."""
    if input.dtype == np.float32:
        inverse: np.ndarray = np.float32(1) / np.sqrt(input)
        return inverse
    call = with_scales(call)
    return rsqrt_codes(input, call["input"], call.out)


def _unary(
    kind: str,
    code: int,
    summary: str,
    kernel: Callable[..., np.ndarray],
    types: Mapping[OperandCode, int],
    *notes: str,
    rank: tuple[int, int] | None = None,
    undefined: tuple[Undefined, ...] = (),
) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=types[F32],
        summary=summary,
        types=types,
        forms=(Form("only", (tensor("input", rank=rank),)),),
        result=lambda call: (free_type(call, call["input"].shape),),
        kernel=kernel,
        source="AOSP 13 Neg.cpp" if kind == "NEG" else "AOSP 13 Elementwise.cpp",
        constraints=(scale_given("C1"),) if Q8 in types else (),
        undefined=undefined,
        notes=notes,
    )


_REAL = {F32: 3, F16: 3}
_UNARY = (
    _unary("ABS", 38, "Absolute value.", _each(np.abs), {**_REAL, I32: 4},
           undefined=_NO_TWIN),
    _unary("EXP", 49, "e to the power of each element.", _each(np.exp), _REAL),
    _unary("FLOOR", 8, "The largest integer not above each element.", _each(np.floor), {F32: 1, F16: 3},
           rank=(1, 4)),
    _unary("LOG", 60, "Natural logarithm: -infinity at 0, NaN below.", _each(np.log), _REAL),
    _unary("NEG", 67, "Each element with its sign changed.", _each(np.negative), {**_REAL, I32: 3},
           undefined=_NO_TWIN),
    _unary("RSQRT", 83, "One over the square root.", rsqrt, {**_REAL, Q8: 7, Q8S: 7},
           "Codes of zero or below are undefined by the documentation; the kernel gives the largest code."),
    _unary("SIN", 85, "Sine of each element, in radians.", _each(np.sin), _REAL),
    _unary("SQRT", 88, "Square root: NaN below 0.", _each(np.sqrt), _REAL),
)  # fmt: skip

SPECS: tuple[OpSpec, ...] = (
    *_ARITHMETIC,
    _extremum("MAXIMUM", 65, "The larger of two elements, broadcast.", maximum),
    _extremum("MINIMUM", 66, "The smaller of two elements, broadcast.", minimum),
    _POW,
    *_UNARY,
)
