"""Recurrent layers NNAPI has: LSTM as one operation per layer, plain RELU layers, and the single steps of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.recurrent import BIASES_SUMMED, GATES_SEPARATED, SEQUENCE
from nnapi_lab.torchscript.lowerings.recurrent_parts import (
    Parameter,
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

GATES = ("input", "forget", "cell", "output")  # the order of torch's rows: i, f, g, o
TANH, RELU = 4, 1
_PREFIXES = ("fw_", "bw_")
_IN_TRAINING = ("dropout", "train")


# --- LSTM ----------------------------------------------------------------------------------------------------


@lowers("aten::lstm", ignores=_IN_TRAINING)
def lstm(
    site: Site, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool,
    input: TorchValue | None = None, batch_first: bool = False, data: Any = None, batch_sizes: Any = None,
) -> None:  # fmt: skip
    """UNIDIRECTIONAL_ or BIDIRECTIONAL_SEQUENCE_LSTM per layer; last states are asked for where they are read."""
    refuse_packed(site, batch_sizes)
    sequence = read_sequence(site, input, batch_first)
    directions = 2 if bidirectional else 1
    weights = layer_weights(site, params, has_biases, num_layers, directions)
    count = num_layers * directions
    hidden = initial_states(site, hx[0], count, "hx", "h0.")
    cell = initial_states(site, hx[1], count, "hx", "c0.")
    outputs, h_n, c_n = (result(site, index) for index in range(3))
    wants_states = is_read(site, h_n) or is_read(site, c_n)
    operand = sequence.operand
    last_hidden: list[str] = []
    last_cell: list[str] = []
    for layer, row in enumerate(weights):
        first = layer * directions
        states = list(zip(hidden[first : first + directions], cell[first : first + directions], strict=True))
        operand, *ends = _lstm_layer(site, operand, row, states, sequence.time_major, wants_states,
                                     "" if layer == num_layers - 1 else f"layer{layer}")  # fmt: skip
        last_hidden += ends[0::2]
        last_cell += ends[1::2]
    site.place(operand, sequence.layout(outputs.type.shape or ()), outputs)
    for value, held, label in ((h_n, last_hidden, "h_n"), (c_n, last_cell, "c_n")):
        if is_read(site, value):
            place_states(site, value, held, label)


def _lstm_layer(
    site: Site, operand: str, row: Sequence[Weights], states: Sequence[tuple[str, str]], time_major: bool,
    wants_states: bool, suffix: str,
) -> tuple[str, ...]:  # fmt: skip
    """The output sequence and, if wanted, hidden and cell state of each direction."""
    both = len(row) == 2
    arguments: dict[str, Any] = {}
    for prefix, weights, (hidden, cell) in zip(_PREFIXES if both else ("",), row, states, strict=True):
        state = "activation_state_in" if both else "output_state_in"
        arguments |= {f"{prefix}{name}": held for name, held in _gates(site, weights).items()}
        arguments |= {f"{prefix}{state}": hidden, f"{prefix}cell_state_in": cell}
    if both:
        arguments["merge_outputs"] = True
    count = (5 if both else 3) if wants_states else 1
    suffixes = [suffix, *(f"{suffix or 'last'}.{name}" for name in ("h", "c", "h.reverse", "c.reverse")[: count - 1])]
    return site.add_all(
        "BIDIRECTIONAL_SEQUENCE_LSTM" if both else "UNIDIRECTIONAL_SEQUENCE_LSTM", input=operand, **arguments,
        activation=TANH, cell_clip=0.0, proj_clip=0.0, time_major=time_major, results=count if count > 1 else 0,
        suffixes=suffixes, rule=SEQUENCE,
    )  # fmt: skip


def _gates(site: Site, weights: Weights) -> dict[str, Any]:
    """A layer's constants under NNAPI's names: rows of i, f, g, o taken apart, biases summed."""
    made = {}
    units = weights.input.shape[0] // 4
    bias = weights.bias_ih + weights.bias_hh
    for index, gate in enumerate(GATES):
        rows = slice(index * units, (index + 1) * units)
        facts = {"rows": f"{rows.start}…{rows.stop - 1}"}
        for name, array in ((f"input_to_{gate}_w", weights.input), (f"recurrent_to_{gate}_w", weights.recurrent)):
            made[name] = weights.constant(site, name, array[rows], GATES_SEPARATED, **facts)
        name = "cell_bias" if gate == "cell" else f"{gate}_gate_bias"
        made[name] = weights.constant(site, name, bias[rows], BIASES_SUMMED, **facts)
    if weights.projection is not None:
        made["projection_w"] = weights.constant(site, "projection_w", weights.projection, PLACED)
    return made


@lowers("aten::lstm_cell")
def lstm_cell(
    site: Site, input: TorchValue, hx: Any, w_ih: TorchValue, w_hh: TorchValue, b_ih: Parameter = None,
    b_hh: Parameter = None,
) -> None:  # fmt: skip
    """One LSTM operation: scratch, hidden state, cell state, output."""
    refuse_other_types(site, input)
    weights = cell_weights(site, w_ih, w_hh, b_ih, b_hh)
    (hidden,) = initial_states(site, hx[0], 1, "hx", "h0.")
    (cell,) = initial_states(site, hx[1], 1, "hx", "c0.")
    h, c = result(site, 0), result(site, 1)
    _, _, cell_out, output = site.add_all(
        "LSTM", input=site.plain(input), **_gates(site, weights), output_state_in=hidden, cell_state_in=cell,
        activation=TANH, cell_clip=0.0, proj_clip=0.0, rule=SEQUENCE,
        names=[f"{h.name}.scratch", f"{h.name}.state", c.name, h.name],
    )  # fmt: skip
    site.place(output, Layout.plain(h.type.shape or ()), h)
    site.place(cell_out, Layout.plain(c.type.shape or ()), c)


# --- plain cells with RELU -----------------------------------------------------------------------------------


@lowers("aten::rnn_relu", ignores=_IN_TRAINING)
def rnn_relu(
    site: Site, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool,
    input: TorchValue | None = None, batch_first: bool = False, data: Any = None, batch_sizes: Any = None,
) -> None:  # fmt: skip
    """UNIDIRECTIONAL_ or BIDIRECTIONAL_SEQUENCE_RNN per layer."""
    refuse_packed(site, batch_sizes)
    sequence = read_sequence(site, input, batch_first)
    directions = 2 if bidirectional else 1
    weights = layer_weights(site, params, has_biases, num_layers, directions)
    hidden = initial_states(site, hx, num_layers * directions, "hx", "h0.")
    outputs, h_n = result(site, 0), result(site, 1)
    operand = sequence.operand
    last: list[str] = []
    for layer, row in enumerate(weights):
        operand, *states = _rnn_layer(
            site, operand, row, hidden[layer * directions :], sequence.time_major, is_read(site, h_n),
            "" if layer == num_layers - 1 else f"layer{layer}",
        )  # fmt: skip
        last += states
    site.place(operand, sequence.layout(outputs.type.shape or ()), outputs)
    if is_read(site, h_n):
        place_states(site, h_n, last, "h_n")


def _rnn_layer(
    site: Site, operand: str, row: Sequence[Weights], states: Sequence[str], time_major: bool, wants_states: bool,
    suffix: str,
) -> tuple[str, ...]:  # fmt: skip
    both = len(row) == 2
    arguments: dict[str, Any] = {}
    for prefix, weights, hidden in zip(_PREFIXES if both else ("",), row, states, strict=False):
        arguments |= {f"{prefix}{name}": held for name, held in _plain_cell(site, weights).items()}
        arguments[f"{prefix}hidden_state_in"] = hidden
    if both:
        arguments["merge_outputs"] = True
    count = (3 if both else 2) if wants_states else 1
    suffixes = [suffix, *(f"{suffix or 'last'}.{name}" for name in ("h", "h.reverse")[: count - 1])]
    return site.add_all(
        "BIDIRECTIONAL_SEQUENCE_RNN" if both else "UNIDIRECTIONAL_SEQUENCE_RNN", input=operand, **arguments,
        activation=RELU, time_major=time_major if both else int(time_major), results=count if count > 1 else 0,
        suffixes=suffixes, rule=SEQUENCE, facts={"formula": "h' = RELU(W x + U h + b)"},
    )  # fmt: skip


def _plain_cell(site: Site, weights: Weights) -> dict[str, Any]:
    bias: np.ndarray = weights.bias_ih + weights.bias_hh
    return {
        "weights": weights.constant(site, "weights", weights.input, PLACED),
        "recurrent_weights": weights.constant(site, "recurrent_weights", weights.recurrent, PLACED),
        "bias": weights.constant(site, "bias", bias, BIASES_SUMMED),
    }


@lowers("aten::rnn_relu_cell")
def rnn_relu_cell(
    site: Site, input: TorchValue, hx: TorchValue, w_ih: TorchValue, w_hh: TorchValue, b_ih: Parameter = None,
    b_hh: Parameter = None,
) -> None:  # fmt: skip
    """One RNN operation: hidden state and output are the same numbers."""
    refuse_other_types(site, input)
    weights = cell_weights(site, w_ih, w_hh, b_ih, b_hh)
    (hidden,) = initial_states(site, hx, 1, "hx", "h0.")
    _, output = site.add_all(
        "RNN", input=site.plain(input), **_plain_cell(site, weights), hidden_state_in=hidden, activation=RELU,
        names=[f"{site.out.name}.state", site.out.name], rule=SEQUENCE, facts={"formula": "h' = RELU(W x + U h + b)"},
    )  # fmt: skip
    site.place(output, Layout.plain(site.out_shape))
