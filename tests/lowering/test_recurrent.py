"""Recurrent layers and cells against PyTorch: gates, biases, directions, states (SEMANTIC_GAPS A8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph
from nnapi_lab.validate import check
from tests.lowering.against_torch import (
    FLOAT_TOLERANCE,
    Written,
    kinds_of,
    lowered_in,
    refusals,
    rules_of,
    same_numbers,
)

X = (5, 3, 4)  # [time, batch, features]
UNI, BI = "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"
Formula = Callable[..., Any]


def everything(layer: nn.Module, x: Tensor) -> Any:
    return layer(x)


def outputs(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)[0]


def last_hidden(layer: nn.Module, x: Tensor) -> Tensor:
    states = layer(x)[1]
    return (states[0] if isinstance(states, tuple) else states)[-1]


def last_step(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)[0][:, -1]


# name → formula, layer, operations expected (None: unrolled, checked elsewhere), feature level
ROWS: dict[str, tuple[Formula, nn.Module, list[str] | None, int]] = {
    "lstm": (outputs, nn.LSTM(4, 6), [UNI], 3),
    "lstm_states": (everything, nn.LSTM(4, 6), [UNI, "RESHAPE", "RESHAPE"], 4),
    "lstm_no_bias": (outputs, nn.LSTM(4, 6, bias=False), [UNI], 3),
    "lstm_batch_first": (outputs, nn.LSTM(4, 6, batch_first=True), [UNI], 3),
    "lstm_stacked": (outputs, nn.LSTM(4, 6, 2), [UNI, UNI], 3),
    "lstm_stacked_states": (everything, nn.LSTM(4, 6, 2), None, 4),
    "lstm_both_directions": (outputs, nn.LSTM(4, 6, bidirectional=True), [BI], 3),
    "lstm_both_directions_states": (everything, nn.LSTM(4, 6, bidirectional=True), None, 4),
    "lstm_both_directions_stacked": (everything, nn.LSTM(4, 6, 2, bidirectional=True, batch_first=True), None, 4),
    "lstm_projection": (everything, nn.LSTM(4, 6, proj_size=2), None, 4),
    "lstm_projection_no_bias": (outputs, nn.LSTM(4, 6, 2, bias=False, proj_size=2), [UNI, UNI], 3),
    "lstm_projection_both": (everything, nn.LSTM(4, 6, proj_size=2, bidirectional=True), None, 4),
    "lstm_last_hidden": (last_hidden, nn.LSTM(4, 6, 2, batch_first=True), None, 4),
    "lstm_last_step": (last_step, nn.LSTM(4, 6, batch_first=True), None, 3),
    "lstm_dropout": (outputs, nn.LSTM(4, 6, 2, dropout=0.5), [UNI, UNI], 3),
    "gru": (everything, nn.GRU(4, 6), None, 3),
    "gru_no_bias": (everything, nn.GRU(4, 6, bias=False), None, 3),
    "gru_batch_first": (everything, nn.GRU(4, 6, batch_first=True), None, 3),
    "gru_stacked": (everything, nn.GRU(4, 6, 2), None, 3),
    "gru_both_directions": (everything, nn.GRU(4, 6, 2, bidirectional=True, batch_first=True), None, 3),
    "gru_last_hidden": (last_hidden, nn.GRU(4, 6), None, 3),
    "rnn_relu": (outputs, nn.RNN(4, 6, nonlinearity="relu"), ["UNIDIRECTIONAL_SEQUENCE_RNN"], 3),
    "rnn_relu_states": (everything, nn.RNN(4, 6, 2, nonlinearity="relu", batch_first=True), None, 4),
    "rnn_relu_both": (
        outputs, nn.RNN(4, 6, nonlinearity="relu", bidirectional=True), ["BIDIRECTIONAL_SEQUENCE_RNN"], 3
    ),
    "rnn_relu_both_states": (everything, nn.RNN(4, 6, 2, nonlinearity="relu", bidirectional=True), None, 4),
    "rnn_tanh": (everything, nn.RNN(4, 6), None, 3),
    "rnn_tanh_no_bias": (everything, nn.RNN(4, 6, bias=False), None, 3),
    "rnn_tanh_both": (everything, nn.RNN(4, 6, 2, bidirectional=True, batch_first=True), None, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_layer(name: str) -> None:
    formula, layer, kinds, level = ROWS[name]
    lowered = same_numbers(Written(formula, layer), (torch.randn(X),))
    if kinds is not None:
        assert kinds_of(lowered) == kinds
    assert check(lowered.model).feature_level == level


GIVEN: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "lstm": (nn.LSTM(4, 6), (1, 3, 6), 2),
    "lstm_stacked_both": (nn.LSTM(4, 6, 2, bidirectional=True), (4, 3, 6), 2),
    "gru": (nn.GRU(4, 6), (1, 3, 6), 1),
    "gru_both": (nn.GRU(4, 6, bidirectional=True), (2, 3, 6), 1),
    "rnn_relu": (nn.RNN(4, 6, 2, nonlinearity="relu"), (2, 3, 6), 1),
    "rnn_tanh": (nn.RNN(4, 6), (1, 3, 6), 1),
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("computed", [False, True], ids=["constant", "input"])
def test_initial_states(name: str, computed: bool) -> None:
    """Given as inputs of the model, or kept by the model as a constant."""
    layer, shape, count = GIVEN[name]
    states = tuple(torch.randn(shape) for _ in range(count))

    def formula(layer: nn.Module, x: Tensor, *given: Tensor) -> Any:
        held = given or states
        return layer(x, held if count == 2 else held[0])

    same_numbers(Written(formula, layer), (torch.randn(X), *(states if computed else ())))


CELLS: dict[str, tuple[nn.Module, list[str]]] = {
    "lstm": (nn.LSTMCell(4, 6), ["LSTM"]),
    "lstm_no_bias": (nn.LSTMCell(4, 6, bias=False), ["LSTM"]),
    "gru": (nn.GRUCell(4, 6), []),
    "gru_no_bias": (nn.GRUCell(4, 6, bias=False), []),
    "rnn_relu": (nn.RNNCell(4, 6, nonlinearity="relu"), ["RNN"]),
    "rnn_tanh": (nn.RNNCell(4, 6), ["FULLY_CONNECTED", "FULLY_CONNECTED", "ADD", "TANH"]),
}


@pytest.mark.parametrize("name", CELLS)
def test_cell(name: str) -> None:
    """torch.jit.trace takes a cell apart, torch.jit.script keeps it whole."""
    cell, kinds = CELLS[name]
    same_numbers(Written(lambda cell, x: cell(x), cell), (torch.randn(3, 4),))
    lowered = same_numbers(torch.jit.script(cell.eval()), (torch.randn(3, 4),))
    assert not kinds or kinds_of(lowered) == kinds


class Looped(nn.Module):
    """A loop a user wrote: the state goes from cell to cell."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        for step in x.unbind(0):
            h = self.cell(step, h)
        return h


