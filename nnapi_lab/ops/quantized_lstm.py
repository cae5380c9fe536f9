"""QUANTIZED_LSTM: one step of an LSTM on signed codes, with every variant and a scale for every intermediate.

The gate biases take part only in layer normalization; a gate without it never sees its bias, whatever the
documentation says. Hidden codes s stand for scale (s + hidden_zero_point): the sign is the other way round.
Source: AOSP 13 `QLSTM.cpp`, `QuantUtils.h`, `QuantUtils.cpp`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.numerics import fixed_point
from nnapi_lab.numerics.recurrent import normalize_codes
from nnapi_lab.numerics.requantize import (
    Multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from nnapi_lab.numerics.rounding import rounding_divide_by_pot, saturate, saturating_add, wrap
from nnapi_lab.ops.by_name import Tensors, is_given, kernel_by_name, named_sizes
from nnapi_lab.ops.lstm_cell import GATES, LAYER_NORMS, OPTIONAL, WEIGHTS, cell_table, uses_cifg, variant_constraints
from nnapi_lab.ops.quantized_16bit_lstm import log2_of_scale
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, scalar, tensor

Q8S, Q8_SYMM = OperandCode.TENSOR_QUANT8_ASYMM_SIGNED, OperandCode.TENSOR_QUANT8_SYMM
Q16, I32, FLOAT32 = OperandCode.TENSOR_QUANT16_SYMM, OperandCode.TENSOR_INT32, OperandCode.FLOAT32

_SIZES = {"input": ("batch", "features"), **cell_table("", "prev_output", "prev_cell_state")}
_LAYER_NORM_SHIFT = 12  # normalized values are Q3.12
_LARGEST_MULTIPLIER = 2.0**30


def quantized_lstm_types(call: Call) -> tuple[OperandType, ...]:
    """Output state, cell state, output; quantized as declared, else like the states that come in."""
    size = named_sizes(call, _SIZES)
    output, cell = call["prev_output"], call["prev_cell_state"]
    of_output = output.with_shape((size["batch"], size["outputs"]))
    types = (of_output, cell.with_shape((size["batch"], size["units"])), of_output)
    return tuple(type_.with_quant(call.wanted_quant(i) or type_.quant) for i, type_ in enumerate(types))


# --- scales ------------------------------------------------------------------------------------------------


def real_multipliers(call: Call) -> dict[str, float]:
    """The ratios of scales by what they rescale; each is rounded to float32 as the reference's floats are."""
    cell = 2.0 ** (log2_of_scale(call["prev_cell_state"].scale) or 0)
    hidden = call["hidden_scale"]
    reals: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for gate in GATES[1:] if uses_cifg(call) else GATES:
            scale = call[f"{gate}_intermediate_scale"]
            if scale is None:
                continue
            for source, values in (("input", "input"), ("recurrent", "prev_output")):
                name = f"{source}_to_{gate}"
                reals[name] = _ratio(call[f"{name}_w"].scale, call[values].scale, scale)
            if is_given(call, f"cell_to_{gate}_w"):
                reals[f"cell_to_{gate}"] = _wide_ratio(cell * call[f"cell_to_{gate}_w"].scale, scale)
            if is_given(call, f"{gate}_layer_norm_w"):
                reals[f"{gate}_layer_norm"] = call[f"{gate}_layer_norm_w"].scale
        if hidden is not None:
            reals["hidden"] = _wide_ratio(2.0**-30, hidden)
            if is_given(call, "projection_w"):
                reals["projection"] = _ratio(call["projection_w"].scale, hidden, call["prev_output"].scale)
    return reals


def _ratio(a: float, b: float, c: float) -> float:
    return float(np.float32(a) * np.float32(b) / np.float32(c))


def _wide_ratio(numerator: float, denominator: float) -> float:
    """A quotient of doubles, rounded to float32 once."""
    return float(np.float32(np.float64(numerator) / np.float64(np.float32(denominator))))


