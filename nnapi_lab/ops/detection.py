"""From feature maps to objects: GENERATE_PROPOSALS (two-stage detectors), DETECTION_POSTPROCESSING (SSD).

Source: AOSP 13 GenerateProposals.cpp.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, same_dims, shape_text
from nnapi_lab.ops.axes import times
from nnapi_lab.ops.boxes import (
    ROI_QUANT,
    codes_of,
    hard_judge,
    moved_boxes,
    reals_of,
    roi_quant,
    roi_type,
    suppress,
    suppress_classes,
)
from nnapi_lab.ops.geometry import feature_map_shape, sizes, to_nhwc
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, real_scalar, same, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
I32 = OperandCode.TENSOR_INT32


# --- GENERATE_PROPOSALS -------------------------------------------------------------------------------------


def proposed_types(call: Call) -> tuple[OperandType, ...]:
    """(scores, boxes, batches) of the proposals; how many is known after execution."""
    count = Dim("?")
    (coordinates,) = roi_type(call.key)
    return (
        call["scores"].with_shape((count,)),
        OperandType(coordinates, (count, 4), roi_quant(call)),
        OperandType(I32, (count,)),
    )


def generate_proposals(
    scores: np.ndarray, deltas: np.ndarray, anchors: np.ndarray, image_info: np.ndarray, *, height_stride: float,
    width_stride: float, pre_nms_max: int, post_nms_max: int, iou_threshold: float, min_size: float, nchw: bool,
    call: Call,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Boxes at every anchor of every position, moved by deltas, the best of them after hard suppression.

    scores [n, h, w, anchors], deltas [n, h, w, anchors · 4], anchors [anchors, 4] around the origin,
    image_info [n, 2] (height, width). pre_nms_max limits the candidates if positive, post_nms_max the picked
    if not negative. Boxes must be larger than min_size both ways and have their centre in the image.
    """
    marks = to_nhwc(reals_of(scores, call["scores"]), nchw)
    moves = to_nhwc(reals_of(deltas, call["deltas"]), nchw)
    extents = reals_of(image_info, call["image_info"])
    places = anchor_boxes(reals_of(anchors, call["anchors"]), marks.shape[1:3], (height_stride, width_stride))
    found_scores, found_boxes, found_batches = [], [], []
    for batch, size in enumerate(extents):
        flat = marks[batch].reshape(-1)
        limits = np.broadcast_to(size, (len(places), 2))
        boxes = moved_boxes(places, moves[batch].reshape(-1, 1, 4), limits)[:, 0]
        candidates = np.arange(flat.size)
        if 0 < pre_nms_max < flat.size:
            candidates = np.argsort(-flat, kind="stable")[:pre_nms_max]
        candidates = candidates[_large_and_inside(boxes[candidates], size, np.float32(min_size))]
        chosen = suppress(boxes, flat, candidates, post_nms_max, hard_judge(iou_threshold))
        found_scores.append(flat[chosen])
        found_boxes.append(boxes[chosen])
        found_batches.append(np.full(chosen.size, batch, np.int32))
    score_type, box_type, _ = call.results
    return (
        codes_of(np.concatenate(found_scores), score_type),
        codes_of(np.concatenate(found_boxes), box_type),
        np.concatenate(found_batches),
    )


def anchor_boxes(anchors: np.ndarray, grid: tuple[int, ...], strides: tuple[float, float]) -> np.ndarray:
    """The anchors at every grid position, rows first: [height · width · anchors, 4]."""
    down, across = (
        np.arange(size, dtype=np.float32) * np.float32(stride) for size, stride in zip(grid, strides, strict=True)
    )
    shifts = np.empty((*grid, 1, 4), np.float32)
    shifts[..., 0::2] = across[None, :, None, None]
    shifts[..., 1::2] = down[:, None, None, None]
    return np.asarray((anchors + shifts).reshape(-1, 4))


def _large_and_inside(boxes: np.ndarray, size: np.ndarray, min_size: np.float32) -> np.ndarray:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    centre_x, centre_y = boxes[:, 0] + width / np.float32(2), boxes[:, 1] + height / np.float32(2)
    return np.asarray((width > min_size) & (height > min_size) & (centre_x < size[1]) & (centre_y < size[0]))


def _proposal_shapes(call: Call) -> str | None:
    scores, deltas = call["scores"].shape, call["deltas"].shape
    anchors, info = call["anchors"].shape, call["image_info"].shape
    if scores is None or call["nchw"] is None:
        return None
    batches, height, width, count = sizes(call, "scores")
    for name, held, shape in (
        ("deltas", deltas, feature_map_shape(call, batches, height, width, times(4, count))),
        ("anchors", anchors, (count, 4)),
        ("image_info", info, (batches, 2)),
    ):
        if not same_dims(held, shape):
            return f"{name} {shape_text(held)} is not {shape_text(shape)}"
    return None


