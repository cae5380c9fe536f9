"""HEATMAP_MAX_KEYPOINT: where a heatmap peaks, to a fraction of an element.

Source: AOSP 13 HeatmapMaxKeypoint.cpp.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, same_dims, shape_text
from nnapi_lab.ops.boxes import codes_of, reals_of, roi_quant, roi_quant_seen, roi_type
from nnapi_lab.ops.geometry import sizes, to_nhwc
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, same, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

Reals = np.ndarray


def keypoint_types(call: Call) -> tuple[OperandType, ...]:
    """(scores [boxes, keypoints], positions [boxes, keypoints, 2])."""
    boxes, _, _, points = sizes(call, "heatmap")
    quant = call.wanted_quant(0) if call.is_quantized else None
    (coordinates,) = roi_type(call.key)
    return (
        OperandType(call.key, (boxes, points), quant),
        OperandType(coordinates, (boxes, points, 2), roi_quant(call)),
    )


def heatmap_max_keypoint(
    heatmap: np.ndarray, boxes: np.ndarray, *, nchw: bool, call: Call
) -> tuple[np.ndarray, np.ndarray]:
    """The peak of each heatmap [boxes, size, size, keypoints], refined by a parabola, and its place in the box.

    A second-order Taylor expansion around the largest element stands in for bicubic upscaling. boxes [boxes, 4]
    as (x1, y1, x2, y2); positions come out as (x, y). Raises SimulationError for a box that ends before it
    starts.
    """
    frames = reals_of(boxes, call["boxes"])
    _refuse_reversed(frames)
    maps = to_nhwc(reals_of(heatmap, call["heatmap"]), nchw)
    count, size, _, points = maps.shape
    flat = np.fmax(maps.reshape(count, size * size, points), np.finfo(np.float32).min)
    best = flat.argmax(axis=1)
    peak = np.take_along_axis(flat, best[:, None], axis=1)[:, 0]
    row, column = best // size, best % size
    tolerance = np.float32(1e-3 if call.key == F16 else 1e-5)
    shift, scores = refined(_neighbours(maps, row, column), peak, tolerance)
    at = (np.stack([column, row], axis=-1).astype(np.float32) + shift + np.float32(0.5)) / np.float32(size)
    positions = at * (frames[:, None, 2:] - frames[:, None, :2]) + frames[:, None, :2]
    return codes_of(scores, call.results[0]), codes_of(positions, call.results[1])


def _refuse_reversed(boxes: Reals) -> None:
    bad = np.flatnonzero(~((boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3])))
    if bad.size:
        raise SimulationError(f"box {bad[0]} {boxes[bad[0]].tolist()} ends before it starts")


def _neighbours(maps: Reals, row: np.ndarray, column: np.ndarray) -> Reals:
    """The 3 × 3 elements around each place, mirrored at the border: [3, 3, boxes, keypoints]."""
    size = maps.shape[1]
    around = np.arange(-1, 2)

    def mirrored(at: np.ndarray) -> np.ndarray:
        return np.where(at < 0, 1, np.where(at >= size, size - 2, at))

    rows = mirrored(row[None, None] + around[:, None, None, None])
    columns = mirrored(column[None, None] + around[None, :, None, None])
    boxes, points = np.indices(row.shape)
    return np.asarray(maps[boxes, rows, columns, points])


def refined(grid: Reals, peak: Reals, tolerance: np.float32) -> tuple[Reals, Reals]:
    """(shift (x, y) to the top of the parabola through a 3 × 3 grid, its height): [..., 2] and [...].

    Shifts are scaled down to 3/2; where the parabola has no clear top, the peak stays where it is.
    """
    two = np.float32(2)
    bx = -(grid[1, 2] - grid[1, 0]) / two
    by = -(grid[2, 1] - grid[0, 1]) / two
    axx = grid[1, 0] - two * grid[1, 1] + grid[1, 2]
    axy = (grid[2, 2] - grid[2, 0] - grid[0, 2] + grid[0, 0]) / np.float32(4)
    ayy = grid[0, 1] - two * grid[1, 1] + grid[2, 1]
    product = axx * ayy
    determinant = product - axy * axy
    clear = ~(np.abs(determinant) < tolerance + tolerance * product)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (ayy * bx - axy * by) / determinant, (axx * by - axy * bx) / determinant
        longest = np.maximum(np.abs(x), np.abs(y))
        scale = np.where(longest > np.float32(1.5), np.float32(1.5) / longest, np.float32(1))
        x, y = x * scale, y * scale
        height = grid[1, 1] - bx * x - by * y + ((axx * x + axy * y) * x + (axy * x + ayy * y) * y) / two
    shift = np.where(clear[..., None], np.stack([x, y], axis=-1), np.float32(0))
    return shift, np.where(clear, height, peak)


def _square_map(call: Call) -> str | None:
    shape = call["heatmap"].shape
    _, height, width, _ = sizes(call, "heatmap")
    if not same_dims((height,), (width,)):
        return f"heatmap {shape_text(shape)} is {height} by {width}"
    known = [size for size in (height, width) if not isinstance(size, Dim)]
    return f"heatmap {shape_text(shape)} is {known[0]} wide" if known and known[0] < 2 else None


def _box_per_map(call: Call) -> str | None:
    shape, boxes = call["heatmap"].shape, call["boxes"].shape
    wanted = (Dim("?") if shape is None else shape[0], 4)
    return None if same_dims(boxes, wanted) else f"boxes {shape_text(boxes)} is not {shape_text(wanted)}"


def _scale_missing(call: Call) -> str | None:
    missing = call.is_quantized and not isinstance(call.wanted_quant(0), Quant)
    return "the scale and zero point of the scores are not given" if missing else None


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="HEATMAP_MAX_KEYPOINT",
        code=56,
        since=3,
        summary="The refined peak of each heatmap and its place in the box.",
        types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
        forms=(
            Form(
                "only",
                (
                    tensor("heatmap", rank=4),
                    tensor("boxes", roi_type, rank=2, doc="[boxes, 4]: x1, y1, x2, y2"),
                    scalar("nchw", OperandCode.BOOL),
                ),
                (Slot("out_scores", same), Slot("out_keypoints", roi_type)),
            ),
        ),
        result=keypoint_types,
        kernel=heatmap_max_keypoint,
        source="AOSP 13 HeatmapMaxKeypoint.cpp",
        constraints=(
            Constraint("C1", "heatmaps are square, at least 2 by 2", _square_map),
            Constraint("C2", "there is one box [4] per heatmap", _box_per_map),
            Constraint("C3", "coordinates as codes: scale 0.125, zero point 0", roi_quant_seen("boxes")),
            Constraint("C4", "the scores of codes have a scale of their own, which is given", _scale_missing),
        ),
        notes=("The documentation asks for zero point -128 of boxes beside signed heatmaps; the kernel wants 0.",),
    ),
)
