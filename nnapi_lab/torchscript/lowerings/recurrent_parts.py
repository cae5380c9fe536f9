"""What every recurrent layer is made of: how its sequence lies, its parameters by layer and direction, its states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ir.torch_graph import TensorData, TorchNode, TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.recurrent import INITIAL_STATE
from nnapi_lab.rewrites.rule import Rule, Step
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

STEP_LIMIT = 256  # unrolled steps of one layer: beyond, the model is thousands of operations
Parameter = TorchValue | TensorData | None
SWAPPED = (1, 0, 2)


@dataclass(frozen=True)
class Sequence3:
    """A sequence operand of rank 3 and how it lies: batch and time in either order, features last."""

    operand: str
    time_major: bool
    batch: int
    time: int
    swapped: bool  # whether storage order is not torch's

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The layout of a result that lies the same way."""
        return Layout(shape, SWAPPED) if self.swapped else Layout.plain(shape)

    @property
    def time_axis(self) -> int:
        return 0 if self.time_major else 1

    def dims(self, features: int) -> tuple[int, int, int]:
        """Stored shape of a sequence of so many features."""
        return (self.time, self.batch, features) if self.time_major else (self.batch, self.time, features)


def refuse_packed(site: Site, batch_sizes: Any) -> None:
    """Packed sequences carry lengths that differ within a batch."""
    if batch_sizes is not None:
        site.forbid("PACKED_SEQUENCE", "the layer reads a packed sequence, whose lengths differ within the batch",
                    fix="feed padded sequences and mask the outputs",
                    source="NNAPI UNIDIRECTIONAL_SEQUENCE_LSTM: every sequence has max_time steps")  # fmt: skip


def refuse_other_types(site: Site, input: TorchValue) -> None:
    if site.code_of(input) != OperandCode.TENSOR_FLOAT32:
        site.not_yet("RECURRENT_DTYPE", f"{site.node.kind} of {input.type.dtype}; only float32 is written",
                     fix="keep the layer in float32")  # fmt: skip


def read_sequence(site: Site, input: TorchValue | None, batch_first: bool) -> Sequence3:
    """The sequence as it lies in memory; NNAPI's time_major takes both orders, so nothing is moved."""
    if input is None:
        site.not_yet("RECURRENT_INPUT", f"{site.node.kind} without an input sequence")
    refuse_other_types(site, input)
    shape = input.type.shape or ()
    if len(shape) != 3:
        site.not_yet("SEQUENCE_RANK", f"a sequence of rank {len(shape)}", fix="give [time, batch, features]")
    operand, layout = site.as_permuted(input)
    if layout.perm not in ((0, 1, 2), SWAPPED):
        operand, layout = site.plain(input), Layout.plain(shape)
    swapped = layout.perm == SWAPPED
    operand = site.reshape(operand, layout.stored_dims, input)
    batch, time = shape[:2] if batch_first else shape[1::-1]
    return Sequence3(operand, batch_first == swapped, batch, time, swapped)


# --- parameters ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """One layer and direction: arrays as torch has them, biases summed or apart, a projection or none.

    `values` are the torch values they come from, `stem` how their operands are called.
    """

    stem: str
    values: tuple[str, ...]
    input: np.ndarray
    recurrent: np.ndarray
    bias_ih: np.ndarray
    bias_hh: np.ndarray
    projection: np.ndarray | None = None

    def constant(self, site: Site, name: str, array: np.ndarray, rule: Rule, **facts: Any) -> str:
        """A constant operand of this layer with its log entry."""
        array = np.ascontiguousarray(array)
        step = site.log(rule, after=[array_side(f"{self.stem}.{name}", array)], facts=facts,
                        values=[*self.values, *site.node.outputs])  # fmt: skip
        operand = site.builder.constant(f"{self.stem}.{name}", array, values=self.values, steps=[step])
        site.note_operands(step, operand)
        return operand


def layer_weights(
    site: Site, params: Sequence[Parameter], has_biases: bool, layers: int, directions: int
) -> list[list[Weights]]:
    """Weights by layer and direction from torch's flat list: weight_ih, weight_hh, biases, projection."""
    each = len(params) // (layers * directions)
    name = site.node.argument("params")
    stem = site.node.scope or site.out.name
    found: list[list[Weights]] = []
    for layer in range(layers):
        row = []
        for direction in range(directions):
            start = (layer * directions + direction) * each
            arrays = [constant_array(site, item) for item in params[start : start + each]]
            label = f"{stem}.l{layer}" + (("", ".reverse")[direction])
            values = tuple(item.name for item in params[start : start + each] if isinstance(item, TorchValue))
            row.append(_weights(label, values or (name,), arrays, has_biases))
        found.append(row)
    return found


