"""Regions of feature maps, sampled or pooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

EIGHTH = Quant(0.125, 0)


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def boxes(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def align(
    x: Any, rois: Any, size: tuple[int, int] = (1, 1), samples: tuple[int, int] = (1, 1), batch: Any = None,
    stride: float = 1.0, nchw: bool = False, quant: Quant | None = None,
) -> Call:  # fmt: skip
    return use(
        "ROI_ALIGN", input=x, rois=rois, batch_index=np.zeros(1, np.int32) if batch is None else batch,
        out_height=size[0], out_width=size[1], height_stride=stride, width_stride=stride,
        height_samples=samples[0], width_samples=samples[1], nchw=nchw, quant=quant,
    )  # fmt: skip


def pool(
    x: Any, rois: Any, size: tuple[int, int] = (1, 1), batch: Any = None, stride: float = 1.0, nchw: bool = False
) -> Call:
    return use(
        "ROI_POOLING", input=x, rois=rois, batch_index=np.zeros(1, np.int32) if batch is None else batch,
        out_height=size[0], out_width=size[1], height_stride=stride, width_stride=stride, nchw=nchw,
    )  # fmt: skip


MAP = ramp(1, 4, 4, 1)  # row r, column c holds 4 r + c

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    # One sample in the middle: (x, y) = (2, 1), between no elements.
    "align_centre": (lambda: run(align(MAP, boxes([1, 0, 3, 2])))[0, :, :, 0], [[6]]),
    # (1.5, 1.5): a quarter each of 5, 6, 9, 10.
    "align_between": (lambda: run(align(MAP, boxes([1, 1, 2, 2])))[0, :, :, 0], [[7.5]]),
    # Bins of 1 × 1, samples at half: x = 0.5, 1.5; y = 0.5, 1.5.
    "align_bins": (lambda: run(align(MAP, boxes([0, 0, 2, 2]), (2, 2)))[0, :, :, 0], [[2.5, 3.5], [6.5, 7.5]]),
    # ceil(2 / 1) = 2 samples a side: the mean of the bins above.
    "align_adaptive": (lambda: run(align(MAP, boxes([0, 0, 2, 2]), samples=(0, 0)))[0, :, :, 0], [[5]]),
    "align_stride": (lambda: run(align(MAP, boxes([4, 4, 8, 8]), stride=4.0))[0, :, :, 0], [[7.5]]),
    # A region below one element counts as one: its sample is at start + 1/2.
    "align_small": (lambda: run(align(MAP, boxes([1, 1, 1, 1])))[0, :, :, 0], [[7.5]]),
    # The last row and column have no successor: the sample at (3.5, 3.5) is the corner itself.
    "align_border": (lambda: run(align(MAP, boxes([3, 3, 4, 4])))[0, :, :, 0], [[15]]),
    "align_nchw": (
        lambda: run(align(MAP.transpose(0, 3, 1, 2), boxes([1, 1, 2, 2]), nchw=True))[0, 0],
        [[7.5]],
    ),
    # Corners are rounded and both counted: elements 1…3 of rows 0…1.
    "pool": (lambda: run(pool(MAP, boxes([0.6, 0.4, 2.5, 1.4])))[0, :, :, 0], [[7]]),
    # 3 elements in 2 bins of 1.5: floor to ceil overlaps, [0, 2) and [1, 3).
    "pool_bins_overlap": (lambda: run(pool(MAP, boxes([0, 0, 2, 2]), (2, 2)))[0, :, :, 0], [[5, 6], [9, 10]]),
    "pool_stride": (lambda: run(pool(MAP, boxes([8, 8, 12, 12]), stride=4.0))[0, :, :, 0], [[15]]),
    # The region starts behind the last element, so its bin is empty.
    "pool_outside": (lambda: run(pool(MAP, boxes([4, 4, 4, 4])))[0, :, :, 0], [[0]]),
    "pool_nchw": (lambda: run(pool(MAP.transpose(0, 3, 1, 2), boxes([0, 0, 1, 1]), nchw=True))[0, 0], [[5]]),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    assert make().tolist() == expected


def test_regions_name_their_image() -> None:
    x = np.concatenate([MAP, MAP + 100])
    rois = boxes([0, 0, 0, 0], [0, 0, 0, 0])
    batch = np.array([1, 0], np.int32)
    assert run(pool(x, rois, batch=batch)).ravel().tolist() == [100, 0]
    assert run(align(x, rois, batch=batch)).ravel().tolist() == [102.5, 2.5]


def test_align_on_codes_weighs_in_255ths() -> None:
    """Weights rha(255 / 4) = 64; (64 · (5+6+9+10) - 256 · 0) · 0.5 / 255 / 0.5 = 7.53."""
    x = (MAP.astype(np.uint8) + 10, Quant(0.5, 10))
    rois = (np.array([[8, 8, 16, 16]], np.uint16), EIGHTH)
    assert run(align(x, rois, quant=Quant(0.5, 100))).ravel().tolist() == [108]
    assert run(align(x, rois, quant=Quant(0.25, 100))).ravel().tolist() == [115]


def test_pooling_codes_keeps_them() -> None:
    x = (MAP.astype(np.int8), Quant(0.5, -7))
    rois = (np.array([[0, 0, 8, 8], [32, 32, 32, 32]], np.uint16), EIGHTH)
    call = pool(x, rois, batch=np.zeros(2, np.int32))
    assert run(call).ravel().tolist() == [5, -7]
    assert call.out.quant == Quant(0.5, -7)


def test_a_nan_is_the_largest_only_where_it_comes_first() -> None:
    x = np.array([np.nan, 1, 2, np.nan], np.float32).reshape(1, 2, 2, 1)
    assert np.isnan(run(pool(x, boxes([0, 0, 1, 1]))).item())
    assert run(pool(x, boxes([1, 0, 1, 1]))).item() == 1


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
    st.tuples(*[st.integers(0, 32)] * 4),
)  # fmt: skip
def test_align_of_a_plane_is_the_plane(height: int, width: int, samples: int, corners: tuple[int, ...]) -> None:
    """Bilinear samples of a linear function are exact, and averages of them are its value in the bin's middle."""
    size = 9
    plane = (3 * np.arange(size)[:, None] + np.arange(size)).astype(np.float32).reshape(1, size, size, 1)
    # Eighths, kept where every sample has a successor (size - 1) also when the region is stretched to 1.
    x1, x2 = sorted(corner / 8 for corner in corners[:2])
    y1, y2 = sorted(corner / 8 for corner in corners[2:])
    out = run(align(plane, boxes([x1, y1, x2, y2]), (height, width), (samples, samples)))[0, :, :, 0]
    across = x1 + max(x2 - x1, 1) * (np.arange(width) + 0.5) / width
    down = y1 + max(y2 - y1, 1) * (np.arange(height) + 0.5) / height
    # Values below 36, at most 9 samples of 4 products each: 64 units in the last place.
    assert np.allclose(out, 3 * down[:, None] + across, rtol=0, atol=64 * 36 * np.finfo(np.float32).eps)


