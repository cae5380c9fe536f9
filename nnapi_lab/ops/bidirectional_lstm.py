"""BIDIRECTIONAL_SEQUENCE_LSTM: one LSTM cell forward, one backward, each with weights of its own.

An auxiliary input links layers: alone it is what the backward cell reads instead of the input (parallel
linking); with auxiliary weights it is added to every gate of both cells (cross linking).
Source: AOSP 13 `BidirectionalSequenceLSTM.cpp`.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.ops.axes import total
from nnapi_lab.ops.by_name import (
    SizeTable,
    Tensors,
    given_all_or_none,
    is_given,
    is_surely_given,
    kernel_by_name,
    named_sizes,
)
from nnapi_lab.ops.lstm import NONE_NOTE
from nnapi_lab.ops.lstm_cell import (
    GATES,
    LAYER_NORMS,
    SCALARS,
    WEIGHTS,
    Cell,
    cell_constraints,
    cell_table,
    has_state_results,
    input_axes,
    sequence_shape,
    uses_cifg,
    weight_slots,
)
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, scalar, tensor

F32, F16, BOOL = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.BOOL

PREFIXES = ("fw_", "bw_")
STATES = {prefix: (f"{prefix}activation_state_in", f"{prefix}cell_state_in") for prefix in PREFIXES}
AUX_WEIGHTS = {prefix: tuple(f"{prefix}aux_input_to_{gate}_w" for gate in GATES) for prefix in PREFIXES}

_SEQUENCE_DOC = "[batch, time, features], or [time, batch, features]"

INPUTS = (
    tensor("input", rank=3, doc=_SEQUENCE_DOC),
    *(slot for prefix in PREFIXES for slot in weight_slots(WEIGHTS, prefix)),
    *(tensor(name, rank=2) for prefix in PREFIXES for name in STATES[prefix]),
    tensor("aux_input", rank=3, optional=True, doc=_SEQUENCE_DOC),
    *(tensor(name, rank=2, optional=True) for prefix in PREFIXES for name in AUX_WEIGHTS[prefix]),
    *SCALARS,
    scalar("merge_outputs", BOOL, doc="one output, forward and backward side by side"),
    scalar("time_major", BOOL, doc="the first axis of inputs and outputs is time"),
    *(slot for prefix in PREFIXES for slot in weight_slots(LAYER_NORMS, prefix)),
)
OUTPUTS = (
    tensor("fw_output", rank=3, doc="[batch, time, outputs], or [time, batch, outputs]"),
    tensor("bw_output", rank=3, optional=True, doc="not with merge_outputs"),
    *(
        tensor(f"{prefix}{state}_state_out", rank=2, optional=True)
        for prefix in PREFIXES
        for state in ("activation", "cell")
    ),
)


# --- types -------------------------------------------------------------------------------------------------


def links_crosswise(call: Call) -> bool:
    """Whether the auxiliary input has weights of its own."""
    return any(is_given(call, name) for prefix in PREFIXES for name in AUX_WEIGHTS[prefix])


def size_table(call: Call) -> SizeTable:
    """Axes of all slots; what the backward cell reads depends on the linking."""
    crosswise = links_crosswise(call)
    parallel = is_given(call, "aux_input") and not crosswise
    aux = "features" if crosswise else "auxiliary_features"
    table = {"input": input_axes(call), **cell_table("fw_", *STATES["fw_"])}
    table["aux_input"] = input_axes(call, aux)
    table |= cell_table("bw_", *STATES["bw_"], features=aux if parallel else "features")
    return table | {name: (f"{prefix}units", aux) for prefix in PREFIXES for name in AUX_WEIGHTS[prefix]}


def bidirectional_types(call: Call) -> tuple[OperandType, ...]:
    """One merged or two outputs, then the four last states when as many results are declared."""
    size = named_sizes(call, size_table(call))
    merged = call["merge_outputs"]
    if merged is None:
        merged = len(call.declared) in (1, 5)
    depths = [size["fw_outputs"], size["bw_outputs"]]
    shapes = [sequence_shape(call, size, depth) for depth in ([total(depths)] if merged else depths)]
    if len(call.declared) == len(shapes) + 4:
        shapes += [(size["batch"], size[prefix + kind]) for prefix in PREFIXES for kind in ("outputs", "units")]
    return tuple(OperandType(call.key, shape) for shape in shapes)


# --- rules -------------------------------------------------------------------------------------------------


def _linking_seen(call: Call) -> str | None:
    given: list[str] = []
    for prefix in PREFIXES:
        names = AUX_WEIGHTS[prefix]
        if uses_cifg(call, prefix):
            if is_surely_given(call, names[0]):
                return f"{names[0]} is given, but there is no input gate (CIFG)"
            names = names[1:]
        given += names
    if seen := given_all_or_none(call, given):
        return seen
    if is_surely_given(call, given[-1]) and not is_given(call, "aux_input"):
        return "auxiliary weights are given without aux_input"
    return None


def _directions_seen(call: Call) -> str | None:
    marks = {
        "an input gate": "input_to_input_w",
        "peephole": "cell_to_output_w",
        "layer norm": "output_layer_norm_w",
        "a projection": "projection_w",
        "a projection bias": "projection_bias",
    }
    for what, name in marks.items():
        if given_all_or_none(call, [prefix + name for prefix in PREFIXES]):
            which = "forward" if is_given(call, f"fw_{name}") else "backward"
            return f"only the {which} cell has {what}"
    return None


# --- kernel ------------------------------------------------------------------------------------------------


def bidirectional_sequence_lstm(
    tensors: Tensors,
    *,
    activation: int,
    cell_clip: float,
    proj_clip: float,
    merge_outputs: bool,
    time_major: bool,
    call: Call | None = None,
) -> tuple[np.ndarray, ...]:
    """Both cells along time, the backward one from the end; its outputs stay at the steps they belong to."""
    aux = tensors["aux_input"]
    parallel = aux is not None and tensors[AUX_WEIGHTS["fw_"][-1]] is None
    outputs, states = [], []
    for prefix in PREFIXES:
        cell = Cell.from_tensors(tensors, prefix, activation=activation, cell_clip=cell_clip, proj_clip=proj_clip)
        backward = prefix == "bw_"
        output, *last = cell.run(
            aux if parallel and backward else tensors["input"],
            *(tensors[name] for name in STATES[prefix]),
            time_major=time_major,
            backward=backward,
            aux=None if parallel else aux,
        )
        outputs.append(output)
        states += last
    if merge_outputs:
        outputs = [np.concatenate(outputs, axis=2)]
    wants_states = call is not None and has_state_results(call)
    return (*outputs, *states) if wants_states else tuple(outputs)


SPECS = (
    OpSpec(
        kind="BIDIRECTIONAL_SEQUENCE_LSTM",
        code=42,
        since=3,
        summary="Two LSTM cells along a sequence, one from each end.",
        types={F32: 3, F16: 3},
        forms=(Form("only", INPUTS, OUTPUTS),),
        result=bidirectional_types,
        kernel=kernel_by_name(bidirectional_sequence_lstm, INPUTS),
        source="AOSP 13 BidirectionalSequenceLSTM.cpp",
        constraints=(
            *cell_constraints(PREFIXES, size_table),
            Constraint(
                "C9",
                "auxiliary operands: none, aux_input only, or aux_input and all auxiliary weights (with CIFG "
                "without those of the input gate)",
                _linking_seen,
            ),
            Constraint("C10", "both cells are of the same variant", _directions_seen),
        ),
        levels=(LevelRule(4, "BIDIRECTIONAL_SEQUENCE_LSTM with state outputs", has_state_results),),
        notes=(
            NONE_NOTE,
            "1 result with merge_outputs, else 2; with the last states 5 or 6. How many are declared decides.",
            "The reference keeps one set of variant flags and overwrites the forward cell's with the backward "
            "cell's: cells of different variants read weights that are not there, so they are refused here.",
            "Documentation lets aux_input have a size of its own; the reference reads it with the input's when "
            "there are auxiliary weights, and asks those for the input's size.",
            "With CIFG and auxiliary weights the reference also asks the omitted operand for full dimensions; a "
            "model that leaves them 0 is refused by it.",
        ),
    ),
)
