"""Convolutions and batch norm: weights reordered, padding made NNAPI's, statistics folded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

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


def normed(channels: int, affine: bool = True, kind: type = nn.BatchNorm2d) -> nn.Module:
    """A batch norm whose statistics are not the identity."""
    norm = kind(channels, affine=affine)
    norm.running_mean = torch.randn(channels)
    norm.running_var = torch.rand(channels) + 0.5
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


# name → (module, input shape, operations in layout "auto" where they are the point)
ROWS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str] | None]] = {
    "plain": (lambda: nn.Conv2d(4, 5, 3), X, ["CONV_2D"]),
    "stride_padding": (lambda: nn.Conv2d(4, 5, 3, 2, 1), X, ["CONV_2D"]),
    "rectangular": (lambda: nn.Conv2d(4, 5, (3, 2), (2, 1), (1, 0), (1, 2)), X, ["CONV_2D"]),
    "dilated": (lambda: nn.Conv2d(4, 5, 3, 1, 2, 2), X, ["CONV_2D"]),
    "no_bias": (lambda: nn.Conv2d(4, 5, 3, bias=False), X, ["CONV_2D"]),
    "pad_as_wide_as_filter": (lambda: nn.Conv2d(4, 5, 1, padding=1), X, ["PAD", "CONV_2D"]),
    "same_odd_tail": (lambda: nn.Conv2d(4, 5, (4, 3), padding="same", dilation=(1, 2)), X, ["CONV_2D"]),
    "valid": (lambda: nn.Conv2d(4, 5, 3, padding="valid"), X, ["CONV_2D"]),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), X, ["GROUPED_CONV_2D"]),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), X, ["DEPTHWISE_CONV_2D"]),
    "depthwise_multiplier": (lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=4), X, ["DEPTHWISE_CONV_2D"]),
    "depthwise_dilated": (lambda: nn.Conv2d(4, 8, 3, 1, 2, 2, groups=4), X, ["DEPTHWISE_CONV_2D"]),
    "one_channel": (lambda: nn.Conv2d(1, 3, 3), (1, 1, 5, 5), ["CONV_2D"]),
    "channels_equal_sides": (lambda: nn.Conv2d(4, 4, 3, padding=1), (1, 4, 4, 4), ["CONV_2D"]),
    "to_one_pixel": (lambda: nn.Conv2d(4, 5, 3), (1, 4, 3, 3), ["CONV_2D"]),
    "unbatched": (lambda: nn.Conv2d(4, 5, 3), X[1:], None),
    "grouped_dilated": (lambda: nn.Conv2d(4, 6, 3, groups=2, dilation=2), X, None),
    "transposed_depthwise": (lambda: nn.ConvTranspose2d(4, 4, 3, 1, 1, groups=4), X, None),
    "transposed_dilated": (lambda: nn.ConvTranspose2d(4, 4, 3, dilation=2), X, None),
    "one_dimensional": (lambda: nn.Conv1d(4, 5, 3), (2, 4, 9), None),
    "reflected": (lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"), X, None),
    "transposed": (lambda: nn.ConvTranspose2d(4, 5, 3, 2, 1, 1), X, ["TRANSPOSE_CONV_2D"]),
    "transposed_output_padding": (
        lambda: nn.ConvTranspose2d(4, 5, (2, 3), (3, 2), (0, 1), (2, 0)), X, ["TRANSPOSE_CONV_2D"]
    ),
    "norm": (lambda: nn.Sequential(nn.Conv2d(4, 5, 3, bias=False), normed(5)), X, ["CONV_2D"]),
    "norm_bias": (lambda: nn.Sequential(nn.Conv2d(4, 5, 3), normed(5)), X, ["CONV_2D"]),
    "norm_plain": (lambda: nn.Sequential(nn.Conv2d(4, 5, 3), normed(5, affine=False)), X, ["CONV_2D"]),
    "norm_depthwise": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), normed(8)), X, ["DEPTHWISE_CONV_2D"]),
    "norm_grouped": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), normed(8)), X, ["GROUPED_CONV_2D"]),
    "norm_transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 5, 3), normed(5)), X, ["TRANSPOSE_CONV_2D"]),
    "norm_relu": (lambda: nn.Sequential(nn.Conv2d(4, 5, 3), normed(5), nn.ReLU6()), X, ["CONV_2D"]),
    "norm_first": (lambda: nn.Sequential(normed(4), nn.Conv2d(4, 5, 3)), X, ["MUL", "ADD", "CONV_2D"]),
    "norm_of_features": (lambda: normed(6, kind=nn.BatchNorm1d), (3, 6), ["MUL", "ADD"]),
    "norm_of_sequence": (lambda: normed(6, kind=nn.BatchNorm1d), (3, 6, 5), ["MUL", "ADD"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    make, shape, operations = ROWS[name]
    lowered = same_numbers(make(), (torch.randn(shape),))
    assert operations is None or kinds_of(lowered) == operations


def test_norm_is_not_folded_into_a_convolution_others_read() -> None:
    def both(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
        y = conv(x)
        return norm(y) + y

    lowered = same_numbers(Written(both, nn.Conv2d(4, 5, 3), normed(5)), (torch.randn(X),))
    assert kinds_of(lowered) == ["CONV_2D", "MUL", "ADD", "ADD"]


def test_folded_weights_say_so() -> None:
    module = nn.Sequential(nn.Conv2d(4, 5, 3), normed(5))
    lowered = same_numbers(module, (torch.randn(X),), ("auto",))
    rules = {step.rule.id for step in lowered.steps_for("v0.weight")}
    assert {"fusion.batch_norm", "layout.oihw_to_ohwi"} <= rules
    (step,) = [step for step in lowered.steps if step.rule.id == "fusion.batch_norm"]
    gain = module[1].weight / torch.sqrt(module[1].running_var + module[1].eps)
    # The formula of the Rule, computed here on the first weight.
    first = (gain[0] * module[0].weight[0, 0, 0, 0]).item()
    assert float(lowered.model["v0.weight"].value[0, 0, 0, 0]) == pytest.approx(first, rel=1e-6)
    assert step.facts["channels"] == 5


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "norm_without_statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), X, "BATCH_NORM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, shape, rule = REFUSED[name]
    found = refusals(Written(lambda module, x: module(x), make()), (torch.randn(shape),))
    assert rules_of(found) == [rule]


def test_computed_weight_is_refused() -> None:
    found = refusals(Written(F.conv2d), (torch.randn(X), torch.randn(5, 4, 3, 3)))
    assert [(refusal.kind, refusal.rule) for refusal in found] == [("NOT_YET", "CONV_WEIGHT")]


pairs = st.tuples


@settings(max_examples=25)
@given(
    size=pairs(st.integers(1, 7), st.integers(1, 7)), kernel=pairs(st.integers(1, 4), st.integers(1, 4)),
    stride=pairs(st.integers(1, 3), st.integers(1, 3)), padding=pairs(st.integers(0, 4), st.integers(0, 4)),
    dilation=pairs(st.integers(1, 3), st.integers(1, 3)), groups=st.sampled_from([1, 2, 4]),
    multiplier=st.integers(1, 2), bias=st.booleans(), layout=st.sampled_from(["auto", "nchw"]),
)  # fmt: skip
def test_any_geometry(size, kernel, stride, padding, dilation, groups, multiplier, bias, layout) -> None:
    """Whatever torch accepts gives torch's numbers."""
    module = nn.Conv2d(4, 4 * multiplier, kernel, stride, padding, dilation, groups, bias).eval()
    x = torch.randn(1, 4, *size)
    fits = all(n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in zip(size, padding, dilation, kernel, strict=True))
    if not fits:
        return
    _, diff = lowered_in(module, (x,), layout)
    assert all(row.relative <= FLOAT_TOLERANCE for row in diff.rows)


@settings(max_examples=15)
@given(
    size=pairs(st.integers(1, 5), st.integers(1, 5)), kernel=pairs(st.integers(1, 4), st.integers(1, 4)),
    stride=pairs(st.integers(1, 3), st.integers(1, 3)), padding=pairs(st.integers(0, 2), st.integers(0, 2)),
    extra=pairs(st.integers(0, 2), st.integers(0, 2)),
)  # fmt: skip
def test_any_transposed_geometry(size, kernel, stride, padding, extra) -> None:
    sizes = [(n - 1) * s - 2 * p + k + e
             for n, s, p, k, e in zip(size, stride, padding, kernel, extra, strict=True)]  # fmt: skip
    if min(sizes) < 1 or any(e >= s for e, s in zip(extra, stride, strict=True)):
        return
    module = nn.ConvTranspose2d(3, 2, kernel, stride, padding, extra).eval()
    _, diff = lowered_in(module, (torch.randn(1, 3, *size),), "auto")
    assert all(row.relative <= FLOAT_TOLERANCE for row in diff.rows)
