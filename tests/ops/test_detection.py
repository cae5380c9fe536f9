"""Proposals of a two-stage detector, boxes of a single-shot one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

EIGHTH = Quant(0.125, 0)


def reals(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


# --- GENERATE_PROPOSALS --------------------------------------------------------------------------------------


def propose(
    scores: Any, deltas: Any, anchors: Any, info: Any, *, before: int = -1, after: int = -1, least: float = 0.0,
    nchw: bool = False,
) -> Call:  # fmt: skip
    return use(
        "GENERATE_PROPOSALS", scores=scores, deltas=deltas, anchors=anchors, image_info=info, height_stride=8.0,
        width_stride=4.0, pre_nms_max=before, post_nms_max=after, iou_threshold=0.5, min_size=least, nchw=nchw,
    )  # fmt: skip


ANCHOR = reals([0, 0, 4, 8])  # as large as a stride: boxes of neighbours touch
SCORES = reals([[0.1, 0.4], [0.3, 0.2]]).reshape(1, 2, 2, 1)
STILL = np.zeros((1, 2, 2, 4), np.float32)
INFO = reals([100, 100])


def test_anchors_stand_at_every_position_best_first() -> None:
    scores, boxes, batches = run(propose(SCORES, STILL, ANCHOR, INFO))
    assert scores.tolist() == reals(0.4, 0.3, 0.2, 0.1).tolist()
    assert boxes.tolist() == [[4, 0, 8, 8], [0, 8, 4, 16], [4, 8, 8, 16], [0, 0, 4, 8]]
    assert batches.tolist() == [0, 0, 0, 0]


PROPOSALS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "candidates_are_limited": ({"before": 2}, [0.4, 0.3]),
    "picked_are_limited": ({"after": 3}, [0.4, 0.3, 0.2]),
    "none_are_wanted": ({"after": 0}, []),
    "size_is_exclusive": ({"least": 4.0}, []),
    "size_is_met": ({"least": 3.5}, [0.4, 0.3, 0.2, 0.1]),
}


@pytest.mark.parametrize("row", PROPOSALS)
def test_limits(row: str) -> None:
    options, expected = PROPOSALS[row]
    scores, boxes, _ = run(propose(SCORES, STILL, ANCHOR, INFO, **options))
    assert scores.tolist() == reals(*expected).tolist()
    assert boxes.shape == (len(expected), 4)


def test_centres_must_lie_in_the_image() -> None:
    """The image is 9 high, 8 wide: the lower boxes shrink to one row, their centre at 8.5."""
    scores, boxes, _ = run(propose(SCORES, STILL, ANCHOR, reals([9, 8])))
    assert scores.tolist() == reals(0.4, 0.3, 0.2, 0.1).tolist()
    assert boxes[1].tolist() == [0, 8, 4, 9]
    scores, _, _ = run(propose(SCORES, STILL, ANCHOR, reals([8, 8])))
    assert scores.tolist() == reals(0.4, 0.1).tolist()


def test_overlapping_proposals_are_suppressed_image_by_image() -> None:
    """All boxes of the first image moved onto one place; the second image keeps its own."""
    deltas = np.zeros((2, 2, 2, 4), np.float32)
    deltas[0, :, 1, 0], deltas[0, 1, :, 1] = -1, -1
    scores = np.concatenate([SCORES, SCORES])
    marks, boxes, batches = run(propose(scores, deltas, ANCHOR, reals([100, 100], [100, 100])))
    assert batches.tolist() == [0, 1, 1, 1, 1]
    assert marks[0] == np.float32(0.4)
    assert boxes[0].tolist() == [0, 0, 4, 8]


def test_layouts_agree() -> None:
    deltas = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4) / 32
    last = run(propose(SCORES, deltas, ANCHOR, INFO))
    first = run(propose(SCORES.transpose(0, 3, 1, 2), deltas.transpose(0, 3, 1, 2), ANCHOR, INFO, nchw=True))
    for one, other in zip(last, first, strict=True):
        assert np.array_equal(one, other)


def test_codes() -> None:
    scores = (np.array([10, 40, 30, 20], np.uint8).reshape(1, 2, 2, 1), Quant(0.01, 0))
    deltas = (np.full((1, 2, 2, 4), 128, np.uint8), Quant(0.05, 128))
    anchors = (np.array([[0, 0, 32, 64]], np.int16), EIGHTH)
    info = (np.array([[800, 800]], np.uint16), EIGHTH)
    marks, boxes, _ = run(propose(scores, deltas, anchors, info, after=1))
    assert marks.tolist() == [40]
    assert boxes.tolist() == [[32, 0, 64, 64]]
    assert boxes.dtype == np.uint16


# --- DETECTION_POSTPROCESSING --------------------------------------------------------------------------------


def detect(
    scores: Any, deltas: Any, anchors: Any, *, regular: bool, most: int = 3, classes: int = 1, per_class: int = 3,
    background: bool = False, score: float = 0.25, iou: float = 0.5, scale: float = 10.0,
) -> Call:  # fmt: skip
    return use(
        "DETECTION_POSTPROCESSING", scores=scores, deltas=deltas, anchors=anchors, scale_y=scale, scale_x=scale,
        scale_h=5.0, scale_w=5.0, use_regular_nms=regular, max_detections=most, max_classes_per_detection=classes,
        max_detections_per_class=per_class, score_threshold=score, iou_threshold=iou, include_background=background,
    )  # fmt: skip


# Centre form y, x, h, w: corners [0, 0, 4, 2], the same a little higher, and one far away.
CENTRES = reals([2, 1, 4, 2], [2, 1, 4.5, 2], [20, 20, 2, 2])
CORNERS = [[0, 0, 4, 2], [-0.25, 0, 4.25, 2], [19, 19, 21, 21]]
NO_MOVES = np.zeros((1, 3, 4), np.float32)
MARKS = reals([0.9, 0.3, 0.6], [0.9, 0.7, 0.5], [0.9, 0.1, 0.4]).reshape(1, 3, 3)  # class 0 is background


def test_regular_suppression_goes_class_by_class() -> None:
    """Class 1: anchor 1 (0.7) suppresses anchor 0; class 2: anchor 0 (0.6) suppresses anchor 1, then anchor 2."""
    scores, boxes, classes, number = run(detect(MARKS, NO_MOVES, CENTRES, regular=True))
    assert number.tolist() == [3]
    assert scores.tolist() == [reals(0.7, 0.6, 0.4).tolist()]
    assert boxes[0].tolist() == [CORNERS[1], CORNERS[0], CORNERS[2]]
    assert classes.tolist() == [[0, 1, 1]]


def test_fast_suppression_takes_the_best_class_of_a_box() -> None:
    """Best scores 0.6, 0.7, 0.4: anchor 1 suppresses anchor 0. Two classes of each are told, room for six."""
    scores, boxes, classes, number = run(detect(MARKS, NO_MOVES, CENTRES, regular=False, classes=2))
    assert number.tolist() == [4]
    assert scores.tolist() == [reals(0.7, 0.5, 0.4, 0.1, 0, 0).tolist()]
    assert classes.tolist() == [[0, 1, 1, 0, 0, 0]]
    assert boxes[0].tolist() == [CORNERS[1]] * 2 + [CORNERS[2]] * 2 + [[0, 0, 0, 0]] * 2


DETECTIONS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "at_most": ({"regular": True, "most": 2}, [0.7, 0.6]),
    "at_most_per_class": ({"regular": True, "per_class": 1}, [0.7, 0.6, 0]),
    "score_is_exclusive": ({"regular": True, "score": float(np.float32(0.4))}, [0.7, 0.6, 0]),
    "all_overlap_at_0": ({"regular": False, "iou": 0.0}, [0.7, 0, 0]),
    "more_classes_than_there_are": ({"regular": False, "classes": 5, "most": 1}, [0.7, 0.5, 0, 0, 0]),
}


@pytest.mark.parametrize("row", DETECTIONS)
def test_detection_limits(row: str) -> None:
    options, expected = DETECTIONS[row]
    scores, _, _, number = run(detect(MARKS, NO_MOVES, CENTRES, **options))
    assert scores.tolist() == [reals(*expected).tolist()]
    assert number.tolist() == [np.count_nonzero(expected)]


@pytest.mark.parametrize("regular", [True, False])
def test_class_numbers_may_count_the_background(regular: bool) -> None:
    plain = run(detect(MARKS, NO_MOVES, CENTRES, regular=regular, most=1))[2]
    counted = run(detect(MARKS, NO_MOVES, CENTRES, regular=regular, most=1, background=True))[2]
    assert counted.tolist() == (plain + 1).tolist()


def test_deltas_are_divided_by_their_scales_y_before_x() -> None:
    """dy = 5 / 10 of the height 4 down, dx = 10 / 10 of the width 2 right, height e^(5 ln 2 / 5) = 2 times."""
    deltas = np.zeros((1, 3, 6), np.float32)  # numbers after the fourth are keypoints, not read
    deltas[0, 0] = [5, 10, 5 * np.log(2), 0, 99, 99]
    marks = reals([0, 0.9], [0, 0], [0, 0]).reshape(1, 3, 2)
    boxes = run(detect(marks, deltas, CENTRES, regular=True))[1]
    # Centre (4, 3), height 8, width 2.
    assert np.allclose(boxes[0, 0], [0, 2, 8, 4], rtol=0, atol=1e-5)  # one exp and four float32 operations


def test_images_are_judged_alone() -> None:
    marks = np.concatenate([MARKS, MARKS * 0])
    scores, boxes, _, number = run(detect(marks, np.concatenate([NO_MOVES] * 2), CENTRES, regular=True))
    assert number.tolist() == [3, 0]
    assert not scores[1].any()
    assert not boxes[1].any()


# --- declarations --------------------------------------------------------------------------------------------

BROKEN: dict[str, Callable[[], Call]] = {
    "GENERATE_PROPOSALS.C1": lambda: propose(SCORES, STILL, reals([0, 0, 4, 8], [0, 0, 1, 1]), INFO),
    "GENERATE_PROPOSALS.C2": lambda: propose(
        (np.zeros((1, 2, 2, 1), np.int8), Quant(1.0)),
        (np.zeros((1, 2, 2, 4), np.int8), Quant(1.0)),
        (np.zeros((1, 4), np.int16), Quant(0.25)),
        (np.zeros((1, 2), np.uint16), EIGHTH),
    ),
    "DETECTION_POSTPROCESSING.C1": lambda: detect(MARKS, NO_MOVES, CENTRES[:2], regular=True),
    "DETECTION_POSTPROCESSING.C2": lambda: detect(MARKS, NO_MOVES, CENTRES, regular=True, scale=0.0),
}

ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "deltas": ("GENERATE_PROPOSALS.C1", lambda: propose(SCORES, STILL[..., :3], ANCHOR, INFO)),
    "info": ("GENERATE_PROPOSALS.C1", lambda: propose(SCORES, STILL, ANCHOR, reals([1, 1], [1, 1]))),
    "only_background": (
        "DETECTION_POSTPROCESSING.C1",
        lambda: detect(MARKS[..., :1], NO_MOVES, CENTRES, regular=True),
    ),
    "three_deltas": (
        "DETECTION_POSTPROCESSING.C1",
        lambda: detect(MARKS, NO_MOVES[..., :3], CENTRES, regular=True),
    ),
    "no_room": ("DETECTION_POSTPROCESSING.C2", lambda: detect(MARKS, NO_MOVES, CENTRES, regular=True, most=0)),
    "no_classes": (
        "DETECTION_POSTPROCESSING.C2",
        lambda: detect(MARKS, NO_MOVES, CENTRES, regular=False, classes=0),
    ),
    "none_per_class": (
        "DETECTION_POSTPROCESSING.C2",
        lambda: detect(MARKS, NO_MOVES, CENTRES, regular=True, per_class=0),
    ),
    "negative_threshold": (
        "DETECTION_POSTPROCESSING.C2",
        lambda: detect(MARKS, NO_MOVES, CENTRES, regular=True, iou=-0.5),
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("row", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(row: str) -> None:
    rule, make = ALSO_BROKEN[row]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


def test_result_types() -> None:
    call = propose(SCORES, STILL, ANCHOR, INFO)
    assert [one.shape for one in call.results] == [(Dim("?"),), (Dim("?"), 4), (Dim("?"),)]
    assert required_level(call)[0] == 3
    scores = OperandType(OperandCode.TENSOR_FLOAT16, (Dim("n"), 3, 3))
    deltas, anchors = (OperandType(scores.code, shape) for shape in ((Dim("n"), 3, 4), (3, 4)))
    call = detect(scores, deltas, anchors, regular=False, classes=2)
    assert broken_rules(call, "here") == []
    assert [one.shape for one in call.results] == [(Dim("n"), 6), (Dim("n"), 6, 4), (Dim("n"), 6), (Dim("n"),)]
    assert call.results[1].code == OperandCode.TENSOR_FLOAT16
