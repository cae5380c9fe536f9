"""Boxes moved, overlapped and suppressed."""

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
from nnapi_lab.ops.boxes import hard_judge, overlaps, suppress
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

EIGHTH = Quant(0.125, 0)
HARD, LINEAR, GAUSSIAN = 0, 1, 2


def reals(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


# --- AXIS_ALIGNED_BBOX_TRANSFORM -----------------------------------------------------------------------------


def moved(rois: Any, deltas: Any, batch: Any = None, info: Any = None, **options: Any) -> Call:
    return use(
        "AXIS_ALIGNED_BBOX_TRANSFORM",
        rois=rois,
        deltas=deltas,
        batch_index=ints(0) if batch is None else batch,
        image_info=reals([100, 200]) if info is None else info,
        **options,
    )


BOX = [10, 20, 30, 60]  # 20 wide, 40 high, centre (20, 40)
MOVES: dict[str, tuple[list[float], list[float]]] = {
    "stays": ([0, 0, 0, 0], [10, 20, 30, 60]),
    "moves_by_its_own_size": ([0.5, -0.25, 0, 0], [20, 10, 40, 50]),
    "doubles": ([0, 0, float(np.log(2)), float(np.log(2))], [0, 0, 40, 80]),
    "clipped_by_height_and_width": ([10, 3, 0, 0], [200, 100, 200, 100]),
}


@pytest.mark.parametrize("row", MOVES)
def test_deltas_move_centres_and_scale_sizes(row: str) -> None:
    deltas, expected = MOVES[row]
    out = run(moved(reals(BOX), reals(deltas)))
    # exp and the sums around it: a few units in the last place of numbers below 256.
    assert np.allclose(out, [expected], rtol=0, atol=1e-4)


def test_every_class_has_deltas_of_its_own() -> None:
    out = run(moved(reals(BOX), reals([0, 0, 0, 0, 0.5, 0, 0, 0])))
    assert out.tolist() == [[10, 20, 30, 60, 20, 20, 40, 60]]


def test_coordinates_as_codes() -> None:
    """Deltas of scale 1/16; the result is rounded to an eighth: 20 · 1/16 = 1.25."""
    rois = (np.array([BOX], np.uint16) * 8, EIGHTH)
    info = (np.array([[800, 1600]], np.uint16), EIGHTH)
    deltas = (np.array([[129, 128, 128, 128]], np.uint8), Quant(1 / 16, 128))
    out = run(moved(rois, deltas, info=info))
    assert out.tolist() == [[90, 160, 250, 480]]


@pytest.mark.parametrize(
    ("rois", "batch", "told"), [(reals([3, 0, 1, 1]), ints(0), "ends before"), (reals(BOX), ints(1), "image 1 of 1")]
)
def test_boxes_that_cannot_be_moved(rois: np.ndarray, batch: np.ndarray, told: str) -> None:
    with pytest.raises(SimulationError, match=told):
        run(moved(rois, reals([0, 0, 0, 0]), batch))


# --- overlap and suppression ---------------------------------------------------------------------------------

OVERLAPS: dict[str, tuple[list[float], float]] = {
    "itself": ([0, 0, 4, 4], 1.0),
    "half": ([0, 0, 4, 2], 0.5),
    "a_third": ([2, 0, 6, 4], 1 / 3),
    "touching": ([4, 0, 8, 4], 0.0),
    "apart": ([9, 9, 10, 10], 0.0),
    "a_point_inside": ([2, 2, 2, 2], 0.0),
}


@pytest.mark.parametrize("row", OVERLAPS)
def test_overlap_is_intersection_over_union(row: str) -> None:
    box, expected = OVERLAPS[row]
    assert overlaps(reals(box), reals(0, 0, 4, 4))[0] == np.float32(expected)


def by_hand(boxes: np.ndarray, scores: np.ndarray, limit: int, threshold: float) -> list[int]:
    """The reference's loop, element by element: the best to the front, the suppressed swapped to the end."""
    held, start = list(range(len(scores))), 0
    end = len(held)
    while start < end and start < limit:
        best = max(range(start, end), key=lambda at: (scores[held[at]], -at))
        held[start], held[best] = held[best], held[start]
        at = start + 1
        while at < end:
            if overlaps(boxes[[held[at]]], boxes[held[start]])[0] >= np.float32(threshold):
                end -= 1
                held[at], held[end] = held[end], held[at]
            else:
                at += 1
        start += 1
    return held[:start]


corner = st.integers(0, 6)


@given(st.lists(st.tuples(corner, corner, corner, corner, st.integers(0, 3)), min_size=1, max_size=12), st.data())
def test_suppression_is_the_references_loop_also_among_equal_scores(rows: list[Any], data: st.DataObject) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], np.float32)
    scores = np.array([row[4] for row in rows], np.float32)
    limit, threshold = data.draw(st.integers(0, 12)), data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    out = suppress(boxes, scores, np.arange(len(rows)), limit, hard_judge(threshold))
    assert out.tolist() == by_hand(boxes, scores, limit, threshold)


