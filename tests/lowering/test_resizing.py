"""Upsampling: corner rules, and scales that are not the ratio of the sizes (SEMANTIC_GAPS A4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.lowering.against_torch import Written, kinds_of, same_numbers

X = (2, 4, 6, 8)


def bilinear(**how: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, mode="bilinear", **how)


def nearest(mode: str = "nearest", **how: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, mode=mode, **how)


ROWS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "bilinear_factor": (bilinear(scale_factor=2), "RESIZE_BILINEAR"),
    "bilinear_whole_result": (bilinear(scale_factor=1.5), "RESIZE_BILINEAR"),
    "bilinear_size": (bilinear(size=(9, 5)), "RESIZE_BILINEAR"),
    "bilinear_corners": (bilinear(scale_factor=2, align_corners=True), "RESIZE_BILINEAR"),
    "bilinear_corners_any_factor": (bilinear(scale_factor=1.3, align_corners=True), "RESIZE_BILINEAR"),
    "bilinear_corners_to_one_row": (bilinear(size=(1, 5), align_corners=True), "RESIZE_BILINEAR"),
    "nearest_factor": (nearest(scale_factor=2), "RESIZE_NEAREST_NEIGHBOR"),
    "nearest_size": (nearest(size=(9, 5)), "RESIZE_NEAREST_NEIGHBOR"),
    "nearest_two_factors": (nearest(scale_factor=(2, 3)), "RESIZE_NEAREST_NEIGHBOR"),
    "nearest_recomputed": (nearest(scale_factor=1.3, recompute_scale_factor=True), "RESIZE_NEAREST_NEIGHBOR"),
    "nearest_exact": (nearest("nearest-exact", scale_factor=2), "RESIZE_NEAREST_NEIGHBOR"),
    "nearest_exact_size": (nearest("nearest-exact", size=(5, 13)), "RESIZE_NEAREST_NEIGHBOR"),
}


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    formula, kind = ROWS[name]
    assert kinds_of(same_numbers(Written(formula), (torch.randn(X),))) == [kind]


# Sampling by a factor that is not the size ratio (defect B11 of PyTorch's own converter: torch samples by 1/1.3, NNAPI
# by 6/7), and filters NNAPI has no resize for: constant indices or interpolation matrices give torch's own values.
BY_TABLE = {
    "bilinear_by_factor": bilinear(scale_factor=1.3),
    "nearest_by_factor": nearest(scale_factor=1.3),
    "nearest_shrinking": nearest(scale_factor=0.7),
    "bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "antialiased": bilinear(size=(3, 4), antialias=True),
}


@pytest.mark.parametrize("name", BY_TABLE)
def test_by_table(name: str) -> None:
    kinds = kinds_of(same_numbers(Written(BY_TABLE[name]), (torch.randn(X),)))
    assert set(kinds) <= {"GATHER", "FULLY_CONNECTED", "TRANSPOSE", "RESHAPE"}
    assert "RESIZE_BILINEAR" not in kinds