def _proposal_quants(call: Call) -> str | None:
    # AOSP looks at unsigned scores only; signed ones are documented alike.
    if not call.is_quantized:
        return None
    for slot in ("anchors", "image_info"):
        if call[slot].quant != ROI_QUANT:
            return f"{slot} has {call[slot].quant}"
    return None


def anchor_type(key: OperandCode) -> tuple[OperandCode, ...]:
    return (OperandCode.TENSOR_QUANT16_SYMM if key.is_quantized else key,)


_GENERATE_PROPOSALS = OpSpec(
    kind="GENERATE_PROPOSALS",
    code=52,
    since=3,
    summary="The best boxes that a region proposal network suggests.",
    types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
    forms=(
        Form(
            "only",
            (
                tensor("scores", rank=4),
                tensor("deltas", rank=4, doc="dx, dy, dw, dh for every anchor"),
                tensor("anchors", anchor_type, rank=2),
                tensor("image_info", roi_type, rank=2, doc="[n, 2]: height, width"),
                real_scalar("height_stride"),
                real_scalar("width_stride"),
                scalar("pre_nms_max", doc="not positive: no limit"),
                scalar("post_nms_max", doc="negative: no limit"),
                real_scalar("iou_threshold"),
                real_scalar("min_size"),
                scalar("nchw", OperandCode.BOOL),
            ),
            (Slot("out_scores", same), Slot("out_rois", roi_type), Slot("out_batch_index", fixed(I32))),
        ),
    ),
    result=proposed_types,
    kernel=generate_proposals,
    source="AOSP 13 GenerateProposals.cpp",
    constraints=(
        Constraint("C1", "deltas, anchors and image_info have the sizes scores ask for", _proposal_shapes),
        Constraint("C2", "coordinates as codes: scale 0.125, zero point 0", _proposal_quants),
    ),
    notes=(
        "Size deltas are not limited (torchvision stops at log(1000 / 16)).",
        "Overlap equal to the threshold suppresses; torchvision's nms keeps it.",
        "The documentation gives image_info as TENSOR_QUANT16_SYMM; the validator wants TENSOR_QUANT16_ASYMM.",
    ),
)


# --- DETECTION_POSTPROCESSING -------------------------------------------------------------------------------


def detected_types(call: Call) -> tuple[OperandType, ...]:
    """(scores, boxes, classes, number): room for max_detections, times classes per detection unless regular."""
    shape, most = call["scores"].shape, call["max_detections"]
    batches = Dim("?") if shape is None else shape[0]
    per_box = 1 if call["use_regular_nms"] else call["max_classes_per_detection"]
    room: int | Dim = Dim("?")
    if None not in (most, per_box, call["use_regular_nms"]) and most > 0 and per_box > 0:
        room = most * per_box
    return (
        OperandType(call.key, (batches, room)),
        OperandType(call.key, (batches, room, 4)),
        OperandType(I32, (batches, room)),
        OperandType(I32, (batches,)),
    )


