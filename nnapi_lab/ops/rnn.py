"""Plain recurrent cells: RNN (one step), UNIDIRECTIONAL_SEQUENCE_RNN, BIDIRECTIONAL_SEQUENCE_RNN.

h' = act(W x + A a + U h + b), a the auxiliary input where there is one. float16 stays float16, sum by sum.
Source: AOSP 13 `RNN.cpp` (RNNStep), `UnidirectionalSequenceRNN.cpp`, `BidirectionalSequenceRNN.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.numerics.recurrent import activate
from nnapi_lab.ops.axes import total
from nnapi_lab.ops.by_name import SizeTable, given_all_or_none, is_given, is_surely_given, named_sizes, sizes_seen
from nnapi_lab.ops.lstm_cell import ACTIVATION_SLOT, activation_seen, has_state_results, input_axes, sequence_shape
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, Slot, scalar, tensor

F32, F16, BOOL = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.BOOL

_SEQUENCE_DOC = "[batch, time, features], or [time, batch, features]"
_NOTES = (
    "Documentation asks for a FuseCode; the reference computes NONE, RELU, RELU6, TANH and SIGMOID and aborts on "
    "RELU1, which is computed here as documented.",
    "float16 is not widened: every product and every sum rounds, in the order of the reference's loops. A "
    "processor that fuses them differs in the last place.",
)


def cell_slots(prefix: str = "") -> tuple[Slot, ...]:
    """Weights, bias and state of one cell."""
    return (
        tensor(f"{prefix}weights", rank=2, doc="[units, features]"),
        tensor(f"{prefix}recurrent_weights", rank=2, doc="[units, units]"),
        tensor(f"{prefix}bias", rank=1, doc="[units]"),
        tensor(f"{prefix}hidden_state_in", rank=2, doc="[batch, units]"),
    )


def cell_table(prefix: str = "", features: str = "features") -> dict[str, tuple[str, ...]]:
    """Axes of one cell's slots."""
    units = f"{prefix}units"
    return {
        f"{prefix}weights": (units, features),
        f"{prefix}recurrent_weights": (units, units),
        f"{prefix}bias": (units,),
        f"{prefix}hidden_state_in": ("batch", units),
    }


