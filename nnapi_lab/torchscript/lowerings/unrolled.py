"""Recurrent layers written out step by step: GRU, and plain cells with tanh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import static_shape
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.recurrent import BIASES_SUMMED, UNROLLED
from nnapi_lab.torchscript.lowerings.recurrent_parts import (
    STEP_LIMIT,
    Parameter,
    Sequence3,
    Weights,
    cell_weights,
    initial_states,
    is_read,
    layer_weights,
    place_states,
    read_sequence,
    refuse_other_types,
    refuse_packed,
    result,
)
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site

GRU_FORMULA = "r, z = sigmoid(W x + U h + b); n = tanh(W x + b_in + r·(U h + b_hn)); h' = n + z·(h - n)"
TANH_FORMULA = "h' = tanh(W x + U h + b)"
_IN_TRAINING = ("dropout", "train")


@dataclass(frozen=True)
class Writer:
    """Adds one operation of the unrolled cell after the other, all under one formula."""

    site: Site
    formula: str
    stem: str

    def __call__(self, kind: str, suffix: str, **arguments: Any) -> str:
        if kind in ("ADD", "SUB", "MUL", "FULLY_CONNECTED"):
            arguments["fuse"] = "NONE"
        return self.all(kind, [suffix], **arguments)[0]

    def all(self, kind: str, suffixes: Sequence[str], **arguments: Any) -> tuple[str, ...]:
        return self.site.add_all(kind, suffixes=[f"{self.stem}{suffix}" for suffix in suffixes], rule=UNROLLED,
                                 facts={"formula": self.formula}, **arguments)  # fmt: skip


class Cell:
    """Constants of one layer and direction; `project` makes the products with the input, `step` the rest."""

    formula = ""

    def project(self, write: Writer, x: str) -> list[str]:
        """The products with the input, [rows, n] each, one row per time step and batch member."""
        raise NotImplementedError

    def step(self, write: Writer, projected: Sequence[str], hidden: str, label: str) -> str:
        """The next hidden state from one step's products."""
        raise NotImplementedError


class TanhCell(Cell):
    formula = TANH_FORMULA

    def __init__(self, site: Site, weights: Weights) -> None:
        units = weights.recurrent.shape[0]
        self.input = weights.constant(site, "weights", weights.input, PLACED)
        self.recurrent = weights.constant(site, "recurrent_weights", weights.recurrent, PLACED)
        self.bias = weights.constant(site, "bias", weights.bias_ih + weights.bias_hh, BIASES_SUMMED)
        self.none = weights.constant(site, "no_bias", np.zeros(units, np.float32), BIASES_SUMMED)

    def project(self, write: Writer, x: str) -> list[str]:
        return [write("FULLY_CONNECTED", "wx", input=x, weights=self.input, bias=self.bias)]

    def step(self, write: Writer, projected: Sequence[str], hidden: str, label: str) -> str:
        uh = write("FULLY_CONNECTED", f"{label}.uh", input=hidden, weights=self.recurrent, bias=self.none)
        total = write("ADD", f"{label}.sum", input0=projected[0], input1=uh)
        return write("TANH", f"{label}.h", input=total)


class GruCell(Cell):
    """r and z share their products; the new gate keeps b_hn inside the reset, as torch does."""

    formula = GRU_FORMULA

    def __init__(self, site: Site, weights: Weights) -> None:
        self.units = weights.recurrent.shape[1]
        gates, new = slice(0, 2 * self.units), slice(2 * self.units, None)
        both = weights.bias_ih + weights.bias_hh

        def constant(name: str, array: np.ndarray, rule: Any = PLACED) -> str:
            return weights.constant(site, name, array, rule)

        self.gates_w, self.new_w = constant("gates_w", weights.input[gates]), constant("new_w", weights.input[new])
        self.gates_u = constant("gates_u", weights.recurrent[gates])
        self.new_u = constant("new_u", weights.recurrent[new])
        self.gates_b = constant("gates_b", both[gates], BIASES_SUMMED)
        self.none = constant("no_bias", np.zeros(2 * self.units, np.float32), BIASES_SUMMED)
        self.new_bi, self.new_bh = constant("new_bi", weights.bias_ih[new]), constant("new_bh", weights.bias_hh[new])

    def project(self, write: Writer, x: str) -> list[str]:
        return [
            write("FULLY_CONNECTED", "gates_wx", input=x, weights=self.gates_w, bias=self.gates_b),
            write("FULLY_CONNECTED", "new_wx", input=x, weights=self.new_w, bias=self.new_bi),
        ]

    def step(self, write: Writer, projected: Sequence[str], hidden: str, label: str) -> str:
        gates_x, new_x = projected
        gates_h = write("FULLY_CONNECTED", f"{label}.gates_uh", input=hidden, weights=self.gates_u, bias=self.none)
        gates = write("LOGISTIC", f"{label}.gates", input=write("ADD", f"{label}.sum", input0=gates_x, input1=gates_h))
        reset, update = write.all("SPLIT", [f"{label}.r", f"{label}.z"], input=gates, axis=1, num_splits=2)
        new_h = write("FULLY_CONNECTED", f"{label}.new_uh", input=hidden, weights=self.new_u, bias=self.new_bh)
        inner = write("MUL", f"{label}.reset", input0=reset, input1=new_h)
        new = write("TANH", f"{label}.n", input=write("ADD", f"{label}.new", input0=new_x, input1=inner))
        change = write("SUB", f"{label}.change", input0=hidden, input1=new)
        kept = write("MUL", f"{label}.kept", input0=update, input1=change)
        return write("ADD", f"{label}.h", input0=new, input1=kept)