# --- kernel ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """The tensors of one step with the multipliers that fit them."""

    tensors: Tensors
    call: Call
    multipliers: dict[str, Multiplier]

    def gate(self, gate: str, cell: np.ndarray) -> np.ndarray:
        """What a gate's activation sees: int16 words Q3.12 [batch, units], saturated after every term."""
        total = self._product("input", gate, self.tensors["input"], self.call["input"].zero_point)
        recurrent = self._product("recurrent", gate, self.tensors["prev_output"], self.call["prev_output"].zero_point)
        total = saturating_add(total, recurrent, 16)
        peephole = self.tensors.get(f"cell_to_{gate}_w")
        if peephole is not None:
            total = self._with_peephole(total, peephole, cell, self.multipliers[f"cell_to_{gate}"])
        norm = self.tensors[f"{gate}_layer_norm_w"]
        if norm is None:
            return total
        bias = self.tensors["cell_bias" if gate == "cell" else f"{gate}_gate_bias"]
        multiplier = self.multipliers[f"{gate}_layer_norm"]
        shifted = Multiplier(multiplier.mantissa, multiplier.exponent + _LAYER_NORM_SHIFT)
        # Stands in for a variance below 1; the reference calls it a guard against overflow.
        floor = min(1, int(np.float32(10000) * np.float32(self.call[f"{gate}_layer_norm_w"].scale)))
        return normalize_codes(total, norm, bias, shifted, floor)

    def _product(self, source: str, gate: str, values: np.ndarray, zero_point: int) -> np.ndarray:
        weights = self.tensors[f"{source}_to_{gate}_w"].astype(np.int64)
        acc = (values.astype(np.int64) - zero_point) @ weights.T
        return saturate(multiply_by_quantized_multiplier(acc, self.multipliers[f"{source}_to_{gate}"]), 16)

    def _with_peephole(
        self, total: np.ndarray, weights: np.ndarray, cell: np.ndarray, multiplier: Multiplier
    ) -> np.ndarray:
        """total + R(p c). The reference counts outputs, not units, through the flat arrays: with fewer outputs
        than units the last values get nothing, and every row after the first the weights of other units."""
        batch, units = total.shape
        outputs = min(units, self.tensors["prev_output"].shape[1])
        reached = np.arange(batch * outputs)
        products = weights.astype(np.int64)[reached % outputs] * cell.ravel()[reached]
        flat = total.astype(np.int64).ravel()
        flat[reached] += multiply_by_quantized_multiplier(products, multiplier)
        return saturate(flat, 16).reshape(batch, units)