# --- BOX_WITH_NMS_LIMIT --------------------------------------------------------------------------------------

SQUARES = [[0, 0, 4, 4], [0, 0, 4, 3], [10, 0, 14, 4]]  # the second overlaps the first by 3/4


def limited(
    scores: Any, rois: Any, batch: Any, kernel: int, *, limit: int = -1, least: float = 0.3, nms_least: float = 0.1
) -> Call:
    return use(
        "BOX_WITH_NMS_LIMIT", scores=scores, rois=rois, batch_index=batch, score_threshold=least, max_boxes=limit,
        nms_kernel=kernel, iou_threshold=0.5, sigma=0.5, nms_score_threshold=nms_least,
    )  # fmt: skip


def two_classes(kernel: int, **options: Any) -> Call:
    """One class besides the background, whose own (first) boxes and scores must not matter."""
    scores = reals([0.99, 0.9], [0.99, 0.8], [0.99, 0.7])
    rois = reals(*([99, 99, 99, 99, *square] for square in SQUARES))
    return limited(scores, rois, ints(0, 0, 0), kernel, **options)


KERNELS: dict[str, tuple[dict[str, Any], list[float], list[int]]] = {
    "hard": ({"kernel": HARD}, [0.9, 0.7], [0, 2]),
    "hard_keeps_all_at_threshold_0": ({"kernel": HARD, "nms_least": 0.0}, [0.9, 0.7, 0.0], [0, 2, 1]),
    "linear": ({"kernel": LINEAR}, [0.9, 0.7, 0.2], [0, 2, 1]),  # 0.8 · (1 - 3/4)
    "gaussian": ({"kernel": GAUSSIAN}, [0.9, 0.7, 0.8 * np.exp(-9 / 8)], [0, 2, 1]),
    "score_threshold_is_exclusive": ({"kernel": HARD, "least": float(np.float32(0.7))}, [0.9], [0]),
    "limit": ({"kernel": LINEAR, "limit": 2}, [0.9, 0.7], [0, 2]),
}


@pytest.mark.parametrize("row", KERNELS)
def test_kernels(row: str) -> None:
    options, expected, order = KERNELS[row]
    scores, boxes, classes, batches = run(two_classes(**options))
    # Two float32 products.
    assert np.allclose(scores, expected, rtol=3e-7, atol=0)
    assert boxes.tolist() == [SQUARES[index] for index in order]
    assert classes.tolist() == [1] * len(order)
    assert batches.tolist() == [0] * len(order)


def test_results_stand_by_image_then_class_then_score() -> None:
    scores = reals([0, 0.5, 0.9], [0, 0.6, 0.4], [0, 0.8, 0])
    rois = reals(*(SQUARES[index] * 3 for index in (0, 2, 0)))
    marks, boxes, classes, batches = run(limited(scores, rois, ints(7, 7, 3), HARD))
    assert np.allclose(marks, [0.6, 0.5, 0.9, 0.4, 0.8], rtol=1e-7)
    assert classes.tolist() == [1, 1, 2, 2, 1]
    assert batches.tolist() == [7, 7, 7, 7, 3]
    assert boxes[:, 0].tolist() == [10, 0, 0, 10, 0]


def test_the_limit_takes_the_best_over_all_classes() -> None:
    scores = reals([0, 0.5, 0.9], [0, 0.6, 0.4])
    rois = reals(*(SQUARES[index] * 3 for index in (0, 2)))
    marks, _, classes, _ = run(limited(scores, rois, ints(0, 0), HARD, limit=2))
    assert np.allclose(marks, [0.6, 0.9], rtol=1e-7)
    assert classes.tolist() == [1, 2]


