"""Resizing feature maps: RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR.

Output sizes are written width first, then height. Where output pixel d lies in the input, with
ratio = in / out: legacy d * ratio; half_pixel_centers (d + 1/2) * ratio, minus 1/2 for bilinear;
align_corners d * (in - 1) / (out - 1). All in float32, as the reference computes them.
Source: AOSP 13 `ResizeImageOps.cpp` and the `ResizeBilinear` it calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.numerics.rounding import divide_truncating, round_half_away
from nnapi_lab.ops.geometry import UNKNOWN, Size, empty_seen, feature_map_shape, from_nhwc, sizes, to_nhwc
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, nchw_slot, real_scalar, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED


def _flag(name: str) -> Slot:
    return scalar(name, OperandCode.BOOL, default=False, since=4)


def _forms(layout: Slot) -> tuple[Form, ...]:
    flags = (layout, _flag("align_corners"), _flag("half_pixel_centers"))
    return (
        Form("by_shape", (tensor("input", rank=4), scalar("out_width"), scalar("out_height"), *flags)),
        Form(
            "by_scale",
            (tensor("input", rank=4), real_scalar("width_scale"), real_scalar("height_scale"), *flags),
            since=3,
            resolve=_scaled,
        ),
    )


# --- sizes -------------------------------------------------------------------------------------------------


def scaled_size(size: Size, scale: float | None) -> Size:
    """floor(f32(size) * f32(scale)): the product is rounded to float32 before it is cut."""
    if not isinstance(size, int) or scale is None or not np.isfinite(scale):
        return UNKNOWN
    with np.errstate(over="ignore"):
        product = np.float32(size) * np.float32(scale)
    return max(0, int(np.floor(product))) if np.isfinite(product) else UNKNOWN


def resized(call: Call) -> tuple[Size, Size]:
    """(height, width) of the result, by size or by scale."""
    _, height, width, _ = sizes(call)
    if "width_scale" in call.params:
        return scaled_size(height, call["height_scale"]), scaled_size(width, call["width_scale"])
    wanted = call["out_height"], call["out_width"]
    out_h, out_w = (UNKNOWN if size is None or size < 1 else size for size in wanted)
    return out_h, out_w


def _scaled(call: Call) -> Mapping[str, Any]:
    """The scalars with sizes in place of scales."""
    out_h, out_w = resized(call)
    kept = {name: value for name, value in call.params.items() if not name.endswith("_scale")}
    return {**kept, "out_width": out_w, "out_height": out_h}


def resized_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, out_h, out_w, depth] with the input's type and quantization."""
    batch, _, _, depth = sizes(call)
    return (call["input"].with_shape(feature_map_shape(call, batch, *resized(call), depth)),)


# --- kernels -----------------------------------------------------------------------------------------------


def resize_nearest_neighbor(
    input: np.ndarray, *, out_width: int, out_height: int, nchw: bool, align_corners: bool = False,
    half_pixel_centers: bool = False,
) -> np.ndarray:  # fmt: skip
    """out[y, x] = in[nearest(y), nearest(x)]: the position's floor, or with align_corners rounded."""
    x = to_nhwc(input, nchw)
    rows = nearest(x.shape[1], out_height, align_corners, half_pixel_centers)
    columns = nearest(x.shape[2], out_width, align_corners, half_pixel_centers)
    return from_nhwc(x[:, rows][:, :, columns], nchw)


