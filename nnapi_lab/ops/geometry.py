"""Windows over feature maps: output sizes, explicit pads from implicit padding, layout flags.

Shared by convolutions and pools. Sizes follow AOSP 13 `OperationsExecutionUtils.cpp` (computeOutSize,
calculateExplicitPaddingImpl).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import Dim, Shape
from nnapi_lab.ops.spec import Call

SAME, VALID = 1, 2


def spatial_axes(call: Call) -> tuple[int, int]:
    """Positions of height and width in the input's shape."""
    return (2, 3) if call.get("nchw") else (1, 2)


def channel_axis(call: Call) -> int:
    return 1 if call.get("nchw") else 3


def feature_map_shape(call: Call, batch: int | Dim, height: int | Dim, width: int | Dim, depth: int | Dim) -> Shape:
    """A result shape in the layout the call asks for."""
    return (batch, depth, height, width) if call.get("nchw") else (batch, height, width, depth)


def effective_filter(size: int, dilation: int) -> int:
    """Extent of a dilated filter: (size - 1) * dilation + 1."""
    return (size - 1) * dilation + 1


def out_size(size: int | Dim, window: int | Dim, stride: int, before: int, after: int) -> int | Dim:
    """floor((size - window + stride + before + after) / stride) for explicit pads."""
    if isinstance(size, Dim) or isinstance(window, Dim):
        return Dim(f"out({size})")
    return (size - window + stride + before + after) // stride


def implicit_out_size(size: int | Dim, window: int | Dim, stride: int, padding: int) -> int | Dim:
    """SAME: ceil(size / stride); VALID: ceil((size - window + 1) / stride)."""
    if isinstance(size, Dim) or isinstance(window, Dim):
        return Dim(f"out({size})")
    return -(-size // stride) if padding == SAME else (size - window + stride) // stride


def implicit_pads(size: int, window: int, stride: int, padding: int) -> tuple[int, int]:
    """(head, tail) pads of implicit padding; SAME puts the odd element at the tail."""
    if padding != SAME:
        return 0, 0
    total = max(0, (-(-size // stride) - 1) * stride + window - size)
    return total // 2, total - total // 2


def window_out_sizes(call: Call, window_h: int | Dim, window_w: int | Dim) -> tuple[int | Dim, int | Dim]:
    """(height, width) of the result for a window (dilation already applied), for either way of padding."""
    shape = call["input"].shape
    axis_h, axis_w = spatial_axes(call)
    if "padding" in call.params:
        return (
            implicit_out_size(shape[axis_h], window_h, call["stride_h"], call["padding"]),
            implicit_out_size(shape[axis_w], window_w, call["stride_w"], call["padding"]),
        )
    return (
        out_size(shape[axis_h], window_h, call["stride_h"], call["pad_top"], call["pad_bottom"]),
        out_size(shape[axis_w], window_w, call["stride_w"], call["pad_left"], call["pad_right"]),
    )


def explicit_params(call: Call, window_h: int, window_w: int) -> Mapping[str, Any]:
    """The call's scalars with implicit padding replaced by the four explicit pads."""
    params = {name: value for name, value in call.params.items() if name != "padding"}
    shape = call["input"].shape
    axis_h, axis_w = spatial_axes(call)
    top, bottom = implicit_pads(shape[axis_h], window_h, call["stride_h"], call["padding"])
    left, right = implicit_pads(shape[axis_w], window_w, call["stride_w"], call["padding"])
    return {**params, "pad_top": top, "pad_bottom": bottom, "pad_left": left, "pad_right": right}


def to_nhwc(array: np.ndarray, nchw: bool) -> np.ndarray:
    """A feature map with channels last, whatever layout the call uses."""
    return np.transpose(array, (0, 2, 3, 1)) if nchw else array


def from_nhwc(array: np.ndarray, nchw: bool) -> np.ndarray:
    """Back from channels last to the call's layout."""
    return np.ascontiguousarray(np.transpose(array, (0, 3, 1, 2))) if nchw else array


def pads_seen(call: Call) -> str | None:
    """A negative pad or a stride below 1, None if all are usable."""
    for name in ("pad_left", "pad_right", "pad_top", "pad_bottom"):
        if (call.get(name) or 0) < 0:
            return f"{name}={call[name]} is negative"
    for name in ("stride_w", "stride_h"):
        if call.get(name) is not None and call[name] < 1:
            return f"{name}={call[name]} is below 1"
    return None