@dataclass(frozen=True, slots=True)
class Cell:
    """Weights [units, features], recurrent weights [units, units], bias [units], auxiliary weights or none."""

    weights: np.ndarray
    recurrent_weights: np.ndarray
    bias: np.ndarray
    activation: int
    aux_weights: np.ndarray | None = None

    def step(self, x: np.ndarray, h: np.ndarray, aux: np.ndarray | None = None) -> np.ndarray:
        """The new hidden state [batch, units]; x [batch, features], h [batch, units]."""
        pairs = [(x, self.weights), (h, self.recurrent_weights)]
        if aux is not None and self.aux_weights is not None:
            pairs.insert(1, (aux, self.aux_weights))
        acc = np.broadcast_to(self.bias, (x.shape[0], self.bias.shape[0]))
        with np.errstate(over="ignore", invalid="ignore"):
            for values, weights in pairs:
                acc = accumulate(acc, values, weights)
            output: np.ndarray = activate(acc.astype(np.float32), self.activation).astype(x.dtype)
        return output

    def run(
        self,
        x: np.ndarray,
        h: np.ndarray,
        *,
        time_major: bool,
        backward: bool = False,
        aux: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(outputs of all steps, last hidden state) over a sequence, from its end when `backward`."""
        time = 0 if time_major else 1
        steps = range(x.shape[time])
        outputs: list[np.ndarray] = []
        for t in reversed(steps) if backward else steps:
            h = self.step(x.take(t, time), h, None if aux is None else aux.take(t, time))
            outputs.append(h)
        return np.stack(outputs[::-1] if backward else outputs, axis=time), h


def accumulate(acc: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """acc + values weightsᵀ; in float16 one product after the other, each rounded, each sum rounded."""
    if values.dtype != np.float16:
        total: np.ndarray = acc + values @ weights.T
        return total
    for k in range(values.shape[1]):
        acc = acc + values[:, k : k + 1] * weights[:, k]
    return acc


# --- RNN ---------------------------------------------------------------------------------------------------


def _step_table(call: Call) -> SizeTable:
    return {"input": ("batch", "features"), **cell_table()}


def rnn_types(call: Call) -> tuple[OperandType, ...]:
    """Hidden state and output, both [batch, units]."""
    size = named_sizes(call, _step_table(call))
    return (OperandType(call.key, (size["batch"], size["units"])),) * 2


def rnn(
    input: np.ndarray, weights: np.ndarray, recurrent_weights: np.ndarray, bias: np.ndarray,
    hidden_state_in: np.ndarray, *, activation: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """One step; the hidden state and the output are the same numbers."""
    output = Cell(weights, recurrent_weights, bias, activation).step(input, hidden_state_in)
    return output, output


_RNN = OpSpec(
    kind="RNN",
    code=24,
    since=1,
    summary="One step of a plain recurrent cell.",
    types={F32: 1, F16: 3},
    forms=(
        Form(
            "only",
            (tensor("input", rank=2, doc="[batch, features]"), *cell_slots(), ACTIVATION_SLOT),
            (tensor("hidden_state_out", rank=2), tensor("output", rank=2)),
        ),
    ),
    result=rnn_types,
    kernel=rnn,
    source="AOSP 13 RNN.cpp",
    constraints=(
        Constraint("C1", "input, weights, bias and state agree in their sizes",
                   lambda call: sizes_seen(call, _step_table(call))),
        Constraint("C2", "activation is one a cell knows", activation_seen),
    ),
    half="native",
    notes=_NOTES,
)  # fmt: skip

# --- UNIDIRECTIONAL_SEQUENCE_RNN ---------------------------------------------------------------------------


def _sequence_table(call: Call) -> SizeTable:
    return {"input": input_axes(call), **cell_table()}


def sequence_rnn_types(call: Call) -> tuple[OperandType, ...]:
    """The outputs of all steps; with them the last hidden state, when two results are declared."""
    size = named_sizes(call, _sequence_table(call))
    shapes = [sequence_shape(call, size, size["units"])]
    if len(call.declared) == 2:
        shapes.append((size["batch"], size["units"]))
    return tuple(OperandType(call.key, shape) for shape in shapes)


def sequence_rnn(
    input: np.ndarray, weights: np.ndarray, recurrent_weights: np.ndarray, bias: np.ndarray,
    hidden_state_in: np.ndarray, *, activation: int, time_major: int, call: Call | None = None,
) -> Any:  # fmt: skip
    """The cell along time: outputs of all steps, and the last hidden state when it is asked for."""
    cell = Cell(weights, recurrent_weights, bias, activation)
    results = cell.run(input, hidden_state_in, time_major=bool(time_major))
    return results if call is not None and len(call.results) == 2 else results[0]


def _time_major_seen(call: Call) -> str | None:
    return None if call["time_major"] in (None, 0, 1) else f"time_major is {call['time_major']}"


_SEQUENCE = OpSpec(
    kind="UNIDIRECTIONAL_SEQUENCE_RNN",
    code=93,
    since=3,
    summary="A plain recurrent cell along a sequence.",
    types={F32: 3, F16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("input", rank=3, doc=_SEQUENCE_DOC),
                *cell_slots(),
                ACTIVATION_SLOT,
                scalar("time_major", doc="0 or 1, and an INT32 only here; 1: the first axis is time"),
            ),
            (tensor("output", rank=3), tensor("hidden_state_out", rank=2, optional=True)),
        ),
    ),
    result=sequence_rnn_types,
    kernel=sequence_rnn,
    source="AOSP 13 UnidirectionalSequenceRNN.cpp",
    constraints=(
        Constraint("C1", "input, weights, bias and state agree in their sizes",
                   lambda call: sizes_seen(call, _sequence_table(call))),
        Constraint("C2", "activation is one a cell knows", activation_seen),
        Constraint("C3", "time_major is 0 or 1", _time_major_seen),
    ),
    levels=(
        LevelRule(4, "UNIDIRECTIONAL_SEQUENCE_RNN with a state output", has_state_results),
    ),
    half="native",
    notes=(*_NOTES, "One result, or two with the last state; how many are declared decides."),
)  # fmt: skip

# --- BIDIRECTIONAL_SEQUENCE_RNN ----------------------------------------------------------------------------

_AUX_WEIGHTS = ("fw_aux_weights", "bw_aux_weights")


def bidirectional_table(call: Call) -> SizeTable:
    """Axes of all slots; the backward cell reads the auxiliary input when that comes without weights."""
    parallel = is_given(call, "aux_input") and not is_given(call, "bw_aux_weights")
    aux = "auxiliary_features"
    return {
        "input": input_axes(call),
        **cell_table("fw_"),
        "aux_input": input_axes(call, aux),
        **cell_table("bw_", aux if parallel else "features"),
        "fw_aux_weights": ("fw_units", aux),
        "bw_aux_weights": ("bw_units", aux),
    }


def bidirectional_rnn_types(call: Call) -> tuple[OperandType, ...]:
    """One merged or two outputs, then both last states when as many results are declared."""
    size = named_sizes(call, bidirectional_table(call))
    depths = [size["fw_units"], size["bw_units"]]
    merged = call["merge_outputs"]
    if merged is None:
        merged = len(call.declared) in (1, 3)
    shapes = [sequence_shape(call, size, depth) for depth in ([total(depths)] if merged else depths)]
    if len(call.declared) == len(shapes) + 2:
        shapes += [(size["batch"], depth) for depth in depths]
    return tuple(OperandType(call.key, shape) for shape in shapes)


def bidirectional_sequence_rnn(
    input: np.ndarray,
    fw_weights: np.ndarray, fw_recurrent_weights: np.ndarray, fw_bias: np.ndarray, fw_hidden_state_in: np.ndarray,
    bw_weights: np.ndarray, bw_recurrent_weights: np.ndarray, bw_bias: np.ndarray, bw_hidden_state_in: np.ndarray,
    aux_input: np.ndarray | None, fw_aux_weights: np.ndarray | None, bw_aux_weights: np.ndarray | None,
    *, activation: int, time_major: bool, merge_outputs: bool, call: Call | None = None,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Both cells along time, the backward one from the end; its outputs stay at the steps they belong to."""
    forward = Cell(fw_weights, fw_recurrent_weights, fw_bias, activation, fw_aux_weights)
    backward = Cell(bw_weights, bw_recurrent_weights, bw_bias, activation, bw_aux_weights)
    parallel = aux_input is not None and bw_aux_weights is None
    bw_input = aux_input if aux_input is not None and parallel else input
    aux = None if parallel else aux_input
    fw_output, fw_state = forward.run(input, fw_hidden_state_in, time_major=time_major, aux=aux)
    bw_output, bw_state = backward.run(bw_input, bw_hidden_state_in, time_major=time_major, backward=True, aux=aux)
    outputs = (np.concatenate([fw_output, bw_output], axis=2),) if merge_outputs else (fw_output, bw_output)
    wants_states = call is not None and len(call.results) == len(outputs) + 2
    return (*outputs, fw_state, bw_state) if wants_states else outputs


def _linking_seen(call: Call) -> str | None:
    if seen := given_all_or_none(call, _AUX_WEIGHTS):
        return seen
    if is_surely_given(call, "fw_aux_weights") and not is_given(call, "aux_input"):
        return "auxiliary weights are given without aux_input"
    return None


_BIDIRECTIONAL = OpSpec(
    kind="BIDIRECTIONAL_SEQUENCE_RNN",
    code=43,
    since=3,
    summary="Two plain recurrent cells along a sequence, one from each end.",
    types={F32: 3, F16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("input", rank=3, doc=_SEQUENCE_DOC),
                *cell_slots("fw_"),
                *cell_slots("bw_"),
                tensor("aux_input", rank=3, optional=True, doc=_SEQUENCE_DOC),
                tensor("fw_aux_weights", rank=2, optional=True, doc="[units, auxiliary features]"),
                tensor("bw_aux_weights", rank=2, optional=True, doc="[units, auxiliary features]"),
                ACTIVATION_SLOT,
                scalar("time_major", BOOL, doc="the first axis of inputs and outputs is time"),
                scalar("merge_outputs", BOOL, doc="one output, forward and backward side by side"),
            ),
            (
                tensor("fw_output", rank=3),
                tensor("bw_output", rank=3, optional=True, doc="not with merge_outputs"),
                tensor("fw_hidden_state_out", rank=2, optional=True),
                tensor("bw_hidden_state_out", rank=2, optional=True),
            ),
        ),
    ),
    result=bidirectional_rnn_types,
    kernel=bidirectional_sequence_rnn,
    source="AOSP 13 BidirectionalSequenceRNN.cpp",
    constraints=(
        Constraint("C1", "input, weights, biases and states agree in their sizes",
                   lambda call: sizes_seen(call, bidirectional_table(call))),
        Constraint("C2", "activation is one a cell knows", activation_seen),
        Constraint("C3", "auxiliary operands: none, aux_input only, or all three", _linking_seen),
    ),
    levels=(
        LevelRule(4, "BIDIRECTIONAL_SEQUENCE_RNN with state outputs", has_state_results),
    ),
    half="native",
    notes=(
        *_NOTES,
        "1 result with merge_outputs, else 2; with the last states 3 or 4. How many are declared decides.",
        "aux_input may have a size of its own, by documentation and the reference's checks; its loops then read "
        "it with the input's size. Here it is computed as documented.",
    ),
)  # fmt: skip

SPECS = (_RNN, _SEQUENCE, _BIDIRECTIONAL)
