"""Windows over feature maps: layouts, output sizes, explicit pads from implicit padding, a filter's taps.

Shared by convolutions, pools and resizing. Kernels work on NHWC arrays; the layout flag is undone at their
border. Sizes that are not known yet are `Dim`s, scalars that are not known yet are None.
Source: AOSP 13 `OperationsExecutionUtils.h` (computeOutSize), `.cpp` (calculateExplicitPaddingImpl).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandType, Shape, shape_text
from nnapi_lab.ops.spec import FUSE_NAMES, PADDING_NAMES, Call, Slot, scalar

SAME, VALID = 1, 2
UNKNOWN = Dim("?")
Size = int | Dim

EXPLICIT_PADS: tuple[Slot, ...] = tuple(
    scalar(f"pad_{side}", doc="elements") for side in ("left", "right", "top", "bottom")
)


# --- shapes of feature maps --------------------------------------------------------------------------------


def sizes(call: Call, name: str = "input") -> tuple[Size, Size, Size, Size]:
    """(batch, height, width, depth) of a feature map, whatever its layout; Dims where they are unknown."""
    shape = call[name].shape
    if shape is None or call.get("nchw", False) is None:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    if call.get("nchw"):
        batch, depth, height, width = shape
        return batch, height, width, depth
    batch, height, width, depth = shape
    return batch, height, width, depth


def spatial_axes(call: Call) -> tuple[int, int]:
    """Positions of height and width in a feature map's shape."""
    return (2, 3) if call.get("nchw") else (1, 2)


def channel_axis(call: Call) -> int:
    """Position of the channels in a feature map's shape."""
    return 1 if call.get("nchw") else 3


def feature_map_shape(call: Call, batch: Size, height: Size, width: Size, depth: Size) -> Shape:
    """A result shape in the layout the call asks for; all unknown while the layout is."""
    nchw = call.get("nchw", False)
    if nchw is None:
        return (UNKNOWN,) * 4
    return (batch, depth, height, width) if nchw else (batch, height, width, depth)


def to_nhwc(array: np.ndarray, nchw: bool) -> np.ndarray:
    """A feature map with channels last, whatever layout the call uses."""
    return np.transpose(array, (0, 2, 3, 1)) if nchw else array


def from_nhwc(array: np.ndarray, nchw: bool) -> np.ndarray:
    """Back from channels last to the call's layout, dense."""
    return np.ascontiguousarray(np.transpose(array, (0, 3, 1, 2)) if nchw else array)


# --- sizes under a window ----------------------------------------------------------------------------------


def effective_filter(size: Size, dilation: int | None) -> Size:
    """Extent of a dilated filter: (size - 1) * dilation + 1."""
    if isinstance(size, Dim) or dilation is None:
        return UNKNOWN
    return (size - 1) * dilation + 1


