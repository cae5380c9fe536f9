"""Activations: RELU, RELU1, RELU6, LOGISTIC, TANH, HARD_SWISH, ELU, PRELU.

On codes, the RELU family keeps the input's scale and clamps; LOGISTIC and TANH prescribe the result's scale;
HARD_SWISH and PRELU leave it to the caller. SOFTMAX and LOG_SOFTMAX live in softmax.py.
Source: AOSP 13 Activation.cpp, Elu.cpp, PRelu.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, float32_text
from nnapi_lab.numerics.activation_range import RELU, RELU1, RELU6, float_range, quantized_range
from nnapi_lab.numerics.elementwise import hard_swish_codes, logistic_codes, prelu_codes, tanh_codes
from nnapi_lab.numerics.quantize import code_limits
from nnapi_lab.ops.broadcast import broadcast_constraint, broadcast_shape
from nnapi_lab.ops.scales import chosen_quant, fixed_type, free_type, scale_given, with_scales
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, real_scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

Result = tuple[OperandType, ...]

_ieee = np.errstate(all="ignore")
_SOURCE = "AOSP 13 Activation.cpp"


# --- RELU, RELU1, RELU6 ------------------------------------------------------------------------------------


def relu(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """Elements below 0 become 0; infinity becomes the largest float, NaN becomes 0."""
    return _clamped(input, RELU, call)


def relu1(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """Elements are clamped to [-1, 1]; NaN becomes -1."""
    return _clamped(input, RELU1, call)


def relu6(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """Elements are clamped to [0, 6]; NaN becomes 0."""
    return _clamped(input, RELU6, call)


def _clamped(input: np.ndarray, fuse: int, call: Call | None) -> np.ndarray:
    """Clamp to a fuse code's range; codes within the range at the input's scale.

    The lower bound is compared as `low < x`, which is false for NaN: fused activations let it pass.
    """
    if input.dtype == np.float32:
        low, high = float_range(fuse)
        above = np.where(low < input, input, low)
        return np.where(high < above, high, above)
    held = with_scales(call)["input"]
    low_code, high_code = quantized_range(fuse, held.scale, held.zero_point, *code_limits(input.dtype))
    clamped: np.ndarray = np.clip(input, low_code, high_code)
    return clamped.astype(input.dtype)


# --- LOGISTIC, TANH, HARD_SWISH, ELU -----------------------------------------------------------------------


@_ieee
def logistic(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """1 / (1 + exp(-x)); codes in fixed point, out at 1/256."""
    if input.dtype == np.float32:
        share: np.ndarray = np.float32(1) / (np.float32(1) + np.exp(-input))
        return share
    held = with_scales(call)["input"]
    return logistic_codes(input, held.scale, held.zero_point)


def tanh(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """Hyperbolic tangent; codes in fixed point, out at 1/128."""
    if input.dtype == np.float32:
        bent: np.ndarray = np.tanh(input)
        return bent
    held = with_scales(call)["input"]
    return tanh_codes(input, held.scale, held.zero_point)


@_ieee
def hard_swish(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """x * clamp(x + 3, 0, 6) / 6; codes in 16-bit fixed point."""
    if input.dtype == np.float32:
        three, six = np.float32(3), np.float32(6)
        gated: np.ndarray = input * np.minimum(np.maximum(input + three, np.float32(0)), six) / six
        return gated
    call = with_scales(call)
    return hard_swish_codes(input, call["input"], call.out)


@_ieee
def elu(input: np.ndarray, *, alpha: float) -> np.ndarray:
    """max(0, x) + min(0, alpha * (exp(x) - 1)); both comparisons drop NaN, so NaN becomes 0."""
    zero = np.float32(0)
    bent = np.float32(alpha) * (np.exp(input) - np.float32(1))
    return np.where(zero < input, input, zero) + np.where(bent < zero, bent, zero)


# --- PRELU -------------------------------------------------------------------------------------------------


@_ieee
def prelu(input: np.ndarray, alpha: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """x where x >= 0, else alpha * x, broadcast against each other; NaN stays NaN."""
    if input.dtype == np.float32:
        return np.where(input >= 0, input, input * alpha)
    call = with_scales(call)
    return prelu_codes(input, call["input"], alpha, call["alpha"], call.out)


def _prelu_type(call: Call) -> Result:
    return (free_type(call, broadcast_shape(call["input"].shape, call["alpha"].shape)),)


# --- rules on scales ---------------------------------------------------------------------------------------


def _table_scale_seen(call: Call) -> str | None:
    """An input scale of 2^-27 or less: the fixed point of LOGISTIC and TANH needs a multiplier above 1."""
    scale = call["input"].scale
    if not call.is_quantized or scale == 0 or scale > 2**-27:
        return None
    return f"input's scale {float32_text(scale)} is not above 2^-27 (7.45e-9)"


def _hard_swish_scale_seen(call: Call) -> str | None:
    chosen, scale = chosen_quant(call), call["input"].scale
    if not call.is_quantized or chosen is None:
        return None
    # The quotient the kernel forms, in float32.
    ratio = np.float32(1 / 128) * np.float32(scale) / np.float32(chosen.scale)
    if ratio < 1:
        return None
    return f"input's scale {float32_text(scale)} is not below 128 times the result's scale {float32_text(chosen.scale)}"


_TABLE_SCALE = Constraint("C1", "quantized: the input's scale is above 2^-27", _table_scale_seen)
_HARD_SWISH_RULES = (
    scale_given("C1"),
    Constraint("C2", "quantized: input scale < 128 * result scale", _hard_swish_scale_seen),
)


# --- declarations ------------------------------------------------------------------------------------------


def _activation(
    kind: str,
    code: int,
    summary: str,
    kernel: Callable[..., np.ndarray],
    types: Mapping[OperandCode, int],
    result: Callable[[Call], Result],
    constraints: tuple[Constraint, ...] = (),
    notes: tuple[str, ...] = (),
) -> OpSpec:
    rank = (1, 4) if kind != "HARD_SWISH" else None
    return OpSpec(
        kind=kind,
        code=code,
        since=types[F32],
        summary=summary,
        types=types,
        forms=(Form("only", (tensor("input", rank=rank),)),),
        result=result,
        kernel=kernel,
        source=_SOURCE,
        constraints=constraints,
        zero_sized=max(3, types[F32]),
        notes=notes,
    )


def _input_type(call: Call) -> Result:
    return (call["input"],)


_EVERYWHERE = {F32: 1, F16: 3, Q8: 1, Q8S: 4}
_NAN_NOTE = ("Unlike a fused activation, the operation turns NaN into its lower bound.",)

_SIMPLE = (
    _activation("RELU", 19, "Elements below 0 become 0.", relu, _EVERYWHERE, _input_type, notes=_NAN_NOTE),
    _activation("RELU1", 20, "Elements are clamped to [-1, 1].", relu1, _EVERYWHERE, _input_type,
                notes=_NAN_NOTE),
    _activation("RELU6", 21, "Elements are clamped to [0, 6].", relu6, _EVERYWHERE, _input_type,
                notes=_NAN_NOTE),
    _activation("LOGISTIC", 14, "Sigmoid, 1 / (1 + exp(-x)); quantized results have scale 1/256.", logistic,
                _EVERYWHERE, lambda call: (fixed_type(call, call["input"].shape, 1 / 256, 0),),
                (_TABLE_SCALE,)),
    _activation("TANH", 28, "Hyperbolic tangent; quantized results have scale 1/128.", tanh,
                {F32: 1, F16: 3, Q8: 3, Q8S: 4},
                lambda call: (fixed_type(call, call["input"].shape, 1 / 128, 128),), (_TABLE_SCALE,)),
    _activation("HARD_SWISH", 99, "x * clamp(x + 3, 0, 6) / 6.", hard_swish,
                {F32: 4, F16: 4, Q8: 4, Q8S: 4}, lambda call: (free_type(call, call["input"].shape),),
                _HARD_SWISH_RULES),
)  # fmt: skip

_ELU = OpSpec(
    kind="ELU",
    code=98,
    since=4,
    summary="x above 0, alpha * (exp(x) - 1) below.",
    types={F32: 4, F16: 4},
    forms=(Form("only", (tensor("input"), real_scalar("alpha"))),),
    result=_input_type,
    kernel=elu,
    source="AOSP 13 Elu.cpp",
    notes=(
        "The documentation allows tensors without elements; the reference is not registered for them.",
        "A negative alpha bends the positive side instead: each side takes what the minimum leaves it.",
    ),
)

_PRELU = OpSpec(
    kind="PRELU",
    code=71,
    since=3,
    summary="x where it is not negative, alpha * x where it is; alpha broadcasts.",
    types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("input"), tensor("alpha"))),),
    result=_prelu_type,
    kernel=prelu,
    source="AOSP 13 PRelu.cpp",
    constraints=(broadcast_constraint("C1", "input", "alpha"), scale_given("C2")),
    notes=(
        "The reference multiplies float16 natively; a product of two float16 is exact in float32, so "
        "rounding it once gives the same.",
    ),
)

SPECS: tuple[OpSpec, ...] = (*_SIMPLE, _ELU, _PRELU)
