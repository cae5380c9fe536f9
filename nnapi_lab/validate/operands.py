"""Which dimensions, scales, zero points and values each operand type allows.

Source: the NNAPI C header (`ANeuralNetworksOperandType`) and AOSP 13 `nnapi/Validation.cpp`, `TypeUtils.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nnapi_lab.ir.model import Model, Operand
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, shape_text

LARGEST_BYTES = 2**32 - 1
SIZE_RULE = "a tensor's size in bytes fits into 32 bits"

ZERO_POINTS = {
    OperandCode.TENSOR_QUANT8_ASYMM: (0, 255),
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: (-128, 127),
    OperandCode.TENSOR_QUANT16_ASYMM: (0, 65535),
    OperandCode.TENSOR_QUANT16_SYMM: (0, 0),
    OperandCode.TENSOR_QUANT8_SYMM: (0, 0),
}


def operand_findings(operand: Operand) -> Iterator[tuple[str, str]]:
    """(rule, what was seen) for everything wrong with one operand by itself."""
    yield from (("M9", text) for text in _type_problems(operand.type))
    yield from (("M8", text) for text in _value_problems(operand))
    yield from (("M10", text) for text in size_problems(operand.type))


def _type_problems(type_: OperandType) -> Iterator[str]:
    code, quant = type_.code, type_.quant
    if code.is_scalar:
        if type_.shape != ():
            yield f"the scalar {code.name} has dimensions {shape_text(type_.shape)}"
        if quant is not None:
            yield f"the scalar {code.name} has a quantization ({quant})"
    elif code == OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL:
        yield from _per_channel_problems(type_)
    elif isinstance(quant, PerChannel):
        yield f"{code.name} has per-channel scales; only TENSOR_QUANT8_SYMM_PER_CHANNEL may"
    elif code in ZERO_POINTS:
        yield from _quant_problems(code, quant)
    elif code == OperandCode.TENSOR_INT32:
        yield from _int32_problems(quant)
    elif quant is not None and (quant.scale, quant.zero_point) != (0.0, 0):
        yield f"{code.name} has a quantization ({quant}), but it stores real values"


def _quant_problems(code: OperandCode, quant: Quant | PerChannel | None) -> Iterator[str]:
    if not isinstance(quant, Quant):
        yield f"{code.name} has no scale; it must be above 0"
        return
    if not (quant.scale > 0 and math.isfinite(quant.scale)):
        yield f"{code.name} has scale {quant.scale}; it must be finite and above 0"
    low, high = ZERO_POINTS[code]
    if not low <= quant.zero_point <= high:
        yield f"{code.name} has zero point {quant.zero_point}, outside {low}…{high}"


def _int32_problems(quant: Quant | PerChannel | None) -> Iterator[str]:
    if isinstance(quant, Quant):
        if not (quant.scale >= 0 and math.isfinite(quant.scale)):
            yield f"TENSOR_INT32 has scale {quant.scale}; it must be finite and not negative"
        if quant.zero_point != 0:
            yield f"TENSOR_INT32 has zero point {quant.zero_point}; it must be 0"


def _per_channel_problems(type_: OperandType) -> Iterator[str]:
    quant = type_.quant
    if not isinstance(quant, PerChannel):
        yield f"{type_.code.name} needs per-channel scales, it has {quant or 'none'}"
        return
    bad = [scale for scale in quant.scales if not (scale > 0 and math.isfinite(scale))]
    if bad:
        count = f"{len(bad)} of {len(quant.scales)}"
        yield f"{count} per-channel scales are not finite and above 0 (first: {bad[0]})"
    if type_.shape is None:
        yield "per-channel scales on a tensor of unknown rank"
    elif not 0 <= quant.axis < len(type_.shape):
        yield f"per-channel scales along axis {quant.axis} of {shape_text(type_.shape)}"
    elif isinstance(type_.shape[quant.axis], Dim):
        yield f"axis {quant.axis} of per-channel scales is of unknown size in {shape_text(type_.shape)}"
    elif type_.shape[quant.axis] != len(quant.scales):
        yield f"{len(quant.scales)} scales for axis {quant.axis} of {shape_text(type_.shape)}"


def _value_problems(operand: Operand) -> Iterator[str]:
    type_, value = operand.type, operand.value
    if isinstance(value, Model):
        if type_.code != OperandCode.MODEL:
            yield f"{type_.code.name} holds a model"
    elif type_.code == OperandCode.MODEL:
        yield "a MODEL operand holds no model"
    elif value is not None:
        if not type_.is_static:
            yield f"the constant is declared {shape_text(type_.shape)}; its sizes must be known"
        elif not isinstance(value, np.ndarray) or value.shape != type_.shape:
            yield f"the value has shape {shape_text(np.shape(value))}, declared is {shape_text(type_.shape)}"
        elif value.dtype != type_.code.numpy:
            yield f"the value is stored as {value.dtype}, {type_.code.name} is {type_.code.numpy}"


def size_problems(type_: OperandType) -> Iterator[str]:
    """A tensor whose known sizes alone take more bytes than 32 bits count."""
    if type_.code == OperandCode.MODEL or type_.shape is None:
        return
    size = type_.code.numpy.itemsize * math.prod(dim for dim in type_.shape if not isinstance(dim, Dim))
    if size > LARGEST_BYTES:
        yield f"{shape_text(type_.shape)} takes {size} bytes, more than {LARGEST_BYTES}"
