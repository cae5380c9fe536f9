"""Twins of AVERAGE_POOL_2D and MAX_POOL_2D: one loop over windows, sums in the reference's order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.numerics.activation_range import float_range, quantized_range
from nnapi_lab.numerics.averages import average_pool_codes
from nnapi_lab.ops.geometry import from_nhwc, to_nhwc
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.compiled import compiled
from nnapi_lab.simulate.fast.shapes import nhwc_shape
from nnapi_lab.simulate.fast.twins import twin


@twin("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pooling(call: Call) -> Callable[..., tuple[np.ndarray, ...]] | None:
    """None for float16."""
    if call.key == OperandCode.TENSOR_FLOAT16:
        return None
    scalars, nchw, dtype = call.resolved(), bool(call.get("nchw")), call.out.code.numpy
    geometry = tuple(scalars[name] for name in ("pad_top", "pad_left", "stride_h", "stride_w", "filter_h", "filter_w"))
    wanted = nhwc_shape(call.out, nchw)
    reduce = _average if call.spec.kind == "AVERAGE_POOL_2D" else _maximum
    low, high = _range(call)

    def run(input: np.ndarray) -> tuple[np.ndarray, ...]:
        x = np.ascontiguousarray(to_nhwc(input, nchw))
        return (from_nhwc(reduce(x, wanted, geometry, low, high).astype(dtype, copy=False), nchw),)

    return run


def _range(call: Call) -> tuple[float, float]:
    out = call.out
    if not call.is_quantized:
        low, high = float_range(call["fuse"])
        return float(low), float(high)
    return quantized_range(call["fuse"], out.scale, out.zero_point, *out.code.code_range)


def _average(x: np.ndarray, shape: tuple[int, ...], geometry: tuple[int, ...], low: float, high: float) -> np.ndarray:
    sums = np.zeros(shape, np.float32 if x.dtype == np.float32 else np.int32)
    counts = np.zeros(shape[1:3], np.int32)
    _window_sums(x, *geometry, sums, counts)
    spread = counts[None, :, :, None]
    if x.dtype == np.float32:
        return np.clip(np.divide(sums, spread.astype(np.float32), out=sums), low, high, out=sums)
    return average_pool_codes(sums, spread, int(low), int(high), x.dtype)


def _maximum(x: np.ndarray, shape: tuple[int, ...], geometry: tuple[int, ...], low: float, high: float) -> np.ndarray:
    lowest = np.finfo(np.float32).min if x.dtype == np.float32 else np.iinfo(x.dtype).min
    out = np.full(shape, lowest, x.dtype)
    _window_maxima(x, *geometry, out)
    return np.clip(out, x.dtype.type(low), x.dtype.type(high), out=out)


@compiled
def _window_sums(x, top, left, stride_h, stride_w, filter_h, filter_w, sums, counts):
    for n in range(sums.shape[0]):
        for row in range(sums.shape[1]):
            y0 = row * stride_h - top
            for column in range(sums.shape[2]):
                x0 = column * stride_w - left
                count = 0
                for y in range(max(y0, 0), min(y0 + filter_h, x.shape[1])):
                    for z in range(max(x0, 0), min(x0 + filter_w, x.shape[2])):
                        count += 1
                        for channel in range(x.shape[3]):
                            sums[n, row, column, channel] += x[n, y, z, channel]
                counts[row, column] = count


@compiled
def _window_maxima(x, top, left, stride_h, stride_w, filter_h, filter_w, out):
    for n in range(out.shape[0]):
        for row in range(out.shape[1]):
            y0 = row * stride_h - top
            for column in range(out.shape[2]):
                x0 = column * stride_w - left
                for y in range(max(y0, 0), min(y0 + filter_h, x.shape[1])):
                    for z in range(max(x0, 0), min(x0 + filter_w, x.shape[2])):
                        for channel in range(x.shape[3]):
                            # NaN is never larger: it loses, as in the reference.
                            if x[n, y, z, channel] > out[n, row, column, channel]:
                                out[n, row, column, channel] = x[n, y, z, channel]
