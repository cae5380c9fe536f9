"""Activations, on values stored plainly and channels last; softmax along the right stored axis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers

X = (2, 4, 6, 8)
ROWS: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
    "relu": (F.relu, ["RELU"]),
    "relu6": (F.relu6, ["RELU6"]),
    "hardtanh": (F.hardtanh, ["RELU1"]),
    "hardtanh_0_6": (lambda x: F.hardtanh(x, 0, 6), ["RELU6"]),
    "hardtanh_other": (lambda x: F.hardtanh(x, -2, 0.5), ["MAXIMUM", "MINIMUM"]),
    "clamp": (lambda x: x.clamp(-0.5, 0.7), ["MAXIMUM", "MINIMUM"]),
    "clamp_below": (lambda x: x.clamp(min=0.1), ["MAXIMUM"]),
    "clamp_above": (lambda x: x.clamp(max=0.1), ["MINIMUM"]),
    "clamp_at_0": (lambda x: x.clamp(min=0), ["RELU"]),
    "sigmoid": (torch.sigmoid, ["LOGISTIC"]),
    "tanh": (torch.tanh, ["TANH"]),
    "hardswish": (F.hardswish, ["HARD_SWISH"]),
    "hardsigmoid": (F.hardsigmoid, ["ADD", "MUL"]),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), ["PRELU"]),
    "elu": (lambda x: F.elu(x, 0.5), ["ELU"]),
    "silu": (F.silu, ["LOGISTIC", "MUL"]),
    "softmax_batch": (lambda x: x.softmax(0), ["SOFTMAX"]),
    "softmax_channel": (lambda x: x.softmax(1), ["SOFTMAX"]),
    "softmax_height": (lambda x: x.softmax(2), ["SOFTMAX"]),
    "softmax_width": (lambda x: x.softmax(-1), ["SOFTMAX"]),
    "softmax_negative": (lambda x: x.softmax(-3), ["SOFTMAX"]),
    "softmax_same_type": (lambda x: x.softmax(1, dtype=torch.float32), ["SOFTMAX"]),
    "log_softmax": (lambda x: x.log_softmax(1), ["LOG_SOFTMAX"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_plain(name: str) -> None:
    formula, kinds = ROWS[name]
    assert kinds_of(same_numbers(Written(formula), (torch.randn(X),))) == kinds


@pytest.mark.parametrize("name", ROWS)
def test_channels_last(name: str) -> None:
    """Behind a convolution; an activation NNAPI can fuse is fused."""
    formula, kinds = ROWS[name]
    convolved = Written(lambda conv, x: formula(conv(x)), nn.Conv2d(4, 4, 3, padding=1))
    fused = kinds[0] in ("RELU", "RELU1", "RELU6")
    assert kinds_of(same_numbers(convolved, (torch.randn(X),))) == ["CONV_2D", *([] if fused else kinds)]


@pytest.mark.parametrize(
    ("slopes", "shape", "behind_conv"),
    [(1, X, True), (4, X, True), (4, X, False), (4, (3, 4), False), (4, (3, 4, 5), False)],
)
def test_prelu(slopes: int, shape: tuple[int, ...], behind_conv: bool) -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1) if behind_conv else nn.Identity()
    prelu = nn.PReLU(slopes)
    nn.init.normal_(prelu.weight)
    same_numbers(Written(lambda before, act, x: act(before(x)), conv, prelu), (torch.randn(shape),))


def test_inplace_twins() -> None:
    def formula(conv: nn.Module, x: Tensor) -> Tensor:
        y = conv(x)
        F.hardtanh_(y)
        F.leaky_relu_(y, 0.1)
        F.elu_(y)
        return torch.sigmoid_(y)

    lowered = same_numbers(Written(formula, nn.Conv2d(4, 4, 3)), (torch.randn(X),))
    assert kinds_of(lowered) == ["CONV_2D", "PRELU", "ELU", "LOGISTIC"]


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "softmax_float64": (lambda x: x.softmax(1, dtype=torch.float64), "SOFTMAX_DTYPE"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, rule = REFUSED[name]
    assert rules_of(refusals(Written(formula), (torch.randn(X),))) == [rule]


def test_relu_of_integers_is_refused() -> None:
    found = refusals(Written(lambda x: x.relu()), (torch.ones(2, 3, dtype=torch.int32),))
    assert rules_of(found) == ["RELU.FORM"]
