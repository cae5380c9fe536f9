"""Pooling: AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D.

Padding never counts: averages divide by the number of real elements in a window, maxima ignore padding.
Source: AOSP 13 Pooling.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.numerics.activation_range import clamp_float, quantized_range
from nnapi_lab.ops.geometry import (
    explicit_params,
    feature_map_shape,
    from_nhwc,
    channel_axis,
    pads_seen,
    to_nhwc,
    window_out_sizes,
)
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, fuse_slot, nchw_slot, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

_WINDOW = (scalar("stride_w"), scalar("stride_h"), scalar("filter_w"), scalar("filter_h"), fuse_slot())
_PADS = tuple(scalar(f"pad_{side}") for side in ("left", "right", "top", "bottom"))

FORMS = (
    Form("explicit_padding", (tensor("input", rank=4), *_PADS, *_WINDOW, nchw_slot())),
    Form(
        "implicit_padding",
        (tensor("input", rank=4), scalar("padding"), *_WINDOW, nchw_slot()),
        resolve=lambda call: explicit_params(call, call["filter_h"], call["filter_w"]),
    ),
)


def pooled_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, out_h, out_w, depth] with the input's type and quantization."""
    input = call["input"]
    if input.shape is None:
        return (input.with_shape(None),)
    height, width = window_out_sizes(call, call["filter_h"], call["filter_w"])
    return (input.with_shape(feature_map_shape(call, input.shape[0], height, width, input.shape[channel_axis(call)])),)


