"""Boxes [x1, y1, x2, y2]: AXIS_ALIGNED_BBOX_TRANSFORM moves them, BOX_WITH_NMS_LIMIT picks the best ones.

Also what detection has in common: intersection over union, non-maximum suppression, codes of coordinates.
Source: AOSP 13 GenerateProposals.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, same_dims, shape_text
from nnapi_lab.numerics.quantize import code_limits, dequantize
from nnapi_lab.numerics.rounding import round_half_away
from nnapi_lab.ops.shape import integers
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, real_scalar, same, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
Q16, I32 = OperandCode.TENSOR_QUANT16_ASYMM, OperandCode.TENSOR_INT32

ROI_QUANT = Quant(0.125, 0)  # coordinates are codes of an eighth of a pixel

Reals = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


# --- coordinates as codes -----------------------------------------------------------------------------------


def roi_type(key: OperandCode) -> tuple[OperandCode, ...]:
    """Coordinates are TENSOR_QUANT16_ASYMM where the model's other tensors are codes."""
    return (Q16 if key.is_quantized else key,)


def roi_quant(call: Call) -> Quant | None:
    return ROI_QUANT if call.is_quantized else None


def reals_of(array: np.ndarray, type_: OperandType) -> Reals:
    """The real numbers behind codes; floats as they are."""
    return dequantize(array, type_.scale, type_.zero_point) if type_.code.is_quantized else array


def codes_of(values: Reals, type_: OperandType) -> np.ndarray:
    """clamp(rha(f32(x / scale) + zero_point)) for codes; floats as they are.

    Unlike QUANTIZE, the zero point is added before rounding.
    """
    if not type_.code.is_quantized:
        return values
    shifted = values / np.float32(type_.scale) + np.float32(type_.zero_point)
    low, high = code_limits(type_.code.numpy)
    return np.asarray(np.clip(round_half_away(shifted), low, high), type_.code.numpy)


def box_list_seen(call: Call) -> str | None:
    """rois that are not [n, 4], or batch_index that is not [n]."""
    rois, batch = call["rois"].shape, call["batch_index"].shape
    if rois is not None and not same_dims(rois[1:], (4,)):
        return f"rois {shape_text(rois)} is not [n,4]"
    if rois is not None and batch is not None and not same_dims(rois[:1], batch):
        return f"rois {shape_text(rois)} and batch_index {shape_text(batch)} differ in number"
    return None


def roi_quant_seen(*slots: str) -> Callable[[Call], str | None]:
    """A check that coordinates in these slots, if they are codes, have scale 0.125 and zero point 0."""

    def seen(call: Call) -> str | None:
        for slot in slots:
            held: OperandType = call[slot]
            if held.code == Q16 and held.quant != ROI_QUANT:
                return f"{slot} has {held.quant}"
        return None

    return seen


# --- geometry -----------------------------------------------------------------------------------------------


def moved_boxes(boxes: Reals, deltas: Reals, image_sizes: Reals) -> Reals:
    """Boxes [n, 4] moved by deltas [n, classes, 4] and clipped to their image: [n, classes, 4].

    Deltas are (dx, dy, dw, dh): centres move by dx, dy box sizes, sizes grow by exp(dw), exp(dh); image_sizes
    [n, 2] is (height, width). Raises SimulationError for a box whose second corner lies before the first.
    """
    bad = np.flatnonzero(~((boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3])))
    if bad.size:
        raise SimulationError(f"box {bad[0]} {boxes[bad[0]].tolist()} ends before it starts")
    two = np.float32(2)
    first, last = boxes[:, None, :2], boxes[:, None, 2:]
    size, centre = last - first, (first + last) / two
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.exp(deltas[:, :, 2:]) * size
        centres = centre + deltas[:, :, :2] * size
        corners = np.concatenate([centres - sizes / two, centres + sizes / two], axis=2)
    limits = image_sizes[:, None, [1, 0, 1, 0]]
    return np.asarray(np.minimum(np.maximum(corners, np.float32(0)), limits))