def quantized_lstm(
    tensors: Tensors,
    *,
    cell_clip: float | None,
    proj_clip: float | None,
    input_intermediate_scale: float,
    forget_intermediate_scale: float,
    cell_intermediate_scale: float,
    output_intermediate_scale: float,
    hidden_zero_point: int,
    hidden_scale: float,
    call: Call,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(output state, cell state, output), the first and the last the same codes.

    c' = clip(sat(P(f c, 15) + P(i g, 30 + log2 s_c))), h' = clamp(R(o tanh(c'); 2^-30 / s_h) - z_h), then the
    projection like a fully connected layer on h' + z_h.
    """
    step = _Step(tensors, call, {name: quantize_multiplier(real) for name, real in real_multipliers(call).items()})
    exponent = log2_of_scale(call["prev_cell_state"].scale) or 0
    before = tensors["prev_cell_state"]
    forget = fixed_point.logistic(step.gate("forget", before), 3, 16)
    candidate = fixed_point.tanh(step.gate("cell", before), 3, 16)
    if tensors["input_to_input_w"] is None:
        admit = (32767 - forget.astype(np.int64)).astype(np.int16)
    else:
        admit = fixed_point.logistic(step.gate("input", before), 3, 16)
    state = saturating_add(_shifted(forget, before, 15), _shifted(admit, candidate, 30 + exponent), 16)
    state = _clipped(state, cell_clip, call["prev_cell_state"].scale)
    expose = fixed_point.logistic(step.gate("output", state), 3, 16)
    squashed = fixed_point.tanh(state, 15 + exponent, 16)
    # The reference reads one byte of the INT32.
    zero_point = int(np.int32(hidden_zero_point).astype(np.int8))
    hidden = multiply_by_quantized_multiplier(_wide(expose) * squashed, step.multipliers["hidden"])
    codes = np.clip(_wide(hidden) - zero_point, -128, 127).astype(np.int8)
    output = _projected(step, codes, zero_point, proj_clip)
    return output, state, output


def _projected(step: _Step, codes: np.ndarray, zero_point: int, clip: float | None) -> np.ndarray:
    weights, bias = step.tensors["projection_w"], step.tensors["projection_bias"]
    if weights is None:
        return codes
    acc = (_wide(codes) + zero_point) @ _wide(weights).T + (0 if bias is None else _wide(bias))
    scaled = multiply_by_quantized_multiplier(acc, step.multipliers["projection"])
    output = np.clip(_wide(scaled) + step.call["prev_output"].zero_point, -128, 127).astype(np.int8)
    # Measured in the scale of the weights, not of the output: so does the reference.
    return _clipped(output, clip, step.call["projection_w"].scale)


def _shifted(a: np.ndarray, b: np.ndarray, shift: int) -> np.ndarray:
    """P(a b, shift) as int16; only -1 times -1 leaves the range, and wraps."""
    return wrap(rounding_divide_by_pot(_wide(a) * b, shift), 16)


def _clipped(codes: np.ndarray, bound: float | None, scale: float) -> np.ndarray:
    """Codes within ±int(bound / scale); no bound, none above 0 or one below a whole code leave them as they are."""
    if bound is None or not bound > 0:
        return codes
    info = np.iinfo(codes.dtype)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.float32(bound) / np.float32(scale)
    limit = int(np.clip(ratio, info.min, info.max))
    return np.clip(codes, -limit, limit) if limit > 0 else codes


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64)


# --- rules -------------------------------------------------------------------------------------------------


def _multipliers_seen(call: Call) -> str | None:
    for name, real in real_multipliers(call).items():
        factor = 2.0**_LAYER_NORM_SHIFT if name.endswith("_layer_norm") else 1.0
        if not (math.isfinite(real) and 0 <= real * factor < _LARGEST_MULTIPLIER):
            return f"the multiplier of {name} comes out as {real:g}"
    return None


def _cell_scale_seen(call: Call) -> str | None:
    scale = call["prev_cell_state"].scale
    exponent = log2_of_scale(scale)
    if exponent is not None and -15 <= exponent <= -9:
        return None
    return f"prev_cell_state has scale {scale:g}"


# --- declaration -------------------------------------------------------------------------------------------


def _slot(name: str, axes: tuple[str, ...]) -> Slot:
    if name.endswith("bias"):
        code = I32
    else:
        code = Q16 if len(axes) == 1 else Q8_SYMM
    return tensor(name, fixed(code), rank=len(axes), optional=name in OPTIONAL, doc=f"[{', '.join(axes)}]")


_INPUTS = (
    tensor("input", rank=2, doc="[batch, features]"),
    *(_slot(name, axes) for name, axes in WEIGHTS.items()),
    tensor("prev_output", fixed(Q8S), rank=2, doc="[batch, outputs]"),
    tensor("prev_cell_state", fixed(Q16), rank=2, doc="[batch, units], its scale a power of two"),
    *(_slot(name, axes) for name, axes in LAYER_NORMS.items()),
    scalar("cell_clip", FLOAT32, optional=True, doc="bound on the cell state, 0 for none"),
    scalar("proj_clip", FLOAT32, optional=True, doc="bound on the projection, 0 for none"),
    *(scalar(f"{gate}_intermediate_scale", FLOAT32, doc="scale of the gate's sum") for gate in GATES),
    scalar("hidden_zero_point", doc="zero point of o tanh(c'), with its sign turned"),
    scalar("hidden_scale", FLOAT32, doc="scale of o tanh(c')"),
)

SPECS = (
    OpSpec(
        kind="QUANTIZED_LSTM",
        code=95,
        since=4,
        summary="One step of an LSTM on signed 8-bit codes with a 16-bit cell state.",
        types={Q8S: 4},
        forms=(
            Form(
                "only",
                _INPUTS,
                (
                    tensor("output_state_out", fixed(Q8S), rank=2),
                    tensor("cell_state_out", fixed(Q16), rank=2),
                    tensor("output", fixed(Q8S), rank=2),
                ),
            ),
        ),
        result=quantized_lstm_types,
        kernel=kernel_by_name(quantized_lstm, _INPUTS),
        source="AOSP 13 QLSTM.cpp",
        constraints=(
            *variant_constraints(("",), lambda call: _SIZES),
            Constraint("C7", "scales give finite multipliers: those that divide are above 0 and not tiny",
                       _multipliers_seen),
            Constraint("C8", "the scale of the cell state is a power of two from 2^-15 to 2^-9", _cell_scale_seen),
        ),
        notes=(
            "Gate biases take part only in layer normalization: without it the reference ignores them.",
            "Peepholes of the input and forget gates are documented on the cell state before the step, as "
            "computed here; the reference reads the buffer the new state will be written to.",
            "With a projection to fewer outputs than units, peepholes reach only the first batch × outputs "
            "values, as in the reference.",
            "hidden_zero_point is subtracted from the hidden codes and added before the projection, the opposite "
            "of a zero point; only its lowest byte counts.",
            "proj_clip is measured in the scale of projection_w.",
            "Without projection_bias, or with an omitted clip, the Android 13 reference reads a null pointer; "
            "here they count as 0, as documented.",
            "Cell state scales below 2^-15 are refused here; the reference then leaves tanh out.",
            "Scales of the biases are not looked at.",
        ),
    ),
)  # fmt: skip
