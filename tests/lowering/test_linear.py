"""Fully connected layers: bias, rank, and the order of a flattened feature map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers

X = (2, 4, 6, 8)
CONV = "conv"  # a convolution in front: [2,4,6,8] channels last


def features(units: int = 3, size: int = 192) -> nn.Module:
    return nn.Linear(size, units)


# name → (formula over (linear, x) or (conv, linear, x), linear, input shape, FULLY_CONNECTED weight columns moved)
ROWS: dict[str, tuple[Callable[..., Any], nn.Linear, tuple[int, ...]]] = {
    "rank_2": (lambda fc, x: fc(x), nn.Linear(4, 5), (3, 4)),
    "no_bias": (lambda fc, x: fc(x), nn.Linear(4, 5, bias=False), (3, 4)),
    "rank_3": (lambda fc, x: fc(x), nn.Linear(4, 5), (2, 3, 4)),
    "rank_4": (lambda fc, x: fc(x), nn.Linear(8, 5), X),
    "twice": (lambda fc, x: fc(fc(x)), nn.Linear(4, 4), (3, 4)),
    "matmul": (lambda fc, x: x @ fc.weight, nn.Linear(4, 5), (3, 5)),
    "addmm": (lambda fc, x: torch.addmm(fc.bias, x, fc.weight.t()), nn.Linear(4, 5), (3, 4)),
    "addmm_one_addend": (lambda fc, x: torch.addmm(fc.bias[:1], x, fc.weight.t()), nn.Linear(4, 5), (3, 4)),
}
AFTER_CONV: dict[str, tuple[Callable[..., Any], nn.Linear]] = {
    "last_dimension": (lambda k, fc, x: fc(k(x)), nn.Linear(8, 3)),
    "flatten": (lambda k, fc, x: fc(k(x).flatten(1)), features()),
    "view": (lambda k, fc, x: (lambda y: fc(y.view(y.size(0), -1)))(k(x)), features()),
    "reshape_other_rows": (lambda k, fc, x: fc(k(x).reshape(4, -1)), features(3, 96)),
    "through_relu": (lambda k, fc, x: fc(F.relu(k(x).flatten(1))), features()),
    "through_dropout": (lambda k, fc, x: fc(F.dropout(k(x).flatten(1), 0.5, False)), features()),
    "through_clone": (lambda k, fc, x: fc(k(x).flatten(1).clone()), features()),
    "through_clamp": (lambda k, fc, x: fc(F.hardtanh(k(x).flatten(1), -2, 2)), features()),
    "through_addition": (lambda k, fc, x: fc(k(x).flatten(1) + 1.0), features()),
    "also_returned": (lambda k, fc, x: (lambda f: (fc(f), f))(k(x).flatten(1)), features()),
    "two_linears": (lambda k, fc, x: (lambda f: fc(f) + fc(f * 2.0))(k(x).flatten(1)), features()),
    "matmul": (lambda k, fc, x: k(x).flatten(1) @ fc.weight.t(), features()),
    "addmm": (lambda k, fc, x: torch.addmm(fc.bias, k(x).flatten(1), fc.weight.t()), features()),
    "permuted_flatten": (lambda k, fc, x: fc(k(x).permute(0, 2, 3, 1).flatten(1)), features()),
    "reversed_flatten": (lambda k, fc, x: fc(k(x).permute(0, 3, 2, 1).flatten(1)), features()),
    "sliced_flatten": (lambda k, fc, x: fc(k(x)[:, 1:3].flatten(1)), features(3, 96)),
    "selected_flatten": (lambda k, fc, x: fc(k(x)[:, :, 1].flatten(1)), features(3, 32)),
    "one_pixel": (lambda k, fc, x: fc(k(x)[:, :, 0, 0]), features(3, 4)),
    "pooled": (lambda k, fc, x: fc(k(x).mean((2, 3))), features(3, 4)),
    "mean_over_width": (lambda k, fc, x: fc(k(x).mean(3)), features(3, 6)),
    "unflattened_again": (lambda k, fc, x: k(F.relu(k(x).flatten(1)).reshape(2, 4, 6, 8)), features()),
}


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    formula, linear, shape = ROWS[name]
    same_numbers(Written(formula, linear), (torch.randn(shape),))


@pytest.mark.parametrize("name", AFTER_CONV)
def test_after_convolution(name: str) -> None:
    formula, linear = AFTER_CONV[name]
    same_numbers(Written(formula, nn.Conv2d(4, 4, 3, padding=1), linear), (torch.randn(X),))


def test_flatten_moves_weight_columns_not_data() -> None:
    formula, linear = AFTER_CONV["flatten"]
    lowered = same_numbers(Written(formula, nn.Conv2d(4, 4, 3, padding=1), linear), (torch.randn(X),))
    assert kinds_of(lowered) == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    (weights,) = [operand for operand in lowered.model.constants if operand.type.shape == (3, 192)]
    # W'[o, (h·W + w)·C + c] = W[o, (c·H + h)·W + w], for c=1, h=2, w=3 of C=4, H=6, W=8.
    assert float(weights.value[0, (2 * 8 + 3) * 4 + 1]) == linear.weight[0, (1 * 6 + 2) * 8 + 3].item()


NO_BIAS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "two_computed": (lambda fc, x, y: x @ y, ((3, 4), (4, 5))),
    "scaled_addmm": (lambda fc, x: torch.addmm(fc.bias, x, fc.weight.t(), beta=2), ((3, 4),)),
    # A column or a full matrix is no bias: it was once added as a row.
    "addmm_column": (lambda fc, x: torch.addmm(fc.bias.reshape(5, 1), x, fc.weight.t()), ((5, 4),)),
    "addmm_matrix": (lambda fc, x: torch.addmm(fc.weight.t(), x, fc.weight.t()), ((4, 4),)),
}


@pytest.mark.parametrize("name", NO_BIAS)
def test_products_that_are_no_linear_layer(name: str) -> None:
    formula, shapes = NO_BIAS[name]
    same_numbers(Written(formula, nn.Linear(4, 5)), tuple(torch.randn(shape) for shape in shapes))


REFUSED: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...], str]] = {
    "vector": (lambda fc, x: fc(x), ((4,),), "FULLY_CONNECTED.RANK"),
    "computed_weight": (lambda fc, x, y: F.linear(x, y), ((3, 4), (5, 4)), "LINEAR_WEIGHT"),
    "computed_bias": (lambda fc, x, y: F.linear(x, fc.weight, y), ((3, 4), (5,)), "LINEAR_BIAS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, shapes, rule = REFUSED[name]
    found = refusals(Written(formula, nn.Linear(4, 5)), tuple(torch.randn(shape) for shape in shapes))
    assert rules_of(found) == [rule]
