"""SVDF: a layer whose filters are products of a filter over features and one over time.

Source: AOSP 13 `SVDF.cpp`.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, shape_text
from nnapi_lab.numerics.recurrent import activate
from nnapi_lab.ops.axes import Size, times
from nnapi_lab.ops.by_name import named_sizes, sizes_seen
from nnapi_lab.ops.lstm_cell import ACTIVATION_SLOT, activation_seen
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16

_SIZES = {
    "input": ("batch", "features"),
    "weights_feature": ("filters", "features"),
    "weights_time": ("filters", "memory_steps"),
    "bias": ("units",),
    "state_in": ("batch", "state"),
}


def _units(call: Call) -> Size:
    """filters / rank, unknown where rank is or does not divide."""
    filters, rank = named_sizes(call, _SIZES)["filters"], call["rank"]
    return Dim("?") if isinstance(filters, Dim) or not rank or filters % rank else filters // rank


def _state(call: Call) -> Size:
    size = named_sizes(call, _SIZES)
    return times(size["memory_steps"], size["filters"])


def svdf_types(call: Call) -> tuple[OperandType, ...]:
    """State [batch, filters × memory steps] and output [batch, units]."""
    batch = named_sizes(call, _SIZES)["batch"]
    return OperandType(call.key, (batch, _state(call))), OperandType(call.key, (batch, _units(call)))


def svdf(
    input: np.ndarray, weights_feature: np.ndarray, weights_time: np.ndarray, bias: np.ndarray | None,
    state_in: np.ndarray, *, rank: int, activation: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Newest feature products enter the memory, memory times weights_time is summed per unit over its filters.

    The memory [batch, filters, steps] is oldest first. What goes out is shifted by one step, its last column 0,
    ready for the next product; what comes in in that column is not read.
    """
    filters, steps = weights_time.shape
    batch = input.shape[0]
    newest = input @ weights_feature.T
    memory = np.concatenate([state_in.reshape(batch, filters, steps)[:, :, :-1], newest[:, :, None]], axis=2)
    products = np.einsum("bfs,fs->bf", memory, weights_time)
    output = products.reshape(batch, filters // rank, rank).sum(axis=2, dtype=np.float32)
    if bias is not None:
        output = output + bias
    state = np.concatenate([memory[:, :, 1:], np.zeros((batch, filters, 1), np.float32)], axis=2)
    return state.reshape(batch, -1), activate(output, activation)


def _rank_seen(call: Call) -> str | None:
    rank, filters = call["rank"], named_sizes(call, _SIZES)["filters"]
    if rank is None:
        return None
    if rank < 1:
        return f"rank is {rank}"
    if isinstance(filters, int) and filters % rank:
        return f"rank {rank} does not divide the {filters} filters"
    return None


def _bias_and_state_seen(call: Call) -> str | None:
    expected = {"bias": _units(call), "state_in": _state(call)}
    size = named_sizes(call, _SIZES)
    for name, seen in (("bias", size["units"]), ("state_in", size["state"])):
        wanted = expected[name]
        if isinstance(seen, int) and isinstance(wanted, int) and seen != wanted:
            return f"{name} {shape_text(call[name].shape)} has {seen} along its last axis, expected {wanted}"
    return None


SPECS = (
    OpSpec(
        kind="SVDF",
        code=27,
        since=1,
        summary="Filters over features and over a memory of past steps, ranks summed into units.",
        types={F32: 1, F16: 3},
        forms=(
            Form(
                "only",
                (
                    tensor("input", rank=2, doc="[batch, features]"),
                    tensor("weights_feature", rank=2, doc="[filters, features]; filters = units × rank"),
                    tensor("weights_time", rank=2, doc="[filters, memory steps]"),
                    tensor("bias", rank=1, optional=True, doc="[units]"),
                    tensor("state_in", rank=2, doc="[batch, filters × memory steps]"),
                    scalar("rank", doc="filters per unit"),
                    ACTIVATION_SLOT,
                ),
                (tensor("state_out", rank=2), tensor("output", rank=2, doc="[batch, units]")),
            ),
        ),
        result=svdf_types,
        kernel=svdf,
        source="AOSP 13 SVDF.cpp",
        constraints=(
            Constraint("C1", "input, weights and state agree in their sizes",
                       lambda call: sizes_seen(call, _SIZES)),
            Constraint("C2", "rank is at least 1 and divides the number of filters", _rank_seen),
            Constraint("C3", "bias has units = filters / rank elements, the state filters × memory steps",
                       _bias_and_state_seen),
            Constraint("C4", "activation is one a cell knows", activation_seen),
        ),
        notes=(
            "Documentation gives the state (memory size - 1) × units × rank elements; the reference keeps "
            "memory size × filters, the newest column always 0 on the way out.",
            "The reference does not check the size of the state, it reads that many elements; here it is a rule.",
            "TANH and SIGMOID are not documented for this operation; the reference computes them.",
        ),
    ),
)  # fmt: skip
