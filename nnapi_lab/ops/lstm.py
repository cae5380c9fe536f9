"""LSTM (one step) and UNIDIRECTIONAL_SEQUENCE_LSTM (a sequence through the same cell).

Source: AOSP 13 `LSTM.cpp`, `UnidirectionalSequenceLSTM.cpp`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.axes import Size, times
from nnapi_lab.ops.by_name import SizeTable, Tensors, kernel_by_name, named_sizes
from nnapi_lab.ops.lstm_cell import (
    LAYER_NORMS,
    SCALARS,
    Cell,
    cell_constraints,
    cell_table,
    has_state_results,
    input_axes,
    sequence_shape,
    uses_cifg,
    weight_slots,
)
from nnapi_lab.ops.spec import Call, Form, LevelRule, OpSpec, Slot, scalar, tensor

F32, F16, BOOL = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.BOOL

_STATES = (
    tensor("output_state_in", rank=2, doc="[batch, outputs]"),
    tensor("cell_state_in", rank=2, doc="[batch, units]"),
)
_NORMS = weight_slots(LAYER_NORMS)

NONE_NOTE = (
    "With activation NONE the output is o g, not o c': the reference's NONE copies nothing, so the buffer that "
    "should hold the cell state still holds the candidate."
)

# --- LSTM --------------------------------------------------------------------------------------------------

_INPUTS = (tensor("input", rank=2, doc="[batch, features]"), *weight_slots(), *_STATES, *SCALARS)
_OUTPUTS = (
    tensor("scratch", rank=2, doc="[batch, 4 units], 3 with CIFG; content unspecified"),
    tensor("output_state_out", rank=2, doc="[batch, outputs]"),
    tensor("cell_state_out", rank=2, doc="[batch, units]"),
    tensor("output", rank=2, doc="[batch, outputs], the same as output_state_out"),
)


def _step_table(call: Call) -> SizeTable:
    return {"input": ("batch", "features"), **cell_table()}


def lstm_types(call: Call) -> tuple[OperandType, ...]:
    """Scratch [batch, 3 or 4 units], output state, cell state, output."""
    size = named_sizes(call, _step_table(call))
    batch, units, outputs = size["batch"], size["units"], size["outputs"]
    scratch = times(_gates(call), units)
    shapes = ((batch, scratch), (batch, outputs), (batch, units), (batch, outputs))
    return tuple(OperandType(call.key, shape) for shape in shapes)


def _gates(call: Call) -> Size:
    """3 with CIFG, else 4. A weight that is fed, not constant, may still be omitted at execution."""
    if uses_cifg(call):
        return 3
    return Dim("?") if call.value("input_to_input_w") is None else 4


def lstm(
    tensors: Tensors, *, activation: int, cell_clip: float, proj_clip: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One step of the cell; the scratch, whose content nobody may rely on, is zero."""
    cell = Cell.from_tensors(tensors, activation=activation, cell_clip=cell_clip, proj_clip=proj_clip)
    output, state = cell.step(tensors["input"], tensors["output_state_in"], tensors["cell_state_in"])
    gates = 3 if cell.input is None else 4
    scratch = np.zeros((state.shape[0], gates * state.shape[1]), np.float32)
    return scratch, output, state, output


_LSTM = OpSpec(
    kind="LSTM",
    code=16,
    since=1,
    summary="One step of an LSTM cell, its states passed in and out.",
    types={F32: 1, F16: 3},
    forms=(
        Form("basic", _INPUTS, _OUTPUTS),
        # The reference takes 23 or 27 arguments, nothing in between, even when all four are omitted.
        Form("layer_norm", (*_INPUTS, *_NORMS), _OUTPUTS, since=3),
    ),
    result=lstm_types,
    kernel=kernel_by_name(lstm, (*_INPUTS, *_NORMS)),
    source="AOSP 13 LSTM.cpp",
    constraints=cell_constraints(("",), _step_table),
    notes=(
        NONE_NOTE,
        "The reference checks neither the sizes of the states nor outputs = units without projection; it reads "
        "and writes past its buffers when they differ, so both are rules here.",
        "RELU1 is not documented for this operation; the reference computes it.",
    ),
)

# --- UNIDIRECTIONAL_SEQUENCE_LSTM --------------------------------------------------------------------------

_SEQUENCE_INPUTS: tuple[Slot, ...] = (
    tensor("input", rank=3, doc="[batch, time, features], or [time, batch, features]"),
    *weight_slots(),
    *_STATES,
    *SCALARS,
    scalar("time_major", BOOL, doc="the first axis of input and output is time"),
    *_NORMS,
)


def _sequence_table(call: Call) -> SizeTable:
    return {"input": input_axes(call), **cell_table()}


def sequence_lstm_types(call: Call) -> tuple[OperandType, ...]:
    """The outputs of all steps; with them the last states, when three results are declared."""
    size = named_sizes(call, _sequence_table(call))
    batch, units, outputs = size["batch"], size["units"], size["outputs"]
    shapes = [sequence_shape(call, size, outputs)]
    if len(call.declared) == 3:
        shapes += [(batch, outputs), (batch, units)]
    return tuple(OperandType(call.key, shape) for shape in shapes)


def sequence_lstm(
    tensors: Tensors,
    *,
    activation: int,
    cell_clip: float,
    proj_clip: float,
    time_major: bool,
    call: Call | None = None,
) -> Any:
    """The cell along time: outputs of all steps, and the last states when they are asked for."""
    cell = Cell.from_tensors(tensors, activation=activation, cell_clip=cell_clip, proj_clip=proj_clip)
    states = tensors["output_state_in"], tensors["cell_state_in"]
    results = cell.run(tensors["input"], *states, time_major=time_major)
    return results if call is not None and len(call.results) == 3 else results[0]


_SEQUENCE = OpSpec(
    kind="UNIDIRECTIONAL_SEQUENCE_LSTM",
    code=92,
    since=3,
    summary="An LSTM cell along a sequence.",
    types={F32: 3, F16: 3},
    forms=(
        Form(
            "only",
            _SEQUENCE_INPUTS,
            (
                tensor("output", rank=3, doc="[batch, time, outputs], or [time, batch, outputs]"),
                tensor("output_state_out", rank=2, optional=True, doc="[batch, outputs]"),
                tensor("cell_state_out", rank=2, optional=True, doc="[batch, units]"),
            ),
        ),
    ),
    result=sequence_lstm_types,
    kernel=kernel_by_name(sequence_lstm, _SEQUENCE_INPUTS),
    source="AOSP 13 UnidirectionalSequenceLSTM.cpp",
    constraints=cell_constraints(("",), _sequence_table),
    levels=(LevelRule(4, "UNIDIRECTIONAL_SEQUENCE_LSTM with state outputs", has_state_results),),
    notes=(
        NONE_NOTE,
        "One result, or three with the last states; how many are declared decides.",
        "The reference of this operation does not refuse negative clips, it takes them for none; the siblings "
        "refuse them, and so does this declaration.",
    ),
)

SPECS = (_LSTM, _SEQUENCE)
