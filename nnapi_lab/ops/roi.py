"""Regions of a feature map brought to one size: ROI_ALIGN samples and averages, ROI_POOLING takes maxima.

A region is [x1, y1, x2, y2] in image coordinates; a stride is image pixels per feature-map element.
Source: AOSP 13 RoiAlign.cpp, RoiPooling.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, shape_text
from nnapi_lab.numerics.quantize import code_limits, dequantize
from nnapi_lab.numerics.requantize import quantize_multiplier_smaller_than_one, requantize_accumulator
from nnapi_lab.numerics.rounding import round_half_away
from nnapi_lab.ops.axes import Size, agreed
from nnapi_lab.ops.boxes import ROI_QUANT, box_list_seen, roi_quant_seen, roi_type
from nnapi_lab.ops.geometry import feature_map_shape, from_nhwc, sizes, to_nhwc
from nnapi_lab.ops.shape import integers
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, real_scalar, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

_WEIGHT_STEP = np.float32(1) / np.float32(255)  # interpolation weights are codes of this scale

_REGIONS = (
    tensor("input", rank=4),
    tensor("rois", roi_type, rank=2, doc="[regions, 4]: x1, y1, x2, y2"),
    integers("batch_index", doc="[regions]: which image of the batch"),
    scalar("out_height"),
    scalar("out_width"),
    real_scalar("height_stride"),
    real_scalar("width_stride"),
)
_LAYOUT = scalar("nchw", OperandCode.BOOL)


# --- one region ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Region:
    """One region in feature-map coordinates, numbers of the regions' own float type."""

    image: np.ndarray  # [height, width, depth]
    left: Any
    top: Any
    right: Any
    bottom: Any


def regions(
    images: np.ndarray, rois: np.ndarray, batch_index: np.ndarray, strides: tuple[float, float]
) -> list[Region]:
    """Every region with its image; images [n, height, width, depth], rois [regions, 4] as reals.

    Raises SimulationError for an image that is not there, a region outside its image, or one whose second
    corner lies before the first.
    """
    real = rois.dtype.type
    scale_h, scale_w = (real(np.float32(1) / np.float32(stride)) for stride in strides)
    height, width = real(images.shape[1]), real(images.shape[2])
    found = []
    for index, (roi, batch) in enumerate(zip(rois, batch_index, strict=True)):
        if not 0 <= batch < len(images):
            raise SimulationError(f"region {index} is in image {batch} of {len(images)}")
        left, right, top, bottom = roi[0] * scale_w, roi[2] * scale_w, roi[1] * scale_h, roi[3] * scale_h
        inside = 0 <= left <= right <= width and 0 <= top <= bottom <= height
        if not inside:
            raise SimulationError(
                f"region {index} [{roi[0]}, {roi[1]}, {roi[2]}, {roi[3]}] does not lie in the feature map, "
                f"{images.shape[1]}×{images.shape[2]} elements at strides {strides[0]:g}, {strides[1]:g}"
            )
        found.append(Region(images[batch], left, top, right, bottom))
    return found


# --- ROI_ALIGN ----------------------------------------------------------------------------------------------


def roi_align(
    input: np.ndarray, rois: np.ndarray, batch_index: np.ndarray, *, out_height: int, out_width: int,
    height_stride: float, width_stride: float, height_samples: int, width_samples: int, nchw: bool, call: Call,
) -> np.ndarray:  # fmt: skip
    """Average bilinear samples in each of out_height × out_width bins of each region.

    Samples per bin and axis as given; 0 takes ceil(bin size). float16 is computed in float16, step by step, as
    the reference does. Raises SimulationError for a region outside its image.
    """
    images = to_nhwc(input, nchw)
    reals = dequantize(rois, ROI_QUANT.scale) if call.is_quantized else rois
    pooled = [
        _aligned(region, (out_height, out_width), (height_samples, width_samples), call)
        for region in regions(images, reals, batch_index, (height_stride, width_stride))
    ]
    shape = (len(pooled), out_height, out_width, images.shape[3])
    return from_nhwc(np.array(pooled, input.dtype).reshape(shape), nchw)


