"""Between real numbers and codes: QUANTIZE, DEQUANTIZE; between types: CAST.

The result's type is the caller's choice: QUANTIZE gives TENSOR_QUANT8_ASYMM unless told the signed twin,
DEQUANTIZE and CAST give TENSOR_FLOAT32 unless told otherwise.
Source: AOSP 13 Quantize.cpp, Dequantize.cpp, Cast.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel
from nnapi_lab.numerics.quantize import dequantize as real_values
from nnapi_lab.numerics.quantize import dequantize_per_channel
from nnapi_lab.numerics.quantize import quantize as codes_of
from nnapi_lab.ops.scales import chosen_quant, with_scales
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, Slot, TypeRule, Undefined, fixed, tensor

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
Q8Y, Q8PC = OperandCode.TENSOR_QUANT8_SYMM, OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
Q16, Q16Y = OperandCode.TENSOR_QUANT16_ASYMM, OperandCode.TENSOR_QUANT16_SYMM
B8 = OperandCode.TENSOR_BOOL8

Result = tuple[OperandType, ...]


def chosen_code(call: Call, default: OperandCode) -> OperandCode:
    """The type declared for the result where the operation allows it, else the default."""
    wanted = call.wanted_code()
    return wanted if wanted in call.form.outputs[0].types(call.key) else default


def code_seen(call: Call) -> str | None:
    """A declared result type the operation does not give from this input."""
    allowed = call.form.outputs[0].types(call.key)
    wanted = call.wanted_code()
    if wanted is None or wanted in allowed:
        return None
    names = " or ".join(code.name for code in allowed)
    return f"the result is declared {wanted.name}; {call.spec.kind} of {call.key.name} gives {names}"


def _result_code(id: str, rule: str) -> Constraint:
    return Constraint(id, rule, code_seen)


def _gives(code: OperandCode) -> Callable[[Call], bool]:
    return lambda call: call.wanted_code() == code


# --- QUANTIZE ----------------------------------------------------------------------------------------------


def quantize(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """clamp(zero_point + round(x / scale)) in float32, ties away from zero; NaN gives the largest code."""
    out = with_scales(call).out
    return codes_of(input, out.scale, out.zero_point, out.code.numpy)


def quantized_type(call: Call) -> Result:
    """The input's shape with the scale and zero point the caller chose."""
    return (OperandType(chosen_code(call, Q8), call["input"].shape, call.wanted_quant()),)


def _scale_missing(call: Call) -> str | None:
    if chosen_quant(call) is not None:
        return None
    return f"the result needs one scale above 0, it is declared with {call.wanted_quant() or 'none'}"


_QUANTIZE = OpSpec(
    kind="QUANTIZE",
    code=72,
    since=3,
    summary="Real numbers to codes of a chosen scale and zero point.",
    types={F32: 3, F16: 3},
    forms=(Form("only", (tensor("input"),), (Slot("out", fixed(Q8, Q8S)),)),),
    result=quantized_type,
    kernel=quantize,
    source="AOSP 13 Quantize.cpp",
    constraints=(
        Constraint("C1", "the result's scale is given by the caller", _scale_missing),
        _result_code("C2", "the result is TENSOR_QUANT8_ASYMM or TENSOR_QUANT8_ASYMM_SIGNED"),
    ),
    levels=(LevelRule(4, "QUANTIZE to TENSOR_QUANT8_ASYMM_SIGNED", _gives(Q8S)),),
    zero_sized=3,
    notes=("Ties are rounded away from zero, in torch.quantize_per_tensor to even.",),
)


# --- DEQUANTIZE --------------------------------------------------------------------------------------------


def dequantize(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """scale (q - zero_point), or scale[channel] q for per-channel codes, in float32."""
    held = with_scales(call)["input"]
    if isinstance(held.quant, PerChannel):
        return dequantize_per_channel(input, held.quant.scales, held.quant.axis)
    return real_values(input, held.scale, held.zero_point)


_DEQUANTIZE = OpSpec(
    kind="DEQUANTIZE",
    code=6,
    since=1,
    summary="Codes to the real numbers they stand for.",
    types={Q8: 1, Q8Y: 3, Q8PC: 3, Q8S: 4},
    forms=(Form("only", (tensor("input", rank=(1, 4)),), (Slot("out", fixed(F32, F16)),)),),
    result=lambda call: (OperandType(chosen_code(call, F32), call["input"].shape),),
    kernel=dequantize,
    source="AOSP 13 Dequantize.cpp",
    constraints=(_result_code("C1", "the result is TENSOR_FLOAT32 or TENSOR_FLOAT16"),),
    levels=(LevelRule(3, "DEQUANTIZE to TENSOR_FLOAT16", _gives(F16)),),
    zero_sized=3,
    notes=("Android's validator says feature level 3 for the signed type; the type itself needs 4.",),
)


# --- CAST --------------------------------------------------------------------------------------------------

_NUMBERS = (F32, F16, I32, Q8)


def _cast_to(key: OperandCode) -> tuple[OperandCode, ...]:
    return _NUMBERS if key in _NUMBERS else (key,)


_CAST_RULE: TypeRule = _cast_to


def cast_type(call: Call) -> Result:
    """The input's shape in another type; scale and zero point are declared freely and mean nothing."""
    code = chosen_code(call, _cast_to(call.key)[0])
    return (OperandType(code, call["input"].shape, call.wanted_quant()),)


@np.errstate(all="ignore")
def cast(input: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """The stored number in another type: fractions are cut off, TENSOR_QUANT8_ASYMM saturates to 0…255.

    Float to int32 beyond its range is undefined in C++; here it saturates and NaN gives 0, as on Arm.
    """
    out = with_scales(call).out.code.numpy
    if out.kind not in "iu":
        return input.astype(out)
    limits = np.iinfo(out)
    # Doubles hold every int32 and float32 number, so neither bound is rounded.
    whole = np.trunc(np.nan_to_num(input.astype(np.float64), nan=0.0))
    return np.clip(whole, limits.min, limits.max).astype(out)


def _to_int32(call: Call) -> bool:
    return call.out.code == I32 and call.key in (F32, F16)


def _beyond_int32_seen(call: Call, input: np.ndarray) -> str | None:
    whole = np.trunc(input.astype(np.float64))
    count = int(np.count_nonzero(~((whole >= -(2.0**31)) & (whole < 2.0**31))))
    return f"{count} of {input.size} numbers are NaN or beyond an int32" if count else None


_CAST = OpSpec(
    kind="CAST",
    code=45,
    since=3,
    summary="The stored numbers in another type; scales are ignored.",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, B8: 4, Q16: 4, Q16Y: 4, Q8S: 4, Q8Y: 4},
    forms=(Form("only", (tensor("input"),), (Slot("out", _CAST_RULE),)),),
    result=cast_type,
    kernel=cast,
    source="AOSP 13 Cast.cpp",
    constraints=(
        _result_code(
            "C1",
            "TENSOR_FLOAT32, TENSOR_FLOAT16, TENSOR_INT32 and TENSOR_QUANT8_ASYMM are cast to each other, "
            "every other type only to itself",
        ),
    ),
    undefined=(
        Undefined(
            "U1",
            "a number cast to TENSOR_INT32 fits into it",
            "they saturate and NaN gives 0, as on Arm",
            _to_int32,
            _beyond_int32_seen,
        ),
    ),
    notes=("A scale is neither applied nor undone: code 7 becomes 7.0, whatever it stands for.",),
)

SPECS: tuple[OpSpec, ...] = (_QUANTIZE, _DEQUANTIZE, _CAST)
