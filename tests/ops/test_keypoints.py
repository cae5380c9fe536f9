"""HEATMAP_MAX_KEYPOINT finds peaks between the elements."""

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
UNIT = np.array([[0, 0, 8, 8]], np.float32)


def keypoints(heatmap: Any, boxes: Any = UNIT, nchw: bool = False, quant: Any = None) -> Call:
    return use("HEATMAP_MAX_KEYPOINT", heatmap=heatmap, boxes=boxes, nchw=nchw, quant=quant)


def parabola(size: int, x: float, y: float, height: float = 3.0) -> np.ndarray:
    """height - (column - x)² - 2 (row - y)² as a heatmap [1, size, size, 1]."""
    row, column = np.mgrid[:size, :size]
    return (height - (column - x) ** 2 - 2 * (row - y) ** 2).astype(np.float32).reshape(1, size, size, 1)


def test_the_peak_of_a_parabola_is_found_exactly() -> None:
    """Peak at column 3.25, row 4.5 of 8; the box [8 wide, 16 high] starts at (10, 20)."""
    box = np.array([[10, 20, 18, 36]], np.float32)
    scores, places = run(keypoints(parabola(8, 3.25, 4.5), box))
    assert scores.tolist() == [[3.0]]
    assert places.tolist() == [[[10 + 3.75, 20 + 10.0]]]


@given(st.integers(8, 40), st.integers(8, 40))
def test_peaks_inside_are_found_anywhere(x: int, y: int) -> None:
    scores, places = run(keypoints(parabola(8, x / 8, y / 8)))
    # A dozen float32 operations on numbers below 64.
    assert np.allclose(scores, 3.0, rtol=0, atol=1e-4)
    assert np.allclose(places[0, 0], [x / 8 + 0.5, y / 8 + 0.5], rtol=0, atol=1e-4)


def test_a_flat_map_keeps_its_first_element() -> None:
    """No curvature, no refinement: the middle of element (0, 0)."""
    scores, places = run(keypoints(np.full((1, 8, 8, 1), 5, np.float32)))
    assert scores.tolist() == [[5.0]]
    assert places.tolist() == [[[0.5, 0.5]]]


def test_the_border_is_mirrored() -> None:
    """A single 1 in the corner: neighbours are 0 on both sides, so the parabola peaks in the corner itself."""
    heatmap = np.zeros((1, 4, 4, 1), np.float32)
    heatmap[0, 3, 3, 0] = 1
    scores, places = run(keypoints(heatmap))
    assert scores.tolist() == [[1.0]]
    assert places.tolist() == [[[7.0, 7.0]]]


def test_shifts_are_scaled_down_to_three_halves() -> None:
    """Along x: -1, 0, 0.9: slope 0.95, curvature -0.1, top at 9.5; along y: curvature -2, top at 0."""
    heatmap = np.full((1, 5, 5, 1), -1, np.float32)
    heatmap[0, 2, 1:4, 0] = [-0.8, 0.0, -0.1]
    heatmap[0, 1, 2, 0] = heatmap[0, 3, 2, 0] = -0.02
    grid = heatmap[0, 1:4, 1:4, 0].astype(np.float64)
    slope = np.array([(grid[1, 2] - grid[1, 0]) / 2, (grid[2, 1] - grid[0, 1]) / 2])
    cross = (grid[2, 2] - grid[2, 0] - grid[0, 2] + grid[0, 0]) / 4
    bend = np.array([[grid[1, 0] + grid[1, 2], cross], [cross, grid[0, 1] + grid[2, 1]]])
    shift = np.linalg.solve(bend, -slope)
    expected = shift * min(1, 1.5 / np.abs(shift).max())
    _, places = run(keypoints(heatmap))
    assert np.allclose(places[0, 0], (2 + expected + 0.5) / 5 * 8, rtol=0, atol=1e-4)


def test_layouts_agree() -> None:
    heatmap = np.concatenate([parabola(6, 2.25, 3.5), parabola(6, 4, 1)], axis=3)
    last = run(keypoints(heatmap))
    first = run(keypoints(heatmap.transpose(0, 3, 1, 2), nchw=True))
    for one, other in zip(last, first, strict=True):
        assert np.array_equal(one, other)


def test_codes() -> None:
    """Scores of scale 0.5 told in scale 0.25; places in eighths."""
    heatmap = (np.full((1, 8, 8, 1), 10, np.uint8), Quant(0.5, 4))
    boxes = (np.array([[0, 0, 64, 128]], np.uint16), EIGHTH)
    scores, places = run(keypoints(heatmap, boxes, quant=Quant(0.25, 100)))
    assert scores.tolist() == [[112]]
    assert places.tolist() == [[[4, 8]]]


def test_a_reversed_box_is_refused() -> None:
    with pytest.raises(SimulationError, match="ends before it starts"):
        run(keypoints(parabola(4, 1, 1), np.array([[1, 0, 0, 1]], np.float32)))


CODES = (np.zeros((1, 4, 4, 1), np.int8), Quant(0.5, 0))

BROKEN: dict[str, Callable[[], Call]] = {
    "HEATMAP_MAX_KEYPOINT.C1": lambda: keypoints(np.zeros((1, 4, 5, 1), np.float32)),
    "HEATMAP_MAX_KEYPOINT.C2": lambda: keypoints(np.zeros((2, 4, 4, 1), np.float32)),
    "HEATMAP_MAX_KEYPOINT.C3": lambda: keypoints(
        CODES, (np.zeros((1, 4), np.uint16), Quant(0.125, 1)), quant=Quant(1.0)
    ),
    "HEATMAP_MAX_KEYPOINT.C4": lambda: keypoints(CODES, (np.zeros((1, 4), np.uint16), EIGHTH)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_one_element_has_no_neighbours() -> None:
    call = keypoints(np.zeros((1, 1, 1, 1), np.float32))
    assert [finding.rule for finding in broken_rules(call, "here")] == ["HEATMAP_MAX_KEYPOINT.C1"]


def test_result_types() -> None:
    heatmap = OperandType(OperandCode.TENSOR_FLOAT32, (Dim("n"), 17, 56, 56))
    boxes = OperandType(OperandCode.TENSOR_FLOAT32, (Dim("n"), 4))
    call = keypoints(heatmap, boxes, nchw=True)
    assert [one.shape for one in call.results] == [(Dim("n"), 17), (Dim("n"), 17, 2)]
    assert broken_rules(call, "here") == []
    assert required_level(call)[0] == 3