def overlaps(boxes: Reals, box: Reals) -> Reals:
    """Intersection over union of each of `boxes` [n, 4] with one box; NaN where both are empty."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    width = np.maximum(np.minimum(boxes[:, 2], box[2]) - np.maximum(boxes[:, 0], box[0]), np.float32(0))
    height = np.maximum(np.minimum(boxes[:, 3], box[3]) - np.maximum(boxes[:, 1], box[1]), np.float32(0))
    shared = width * height
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(shared / (areas + area - shared))


# --- suppression --------------------------------------------------------------------------------------------

Judge = Callable[[Indices, Reals], npt.NDArray[np.bool_]]  # (candidates, their overlaps) → which to drop


def suppress(boxes: Reals, scores: Reals, candidates: Indices, limit: int, judge: Judge) -> Indices:
    """Pick the best candidate, drop those the judge rejects beside it, and again: up to `limit` (negative: all).

    Equal scores are taken in the order the reference leaves them in, which fills each gap from the end.
    """
    held = np.array(candidates, np.int64)
    start, end = 0, held.size
    limit = held.size if limit < 0 else limit
    while start < end and start < limit:
        best = start + int(np.argmax(scores[held[start:end]]))
        held[[start, best]] = held[[best, start]]
        rest = held[start + 1 : end]
        kept = _close_gaps(rest, judge(rest, overlaps(boxes[rest], boxes[held[start]])))
        start, end = start + 1, start + 1 + kept
    return held[:start]


def _close_gaps(rest: Indices, dropped: npt.NDArray[np.bool_]) -> int:
    """Move the kept ones to the front, gaps filled from the end; returns how many are kept."""
    kept = int(rest.size - np.count_nonzero(dropped))
    gaps = np.flatnonzero(dropped[:kept])
    fillers = kept + np.flatnonzero(~dropped[kept:])[::-1]
    rest[gaps] = rest[fillers]
    return kept


def hard_judge(iou_threshold: float) -> Judge:
    """Drop what overlaps by the threshold or more."""
    return lambda candidates, iou: iou >= np.float32(iou_threshold)


def suppress_classes(
    boxes: Reals, scores: Reals, score_threshold: float, limit: int, class_limit: int, judge: Judge
) -> Indices:
    """Suppress within each class but class 0 (background), then keep the best `limit` (negative: all).

    scores [n, classes]; boxes [n · classes, 4], one per score. Returns positions in the flattened scores,
    best first.
    """
    flat, classes = scores.reshape(-1), scores.shape[1]
    picked = [
        suppress(
            boxes, flat, number + classes * np.flatnonzero(scores[:, number] > np.float32(score_threshold)),
            class_limit, judge,
        )
        for number in range(1, classes)
    ]  # fmt: skip
    chosen = np.concatenate(picked)
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")]
    return chosen if limit < 0 else chosen[:limit]


# --- AXIS_ALIGNED_BBOX_TRANSFORM ----------------------------------------------------------------------------


def moved_type(call: Call) -> tuple[OperandType, ...]:
    """As many boxes as deltas, clipped to the image."""
    rois, deltas = call["rois"].shape, call["deltas"].shape
    count = Dim("?") if rois is None else rois[0]
    return (OperandType(call.key, (count, Dim("?") if deltas is None else deltas[1]), roi_quant(call)),)


def axis_aligned_bbox_transform(
    rois: np.ndarray, deltas: np.ndarray, batch_index: np.ndarray, image_info: np.ndarray, *, call: Call
) -> np.ndarray:
    """Move every box by the deltas of each class: rois [n, 4], deltas [n, classes · 4] → [n, classes · 4].

    image_info [batches, 2] is (height, width). Raises SimulationError for a batch that is not there or a box
    that ends before it starts.
    """
    outside = np.flatnonzero((batch_index < 0) | (batch_index >= len(image_info)))
    if outside.size:
        raise SimulationError(f"box {outside[0]} is in image {batch_index[outside[0]]} of {len(image_info)}")
    boxes = reals_of(rois, call["rois"])
    moves = reals_of(deltas, call["deltas"]).reshape(len(rois), -1, 4)
    sizes = reals_of(image_info, call["image_info"])[batch_index]
    return codes_of(moved_boxes(boxes, moves, sizes).reshape(deltas.shape), call.out)


def _delta_shapes(call: Call) -> str | None:
    rois, deltas, info = call["rois"].shape, call["deltas"].shape, call["image_info"].shape
    if rois is not None and deltas is not None and not same_dims(rois[:1], deltas[:1]):
        return f"rois {shape_text(rois)} and deltas {shape_text(deltas)} differ in number"
    if deltas is not None and not isinstance(deltas[1], Dim) and (deltas[1] == 0 or deltas[1] % 4):
        return f"deltas {shape_text(deltas)} is not [n,4·classes]"
    if info is not None and (info[0] == 0 or not same_dims(info[1:], (2,))):
        return f"image_info {shape_text(info)} is not [batches,2]"
    return None


def delta_type(key: OperandCode) -> tuple[OperandCode, ...]:
    """Deltas are 8-bit codes beside coordinates that are codes."""
    return (Q8, Q8S) if key == Q16 else (key,)


_TRANSFORM = OpSpec(
    kind="AXIS_ALIGNED_BBOX_TRANSFORM",
    code=41,
    since=3,
    summary="Move boxes by predicted deltas and clip them to the image.",
    types={F32: 3, F16: 3, Q16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("rois", rank=2, doc="[n, 4]: x1, y1, x2, y2"),
                tensor("deltas", delta_type, rank=2, doc="[n, classes · 4]: dx, dy, dw, dh"),
                integers("batch_index"),
                tensor("image_info", rank=2, doc="[batches, 2]: height, width"),
            ),
        ),
    ),
    result=moved_type,
    kernel=axis_aligned_bbox_transform,
    source="AOSP 13 GenerateProposals.cpp",
    constraints=(
        Constraint("C1", "rois are [n, 4] and batch_index is [n]", box_list_seen),
        Constraint("C2", "deltas are [n, 4 · classes] and image_info is [batches, 2]", _delta_shapes),
        Constraint("C3", "coordinates as codes: scale 0.125, zero point 0", roi_quant_seen("rois", "image_info")),
    ),
    zero_sized=3,
    notes=("Deltas have unit weights; networks trained with weights (10, 10, 5, 5) need them divided first.",),
)


# --- BOX_WITH_NMS_LIMIT -------------------------------------------------------------------------------------

HARD, LINEAR, GAUSSIAN = 0, 1, 2


def picked_types(call: Call) -> tuple[OperandType, ...]:
    """(scores, boxes, classes, batches) of those picked; how many is known after execution."""
    count = Dim("?")
    (coordinates,) = roi_type(call.key)
    return (
        call["scores"].with_shape((count,)),
        OperandType(coordinates, (count, 4), roi_quant(call)),
        OperandType(I32, (count,)),
        OperandType(I32, (count,)),
    )


def box_with_nms_limit(
    scores: np.ndarray, rois: np.ndarray, batch_index: np.ndarray, *, score_threshold: float, max_boxes: int,
    nms_kernel: int, iou_threshold: float, sigma: float, nms_score_threshold: float, call: Call,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Pick up to max_boxes per image by soft suppression, class by class without class 0; by class, then score.

    scores [n, classes], rois [n, classes · 4]; boxes of one image stand together. A picked box multiplies the
    scores of the others by a factor of their overlap; scores below nms_score_threshold are dropped (so HARD,
    factor 0, drops nothing at threshold 0). Raises SimulationError for a box that ends before it starts.
    """
    classes = scores.shape[1]
    reals = np.array(reals_of(scores, call["scores"]), np.float32)
    boxes = reals_of(rois, call["rois"]).reshape(-1, 4)
    changes = np.flatnonzero(np.diff(batch_index)) + 1
    picked = [np.empty(0, np.int64)]
    for rows in np.split(np.arange(len(scores)), changes):
        if rows.size == 0:
            continue
        first = int(rows[0]) * classes
        group, flat = boxes[first : first + rows.size * classes], reals[rows]
        _refuse_reversed(group[: rows.size], int(rows[0]))
        judge = _soft_judge(flat.reshape(-1), nms_kernel, iou_threshold, sigma, nms_score_threshold)
        chosen = suppress_classes(group, flat, score_threshold, max_boxes, max_boxes, judge)
        order = np.lexsort((-flat.reshape(-1)[chosen], chosen % classes))
        reals[rows] = flat
        picked.append(first + chosen[order])
    flat_index = np.concatenate(picked)
    return (
        codes_of(reals.reshape(-1)[flat_index], call["scores"]),
        rois.reshape(-1, 4)[flat_index],
        (flat_index % classes).astype(np.int32),
        batch_index[flat_index // classes],
    )


def _refuse_reversed(boxes: Reals, row: int) -> None:
    bad = np.flatnonzero(~((boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3])))
    if bad.size:
        raise SimulationError(f"a box of the image at row {row} ends before it starts: {boxes[bad[0]].tolist()}")