OUTSIDE: dict[str, tuple[list[float], int, str]] = {
    "before": ([-1, 0, 1, 1], 0, "does not lie"),
    "behind": ([0, 0, 4.5, 1], 0, "does not lie"),
    "reversed": ([2, 0, 1, 1], 0, "does not lie"),
    "no_such_image": ([0, 0, 1, 1], 1, "image 1 of 1"),
}


@pytest.mark.parametrize("row", OUTSIDE)
@pytest.mark.parametrize("operation", [align, pool])
def test_regions_that_are_refused(row: str, operation: Callable[..., Call]) -> None:
    box, image, told = OUTSIDE[row]
    with pytest.raises(SimulationError, match=told):
        run(operation(MAP, boxes(box), batch=np.array([image], np.int32)))


def test_align_refuses_a_result_scale_too_fine() -> None:
    x = (MAP.astype(np.uint8), Quant(1.0, 0))
    with pytest.raises(SimulationError, match="multiplier"):
        run(align(x, (np.array([[8, 8, 16, 16]], np.uint16), EIGHTH), quant=Quant(0.001, 0)))


CODES = (MAP.astype(np.uint8), Quant(0.5, 0))
BOX_CODES = (np.zeros((1, 4), np.uint16), EIGHTH)
WRONG_CODES = (np.zeros((1, 4), np.uint16), Quant(0.25, 0))

BROKEN: dict[str, Callable[[], Call]] = {
    "ROI_ALIGN.C1": lambda: align(MAP, boxes([0, 0, 1])),
    "ROI_ALIGN.C2": lambda: align(MAP, boxes([0, 0, 1, 1]), (0, 1)),
    "ROI_ALIGN.C3": lambda: align(CODES, WRONG_CODES, quant=Quant(0.5, 0)),
    "ROI_ALIGN.C4": lambda: align(ramp(1, 0, 4, 1), boxes([0, 0, 1, 1])),
    "ROI_ALIGN.C5": lambda: align(CODES, BOX_CODES),
    "ROI_POOLING.C1": lambda: pool(MAP, boxes([0, 0, 1, 1]), batch=np.zeros(2, np.int32)),
    "ROI_POOLING.C2": lambda: pool(MAP, boxes([0, 0, 1, 1]), stride=0.0),
    "ROI_POOLING.C3": lambda: pool(CODES, WRONG_CODES),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_negative_sample_counts_are_refused() -> None:
    call = align(MAP, boxes([0, 0, 1, 1]), samples=(1, -1))
    assert [finding.rule for finding in broken_rules(call, "here")] == ["ROI_ALIGN.C2"]


def test_result_shapes() -> None:
    x = OperandType(OperandCode.TENSOR_FLOAT32, (1, Dim("h"), Dim("w"), 3))
    rois = OperandType(OperandCode.TENSOR_FLOAT32, (Dim("n"), 4))
    batch = OperandType(OperandCode.TENSOR_INT32, (5,))
    assert align(x, rois, (2, 3), batch=batch).out.shape == (5, 2, 3, 3)
    assert pool(x, rois, (2, 3), batch=batch, nchw=True).out.shape == (5, Dim("h"), 2, 3)
    assert required_level(pool(x, rois))[0] == 3
    assert required_level(align((MAP.astype(np.int8), Quant(0.5)), BOX_CODES, quant=Quant(1.0)))[0] == 4