def detection_postprocessing(
    scores: np.ndarray, deltas: np.ndarray, anchors: np.ndarray, *, scale_y: float, scale_x: float, scale_h: float,
    scale_w: float, use_regular_nms: bool, max_detections: int, max_classes_per_detection: int,
    max_detections_per_class: int, score_threshold: float, iou_threshold: float, include_background: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Decode SSD boxes and keep the best: regular suppression per class, or fast, one for the best class.

    scores [n, anchors, classes], deltas [n, anchors, >= 4] as (dy, dx, dh, dw), anchors [anchors, 4] as
    (y, x, h, w) of the centre; boxes come out as (y1, x1, y2, x2). Class 0 is background and never picked;
    class numbers count it if include_background. Unused room is zero.
    """
    batches = len(scores)
    room = max_detections * (1 if use_regular_nms else max_classes_per_detection)
    out_scores = np.zeros((batches, room), np.float32)
    out_boxes = np.zeros((batches, room, 4), np.float32)
    out_classes = np.zeros((batches, room), np.int32)
    numbers = np.zeros(batches, np.int32)
    scales = np.array([scale_y, scale_x, scale_h, scale_w], np.float32)
    for batch in range(batches):
        marks, boxes = scores[batch], decoded_boxes(deltas[batch, :, :4], anchors, scales)
        if use_regular_nms:
            picked = _regular(marks, boxes, score_threshold, iou_threshold, max_detections, max_detections_per_class)
        else:
            per_box = min(marks.shape[1] - 1, max_classes_per_detection)
            picked = _fast(marks, boxes, score_threshold, iou_threshold, max_detections, per_box)
        count = len(picked)
        rows, classes = picked // marks.shape[1], picked % marks.shape[1]
        out_scores[batch, :count] = marks[rows, classes]
        out_boxes[batch, :count] = boxes[rows]
        out_classes[batch, :count] = classes - (0 if include_background else 1)
        numbers[batch] = count
    return out_scores, out_boxes, out_classes, numbers


def decoded_boxes(deltas: np.ndarray, anchors: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Corners (y1, x1, y2, x2) from centre anchors (y, x, h, w) and deltas (dy, dx, dh, dw), all [n, 4]."""
    with np.errstate(over="ignore"):
        centres = anchors[:, :2] + anchors[:, 2:] * deltas[:, :2] / scales[:2]
        halves = anchors[:, 2:] * np.exp(deltas[:, 2:] / scales[2:]) * np.float32(0.5)
    return np.concatenate([centres - halves, centres + halves], axis=1)


def _regular(
    marks: np.ndarray, boxes: np.ndarray, score_threshold: float, iou_threshold: float, limit: int, class_limit: int
) -> np.ndarray:  # fmt: skip
    """Positions in the flattened scores [anchors, classes], best first."""
    per_score = np.repeat(boxes, marks.shape[1], axis=0)
    return suppress_classes(per_score, marks, score_threshold, limit, class_limit, hard_judge(iou_threshold))


def _fast(
    marks: np.ndarray, boxes: np.ndarray, score_threshold: float, iou_threshold: float, limit: int, per_box: int
) -> np.ndarray:  # fmt: skip
    """Positions in the flattened scores: for each picked box its best classes, best first."""
    best = marks[:, 1:].max(axis=1)
    candidates = np.flatnonzero(best > np.float32(score_threshold))
    chosen = suppress(boxes, best, candidates, limit, hard_judge(iou_threshold))
    classes = 1 + np.argsort(-marks[chosen, 1:], axis=1, kind="stable")[:, :per_box]
    return np.asarray((chosen[:, None] * marks.shape[1] + classes).reshape(-1))


def _detection_shapes(call: Call) -> str | None:
    scores, deltas, anchors = call["scores"].shape, call["deltas"].shape, call["anchors"].shape
    if scores is not None:
        if not isinstance(scores[2], Dim) and scores[2] < 2:
            return f"scores {shape_text(scores)} has no class besides the background"
        if not same_dims(deltas, (scores[0], scores[1], Dim("?"))):
            return f"deltas {shape_text(deltas)} do not go with scores {shape_text(scores)}"
        if not same_dims(anchors, (scores[1], 4)):
            return f"anchors {shape_text(anchors)} is not [{scores[1]},4]"
    if deltas is not None and not isinstance(deltas[2], Dim) and deltas[2] < 4:
        return f"deltas {shape_text(deltas)} hold fewer than 4 numbers a box"
    return None


def _detection_numbers(call: Call) -> str | None:
    positive = ["scale_y", "scale_x", "scale_h", "scale_w", "max_detections"]
    if call["use_regular_nms"] is not None:
        positive.append("max_detections_per_class" if call["use_regular_nms"] else "max_classes_per_detection")
    for name in positive:
        if call[name] is not None and not call[name] > 0:
            return f"{name}={call[name]} is not positive"
    for name in ("score_threshold", "iou_threshold"):
        if call[name] is not None and not call[name] >= 0:
            return f"{name}={call[name]} is negative"
    return None


_DETECTION_POSTPROCESSING = OpSpec(
    kind="DETECTION_POSTPROCESSING",
    code=47,
    since=3,
    summary="Decode the boxes of a single-shot detector and keep the best.",
    types={F32: 3, F16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("scores", rank=3, doc="[n, anchors, classes]; class 0 is background"),
                tensor("deltas", rank=3, doc="[n, anchors, >= 4]: dy, dx, dh, dw"),
                tensor("anchors", rank=2, doc="[anchors, 4]: y, x, h, w of the centre form"),
                *(real_scalar(f"scale_{axis}") for axis in "yxhw"),
                scalar("use_regular_nms", OperandCode.BOOL),
                scalar("max_detections"),
                scalar("max_classes_per_detection", doc="used by fast suppression only"),
                scalar("max_detections_per_class", doc="used by regular suppression only"),
                real_scalar("score_threshold"),
                real_scalar("iou_threshold"),
                scalar("include_background", OperandCode.BOOL),
            ),
            (
                Slot("out_scores", same),
                Slot("out_rois", same),
                Slot("out_classes", fixed(I32)),
                Slot("out_num", fixed(I32)),
            ),
        ),
    ),
    result=detected_types,
    kernel=detection_postprocessing,
    source="AOSP 13 GenerateProposals.cpp",
    constraints=(
        Constraint("C1", "scores, deltas and anchors go together", _detection_shapes),
        Constraint("C2", "scales and limits are positive, thresholds not negative", _detection_numbers),
    ),
    notes=("Boxes and deltas put y before x here, unlike the other detection operations.",),
)

SPECS: tuple[OpSpec, ...] = (_GENERATE_PROPOSALS, _DETECTION_POSTPROCESSING)