def _soft_judge(flat: Reals, kernel: int, iou_threshold: float, sigma: float, nms_score_threshold: float) -> Judge:
    """Scale the scores in `flat` by a factor of the overlap, then drop those below the threshold."""
    threshold, one = np.float32(iou_threshold), np.float32(1)

    def factor(iou: Reals) -> Reals:
        if kernel == GAUSSIAN:
            return np.asarray(np.exp(-one * iou * iou / np.float32(sigma)))
        return np.where(iou < threshold, one, np.float32(0) if kernel == HARD else one - iou)

    def judge(candidates: Indices, iou: Reals) -> npt.NDArray[np.bool_]:
        flat[candidates] *= factor(iou)
        return flat[candidates] < np.float32(nms_score_threshold)

    return judge


def _box_shapes(call: Call) -> str | None:
    scores, rois, batch = call["scores"].shape, call["rois"].shape, call["batch_index"].shape
    if scores is None:
        return None
    if not isinstance(scores[1], Dim) and scores[1] < 2:
        return f"scores {shape_text(scores)} has no class besides the background"
    wanted = (scores[0], Dim("?") if isinstance(scores[1], Dim) else 4 * scores[1])
    if not same_dims(rois, wanted):
        return f"rois {shape_text(rois)} is not {shape_text(wanted)}"
    return None if same_dims(batch, scores[:1]) else f"batch_index {shape_text(batch)} is not [{scores[0]}]"