def nearest(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> np.ndarray:
    """Input index for each of `out` output indices."""
    step = sampling_step(size, out, align_corners)
    places = np.arange(out, dtype=np.float32)
    places = (places + np.float32(0.5)) * step if half_pixel_centers else places * step
    index = round_half_away(places) if align_corners else np.floor(places)
    return np.clip(index.astype(np.int64), 0, size - 1)


def resize_bilinear(
    input: np.ndarray, *, out_width: int, out_height: int, nchw: bool = False, align_corners: bool = False,
    half_pixel_centers: bool = False,
) -> np.ndarray:  # fmt: skip
    """Weighted mean of the four neighbours of each position; uint8 codes round half up, int8 half away."""
    x = to_nhwc(input, nchw)
    neighbours = integer_neighbours if input.dtype == np.int8 else float_neighbours
    rows = neighbours(x.shape[1], out_height, align_corners, half_pixel_centers)
    columns = neighbours(x.shape[2], out_width, align_corners, half_pixel_centers)
    return from_nhwc(_rounded(_blended(x, rows, columns), input.dtype), nchw)


Neighbours = tuple[np.ndarray, np.ndarray, np.ndarray]  # lower index, upper index, weight of the upper


def _blended(x: np.ndarray, rows: Neighbours, columns: Neighbours) -> np.ndarray:
    """The four neighbours weighed, in float32, or in 2^-20 where the weights are integers of 2^-10."""
    (y0, y1, wy), (x0, x1, wx) = rows, columns
    one = wy.dtype.type(1024 if wy.dtype == np.int64 else 1)
    wide = x.astype(wy.dtype)
    wy, wx = wy[:, None, None], wx[None, :, None]
    # In the reference's order: float sums depend on it.
    total: np.ndarray = (
        wide[:, y0][:, :, x0] * (one - wy) * (one - wx)
        + wide[:, y1][:, :, x0] * wy * (one - wx)
        + wide[:, y0][:, :, x1] * (one - wy) * wx
        + wide[:, y1][:, :, x1] * wy * wx
    )
    return total


def float_neighbours(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Neighbours:
    """(lower index, upper index, float32 weight of the upper) for each output index."""
    step = sampling_step(size, out, align_corners)
    places = np.arange(out, dtype=np.float32)
    if half_pixel_centers:
        places = (places + np.float32(0.5)) * step - np.float32(0.5)
    else:
        places = places * step
    lower = np.maximum(np.floor(places), 0).astype(np.int64)
    upper = np.minimum(np.ceil(places), size - 1).astype(np.int64)
    return lower, upper, places - lower.astype(np.float32)


def integer_neighbours(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Neighbours:
    """The same on int8 codes, with positions and weights in 1/1024.

    The step is rounded to 1/1024 too, so far along a large map a position is off by as much as out / 2048
    pixels; where that leads beyond the last pixel, which the reference does not guard, we stay on it.
    """
    last, out_last = (size - 1, out - 1) if align_corners and out > 1 else (size, out)
    step = (1024 * last + out_last // 2) // out_last
    places = np.arange(out, dtype=np.int64) * step
    if half_pixel_centers:
        places = places + step // 2 - 512
    places = np.minimum(places, 1024 * (size - 1))
    lower = np.maximum(divide_truncating(places, 1024), 0)
    upper = np.minimum(divide_truncating(places + 1023, 1024), size - 1)
    return lower, upper, places - 1024 * lower


def sampling_step(size: int, out: int, align_corners: bool) -> np.float32:
    """Input pixels per output pixel: f32(in) / f32(out), or between outermost pixels with align_corners."""
    if align_corners and out > 1:
        return np.float32(size - 1) / np.float32(out - 1)
    return np.float32(size) / np.float32(out)


def _rounded(total: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.float32:
        return total
    if dtype == np.int8:
        return divide_truncating(total + np.where(total > 0, 1 << 19, -(1 << 19)), 1 << 20).astype(np.int8)
    return (total + np.float32(0.5)).astype(np.uint8)


# --- declarations ------------------------------------------------------------------------------------------


def _wanted_size_seen(call: Call) -> str | None:
    for name in ("out_width", "out_height"):
        if call.get(name) is not None and call[name] < 1:
            return f"{name}={call[name]} is below 1"
    for name in ("width_scale", "height_scale"):
        if call.get(name) is not None and not (call[name] > 0 and np.isfinite(call[name])):
            return f"{name}={call[name]} is not a positive number"
    return None


def _flags_seen(call: Call) -> str | None:
    if call["align_corners"] and call["half_pixel_centers"]:
        return "align_corners and half_pixel_centers are both true"
    return None


CONSTRAINTS = (
    Constraint("C1", "sizes and scales are positive", _wanted_size_seen),
    Constraint("C2", "only the batch may be empty", lambda call: empty_seen(call, call.out)),
    Constraint("C3", "align_corners and half_pixel_centers exclude each other", _flags_seen),
)
_SOURCE = "AOSP 13 ResizeImageOps.cpp"

SPECS = (
    OpSpec(
        kind="RESIZE_BILINEAR",
        code=23,
        since=1,
        summary="Resize by weighing the four nearest pixels.",
        types={F32: 1, F16: 3, Q8: 3, Q8S: 4},
        forms=_forms(nchw_slot()),
        result=resized_type,
        kernel=resize_bilinear,
        source=_SOURCE,
        constraints=CONSTRAINTS,
        zero_sized=3,
        notes=(
            "uint8 codes were cut, not rounded, before TFLite of about 2021; int8 codes take its integer "
            "path, which some releases replaced by the float formula. Results differ by one step.",
        ),
    ),
    OpSpec(
        kind="RESIZE_NEAREST_NEIGHBOR",
        code=94,
        since=3,
        summary="Resize by repeating or dropping pixels.",
        types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
        forms=_forms(scalar("nchw", OperandCode.BOOL)),
        result=resized_type,
        kernel=resize_nearest_neighbor,
        source=_SOURCE,
        constraints=CONSTRAINTS,
        zero_sized=3,
    ),
)
