"""Pooling: AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D.

Padding never counts: averages divide by the number of real elements in a window, maxima ignore padding.
Source: AOSP 13 `Pooling.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.numerics.activation_range import clamp_float, quantized_range
from nnapi_lab.numerics.averages import average_pool_codes
from nnapi_lab.ops.geometry import (
    EXPLICIT_PADS,
    Window,
    codes_seen,
    empty_seen,
    explicit_params,
    feature_map_shape,
    from_nhwc,
    pad_reaches_window_seen,
    pads_seen,
    sizes,
    to_nhwc,
    window_out_sizes,
)
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, fuse_slot, nchw_slot, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

_WINDOW = (scalar("stride_w"), scalar("stride_h"), scalar("filter_w"), scalar("filter_h"), fuse_slot())

FORMS = (
    Form("explicit_padding", (tensor("input", rank=4), *EXPLICIT_PADS, *_WINDOW, nchw_slot())),
    Form(
        "implicit_padding",
        (tensor("input", rank=4), scalar("padding"), *_WINDOW, nchw_slot()),
        resolve=lambda call: explicit_params(call, call["filter_h"], call["filter_w"]),
    ),
)


def pooled_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, out_h, out_w, depth] with the input's type and quantization."""
    batch, _, _, depth = sizes(call)
    height, width = window_out_sizes(call, call["filter_h"], call["filter_w"])
    return (call["input"].with_shape(feature_map_shape(call, batch, height, width, depth)),)


# --- kernels -----------------------------------------------------------------------------------------------


def average_pool_2d(
    input: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int, pad_bottom: int,
    stride_w: int, stride_h: int, filter_w: int, filter_h: int, fuse: int, nchw: bool = False,
    call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """Mean of the real elements of each window; codes round half up (uint8) or half away from zero (int8)."""
    window = Window(filter_h, filter_w, stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right)
    x = to_nhwc(input, nchw)
    sums, counts = window_sums(x, window)
    if input.dtype == np.float32:
        out = clamp_float(sums / counts.astype(np.float32), fuse)
    else:
        out = average_pool_codes(sums, counts, *_code_range(input, fuse, call), dtype=input.dtype)
    return from_nhwc(out, nchw)


def max_pool_2d(
    input: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int, pad_bottom: int,
    stride_w: int, stride_h: int, filter_w: int, filter_h: int, fuse: int, nchw: bool = False,
    call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """Largest real element of each window; NaN loses, and where nothing is larger the result is -FLT_MAX."""
    window = Window(filter_h, filter_w, stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right)
    x = to_nhwc(input, nchw)
    lowest = float(np.finfo(np.float32).min) if input.dtype == np.float32 else np.iinfo(input.dtype).min
    out = np.full((x.shape[0], *window.out_sizes(*x.shape[1:3]), x.shape[3]), lowest, input.dtype)
    for _, _, seen in window.taps(x, fill=lowest):
        out = np.fmax(out, seen)
    if input.dtype == np.float32:
        return from_nhwc(clamp_float(out, fuse), nchw)
    return from_nhwc(np.clip(out, *_code_range(input, fuse, call)).astype(input.dtype), nchw)


def l2_pool_2d(
    input: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int, pad_bottom: int,
    stride_w: int, stride_h: int, filter_w: int, filter_h: int, fuse: int, nchw: bool = False,
) -> np.ndarray:  # fmt: skip
    """Root of the mean square of the real elements of each window."""
    window = Window(filter_h, filter_w, stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right)
    x = to_nhwc(input, nchw)
    sums, counts = window_sums(x * x, window)
    return from_nhwc(clamp_float(np.sqrt(sums / counts.astype(np.float32)), fuse), nchw)


def window_sums(x: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """(sums [n, rows, columns, c], counts [1, rows, columns, 1]) of the elements inside the image.

    x [n, h, w, c]; sums are float32 for float32 and int32 for codes.
    """
    rows, columns = window.out_sizes(*x.shape[1:3])
    kind = np.float32 if x.dtype == np.float32 else np.int32
    sums = np.zeros((x.shape[0], rows, columns, x.shape[3]), kind)
    counts = np.zeros((1, rows, columns, 1), np.int32)
    inside = np.ones((1, *x.shape[1:3], 1), np.int32)
    for (_, _, seen), (_, _, is_inside) in zip(window.taps(x), window.taps(inside), strict=True):
        sums += seen
        counts += is_inside
    return sums, counts


def _code_range(input: np.ndarray, fuse: int, call: Call | None) -> tuple[int, int]:
    info = np.iinfo(input.dtype)
    if call is None:
        return int(info.min), int(info.max)
    return quantized_range(fuse, call.out.scale, call.out.zero_point, int(info.min), int(info.max))


# --- declarations ------------------------------------------------------------------------------------------

CONSTRAINTS = (
    Constraint("C1", "pads are not negative, strides and filter sizes at least 1", pads_seen),
    Constraint(
        "C2",
        "a pad is smaller than the filter along its axis",
        lambda call: pad_reaches_window_seen(call, call["filter_h"], call["filter_w"]),
    ),
    Constraint("C3", "only the batch may be empty", lambda call: empty_seen(call, call.out)),
    Constraint("C4", "fuse is a FuseCode, padding a PaddingCode", codes_seen),
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
