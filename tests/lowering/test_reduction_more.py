"""Sums, products, extremes, truth, variance and logsumexp against PyTorch, over every kind of dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers

X = (2, 4, 6, 8)
DIMS = [1, -1, (2, 3), (1, 3), (0, 2)]


@pytest.mark.parametrize("keepdim", [False, True], ids=["dropped", "kept"])
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_named_dimensions(dim: int | tuple[int, ...], keepdim: bool) -> None:
    def formula(conv: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = conv(x)
        return y.sum(dim, keepdim), y.amax(dim, keepdim), y.amin(dim, keepdim), y.logsumexp(dim, keepdim)

    same_numbers(Written(formula, nn.Conv2d(4, 4, 1)), (torch.randn(X),))


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("dim", [1, (2, 3)], ids=str)
def test_variance(dim: int | tuple[int, ...], correction: int) -> None:
    def formula(conv: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = conv(x)
        pairs = (*torch.var_mean(y, dim, correction=correction), *torch.std_mean(y, dim, correction=correction))
        return y.var(dim, correction=correction, keepdim=True), y.std(dim, correction=correction), *pairs

    same_numbers(Written(formula, nn.Conv2d(4, 4, 1)), (torch.randn(X),))


ROWS: dict[str, Callable[..., Any]] = {
    "whole sum": lambda conv, x: conv(x).sum(),
    "whole extremes": lambda conv, x: (conv(x).max(), conv(x).min()),
    "whole variance": lambda conv, x: conv(x).var(unbiased=False),
    "product": lambda conv, x: conv(x).prod(1),
    "count of truth": lambda conv, x: (conv(x) > 0).sum(1),
    "count_nonzero": lambda conv, x: (conv(x).relu().count_nonzero(1), x.relu().count_nonzero()),
    "sum to float": lambda conv, x: (conv(x) > 0).sum((2, 3), dtype=torch.float32),
    "mean of truth": lambda conv, x: (conv(x) > 0).float().mean((2, 3)),
    "max with indices": lambda conv, x: conv(x).max(1),
    "min with indices, kept": lambda conv, x: conv(x).min(2, keepdim=True),
    "max without indices": lambda conv, x: conv(x).max(1)[0],
    "max of two": lambda conv, x: (torch.max(conv(x), x), torch.min(conv(x), x)),
    "any, all": lambda conv, x: ((conv(x) > 1).any(1), (x > -9).all(), (conv(x) > 0).any(2, keepdim=True)),
    "any of numbers": lambda conv, x: conv(x).relu().any(1),
    "argmax": lambda conv, x: (conv(x).argmax(1), conv(x).argmax(-1, keepdim=True), conv(x).argmax(1, keepdim=True)),
    "argmin": lambda conv, x: (conv(x).argmin(0), conv(x).argmin()),
    "argmax of everything": lambda conv, x: conv(x).argmax(),
    "rank 6": lambda conv, x: x.view(2, 2, 2, 2, 3, 8).sum((3, 4)),
    "logsumexp of large numbers": lambda conv, x: (conv(x) * 100).logsumexp(1),
}


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    same_numbers(Written(ROWS[name], nn.Conv2d(4, 4, 1)), (torch.randn(X),))


def test_ties_take_the_first() -> None:
    x = torch.tensor([[1.0, 3.0, 3.0, 2.0]])
    same_numbers(Written(lambda x: (x.argmax(1), x.max(1), (-x).argmin(1))), (x,))


def test_reducing_a_channels_last_map_moves_nothing() -> None:
    lowered = same_numbers(
        Written(lambda a, x: a(x).amax(1, keepdim=True) * a(x), nn.Conv2d(4, 4, 1)), (torch.randn(X),), ("nhwc",)
    )
    assert "TRANSPOSE" not in kinds_of(lowered)


REFUSED: dict[str, tuple[Callable[..., Any], str, str]] = {
    "sum of integers": (lambda x: x.int().sum(), "LOSSY", "SUM_INTEGERS"),
    "max of integers": (lambda x: x.int().max(), "NOT_YET", "EXTREME_INT32"),
    "variance of one": (lambda x: x[:, :1].var(1), "FORBIDDEN", "VAR_COUNT"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, kind, rule = REFUSED[name]
    found = refusals(Written(formula), (torch.randn(3, 4),))
    assert rules_of(found) == [rule]
    assert found[0].kind == kind