def windows(
    x: np.ndarray, *, pads: tuple[int, int, int, int], strides: tuple[int, int], filters: tuple[int, int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (row, column, window) with window [n, <=fh, <=fw, c]: only the elements inside the image."""
    top, bottom, left, right = pads
    (stride_h, stride_w), (filter_h, filter_w) = strides, filters
    rows = (x.shape[1] - filter_h + stride_h + top + bottom) // stride_h
    columns = (x.shape[2] - filter_w + stride_w + left + right) // stride_w
    for row in range(rows):
        y = row * stride_h - top
        for column in range(columns):
            z = column * stride_w - left
            yield row, column, x[:, max(y, 0) : y + filter_h, max(z, 0) : z + filter_w, :]


def pool(reduce: Callable[[np.ndarray], np.ndarray], x: np.ndarray, **geometry: tuple[int, ...]) -> np.ndarray:
    """Apply `reduce` (window [n,h,w,c] → [n,c]) to every window of a NHWC array."""
    cells = list(windows(x, **geometry))  # type: ignore[arg-type]
    rows, columns = cells[-1][0] + 1, cells[-1][1] + 1
    first = reduce(cells[0][2])
    out = np.empty((x.shape[0], rows, columns, x.shape[3]), dtype=first.dtype)
    for row, column, window in cells:
        out[:, row, column, :] = reduce(window)
    return out


def average_pool_2d(
    input: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int, pad_bottom: int, stride_w: int, stride_h: int,
    filter_w: int, filter_h: int, fuse: int, nchw: bool = False, call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """Mean of the real elements of each window; codes are rounded half up (Q8) or half away from zero (Q8S)."""
    geometry = _geometry(pad_top, pad_bottom, pad_left, pad_right, stride_h, stride_w, filter_h, filter_w)
    x = to_nhwc(input, nchw)
    if input.dtype == np.float32:
        out = clamp_float(pool(lambda w: w.mean(axis=(1, 2), dtype=np.float32), x, **geometry), fuse)
    else:
        low, high = quantized_range(fuse, call.out.scale, call.out.zero_point, *call.out.code.code_range)
        out = np.clip(pool(_rounded_mean, x, **geometry), low, high).astype(input.dtype)
    return from_nhwc(out, nchw)


def _rounded_mean(window: np.ndarray) -> np.ndarray:
    count = window.shape[1] * window.shape[2]
    total = window.sum(axis=(1, 2), dtype=np.int32)
    # Codes of Q8 are never negative, so one rule serves both types: away from zero on raw codes.
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


def max_pool_2d(
    input: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int, pad_bottom: int, stride_w: int, stride_h: int,
    filter_w: int, filter_h: int, fuse: int, nchw: bool = False, call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """Largest real element of each window; NaN and -inf give -FLT_MAX, as the reference's starting value wins."""
    geometry = _geometry(pad_top, pad_bottom, pad_left, pad_right, stride_h, stride_w, filter_h, filter_w)
    x = to_nhwc(input, nchw)
    if input.dtype == np.float32:
        lowest = np.finfo(np.float32).min
        out = clamp_float(pool(lambda w: np.fmax(np.fmax.reduce(w, axis=(1, 2)), lowest), x, **geometry), fuse)
    else:
        low, high = quantized_range(fuse, call.out.scale, call.out.zero_point, *call.out.code.code_range)
        out = np.clip(pool(lambda w: w.max(axis=(1, 2)), x, **geometry), low, high).astype(input.dtype)
    return from_nhwc(out, nchw)


def l2_pool_2d(
    input: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int, pad_bottom: int, stride_w: int, stride_h: int,
    filter_w: int, filter_h: int, fuse: int, nchw: bool = False,
) -> np.ndarray:  # fmt: skip
    """Root of the mean square of the real elements of each window."""
    geometry = _geometry(pad_top, pad_bottom, pad_left, pad_right, stride_h, stride_w, filter_h, filter_w)
    root = pool(lambda w: np.sqrt((w * w).mean(axis=(1, 2), dtype=np.float32)), to_nhwc(input, nchw), **geometry)
    return from_nhwc(clamp_float(root, fuse), nchw)


def _geometry(
    top: int, bottom: int, left: int, right: int, stride_h: int, stride_w: int, filter_h: int, filter_w: int
) -> dict[str, tuple[int, ...]]:
    return {"pads": (top, bottom, left, right), "strides": (stride_h, stride_w), "filters": (filter_h, filter_w)}


def _pad_reaches_filter(call: Call) -> str | None:
    """AOSP's kernel refuses a pad as large as the filter: a window would hold no real element."""
    for pad, filter in (("pad_left", "filter_w"), ("pad_right", "filter_w"), ("pad_top", "filter_h"),
                        ("pad_bottom", "filter_h")):  # fmt: skip
        if call.get(pad) is not None and call[pad] >= call[filter]:
            return f"{pad}={call[pad]} is not below {filter}={call[filter]}"
    return None


def _window_outside(call: Call) -> str | None:
    shape = call.out.shape
    if shape is not None and any(not isinstance(dim, Dim) and dim < 1 for dim in shape[1:]):
        return f"the result would be {shape}"
    return None


CONSTRAINTS = (
    Constraint("C1", "pads are not negative and strides at least 1", pads_seen),
    Constraint("C2", "a pad is smaller than the filter along its axis", _pad_reaches_filter),
    Constraint("C3", "the window fits into the padded input", _window_outside),
)
_SOURCE = "AOSP 13 Pooling.cpp"


def _pool_spec(kind: str, code: int, summary: str, kernel: Callable[..., np.ndarray], quantized: bool) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=1,
        summary=summary,
        types={F32: 1, F16: 3, **({Q8: 1, Q8S: 4} if quantized else {})},
        forms=FORMS,
        result=pooled_type,
        kernel=kernel,
        source=_SOURCE,
        constraints=CONSTRAINTS,
        zero_sized=3,
    )


SPECS = (
    _pool_spec("AVERAGE_POOL_2D", 1, "Average each window; padding is not counted.", average_pool_2d, True),
    _pool_spec("L2_POOL_2D", 12, "Root mean square of each window; padding is not counted.", l2_pool_2d, False),
    _pool_spec("MAX_POOL_2D", 17, "Maximum of each window; padding is ignored.", max_pool_2d, True),
)
