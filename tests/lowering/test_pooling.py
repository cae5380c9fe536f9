"""Pools: which padding counts, ceil mode, adaptive windows (SEMANTIC_GAPS A2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.lowering.against_torch import (
    FLOAT_TOLERANCE,
    Written,
    kinds_of,
    lowered_in,
    refusals,
    rules_of,
    same_numbers,
)

X = (2, 4, 6, 8)
ROWS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str] | None]] = {
    "max": (lambda: nn.MaxPool2d(2), X, ["MAX_POOL_2D"]),
    "max_overlapping": (lambda: nn.MaxPool2d((3, 2), (2, 1), (1, 0)), X, ["MAX_POOL_2D"]),
    "max_ceil": (lambda: nn.MaxPool2d(2, ceil_mode=True), (1, 2, 7, 7), ["MAX_POOL_2D"]),
    "max_ceil_last_window_starts_in_padding": (
        lambda: nn.MaxPool2d(2, 2, 1, ceil_mode=True), (1, 2, 5, 5), ["MAX_POOL_2D"],
    ),
    "average": (lambda: nn.AvgPool2d(2), X, ["AVERAGE_POOL_2D"]),
    "average_padding_counted": (lambda: nn.AvgPool2d(3, 1, 1), X, ["PAD", "AVERAGE_POOL_2D"]),
    "average_padding_not_counted": (
        lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False), X, ["AVERAGE_POOL_2D"],
    ),
    "average_ceil_padding_counted": (
        lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), (1, 2, 6, 6), ["PAD", "AVERAGE_POOL_2D"],
    ),
    "average_ceil": (lambda: nn.AvgPool2d(2, 3, ceil_mode=True), (1, 2, 6, 6), ["AVERAGE_POOL_2D"]),
    "global": (lambda: nn.AdaptiveAvgPool2d(1), X, ["AVERAGE_POOL_2D"]),
    "adaptive_divides": (lambda: nn.AdaptiveAvgPool2d((3, 4)), X, ["AVERAGE_POOL_2D"]),
    "adaptive_keeps_height": (lambda: nn.AdaptiveAvgPool2d((None, 4)), X, ["AVERAGE_POOL_2D"]),
    "adaptive_max": (lambda: nn.AdaptiveMaxPool2d((3, 4)), X, ["MAX_POOL_2D"]),
    "dilated": (lambda: nn.MaxPool2d(2, dilation=2), X, None),
    "divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), X, None),
    "adaptive_uneven": (lambda: nn.AdaptiveAvgPool2d((4, 4)), X, None),
    "unbatched": (lambda: nn.MaxPool2d(2), X[1:], None),
    "indices_not_read": (
        lambda: Written(lambda m, x: m(x)[0], nn.MaxPool2d(2, return_indices=True)), X, ["MAX_POOL_2D"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    make, shape, operations = ROWS[name]
    lowered = same_numbers(make(), (torch.randn(shape),))
    assert operations is None or kinds_of(lowered) == operations


def test_padding_that_counts_is_counted() -> None:
    """The corner of a 3x3 window over ones: 4 real cells of 9 (defect B7 of PyTorch's own converter)."""
    _, diff = lowered_in(nn.AvgPool2d(3, 1, 1).eval(), (torch.ones(1, 1, 4, 4),), "auto")
    assert diff.outputs[0].max_abs < 1e-6
    assert float(nn.AvgPool2d(3, 1, 1)(torch.ones(1, 1, 4, 4))[0, 0, 0, 0]) == pytest.approx(4 / 9)


REFUSED = {
    "indices": (lambda: nn.MaxPool2d(2, return_indices=True), X, "POOL_INDICES"),
    "adaptive_indices": (lambda: nn.AdaptiveMaxPool2d(2, return_indices=True), X, "POOL_INDICES"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, shape, rule = REFUSED[name]
    assert rules_of(refusals(Written(lambda pool, x: pool(x), make()), (torch.randn(shape),))) == [rule]


@settings(max_examples=40)
@given(
    kind=st.sampled_from(["max", "average", "average_excluding"]),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pad=st.tuples(st.integers(0, 2), st.integers(0, 2)), ceil=st.booleans(),
)  # fmt: skip
def test_any_geometry(kind, size, window, stride, pad, ceil) -> None:
    """Whatever torch accepts gives torch's numbers: cells of partial windows and paddings included."""
    if any(2 * p > w or n + 2 * p < w for p, w, n in zip(pad, window, size, strict=True)):
        return
    module = (
        nn.MaxPool2d(window, stride, pad, ceil_mode=ceil) if kind == "max"
        else nn.AvgPool2d(window, stride, pad, ceil, count_include_pad=kind == "average")
    )  # fmt: skip
    _, diff = lowered_in(module.eval(), (torch.randn(1, 2, *size),), "auto")
    assert all(row.relative <= FLOAT_TOLERANCE for row in diff.rows)
