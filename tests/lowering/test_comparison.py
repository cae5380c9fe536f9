"""Comparisons, logic and choice against PyTorch, in every layout and with every kind of operand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers

X = (2, 4, 6, 8)
RELATIONS = ("eq", "ne", "lt", "le", "gt", "ge")


def floats() -> torch.Tensor:
    """Numbers of which many are equal."""
    return torch.randint(-3, 4, X).float()


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations(relation: str) -> None:
    """With a tensor, a broadcast constant, a number, and integers against numbers that are not whole."""
    compare = getattr(torch, relation)

    def formula(x: torch.Tensor, y: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = nn.functional.max_pool2d(x, 1)  # channels last
        along = torch.arange(4.0).view(4, 1, 1) - 2
        whole = compare(n, 0.5) if relation not in ("eq", "ne") else compare(n, 2)
        return compare(z, y), compare(z, along), compare(z, 1.0), compare(n, 1), whole

    inputs = (floats(), floats(), torch.randint(-3, 4, (3, 5)))
    same_numbers(Written(formula), inputs)


def test_equal_with_a_fraction_is_refused_for_integers() -> None:
    found = refusals(Written(lambda n: n == 0.5), (torch.arange(4),))
    assert rules_of(found) == ["COMPARE_NUMBER"]


CHOICES: dict[str, Callable[..., Any]] = {
    "tensors": lambda conv, x: torch.where(conv(x) > 0, x, -x),
    "broadcast condition": lambda conv, x: torch.where(x.mean(1, keepdim=True) > 0, conv(x), torch.arange(8.0)),
    "broadcast sides": lambda conv, x: torch.where(torch.arange(6).view(6, 1) > 2, conv(x), x.mean((2, 3), True)),
    "number left": lambda conv, x: torch.where(conv(x) > 0, 1.0, x),
    "number right": lambda conv, x: torch.where(conv(x) > 0, x, 0.5),
    "numbers": lambda conv, x: torch.where(conv(x) > 0, 1.0, 0.5),
    "truth values": lambda conv, x: torch.where(x > 0, conv(x) > 1, x < -1),
    "integers": lambda conv, x: torch.where(conv(x) > 0, (x * 9).int(), 7),
    "masked_fill": lambda conv, x: conv(x).masked_fill(x > 0, -1e4),
    "masked_fill in place": lambda conv, x: conv(x).masked_fill_(torch.ones(6, 8).tril() == 0, -1e4).softmax(-1),
    "masked_fill by a tensor": lambda conv, x: conv(x).masked_fill(x > 0, torch.tensor(2.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_choice(name: str) -> None:
    same_numbers(Written(CHOICES[name], nn.Conv2d(4, 4, 1)), (torch.randn(X),))


LOGIC: dict[str, Callable[..., Any]] = {
    "and or xor": lambda conv, x: (conv(x) > 0) & (x < 1) | (x > 2) ^ (x < -1),
    "logical on numbers": lambda conv, x: torch.logical_and(conv(x).relu(), x.relu()),
    "logical_or": lambda conv, x: torch.logical_or(conv(x) > 1, x > 1),
    "logical_xor": lambda conv, x: torch.logical_xor(conv(x) > 1, x > 1),
    "not": lambda conv, x: ~(conv(x) > 0),
    "logical_not of numbers": lambda conv, x: torch.logical_not(conv(x).relu()),
    "broadcast": lambda conv, x: (conv(x) > 0) & (x.mean(1, keepdim=True) > 0),
    "truth against a number": lambda conv, x: (conv(x) > 0) == 0,
    "not finite": lambda conv, x: (torch.isnan(conv(x)), torch.isinf(conv(x)), torch.isfinite(conv(x))),
    "reordered": lambda conv, x: (conv(x) > 0).flatten(1),
    "sliced": lambda conv, x: (conv(x) > 0)[:, 1:3, ::2],
    "as numbers": lambda conv, x: (conv(x) > 0).float() * x,
}  # fmt: skip


@pytest.mark.parametrize("name", LOGIC)
def test_logic(name: str) -> None:
    same_numbers(Written(LOGIC[name], nn.Conv2d(4, 4, 1)), (torch.randn(X),))


def test_nothing_moves() -> None:
    """A mask over a channels-last map lies channels last itself."""
    lowered = same_numbers(
        Written(lambda a, b, x: b(torch.where(a(x) > 0, a(x), x * 2)), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)),
        (torch.randn(X),),
        layouts=("nhwc",),
    )
    assert "TRANSPOSE" not in kinds_of(lowered)


REFUSED: dict[str, tuple[Callable[..., Any], str, str]] = {
    "bits of integers": (lambda x: x.int() & 3, "FORBIDDEN", "BITWISE"),
    "where without sides": (lambda x: torch.where(x > 0)[0], "FORBIDDEN", "WHERE_INDICES"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, kind, rule = REFUSED[name]
    found = refusals(Written(formula), (torch.randn(3, 4),))
    assert (found[0].kind, found[0].rule) == (kind, rule)
