"""One-dimensional and unbatched maps, and convolutions and pools beyond what NNAPI's arguments say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnapi_lab.torchscript.lowerings.pooling import bins
from tests.lowering.against_torch import Written, kinds_of, refusals, same_numbers

SEQUENCE, MAP = (2, 4, 11), (2, 4, 6, 8)

MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1, dilation=2), SEQUENCE),
    "conv1d, strided, unbatched": (nn.Conv1d(4, 6, 3, stride=2), SEQUENCE[1:]),
    "conv1d, depthwise, same": (nn.Conv1d(4, 4, 5, groups=4, padding="same"), SEQUENCE),
    "conv1d and batch norm": (nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU()), SEQUENCE),
    "transposed": (nn.ConvTranspose1d(4, 6, 4, 2, 1, output_padding=1), SEQUENCE),
    "conv2d, unbatched": (nn.Conv2d(4, 6, 3), MAP[1:]),
    "transposed groups, dilated": (nn.ConvTranspose2d(4, 6, 3, 2, groups=2, dilation=2, padding=1), MAP),
    "transposed depthwise": (nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4, bias=False), MAP),
    "transposed groups and batch norm": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 2, 2, groups=2), nn.BatchNorm2d(6)), MAP),
    "groups, dilated": (nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2), MAP),
    "padding wider than the filter": (nn.Conv2d(4, 6, 1, padding=2), MAP),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_convolution(name: str) -> None:
    module, shape = MODULES[name]
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    same_numbers(module, (torch.randn(shape),))


POOLS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "max_pool1d": (lambda x: F.max_pool1d(x, 3, 2, 1), SEQUENCE),
    "max_pool1d, ceil": (lambda x: F.max_pool1d(x, 4, 3, ceil_mode=True), SEQUENCE),
    "max_pool1d, dilated": (lambda x: F.max_pool1d(x, 3, 2, 1, dilation=2), SEQUENCE),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 3, 2, 1), SEQUENCE),
    "avg_pool1d, ceil, uncounted": (
        lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False, ceil_mode=True), SEQUENCE),
    "adaptive 1d, one": (lambda x: F.adaptive_avg_pool1d(x, 1), SEQUENCE),
    "adaptive 1d, overlapping": (lambda x: F.adaptive_avg_pool1d(x, 4), SEQUENCE),
    "adaptive max 1d, overlapping": (lambda x: F.adaptive_max_pool1d(x, 4), SEQUENCE),
    "adaptive, overlapping": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), MAP),
    "adaptive, larger than the map": (lambda x: F.adaptive_avg_pool2d(x, (7, 7)), MAP),
    "adaptive max, overlapping": (lambda x: F.adaptive_max_pool2d(x, (4, 3)), MAP),
    "adaptive, one axis stays": (lambda x: F.adaptive_avg_pool2d(x, (6, 3)), MAP),
    "dilated": (lambda x: F.max_pool2d(x, 3, 1, 0, dilation=2), MAP),
    "dilated, padded": (lambda x: F.max_pool2d(x, 3, 1, 1, dilation=2), MAP),
    "dilated, strided, ceil": (lambda x: F.max_pool2d(x, 2, 2, 0, dilation=(1, 3), ceil_mode=True), MAP),
    "divisor": (lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5), MAP),
    "divisor, ceil": (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, divisor_override=5), MAP),
    "unbatched": (lambda x: F.max_pool2d(x, 2), MAP[1:]),
    "lp_pool2d": (lambda x: F.lp_pool2d(x, 2, 2), MAP),
    "area": (lambda x: F.interpolate(x, size=(4, 3), mode="area"), MAP),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pool(name: str) -> None:
    formula, shape = POOLS[name]
    same_numbers(Written(formula), (torch.randn(shape),))


def test_bins_are_torchs() -> None:
    assert bins(7, 3) == [(0, 3), (2, 5), (4, 7)]


def test_a_chain_of_sequences_is_transposed_at_its_ends_only() -> None:
    chain = nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 4, 3), nn.ReLU())
    inside = kinds_of(same_numbers(chain, (torch.randn(SEQUENCE),)))
    assert inside.count("TRANSPOSE") == 2


FACTORS = (2, 1.3, 0.7, (1.5, 1))
MODES = ("nearest", "nearest-exact", "bilinear", "bicubic")


@pytest.mark.parametrize("factor", FACTORS, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_resizing_by_factors(mode: str, factor: Any) -> None:
    corners = (None,) if mode.startswith("nearest") else (False, True)
    for align in corners:
        formula = Written(lambda x, a=align: F.interpolate(x, scale_factor=factor, mode=mode, align_corners=a))
        same_numbers(formula, (torch.randn(MAP),), ("auto", "nhwc"))


RESIZED: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "bicubic to a size": (lambda x: F.interpolate(x, size=(11, 13), mode="bicubic"), MAP),
    "bilinear, antialiased": (lambda x: F.interpolate(x, size=(3, 5), mode="bilinear", antialias=True), MAP),
    "bicubic, antialiased": (lambda x: F.interpolate(x, size=(3, 5), mode="bicubic", antialias=True), MAP),
    "linear": (lambda x: F.interpolate(x, size=17, mode="linear"), SEQUENCE),
    "linear, corners": (lambda x: F.interpolate(x, size=17, mode="linear", align_corners=True), SEQUENCE),
    "linear by a factor": (lambda x: F.interpolate(x, scale_factor=1.3, mode="linear"), SEQUENCE),
    "nearest 1d": (lambda x: F.interpolate(x, scale_factor=2), SEQUENCE),
    "nearest 1d by a factor": (lambda x: F.interpolate(x, scale_factor=1.3), SEQUENCE),
    "nearest exact 1d": (lambda x: F.interpolate(x, size=7, mode="nearest-exact"), SEQUENCE),
}


@pytest.mark.parametrize("name", RESIZED)
def test_resized(name: str) -> None:
    formula, shape = RESIZED[name]
    same_numbers(Written(formula), (torch.randn(shape),))


def test_three_dimensions_are_forbidden() -> None:
    found = refusals(Written(lambda c, x: c(x.view(1, 4, 2, 3, 8)), nn.Conv3d(4, 2, 1)), (torch.randn(4, 6, 8),))
    assert found[0].kind == "FORBIDDEN"


def test_indices_of_a_pool_are_forbidden() -> None:
    found = refusals(Written(lambda x: F.max_pool1d(x, 2, return_indices=True)[1]), (torch.randn(SEQUENCE),))
    assert found[0].kind == "FORBIDDEN"
