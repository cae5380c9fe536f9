"""The diff finds a planted mistake where it was planted, and says how far off things are in readable units."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from nnapi_lab.compare import Diff, Row, compare, measure
from nnapi_lab.ir.model import Operand, replace_model
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.torchscript.capture import Captured, capture
from nnapi_lab.torchscript.lower import lower_graph

X = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))


# --- measure ---------------------------------------------------------------------------------------------------

# name → (reference, actual, what is expected of the metrics)
MEASURED: dict[str, tuple[list[float], list[float], dict[str, float]]] = {
    "equal": ([1, 2, 5], [1, 2, 5], {"max_abs": 0, "rmse": 0, "relative": 0, "range": 4, "cosine": 1, "not_finite": 0}),
    "one_off": ([0, 0, 0, 4], [0, 0, 0, 3], {"max_abs": 1, "mean_abs": 0.25, "rmse": 0.5, "relative": 0.25}),
    # signal 16/4, noise 1/4: 10·log10(16)
    "sqnr": ([0, 0, 0, 4], [0, 0, 0, 3], {"sqnr_db": 12.041199826559248}),
    "constant": ([2, 2], [2, 3], {"range": 0, "relative": 0.5}),
    "zero": ([0, 0], [0, 3], {"range": 0, "relative": 3, "sqnr_db": -math.inf, "cosine": 0}),
    "opposite": ([1, 1], [-1, -1], {"cosine": -1}),
    "same_infinity": ([math.inf, 1], [math.inf, 1], {"max_abs": 0, "not_finite": 0}),
    "same_nan": ([math.nan, 1], [math.nan, 1], {"max_abs": 0, "not_finite": 0}),
    "lost_infinity": ([math.inf, 1], [3e38, 1], {"max_abs": math.inf, "not_finite": 1}),
    "new_nan": ([0, 1], [math.nan, 1], {"not_finite": 1, "max_abs": math.inf}),
    "all_nan": ([math.nan], [math.nan], {"max_abs": 0, "not_finite": 0, "relative": 0}),
    "opposite_infinity": ([math.inf], [-math.inf], {"not_finite": 1, "max_abs": math.inf}),
    "empty": ([], [], {"max_abs": 0, "not_finite": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_measure(name: str) -> None:
    reference, actual, expected = MEASURED[name]
    metrics = measure(np.array(reference, np.float32), np.array(actual, np.float32))
    assert {key: getattr(metrics, key) for key in expected} == pytest.approx(expected)


@given(arrays.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)))
def test_measure_of_itself_is_zero(values: np.ndarray) -> None:
    metrics = measure(values, values)
    assert (metrics.max_abs, metrics.rmse, metrics.relative, metrics.sqnr_db) == (0, 0, 0, math.inf)


# --- a model and a mistake in it -------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.classifier = nn.Linear(4 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        x = torch.sigmoid(self.second(x))
        return self.classifier(x.flatten(1))


def lowered_net() -> tuple[Captured, Lowered]:
    captured = capture(Net().eval(), X)
    return captured, lower_graph(captured.graph)


def with_mistake(lowered: Lowered, name: str, by: float) -> Lowered:
    """The first element of one constant changed."""
    wrong = np.array(lowered.model[name].value)
    wrong.reshape(-1)[0] += by
    operands = {**lowered.model.operands, name: Operand(name, lowered.model[name].type, wrong)}
    return replace(lowered, model=replace_model(lowered.model, operands=operands))


def test_a_right_model_has_nothing_bad() -> None:
    captured, lowered = lowered_net()
    diff = compare(lowered, captured, (X,), "reference")
    assert diff.first_bad() is None
    assert not any(row.is_bad for row in diff.rows)
    (inputs,) = [row for row in diff.rows if row.node == "input"]
    assert (inputs.max_abs, inputs.isolated_max_abs) == (0, None)


@pytest.mark.parametrize("place", ["first", "second", "classifier"])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_planted_mistake_is_found_where_it_is(place: str, part: str) -> None:
    """Everything behind the mistake is off too, accumulated; alone, only the one operation is."""
    captured, lowered = lowered_net()
    diff = compare(with_mistake(lowered, f"{place}.{part}", 0.5), captured, (X,), "reference")
    bad = diff.first_bad()
    assert bad is not None
    assert bad.operation == ("FULLY_CONNECTED" if place == "classifier" else "CONV_2D")
    # The fused first convolution is compared at its relu.
    assert bad.value in {node.name for node in captured.graph if node.scope in (place, "")}
    assert [row.value for row in diff.rows if row.is_bad] == [bad.value]
    assert diff.outputs[0].max_abs > 1e-4


def test_rows_are_worst_first_and_in_order() -> None:
    captured, lowered = lowered_net()
    diff = compare(with_mistake(lowered, "first.bias", 0.5), captured, (X,), "reference")
    assert [row.relative for row in diff.rows] == sorted((row.relative for row in diff.rows), reverse=True)
    assert diff.worst(2) == diff.rows[:2]
    order = [node.name for node in captured.graph]
    values = [row.value for row in diff.in_order if row.value in order]
    assert values == sorted(values, key=order.index)
    assert sorted(diff.in_order, key=id) == sorted(diff.rows, key=id)


def test_values_without_an_operand_are_named() -> None:
    captured, lowered = lowered_net()
    diff = compare(lowered, captured, (X,))
    conv = next(node.name for node in captured.graph if node.scope == "first")
    assert diff.unaligned == (conv,)  # the relu behind it was fused into it


def test_summary_has_the_figures() -> None:
    captured, lowered = lowered_net()
    diff = compare(with_mistake(lowered, "second.bias", 0.5), captured, (X,), "reference")
    summary = diff.summary()
    assert summary["values"] == len(diff.rows)
    assert summary["float"]["worst_relative"] == diff.rows[0].relative
    assert summary["first_bad"] == diff.first_bad().value  # type: ignore[union-attr]


def test_json_and_csv_read_back() -> None:
    captured, lowered = lowered_net()
    diff = compare(lowered, captured, (X,), "reference")
    names = [field.name for field in fields(Row)]
    document = json.loads(diff.to_json(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert len(document["rows"]) == len(diff.rows)
    assert set(document["rows"][0]) == set(names)
    assert [row["max_abs"] for row in document["rows"]] == [row.max_abs for row in diff.rows]
    rows = list(csv.DictReader(io.StringIO(diff.to_csv())))
    assert [row["value"] for row in rows] == [row.value for row in diff.rows]
    assert [float(row["sqnr_db"]) for row in rows] == pytest.approx([row.sqnr_db for row in diff.rows])


def test_pandas_and_plot() -> None:
    captured, lowered = lowered_net()
    diff = compare(lowered, captured, (X,))
    assert list(pytest.importorskip("pandas").DataFrame(diff.to_pandas())["value"]) == [r.value for r in diff.rows]
    pytest.importorskip("matplotlib")
    assert diff.plot() is not None


# --- quantized --------------------------------------------------------------------------------------------------


class Quantized(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.quantize_per_tensor(x, 0.05, 128, torch.quint8)
        b = torch.quantize_per_tensor(x * 0.5, 0.03, 100, torch.quint8)
        return torch.ops.quantized.add(a, b, 0.07, 120).dequantize()


def quantized_diff(change: int) -> Diff:
    captured = capture(Quantized().eval(), X)
    lowered = lower_graph(captured.graph)
    if change:
        (add,) = [operation for operation in lowered.model if operation.kind == "ADD"]
        held = lowered.model[add.name]
        moved = Operand(add.name, replace(held.type, quant=replace(held.type.quant, zero_point=120 + change)))
        operands = {**lowered.model.operands, add.name: moved}
        lowered = replace(lowered, model=replace_model(lowered.model, operands=operands))
    return compare(lowered, captured, (X,), "reference")


def test_quantized_differences_are_counted_in_steps() -> None:
    diff = quantized_diff(0)
    (row,) = [row for row in diff.rows if row.node == "quantized::add"]
    # Ties are rounded differently by torch and NNAPI: one step, no more.
    assert (row.isolated_max_steps or 0) <= 1
    assert row.elements == X.numel()
    assert diff.first_bad() is None


def test_a_wrong_zero_point_is_that_many_steps() -> None:
    diff = quantized_diff(3)
    bad = diff.first_bad()
    assert bad is not None
    assert (bad.node, bad.isolated_max_steps in (3, 4)) == ("quantized::add", True)


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_both_engines_agree_with_torch(engine) -> None:
    captured, lowered = lowered_net()
    assert compare(lowered, captured, (X,), engine).rows[0].relative < 1e-5