def _aligned(region: Region, bins: tuple[int, int], samples: tuple[int, int], call: Call) -> np.ndarray:
    rows = _sample_points(region.top, region.bottom, bins[0], samples[0], region.image.shape[0])
    columns = _sample_points(region.left, region.right, bins[1], samples[1], region.image.shape[1])
    count = rows[0].shape[1] * columns[0].shape[1]
    image = region.image
    if call.is_quantized:
        image = image.astype(np.int32) - call["input"].zero_point
    # Sample by sample, in the reference's order: float sums depend on it.
    total = sum(
        _interpolated(image, [part[:, y] for part in rows], [part[:, x] for part in columns])
        for y in range(rows[0].shape[1])
        for x in range(columns[0].shape[1])
    )
    if not call.is_quantized:
        return np.asarray(total / image.dtype.type(count))
    return _requantized(np.asarray(total), count, call)


def _sample_points(start: Any, end: Any, size: int, samples: int, limit: int) -> list[np.ndarray]:
    """[element before, element after, share of the one after] of every sample: [size, samples] each."""
    real = type(start)
    extent = real(max(np.float32(end - start), np.float32(1)))
    step = extent / real(size)
    per_bin = samples if samples > 0 else int(np.ceil(np.float32(step)))
    stride = step / real(per_bin)
    begins = step * np.arange(size).astype(real) + start
    points = (begins + stride / real(2))[:, None] + stride * np.arange(per_bin).astype(real)
    before = np.floor(points.astype(np.float32)).astype(np.int64)
    share = points - before.astype(real)
    beyond = before >= limit - 1
    before = np.where(beyond, limit - 1, before)
    return [before, np.where(beyond, limit - 1, before + 1), np.where(beyond, real(0), share)]


def _interpolated(image: np.ndarray, rows: list[np.ndarray], columns: list[np.ndarray]) -> np.ndarray:
    """One bilinear sample per bin: [bins down, bins across, depth]."""
    (top, bottom, dy), (left, right, dx) = rows, columns
    one = dy.dtype.type(1)
    corners = (
        (np.outer(one - dy, one - dx), top, left),
        (np.outer(one - dy, dx), top, right),
        (np.outer(dy, one - dx), bottom, left),
        (np.outer(dy, dx), bottom, right),
    )
    value = np.zeros((), image.dtype)
    for weight, row, column in corners:
        if image.dtype == np.int32:
            weight = round_half_away(weight / _WEIGHT_STEP).astype(np.int32)
        value = value + weight[:, :, None] * image[np.ix_(row, column)]
    return value


def _requantized(total: np.ndarray, count: int, call: Call) -> np.ndarray:
    scale, out = np.float32(call["input"].scale), call.out
    ratio = scale * _WEIGHT_STEP / np.float32(out.scale) / np.float32(count)
    try:
        multiplier = quantize_multiplier_smaller_than_one(float(ratio))
    except ValueError as reason:
        raise SimulationError(f"ROI_ALIGN from scale {scale} to {out.scale}: {reason}") from reason
    dtype = out.code.numpy
    return requantize_accumulator(total, multiplier, out.zero_point, *code_limits(dtype), dtype)


# --- ROI_POOLING --------------------------------------------------------------------------------------------


def roi_pooling(
    input: np.ndarray, rois: np.ndarray, batch_index: np.ndarray, *, out_height: int, out_width: int,
    height_stride: float, width_stride: float, nchw: bool, call: Call,
) -> np.ndarray:  # fmt: skip
    """The largest element in each of out_height × out_width bins of each region, corners rounded to elements.

    Bins overlap: floor of the start to ceil of the end. An empty bin gives the zero point.
    Raises SimulationError for a region outside its image.
    """
    images = to_nhwc(input, nchw)
    reals = dequantize(rois, ROI_QUANT.scale) if call.is_quantized else rois
    found = regions(images, reals, batch_index, (height_stride, width_stride))
    pooled = np.full((len(found), out_height, out_width, images.shape[3]), call["input"].zero_point, input.dtype)
    for index, region in enumerate(found):
        rows = _bin_edges(region.top, region.bottom, out_height, region.image.shape[0])
        columns = _bin_edges(region.left, region.right, out_width, region.image.shape[1])
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if top < bottom and left < right:
                    pooled[index, i, j] = _largest(region.image[top:bottom, left:right])
    return from_nhwc(pooled, nchw)


