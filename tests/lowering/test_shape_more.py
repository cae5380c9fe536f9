"""Copies, stacks, moved dimensions, borders, pixel shuffles and conversions against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers

X = (2, 4, 6, 8)

ROWS: dict[str, Callable[..., Any]] = {
    "expand channels": lambda conv, x: conv(x).mean(1, keepdim=True).expand(-1, 5, -1, -1),
    "expand_as": lambda conv, x: conv(x).mean((2, 3), keepdim=True).expand_as(x),
    "expand to rank 5": lambda conv, x: conv(x).unsqueeze(2).expand(2, 4, 3, 6, 8).reshape(2, 12, 6, 8),
    "expand with a new dimension": lambda conv, x: conv(x)[0, 0].expand(3, -1, -1),
    "expand truth": lambda conv, x: (conv(x).mean(1, keepdim=True) > 0).expand(-1, 3, -1, -1),
    "expand nothing": lambda conv, x: conv(x).expand(2, 4, 6, 8) + 1,
    "repeat": lambda conv, x: conv(x).repeat(1, 2, 1, 3),
    "repeat to rank 5": lambda conv, x: conv(x).repeat(3, 1, 2, 1, 1),
    "tile": lambda conv, x: torch.tile(conv(x), (2, 1)),
    "repeat_interleave": lambda conv, x: conv(x).repeat_interleave(3, 1),
    "repeat_interleave flat": lambda conv, x: conv(x).repeat_interleave(2),
    "stack in front": lambda conv, x: torch.stack([conv(x), x]),
    "stack channels": lambda conv, x: torch.stack([conv(x)[:, 0], conv(x)[:, 1]], 1),
    "stack behind": lambda conv, x: torch.stack([conv(x), conv(x) + 1], -1),
    "stack truth": lambda conv, x: torch.stack([conv(x)[0] > 0, x[0] > 1], 1),
    "swapaxes, movedim": lambda conv, x: conv(x).swapaxes(1, 2).movedim(0, 2),
    "narrow": lambda conv, x: conv(x).narrow(1, 1, 2),
    "reshape_as": lambda conv, x: conv(x).reshape_as(x.view(2, 24, 8)),
    "crop by padding": lambda conv, x: F.pad(conv(x), (-1, 2, 0, -2), value=1.5),
    "only crop": lambda conv, x: F.pad(conv(x), (-1, -1)),
    "pad nothing": lambda conv, x: F.pad(conv(x), (0, 0)) + 1,
    "pixel_shuffle": lambda conv, x: F.pixel_shuffle(torch.cat([conv(x), x], 1), 2),
    "pixel_shuffle to one channel": lambda conv, x: F.pixel_shuffle(conv(x), 2),
    "pixel_shuffle without batch": lambda conv, x: F.pixel_shuffle(conv(x)[0], 2),
    "pixel_unshuffle": lambda conv, x: F.pixel_unshuffle(conv(x), 2),
    "channel_shuffle": lambda conv, x: F.channel_shuffle(conv(x), 2),
    "after a pattern": lambda conv, x: conv(x) + torch.zeros_like(x) + x.new_full((1,), 2.0) + torch.full_like(x, 3.0),
    "cat of truth": lambda conv, x: torch.cat([conv(x) > 0, x[:, :2] > 1], 1),
    "cat of permuted": lambda conv, x: torch.cat([conv(x).transpose(1, 2), (conv(x) + 1).transpose(1, 2)], 1),
    "cat promotes": lambda conv, x: torch.cat([conv(x), (x * 5).int()], 1),
    "to int and back": lambda conv, x: (conv(x) * 10).int().float() + 1,
    "to long": lambda conv, x: (conv(x) * 10).long(),
    "to bool": lambda conv, x: conv(x).relu().bool(),
    "truth to int": lambda conv, x: (conv(x) > 0).int(),
    "type_as": lambda conv, x: (conv(x) > 0).type_as(x),
    "half and back": lambda conv, x: conv(x).half().float(),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    same_numbers(Written(ROWS[name], nn.Conv2d(4, 4, 1)), (torch.randn(X),))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders(mode: str) -> None:
    def formula(conv: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return F.pad(conv(x), (1, 2, 3, 1), mode=mode), F.pad(conv(x)[0], (2, 0), mode=mode)

    same_numbers(Written(formula, nn.Conv2d(4, 4, 1)), (torch.randn(X),))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_convolutions_with_borders(mode: str) -> None:
    same_numbers(nn.Conv2d(4, 3, 3, padding=1, padding_mode=mode), (torch.randn(X),))


def test_a_map_expanded_by_copies_is_not_moved() -> None:
    lowered = same_numbers(
        Written(lambda a, x: a(x.mean((2, 3), keepdim=True).expand(2, 4, 6, 8)), nn.Conv2d(4, 3, 1)),
        (torch.randn(X),), ("nhwc",),
    )  # fmt: skip
    assert "TRANSPOSE" not in kinds_of(lowered)


def test_padding_integers_is_refused() -> None:
    found = refusals(Written(lambda n: F.pad(n, (1, 1))), (torch.arange(6).reshape(2, 3),))
    assert rules_of(found) == ["PAD_INT32"]
