"""Means over logical dimensions of values stored in any order."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tests.lowering.against_torch import Written, same_numbers

X = (2, 4, 6, 8)
DIMS = [dims for count in range(1, 5) for dims in itertools.combinations(range(4), count)]


@pytest.mark.parametrize("dims", DIMS, ids=lambda dims: "".join(map(str, dims)))
def test_every_set_of_dimensions(dims: tuple[int, ...]) -> None:
    """Kept and dropped, in one model; what comes behind must see torch's order."""
    negative = tuple(dim - 4 for dim in dims)

    def formula(conv: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = conv(x)
        return y.mean(dims, keepdim=True) + y, y.mean(negative) * 2.0, y.mean(dims).flatten()

    same_numbers(Written(formula, nn.Conv2d(4, 4, 3, padding=1)), (torch.randn(X),))


@pytest.mark.parametrize("mean", [lambda x: x.mean(), lambda x: x.mean(()), lambda x: x.mean(3).permute(0, 2, 1)])
def test_forms(mean) -> None:
    same_numbers(Written(mean), (torch.randn(X),))
