"""Picking, ordering, turning and rolling elements against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.lowering.against_torch import Written, kinds_of, refusals, same_numbers

X = (2, 4, 6, 8)

PICKED: dict[str, Callable[..., Any]] = {
    "index_select": lambda conv, x: conv(x).index_select(1, torch.tensor([2, 0, 1])),
    "list, from the end": lambda conv, x: conv(x)[:, [2, 0, -1]],
    "two-dimensional index": lambda conv, x: conv(x)[:, :, torch.tensor([[0, 1], [3, 2]])],
    "index of rank 2 on rank 3": lambda conv, x: conv(x)[0][:, torch.tensor([[0, 1], [3, 2]])],
    "two constant lists": lambda conv, x: conv(x)[:, [0, 1], [2, 3]],
    "constant mask": lambda conv, x: conv(x)[:, torch.tensor([True, False, True, True])],
    "topk": lambda conv, x: conv(x).topk(3, 1),
    "topk of the last dimension": lambda conv, x: conv(x).topk(2),
    "smallest": lambda conv, x: conv(x).topk(3, -1, largest=False),
    "sort": lambda conv, x: conv(x).sort(1),
    "sort, descending": lambda conv, x: conv(x).sort(-1, descending=True),
    "argsort": lambda conv, x: conv(x).argsort(1),
    "flip": lambda conv, x: conv(x).flip(1, 3),
    "flip nothing": lambda conv, x: conv(x)[:1].flip(0),
    "flip truth": lambda conv, x: (conv(x) > 0).flip(1),
    "roll": lambda conv, x: torch.roll(conv(x), (1, -2), (1, 3)),
    "roll without dims": lambda conv, x: torch.roll(conv(x), 5),
    "roll by nothing": lambda conv, x: torch.roll(conv(x), 8, 3),
    "roll truth": lambda conv, x: torch.roll(conv(x) > 0, 2, 1),
}


@pytest.mark.parametrize("name", PICKED)
def test_picked(name: str) -> None:
    same_numbers(Written(PICKED[name], nn.Conv2d(4, 4, 1)), (torch.randn(X),))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 4)], ids=str)
def test_embedding_of_any_rank(shape: tuple[int, ...]) -> None:
    lowered = same_numbers(
        Written(lambda table, ids: table(ids) * 2, nn.Embedding(10, 6, padding_idx=0)),
        (torch.randint(0, 10, shape),),
    )
    assert "GATHER" in kinds_of(lowered)


def test_computed_indices() -> None:
    formula = Written(lambda conv, x, i: conv(x)[:, i], nn.Conv2d(4, 4, 1))
    same_numbers(formula, (torch.randn(X), torch.tensor([1, 2, 3])))


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_gather(dim: int) -> None:
    """The index is smaller than the tensor in every dimension, as torch allows."""
    index = torch.randint(0, X[dim], (1, 3, 2, 7))
    same_numbers(Written(lambda conv, x, i: conv(x).gather(dim, i), nn.Conv2d(4, 4, 1)), (torch.randn(X), index))


def test_take_along_dim() -> None:
    formula = Written(lambda x, i: torch.take_along_dim(x, i, 1))
    same_numbers(formula, (torch.randn(3, 5), torch.randint(0, 5, (3, 2))))


def test_integers() -> None:
    def formula(n: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.roll(n, 1, 1), nn.functional.one_hot(n, 10), n.topk(2)[0], n.flip(0)

    same_numbers(Written(formula), (torch.randint(0, 10, (3, 5)),))


def test_integers_beyond_float32_stay_exact() -> None:
    """2^24 + 1 has no float32: a detour through floats would show."""

    def formula(n: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return n.permute(2, 0, 1), n.transpose(0, 1).reshape(-1), n[:, ::2], torch.cat([n, n[:1]]), n.unsqueeze(1)

    same_numbers(Written(formula), (2**24 + torch.arange(24).reshape(2, 3, 4),))


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "mask": (lambda x: x[x > 0], "INDEX_MASK"),
    "one_hot of unknown size": (lambda x: nn.functional.one_hot(x.long().abs()), "ONE_HOT_CLASSES"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, rule = REFUSED[name]
    found = refusals(Written(formula), (torch.randn(3, 4),))
    assert (found[0].kind, found[0].rule) == ("FORBIDDEN", rule)