class LoopedPair(nn.Module):
    """The same with an LSTM's two states."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        for step in x.unbind(0):
            h, c = self.cell(step, (h, c))
        return h, c


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("scripted", [False, True], ids=["traced", "scripted"])
def test_cell_in_a_loop_with_states(name: str, scripted: bool) -> None:
    cell, _ = CELLS[name]
    states = (torch.randn(3, 6), torch.randn(3, 6))[: 2 if isinstance(cell, nn.LSTMCell) else 1]
    looped = (LoopedPair if len(states) == 2 else Looped)(cell).eval()
    same_numbers(torch.jit.script(looped) if scripted else looped, (torch.randn(X), *states))


@pytest.mark.parametrize("layer", [nn.LSTM(4, 6), nn.GRU(4, 6)], ids=["lstm", "gru"])
def test_unbatched_sequence(layer: nn.Module) -> None:
    same_numbers(Written(everything, layer), (torch.randn(5, 4),))


@pytest.mark.parametrize("layer", [nn.GRU(4, 6, batch_first=True), nn.LSTM(4, 6, batch_first=True)])
def test_single_step_and_single_batch(layer: nn.Module) -> None:
    same_numbers(Written(everything, layer), (torch.randn(3, 1, 4),))
    same_numbers(Written(everything, layer), (torch.randn(1, 5, 4),))


def test_behind_a_convolution_and_before_a_linear() -> None:
    """A recogniser as people write it: the map's columns are the sequence."""

    def formula(conv: nn.Module, lstm: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
        columns = conv(x).permute(0, 3, 1, 2).flatten(2)
        return head(lstm(columns)[0]).log_softmax(-1)

    conv, lstm = nn.Conv2d(1, 4, 3, padding=1), nn.LSTM(32, 6, bidirectional=True, batch_first=True)
    same_numbers(Written(formula, conv, lstm, nn.Linear(12, 5)), (torch.randn(2, 1, 8, 7),))


def test_transposed_sequence_is_read_as_it_lies() -> None:
    """batch_first and time_major say the same: a transpose in front costs nothing."""
    lowered = same_numbers(Written(lambda lstm, x: lstm(x.transpose(0, 1))[0], nn.LSTM(4, 6)), (torch.randn(X),),
                           ("auto",))  # fmt: skip
    assert kinds_of(lowered).count("TRANSPOSE") <= 1  # of the output, which the caller wants plain


class Held(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@pytest.mark.parametrize("layer", [nn.LSTM(4, 6), nn.GRU(4, 6), nn.RNN(4, 6)])
def test_scripted_layer(layer: nn.Module) -> None:
    same_numbers(torch.jit.script(Held(layer).eval()), (torch.randn(X),), ("auto",))


def test_weights_are_taken_apart_in_torch_order() -> None:
    """Rows i, f, g, o of weight_ih_l0, and the sum of the biases, under the operands' names."""
    layer = nn.LSTM(2, 3)
    lowered = same_numbers(Written(outputs, layer), (torch.randn(2, 1, 2),))
    (operation,) = lowered.model
    held = [lowered.model[name].value for name in operation.inputs if isinstance(name, str)]
    weight = layer.weight_ih_l0.detach().numpy()
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().numpy()
    for gate in range(4):
        rows = slice(3 * gate, 3 * gate + 3)
        np.testing.assert_array_equal(held[1 + gate], weight[rows])
        np.testing.assert_array_equal(held[9 + gate], bias[rows])


def packed(lstm: nn.Module, x: Tensor) -> Tensor:
    lengths = torch.tensor([5, 3, 2])
    return lstm(nn.utils.rnn.pack_padded_sequence(x, lengths))[0].data


@pytest.mark.parametrize("layer", [nn.LSTM(4, 6), nn.GRU(4, 6), nn.RNN(4, 6), nn.RNN(4, 6, nonlinearity="relu")])
def test_packed_sequences_are_refused(layer: nn.Module) -> None:
    captured = capture(Written(packed, layer).eval(), (torch.randn(X),))
    found = [refusal for refusal in lower_graph(captured.graph).refusals if refusal.rule == "PACKED_SEQUENCE"]
    assert [refusal.kind for refusal in found] == ["FORBIDDEN"]


@pytest.mark.parametrize("layer", [nn.GRU(2, 2), nn.RNN(2, 2)], ids=["gru", "rnn_tanh"])
def test_long_sequences_are_not_unrolled(layer: nn.Module) -> None:
    (refusal,) = refusals(Written(outputs, layer), (torch.randn(257, 1, 2),))
    assert (refusal.kind, refusal.rule) == ("NOT_YET", "UNROLL_LIMIT")


def test_float16_is_refused() -> None:
    module = Written(outputs, nn.LSTM(4, 6).half())
    assert rules_of(refusals(module, (torch.randn(X).half(),))) == ["RECURRENT_DTYPE"]


@settings(max_examples=12)
@given(
    kind=st.sampled_from(["lstm", "gru", "tanh", "relu"]), sizes=st.tuples(*[st.integers(1, 4)] * 4),
    layers=st.integers(1, 2), both=st.booleans(), first=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_any_layer(kind: str, sizes: tuple[int, ...], layers: int, both: bool, first: bool, bias: bool) -> None:
    one, two, features, units = sizes
    options: dict[str, Any] = {"num_layers": layers, "bidirectional": both, "batch_first": first, "bias": bias}
    layer = {"lstm": nn.LSTM, "gru": nn.GRU}.get(kind, nn.RNN)
    if layer is nn.RNN:
        options["nonlinearity"] = kind
    module = Written(everything, layer(features, units, **options)).eval()
    _, diff = lowered_in(module, (torch.randn(one, two, features),), "auto")
    assert all(row.relative <= FLOAT_TOLERANCE or row.max_abs < 1e-6 for row in diff.rows)
