"""QUANTIZED_16BIT_LSTM: one step of an LSTM whose scales are all prescribed, in 16-bit fixed point.

Inputs and outputs are uint8 with scale 1/128 and zero point 128, the cell state int16 with scale 2^-11. No
variants: four gates, no projection, no peephole, no clips.
Source: AOSP 13 `QuantizedLSTM.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, Quant
from nnapi_lab.numerics import fixed_point
from nnapi_lab.numerics.requantize import multiply_by_quantized_multiplier, quantize_multiplier
from nnapi_lab.numerics.rounding import (
    rounding_divide_by_pot,
    saturate,
    saturating_add,
    saturating_rounding_doubling_high_mul,
)
from nnapi_lab.ops.by_name import Tensors, kernel_by_name, named_sizes, sizes_seen
from nnapi_lab.ops.lstm_cell import GATES
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, fixed, tensor

Q8, Q16, I32 = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT16_SYMM, OperandCode.TENSOR_INT32

IO_QUANT = Quant(1 / 128, 128)
CELL_QUANT = Quant(2.0**-11)

_STATE_BITS = 4  # integer bits of the cell state: 16 / 32768 = 2^(4 - 15)
_WEIGHTS = tuple(f"{source}_to_{gate}_w" for source in ("input", "recurrent") for gate in GATES)
_BIASES = ("input_gate_bias", "forget_gate_bias", "cell_bias", "output_gate_bias")
_BIAS_OF = dict(zip(GATES, _BIASES, strict=True))

_SIZES: Mapping[str, tuple[str, ...]] = {
    "prev_output": ("batch", "outputs"),
    "input": ("batch", "features"),
    **{name: ("outputs", "features" if name.startswith("input") else "outputs") for name in _WEIGHTS},
    **dict.fromkeys(_BIASES, ("outputs",)),
    "prev_cell_state": ("batch", "outputs"),
}


def quantized_16bit_lstm_types(call: Call) -> tuple[OperandType, ...]:
    """Cell state and output, both [batch, outputs], quantized like the ones that come in."""
    size = named_sizes(call, _SIZES)
    shape = (size["batch"], size["outputs"])
    return call["prev_cell_state"].with_shape(shape), call["prev_output"].with_shape(shape)


# --- kernel ------------------------------------------------------------------------------------------------


def quantized_16bit_lstm(tensors: Tensors, *, call: Call) -> tuple[np.ndarray, np.ndarray]:
    """Gates in Q3.12, their activations and the output in Q0.15, the cell state in Q4.11.

    i, f, o = logistic, g = tanh of sat(R(b + ([x, h] - 128) ([U, W] - z)ᵀ; 4096 s_b)), see the notes;
    c' = sat(rescale(i g) + f c); h' = 128 + sat8(P(o tanh(c'), 8)), tanh of c' saturated to Q3.12.
    """
    sums = {gate: _gate(tensors, gate, call) for gate in GATES}
    admit, forget, expose = (fixed_point.logistic(sums[gate], 3, 16) for gate in ("input", "forget", "output"))
    candidate = fixed_point.tanh(sums["cell"], 3, 16)
    kept = _product(forget, tensors["prev_cell_state"])
    state = saturating_add(fixed_point.rescale(_product(admit, candidate), 0, _STATE_BITS, 16), kept, 16)
    squashed = fixed_point.tanh(fixed_point.rescale(state, _STATE_BITS, 3, 16), 3, 16)
    output = np.clip(rounding_divide_by_pot(_product(expose, squashed), 8, 16), -128, 127)
    return state, (output.astype(np.int16) + 128).astype(np.uint8)


def _gate(tensors: Tensors, gate: str, call: Call) -> np.ndarray:
    """A gate's sum as Q3.12 words, int16 [batch, outputs].

    The reference lines up the values [input, prev_output] with the weights [recurrent, input]: the first
    columns of the recurrent weights meet the input. Its own golden values come from that order.
    """
    values = np.concatenate([tensors["input"], tensors["prev_output"]], axis=1).astype(np.int64) - 128
    weights = np.concatenate([tensors[f"recurrent_to_{gate}_w"], tensors[f"input_to_{gate}_w"]], axis=1)
    acc = values @ (weights.astype(np.int64) - call["input_to_input_w"].zero_point).T + tensors[_BIAS_OF[gate]]
    multiplier = quantize_multiplier(4096 * call["input_gate_bias"].scale)
    return saturate(multiply_by_quantized_multiplier(acc, multiplier), 16)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two 16-bit words, as a word with the integer bits of both together."""
    return saturating_rounding_doubling_high_mul(a, b, 16)


# --- rules -------------------------------------------------------------------------------------------------


def log2_of_scale(scale: float) -> int | None:
    """The exponent of a scale within a thousandth of a power of two (in log2), else None."""
    if not scale > 0:
        return None
    exact = np.log(np.float32(scale)) * (np.float32(1) / np.log(np.float32(2)))
    whole = round(float(exact))
    return whole if math.isfinite(exact) and abs(exact - np.float32(whole)) < 1e-3 else None


def _io_quant_seen(call: Call) -> str | None:
    for name in ("input", "prev_output"):
        if call[name].quant != IO_QUANT:
            return f"{name} has {call[name].quant or 'no quantization'}, expected {IO_QUANT}"
    return None


def _weights_quant_seen(call: Call) -> str | None:
    first = call[_WEIGHTS[0]]
    if not first.scale > 0:
        return f"{_WEIGHTS[0]} has scale {first.scale:g}"
    for name in _WEIGHTS[1:]:
        if call[name].quant != first.quant:
            return f"{name} has {call[name].quant or 'no quantization'}, {_WEIGHTS[0]} {first.quant}"
    return None


def _bias_quant_seen(call: Call) -> str | None:
    expected = Quant(call[_WEIGHTS[0]].scale / 128)
    for name in _BIASES:
        if (call[name].quant or Quant(0)) != expected:
            return f"{name} has {call[name].quant or 'no quantization'}, expected {expected}"
    return None


def _cell_quant_seen(call: Call) -> str | None:
    cell = call["prev_cell_state"]
    if cell.zero_point == 0 and log2_of_scale(cell.scale) == _STATE_BITS - 15:
        return None
    return f"prev_cell_state has {cell.quant or 'no quantization'}, expected {CELL_QUANT}"


_INPUTS = (
    tensor("input", rank=2, doc="[batch, features]"),
    *(tensor(name, fixed(Q8), rank=2, doc=f"[{', '.join(_SIZES[name])}]") for name in _WEIGHTS),
    *(tensor(name, fixed(I32), rank=1, doc="[outputs], scale of the weights / 128") for name in _BIASES),
    tensor("prev_cell_state", fixed(Q16), rank=2, doc="[batch, outputs], scale 2^-11"),
    tensor("prev_output", fixed(Q8), rank=2, doc="[batch, outputs]"),
)

SPECS = (
    OpSpec(
        kind="QUANTIZED_16BIT_LSTM",
        code=73,
        since=3,
        summary="One step of an LSTM on uint8 with a 16-bit cell state, all scales prescribed.",
        types={Q8: 3},
        forms=(
            Form(
                "only",
                _INPUTS,
                (tensor("cell_state_out", fixed(Q16), rank=2), tensor("output", fixed(Q8), rank=2)),
            ),
        ),
        result=quantized_16bit_lstm_types,
        kernel=kernel_by_name(quantized_16bit_lstm, _INPUTS),
        source="AOSP 13 QuantizedLSTM.cpp",
        constraints=(
            Constraint("C1", "weights, biases, states and input agree in their sizes",
                       lambda call: sizes_seen(call, _SIZES)),
            Constraint("C2", "input and prev_output have scale 1/128 and zero point 128", _io_quant_seen),
            Constraint("C3", "the eight weights share one scale above 0 and one zero point", _weights_quant_seen),
            Constraint("C4", "biases have the weights' scale / 128 and zero point 0", _bias_quant_seen),
            Constraint("C5", "the cell state has scale 2^-11 and zero point 0", _cell_quant_seen),
        ),
        notes=(
            "The reference pairs the values [input, prev_output] with the weights [recurrent, input], side by "
            "side: input meets the first columns of the recurrent weights. Documentation pairs each with its own; "
            "drivers that do so give other numbers than Android's CPU.",
            "The scale of the cell state may be off 2^-11 by 0.07 %, it counts as 2^-11.",
        ),
    ),
)  # fmt: skip
