"""Twin of RESIZE_BILINEAR on float32 and uint8: one pass in the reference's order of operations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ops.geometry import from_nhwc, to_nhwc
from nnapi_lab.ops.resize import float_neighbours
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.compiled import compiled
from nnapi_lab.simulate.fast.shapes import nhwc_shape
from nnapi_lab.simulate.fast.twins import twin


@twin("RESIZE_BILINEAR")
def resize_bilinear(call: Call) -> Callable[..., tuple[np.ndarray, ...]] | None:
    """None for float16, and for int8, whose weights are integers."""
    if call.key not in (OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_QUANT8_ASYMM):
        return None
    scalars, nchw = call.resolved(), bool(call.get("nchw"))
    shape, input_shape = nhwc_shape(call.out, nchw), nhwc_shape(call["input"], nchw)
    how = (scalars.get("align_corners", False), scalars.get("half_pixel_centers", False))
    rows = float_neighbours(input_shape[1], shape[1], *how)
    columns = float_neighbours(input_shape[2], shape[2], *how)
    nudge = np.float32(0.5 if call.is_quantized else 0)  # codes round half up

    def run(input: np.ndarray) -> tuple[np.ndarray, ...]:
        x = np.ascontiguousarray(to_nhwc(input, nchw))
        out = np.empty(shape, x.dtype)
        _blend(x, *rows, *columns, nudge, out)
        return (from_nhwc(out, nchw),)

    return run


@compiled
def _blend(x, y0, y1, wy, x0, x1, wx, nudge, out):
    one = np.float32(1)
    for n in range(out.shape[0]):
        for row in range(out.shape[1]):
            above, below, down = y0[row], y1[row], wy[row]
            for column in range(out.shape[2]):
                left, right, across = x0[column], x1[column], wx[column]
                for c in range(out.shape[3]):
                    total = (
                        np.float32(x[n, above, left, c]) * (one - down) * (one - across)
                        + np.float32(x[n, below, left, c]) * down * (one - across)
                        + np.float32(x[n, above, right, c]) * (one - down) * across
                        + np.float32(x[n, below, right, c]) * down * across
                    )
                    out[n, row, column, c] = total + nudge