def test_scores_and_boxes_as_codes() -> None:
    """0.8 scaled down linearly to 0.2: a code of scale 0.01 above zero point 128."""
    scores = (np.array([[128, 218], [128, 208], [128, 198]], np.uint8), Quant(0.01, 128))
    rois = (np.array([[0, 0, 0, 0, *square] for square in SQUARES], np.uint16) * 8, EIGHTH)
    marks, boxes, _, _ = run(limited(scores, rois, ints(0, 0, 0), LINEAR))
    assert marks.tolist() == [218, 198, 148]
    assert boxes[1].tolist() == [80, 0, 112, 32]


def test_no_boxes_in_no_boxes_out() -> None:
    results = run(limited(np.zeros((0, 2), np.float32), np.zeros((0, 8), np.float32), np.zeros(0, np.int32), HARD))
    assert [one.shape for one in results] == [(0,), (0, 4), (0,), (0,)]


def test_a_reversed_box_is_refused() -> None:
    with pytest.raises(SimulationError, match="ends before it starts"):
        run(limited(reals([0, 0.5]), reals([4, 0, 0, 4, 0, 0, 1, 1]), ints(0), HARD))


# --- declarations --------------------------------------------------------------------------------------------

BROKEN: dict[str, Callable[[], Call]] = {
    "AXIS_ALIGNED_BBOX_TRANSFORM.C1": lambda: moved(reals(BOX), reals([0, 0, 0, 0]), ints(0, 0)),
    "AXIS_ALIGNED_BBOX_TRANSFORM.C2": lambda: moved(reals(BOX), reals([0, 0, 0])),
    "AXIS_ALIGNED_BBOX_TRANSFORM.C3": lambda: moved(
        (np.zeros((1, 4), np.uint16), Quant(0.25, 0)),
        (np.zeros((1, 4), np.uint8), Quant(1.0, 0)),
        info=(np.zeros((1, 2), np.uint16), EIGHTH),
    ),
    "BOX_WITH_NMS_LIMIT.C1": lambda: limited(reals([0, 1]), reals([0, 0, 1, 1]), ints(0), HARD),
    "BOX_WITH_NMS_LIMIT.C2": lambda: limited(
        (np.zeros((1, 2), np.uint8), Quant(1.0)), (np.zeros((1, 8), np.uint16), Quant(0.125, 1)), ints(0), HARD
    ),
    "BOX_WITH_NMS_LIMIT.C3": lambda: limited(reals([0, 1]), reals([0, 0, 1, 1] * 2), ints(0), 3),
}

ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "roi_length": ("AXIS_ALIGNED_BBOX_TRANSFORM.C1", lambda: moved(reals([0, 0, 1]), reals([0, 0, 0, 0]))),
    "delta_rows": (
        "AXIS_ALIGNED_BBOX_TRANSFORM.C2",
        lambda: moved(reals(BOX, BOX), reals([0, 0, 0, 0]), ints(0, 0)),
    ),
    "info": ("AXIS_ALIGNED_BBOX_TRANSFORM.C2", lambda: moved(reals(BOX), reals([0] * 4), info=reals([1, 1, 1]))),
    "only_background": ("BOX_WITH_NMS_LIMIT.C1", lambda: limited(reals([1]), reals([0, 0, 1, 1]), ints(0), HARD)),
    "batches": ("BOX_WITH_NMS_LIMIT.C1", lambda: limited(reals([0, 1]), reals([0, 0, 1, 1] * 2), ints(0, 0), HARD)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("row", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(row: str) -> None:
    rule, make = ALSO_BROKEN[row]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


def test_result_types() -> None:
    rois = OperandType(OperandCode.TENSOR_QUANT16_ASYMM, (Dim("n"), 4), EIGHTH)
    deltas = OperandType(OperandCode.TENSOR_QUANT8_ASYMM, (Dim("n"), 8), Quant(0.5, 128))
    info = OperandType(OperandCode.TENSOR_QUANT16_ASYMM, (1, 2), EIGHTH)
    call = moved(rois, deltas, OperandType(OperandCode.TENSOR_INT32, (Dim("n"),)), info)
    assert call.out == OperandType(OperandCode.TENSOR_QUANT16_ASYMM, (Dim("n"), 8), EIGHTH)
    assert broken_rules(call, "here") == []
    assert [one.shape for one in two_classes(HARD).results] == [(Dim("?"),), (Dim("?"), 4), (Dim("?"),), (Dim("?"),)]
    assert required_level(two_classes(HARD))[0] == 3