def _bin_edges(start: Any, end: Any, size: int, limit: int) -> list[tuple[int, int]]:
    """[start, end) of every bin along one axis."""
    real = type(start)
    first, last = (int(round_half_away(np.float32(edge))) for edge in (start, end))
    step = real(max(last - first + 1, 1)) / real(size)
    edges = (step * np.arange(size + 1).astype(real) + real(first)).astype(np.float32)
    begins, ends = np.floor(edges[:-1]), np.ceil(edges[1:])
    return [(min(int(a), limit), min(int(b), limit)) for a, b in zip(begins, ends, strict=True)]


def _largest(bin: np.ndarray) -> np.ndarray:
    """Maximum over a bin; a NaN counts only where it comes first, as nothing compares greater."""
    cells = bin.reshape(-1, bin.shape[-1])
    if bin.dtype.kind != "f":
        return np.asarray(cells.max(axis=0))
    return np.asarray(np.where(np.isnan(cells[0]), cells[0], np.fmax.reduce(cells, axis=0)))


# --- declarations -------------------------------------------------------------------------------------------


def region_shape(call: Call) -> tuple[Size, ...]:
    """[regions, out_height, out_width, depth] in the call's layout."""
    count: Size = Dim("?")
    for slot in ("rois", "batch_index"):
        held = call[slot].shape
        count = agreed(count, held[0]) if held else count
    depth = sizes(call)[3]
    height, width = (Dim("?") if call[name] is None else call[name] for name in ("out_height", "out_width"))
    return feature_map_shape(call, count, height, width, depth)


def aligned_type(call: Call) -> tuple[OperandType, ...]:
    quant = call.wanted_quant() if call.is_quantized else None
    return (OperandType(call.key, None if _bad_size(call) else region_shape(call), quant),)


def pooled_type(call: Call) -> tuple[OperandType, ...]:
    return (call["input"].with_shape(None if _bad_size(call) else region_shape(call)),)


def _bad_size(call: Call) -> str | None:
    for name in ("out_height", "out_width"):
        if call[name] is not None and call[name] < 1:
            return f"{name}={call[name]} is below 1"
    for name in ("height_stride", "width_stride"):
        if call[name] is not None and not call[name] > 0:
            return f"{name}={call[name]} is not positive"
    for name in ("height_samples", "width_samples"):
        if (call.get(name) or 0) < 0:
            return f"{name}={call[name]} is negative"
    return None


def _empty_image(call: Call) -> str | None:
    shape = call["input"].shape
    return f"input is {shape_text(shape)}" if shape is not None and 0 in shape else None


def _scale_missing(call: Call) -> str | None:
    missing = call.is_quantized and not isinstance(call.wanted_quant(), Quant)
    return "the result's scale and zero point are not given" if missing else None


_RULES = (
    Constraint("C1", "rois are [n, 4] and batch_index is [n]", box_list_seen),
    Constraint("C2", "result sizes and strides are positive, sample counts at least 0", _bad_size),
    Constraint("C3", "rois of codes have scale 0.125 and zero point 0", roi_quant_seen("rois")),
)
_TYPES = {F32: 3, F16: 3, Q8: 3, Q8S: 4}
_REFUSED = "Regions outside the feature map are refused at execution; clip boxes first (AXIS_ALIGNED_BBOX_TRANSFORM)."

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="ROI_ALIGN",
        code=81,
        since=3,
        summary="Average bilinear samples of regions.",
        types=_TYPES,
        forms=(Form("only", (*_REGIONS, scalar("height_samples"), scalar("width_samples"), _LAYOUT)),),
        result=aligned_type,
        kernel=roi_align,
        source="AOSP 13 RoiAlign.cpp",
        constraints=(
            *_RULES,
            Constraint("C4", "there are images; only the list of regions may be empty", _empty_image),
            Constraint("C5", "the result of codes has a scale of its own, which is given", _scale_missing),
        ),
        zero_sized=3,
        half="native",
        notes=(
            "The documentation gives FLOAT32 strides; a float16 model needs FLOAT16 ones.",
            "Codes: the result's step must be above the input's step / (255 · samples), else execution fails.",
            _REFUSED,
        ),
    ),
    OpSpec(
        kind="ROI_POOLING",
        code=82,
        since=3,
        summary="Maxima over the bins of regions.",
        types=_TYPES,
        forms=(Form("only", (*_REGIONS, _LAYOUT)),),
        result=pooled_type,
        kernel=roi_pooling,
        source="AOSP 13 RoiPooling.cpp",
        constraints=_RULES,
        half="native",
        notes=("The documentation gives FLOAT32 strides; a float16 model needs FLOAT16 ones.", _REFUSED),
    ),
)