def _nms_kernel_seen(call: Call) -> str | None:
    kernel = call["nms_kernel"]
    return None if kernel in (None, HARD, LINEAR, GAUSSIAN) else f"nms_kernel={kernel}"


_BOX_WITH_NMS_LIMIT = OpSpec(
    kind="BOX_WITH_NMS_LIMIT",
    code=44,
    since=3,
    summary="Pick the best boxes of every class, suppressing those that overlap them.",
    types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
    forms=(
        Form(
            "only",
            (
                tensor("scores", rank=2, doc="[n, classes]; class 0 is background"),
                tensor("rois", roi_type, rank=2, doc="[n, classes · 4]"),
                integers("batch_index"),
                real_scalar("score_threshold"),
                scalar("max_boxes", doc="per image; negative: no limit"),
                scalar("nms_kernel", doc="0 hard, 1 linear, 2 gaussian"),
                real_scalar("iou_threshold"),
                real_scalar("sigma"),
                real_scalar("nms_score_threshold"),
            ),
            (
                Slot("out_scores", same),
                Slot("out_rois", roi_type),
                Slot("out_classes", fixed(I32)),
                Slot("out_batch_index", fixed(I32)),
            ),
        ),
    ),
    result=picked_types,
    kernel=box_with_nms_limit,
    source="AOSP 13 GenerateProposals.cpp",
    constraints=(
        Constraint("C1", "scores [n, classes], rois [n, 4 · classes], batch_index [n]", _box_shapes),
        Constraint("C2", "coordinates as codes: scale 0.125, zero point 0", roi_quant_seen("rois")),
        Constraint("C3", "nms_kernel is 0 hard, 1 linear or 2 gaussian", _nms_kernel_seen),
    ),
    zero_sized=3,
    notes=(
        "HARD drops suppressed boxes only when nms_score_threshold is above 0: 0 is not below 0.",
        "Overlap equal to the threshold suppresses; torchvision's nms keeps it.",
        "The documentation asks for zero point -128 of rois beside signed scores; the kernel wants 0.",
        "The kernel looks for reversed boxes among the first n boxes of an image only, not in all classes.",
    ),
)

SPECS: tuple[OpSpec, ...] = (_TRANSFORM, _BOX_WITH_NMS_LIMIT)
