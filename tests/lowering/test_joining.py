"""Concatenation along logical dimensions, members stored in different orders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.lowering.against_torch import Written, kinds_of, same_numbers

X = (2, 4, 6, 8)
ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels": lambda x: torch.cat([x, x * 2.0], 1),
    "batch": lambda x: torch.cat([x, x * 2.0]),
    # CONCATENATION wants 0 <= axis (defect B6 of PyTorch's own converter).
    "negative": lambda x: torch.cat([x, x * 2.0], -1),
    "negative_channels": lambda x: torch.cat([x, x * 2.0], -3),
    "unequal": lambda x: torch.cat([x, x[:, :, :2]], 2),
    "constant": lambda x: torch.cat([x, torch.ones(2, 1, 6, 8)], 1),
    "itself": lambda x: torch.cat([x, x], 1),
    "flat": lambda x: torch.cat([x.flatten(1), x.flatten(1)], 1),
    "single": lambda x: torch.cat([x], 1),
    "empty_is_skipped": lambda x: torch.cat([x, torch.zeros(0)], 1),
    "stored_differently": lambda x: torch.cat([x, x.flatten(1).reshape(2, 4, 6, 8)], 1),
    "then_relu": lambda x: F.relu(torch.cat([x, x], 1)),
    "of_means": lambda x: torch.cat([x.mean(2), x.mean(2)], 1),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("behind", ["input", "convolution"])
def test_row(name: str, behind: str) -> None:
    before = nn.Conv2d(4, 4, 3, padding=1) if behind == "convolution" else nn.Identity()
    same_numbers(Written(lambda module, x: ROWS[name](module(x)), before), (torch.randn(X),))


def test_channels_last_members_are_joined_as_they_lie() -> None:
    module = Written(lambda conv, x: torch.cat([conv(x), conv(x)], 1), nn.Conv2d(4, 4, 3))
    lowered = same_numbers(module, (torch.randn(X),))
    assert kinds_of(lowered) == ["CONV_2D", "CONV_2D", "CONCATENATION"]
    (step,) = [step for step in lowered.steps if step.rule.id == "layout.axis_mapped"]
    assert (step.facts["dim"], step.facts["axis"]) == (1, 3)
