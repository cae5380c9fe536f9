"""Scales of quantized results: chosen by the caller, prescribed by the operation, or those of the input.

Results that keep the input's quantization need nothing from here: they are the input's type with a shape.
"""

from __future__ import annotations

from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant, Shape, float32_text
from nnapi_lab.ops.spec import Call, Constraint


def free_type(call: Call, shape: Shape | None) -> OperandType:
    """A result of the key type whose quantization the caller chooses.

    TENSOR_INT32 may carry a scale too; the operations here take no notice of it.
    """
    chosen = call.wanted_quant() if call.is_quantized or call.key == OperandCode.TENSOR_INT32 else None
    return OperandType(call.key, shape, chosen)


def fixed_type(call: Call, shape: Shape | None, scale: float, zero_point: int) -> OperandType:
    """A result of the key type; quantized, it has this scale and zero point (unsigned; signed: 128 less)."""
    if not call.is_quantized:
        return OperandType(call.key, shape)
    signed = call.key == OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
    return OperandType(call.key, shape, Quant(scale, zero_point - 128 if signed else zero_point))


def chosen_quant(call: Call) -> Quant | None:
    """The scale and zero point the caller gave a quantized result, None if there is none to speak of."""
    wanted = call.wanted_quant()
    return wanted if isinstance(wanted, Quant) and wanted.scale > 0 else None


def scale_given_seen(call: Call) -> str | None:
    """A quantized result without a scale."""
    if not call.is_quantized or chosen_quant(call) is not None:
        return None
    wanted: Quant | PerChannel | None = call.wanted_quant()
    if isinstance(wanted, PerChannel):
        return f"the {call.key.name} result has per-channel scales; it takes one scale"
    if wanted is not None:
        return f"the {call.key.name} result has scale {float32_text(wanted.scale)}; it must be above 0"
    return f"the scale of the {call.key.name} result is not given; the operation leaves it to the caller"


def scale_given(id: str) -> Constraint:
    """The rule that a quantized result's scale is the caller's to give."""
    return Constraint(id, "quantized: the result's scale is given by the caller", scale_given_seen)


def with_scales(call: Call | None) -> Call:
    """The call that tells a kernel the scales of its codes; raises TypeError when there is none."""
    if call is None:
        raise TypeError("codes cannot be computed with, without the call that tells their scales")
    return call