def _weights(stem: str, values: tuple[str, ...], arrays: Sequence[np.ndarray], has_biases: bool) -> Weights:
    input, recurrent, *rest = arrays
    none = np.zeros(input.shape[0], input.dtype)
    bias_ih, bias_hh = (rest[0], rest[1]) if has_biases else (none, none)
    left = rest[2:] if has_biases else rest
    return Weights(stem, values, input, recurrent, bias_ih, bias_hh, left[0] if left else None)


def cell_weights(site: Site, w_ih: TorchValue, w_hh: TorchValue, b_ih: Parameter, b_hh: Parameter) -> Weights:
    """Weights of a single cell, which torch passes one by one."""
    given = [item for item in (w_ih, w_hh, b_ih, b_hh) if item is not None]
    values = tuple(item.name for item in given if isinstance(item, TorchValue))
    arrays = [constant_array(site, item) for item in given]
    none = np.zeros(arrays[0].shape[0], arrays[0].dtype)
    bias_ih = none if b_ih is None else constant_array(site, b_ih)
    bias_hh = none if b_hh is None else constant_array(site, b_hh)
    return Weights(site.node.scope or site.out.name, values, arrays[0], arrays[1], bias_ih, bias_hh)


def constant_array(site: Site, item: Parameter) -> np.ndarray:
    data = item.constant if isinstance(item, TorchValue) else item
    if not isinstance(data, TensorData):
        site.not_yet("RECURRENT_WEIGHT", f"a weight of {site.node.kind} is computed by the model, not a constant",
                     fix="make it a parameter")  # fmt: skip
    return data.array


# --- states --------------------------------------------------------------------------------------------------


def initial_states(site: Site, state: Parameter, count: int, argument: str, label: str) -> list[str]:
    """One [batch, units] operand per layer and direction of an initial state [count, batch, units]."""
    if isinstance(state, TorchValue) and not state.is_constant:
        return _computed_states(site, state, count, label)
    array = constant_array(site, state)
    values = [state.name] if isinstance(state, TorchValue) else [site.node.argument(argument)]
    parts = array.reshape(count, *array.shape[-2:])
    step = site.log(INITIAL_STATE, after=[array_side(label, parts)], values=[*values, *site.node.outputs])
    stem = site.node.scope or site.out.name
    made: dict[bytes, str] = {}
    for index, part in enumerate(parts):
        if part.tobytes() not in made:
            made[part.tobytes()] = site.builder.constant(f"{stem}.{label}{index}", part, values=values, steps=[step])
    site.note_operands(step, *made.values())
    return [made[part.tobytes()] for part in parts]


def _computed_states(site: Site, state: TorchValue, count: int, label: str) -> list[str]:
    batch_units = (state.type.shape or ())[-2:]
    operand = site.plain(state)
    parts: Sequence[str] = [operand]
    if count > 1:
        suffixes = [f"{label}{index}" for index in range(count)]
        parts = site.add_all("SPLIT", input=operand, axis=0, num_splits=count, suffixes=suffixes, rule=INITIAL_STATE)
    return [site.reshape(part, batch_units, state) for part in parts]


def place_states(site: Site, value: TorchValue, states: Sequence[str], label: str, steps: Sequence[Step] = ()) -> None:
    """Last states, [batch, units] each, as torch's one tensor [layers · directions, batch, units]."""
    shape = value.type.shape or ()
    joined = states[0]
    if len(states) > 1:
        joined = site.add("CONCATENATION", inputs=list(states), axis=0, suffix=label, rule=DECOMPOSED,
                          facts={"formula": "last states of all layers and directions, one after the other"},
                          steps=steps)  # fmt: skip
    site.place(site.reshape(joined, shape, value, value.name), Layout.plain(shape), value)


def is_read(site: Site, value: TorchValue) -> bool:
    return bool(site.graph.consumers(value.name)) or value.name in site.graph.outputs


def result(site: Site, index: int) -> TorchValue:
    """The node's result number `index`."""
    node: TorchNode = site.node
    return site.graph[node.outputs[index]]