# --- layers --------------------------------------------------------------------------------------------------


def _layers(
    site: Site, make: Callable[[Site, Weights], Cell], hx: Any, params: Any, has_biases: bool, num_layers: int,
    bidirectional: bool, input: TorchValue | None, batch_first: bool,
) -> None:  # fmt: skip
    """All layers in a row, the directions of each side by side."""
    sequence = read_sequence(site, input, batch_first)
    _refuse_length(site, sequence.time)
    directions = 2 if bidirectional else 1
    weights = layer_weights(site, params, has_biases, num_layers, directions)
    hidden = initial_states(site, hx, num_layers * directions, "hx", "h0.")
    outputs, h_n = result(site, 0), result(site, 1)
    operand, last = sequence.operand, []
    for layer, row in enumerate(weights):
        ends = []
        for direction, held in enumerate(row):
            start = hidden[layer * directions + direction]
            stem = f"l{layer}{('', '.reverse')[direction]}."
            end, state = _one_direction(site, make(site, held), sequence, operand, start, direction == 1, stem)
            ends.append(end)
            last.append(state)
        operand = ends[0]
        if len(ends) == 2:
            operand = Writer(site, "both directions side by side", f"l{layer}.")(
                "CONCATENATION", "both", inputs=ends, axis=2
            )
    site.place(operand, sequence.layout(outputs.type.shape or ()), outputs)
    if is_read(site, h_n):
        place_states(site, h_n, last, "h_n")


def _refuse_length(site: Site, time: int) -> None:
    if time > STEP_LIMIT:
        site.not_yet("UNROLL_LIMIT", f"{site.node.kind} over {time} steps would be written out step by step; the limit "
                     f"is {STEP_LIMIT}", fix="feed shorter sequences and carry the state, or use an LSTM",
                     source="NNAPI has no such cell; WHILE (level 4) is not written yet")  # fmt: skip


def _one_direction(
    site: Site, cell: Cell, sequence: Sequence3, operand: str, hidden: str, backward: bool, stem: str
) -> tuple[str, str]:
    """(output sequence, last hidden state); one product per layer with the input, then step after step."""
    write = Writer(site, cell.formula, stem)
    batch, time = sequence.batch, sequence.time
    value = result(site, 0)
    features = static_shape(site.builder.type_of(operand))[-1]
    products = cell.project(write, site.reshape(operand, (batch * time, features), value))
    parts = [_by_time(site, write, product, sequence, index) for index, product in enumerate(products)]
    states: list[str] = [""] * time
    for t in reversed(range(time)) if backward else range(time):
        hidden = states[t] = cell.step(write, [part[t] for part in parts], hidden, f"t{t}")
    units = static_shape(site.builder.type_of(hidden))[-1]
    joined = states[0]
    if time > 1:
        joined = write("CONCATENATION", "steps", inputs=states, axis=sequence.time_axis)
    return site.reshape(joined, sequence.dims(units), value), hidden


def _by_time(site: Site, write: Writer, product: str, sequence: Sequence3, index: int) -> Sequence[str]:
    """[batch, n] for every step from the product of all rows: equal parts of it as it lies."""
    if sequence.time == 1:
        return [product]
    if not sequence.time_major:
        width = static_shape(site.builder.type_of(product))[-1]
        product = site.reshape(product, (sequence.batch, sequence.time * width), result(site, 0))
    suffixes = [f"wx{index}.t{t}" for t in range(sequence.time)]
    return write.all("SPLIT", suffixes, input=product, axis=sequence.time_axis, num_splits=sequence.time)


@lowers("aten::gru", ignores=_IN_TRAINING)
def gru(
    site: Site, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool,
    input: TorchValue | None = None, batch_first: bool = False, data: Any = None, batch_sizes: Any = None,
) -> None:  # fmt: skip
    refuse_packed(site, batch_sizes)
    _layers(site, GruCell, hx, params, has_biases, num_layers, bidirectional, input, batch_first)


@lowers("aten::rnn_tanh", ignores=_IN_TRAINING)
def rnn_tanh(
    site: Site, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool,
    input: TorchValue | None = None, batch_first: bool = False, data: Any = None, batch_sizes: Any = None,
) -> None:  # fmt: skip
    refuse_packed(site, batch_sizes)
    _layers(site, TanhCell, hx, params, has_biases, num_layers, bidirectional, input, batch_first)


# --- single steps --------------------------------------------------------------------------------------------


def _single(site: Site, make: Callable[[Site, Weights], Cell], input: TorchValue, hx: TorchValue,
            weights: Weights) -> None:  # fmt: skip
    refuse_other_types(site, input)
    (hidden,) = initial_states(site, hx, 1, "hx", "h0.")
    cell = make(site, weights)
    write = Writer(site, cell.formula, "")
    site.place(cell.step(write, cell.project(write, site.plain(input)), hidden, "cell"), Layout.plain(site.out_shape))


@lowers("aten::gru_cell")
def gru_cell(
    site: Site, input: TorchValue, hx: TorchValue, w_ih: TorchValue, w_hh: TorchValue, b_ih: Parameter = None,
    b_hh: Parameter = None,
) -> None:  # fmt: skip
    _single(site, GruCell, input, hx, cell_weights(site, w_ih, w_hh, b_ih, b_hh))


@lowers("aten::rnn_tanh_cell")
def rnn_tanh_cell(
    site: Site, input: TorchValue, hx: TorchValue, w_ih: TorchValue, w_hh: TorchValue, b_ih: Parameter = None,
    b_hh: Parameter = None,
) -> None:  # fmt: skip
    _single(site, TanhCell, input, hx, cell_weights(site, w_ih, w_hh, b_ih, b_hh))