def out_size(size: Size, window: Size | None, stride: int | None, before: int | None, after: int | None) -> Size:
    """(size - window + stride + before + after) / stride for explicit pads; 0 if the window does not fit."""
    if not (isinstance(size, int) and isinstance(window, int)):
        return UNKNOWN
    if stride is None or stride < 1 or before is None or after is None:
        return UNKNOWN
    return max(0, (size - window + stride + before + after) // stride)


def implicit_pads(size: int, window: int, stride: int, padding: int) -> tuple[int, int]:
    """(before, after) of implicit padding; SAME puts the odd element after."""
    if padding != SAME:
        return 0, 0
    total = max(0, (-(-size // stride) - 1) * stride + window - size)
    return total // 2, total - total // 2


def implicit_out_size(size: Size, window: Size | None, stride: int | None, padding: int | None) -> Size:
    """SAME: ceil(size / stride); VALID: ceil((size - window + 1) / stride), 0 if it does not fit."""
    if padding != SAME:
        return out_size(size, window, stride, 0, 0) if padding is not None else UNKNOWN
    if isinstance(size, Dim) or stride is None or stride < 1:
        return UNKNOWN
    return -(-size // stride)


def window_out_sizes(call: Call, window_h: Size | None, window_w: Size | None) -> tuple[Size, Size]:
    """(height, width) of the result for a window (dilation already applied), for either way of padding."""
    _, height, width, _ = sizes(call)
    stride_h, stride_w = call["stride_h"], call["stride_w"]
    if "padding" in call.params:
        padding = call["padding"]
        return (
            implicit_out_size(height, window_h, stride_h, padding),
            implicit_out_size(width, window_w, stride_w, padding),
        )
    return (
        out_size(height, window_h, stride_h, call["pad_top"], call["pad_bottom"]),
        out_size(width, window_w, stride_w, call["pad_left"], call["pad_right"]),
    )


def explicit_params(call: Call, window_h: int, window_w: int) -> Mapping[str, Any]:
    """The call's scalars with implicit padding replaced by the four explicit pads; sizes must be known."""
    _, height, width, _ = sizes(call)
    padding = call["padding"]
    top, bottom = implicit_pads(_known(height), window_h, call["stride_h"], padding)
    left, right = implicit_pads(_known(width), window_w, call["stride_w"], padding)
    return with_pads(call, top, bottom, left, right)


def with_pads(call: Call, top: int, bottom: int, left: int, right: int) -> Mapping[str, Any]:
    """The call's scalars, `padding` replaced by four explicit pads."""
    params = {name: value for name, value in call.params.items() if name != "padding"}
    return {**params, "pad_top": top, "pad_bottom": bottom, "pad_left": left, "pad_right": right}


def _known(size: Size) -> int:
    if isinstance(size, Dim):
        raise ValueError(f"implicit padding needs a known size, not {size}")
    return size


# --- a window walking over an array ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """How a filter walks over a feature map: its taps, strides, dilations and the pads around the map."""

    filter_h: int
    filter_w: int
    stride_h: int
    stride_w: int
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    dilation_h: int = 1
    dilation_w: int = 1

    def out_sizes(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the positions the window takes."""
        rows = out_size(height, effective_filter(self.filter_h, self.dilation_h), self.stride_h,
                        self.pad_top, self.pad_bottom)  # fmt: skip
        columns = out_size(width, effective_filter(self.filter_w, self.dilation_w), self.stride_w,
                           self.pad_left, self.pad_right)  # fmt: skip
        return _known(rows), _known(columns)

    def taps(self, x: np.ndarray, fill: float = 0) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (i, j, seen): what filter element (i, j) sees at every position of the window.

        x [n, h, w, c], surrounded by `fill`; seen [n, rows, columns, c] is a view.
        """
        rows, columns = self.out_sizes(x.shape[1], x.shape[2])
        pads = ((0, 0), (self.pad_top, self.pad_bottom), (self.pad_left, self.pad_right), (0, 0))
        padded = np.pad(x, pads, constant_values=fill)
        for i in range(self.filter_h):
            top = i * self.dilation_h
            for j in range(self.filter_w):
                left = j * self.dilation_w
                yield i, j, padded[
                    :,
                    top : top + (rows - 1) * self.stride_h + 1 : self.stride_h,
                    left : left + (columns - 1) * self.stride_w + 1 : self.stride_w,
                ]  # fmt: skip


# --- what can be wrong with a window -----------------------------------------------------------------------


def pads_seen(call: Call) -> str | None:
    """A negative pad, or a stride, dilation or filter size below 1; None if all are usable."""
    for name in ("pad_left", "pad_right", "pad_top", "pad_bottom"):
        if (call.get(name) or 0) < 0:
            return f"{name}={call[name]} is negative"
    for name in ("stride_w", "stride_h", "dilation_w", "dilation_h", "filter_w", "filter_h"):
        if call.get(name) is not None and call[name] < 1:
            return f"{name}={call[name]} is below 1"
    return None


def pad_reaches_window_seen(call: Call, window_h: Size | None, window_w: Size | None) -> str | None:
    """An explicit pad as large as the window: some position would see no real element."""
    for name, window in (("pad_left", window_w), ("pad_right", window_w), ("pad_top", window_h),
                         ("pad_bottom", window_h)):  # fmt: skip
        pad = call.get(name)
        if pad is not None and isinstance(window, int) and pad >= window:
            return f"{name}={pad} is not below the filter's extent {window}"
    return None


def empty_seen(call: Call, result: OperandType) -> str | None:
    """A size of zero other than the batch, in the input or the result."""
    for name, type_ in (("input", call["input"]), ("the result", result)):
        if type_.shape is not None and any(dim == 0 for dim in type_.shape[1:]):
            return f"{name} {shape_text(type_.shape)} has a size of zero that is not the batch"
    return None


def codes_seen(call: Call) -> str | None:
    """A FuseCode or PaddingCode the standard does not know."""
    for name, names in (("fuse", FUSE_NAMES), ("padding", PADDING_NAMES)):
        code = call.get(name)
        if code is not None and code not in names:
            known = ", ".join(f"{number} {word}" for number, word in names.items())
            return f"{name}={code} is none of {known}"
    return None
