"""Twins of the convolutions: CONV_2D, DEPTHWISE_CONV_2D, GROUPED_CONV_2D on float32 and 8-bit codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.numerics.activation_range import float_range
from nnapi_lab.ops.geometry import Window, from_nhwc, to_nhwc
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.integer_sums import (
    LEAST_DEPTH,
    Filter,
    channels_second,
    convolution_sums,
    matrix_product_is_exact,
    matrix_sums,
    surrounded,
    tensor_of,
    torch_pads,
)
from nnapi_lab.simulate.fast.requantize import requantization
from nnapi_lab.simulate.fast.shapes import nhwc_shape
from nnapi_lab.simulate.fast.twins import twin

Results = tuple[np.ndarray, ...]
Run = Callable[[np.ndarray], np.ndarray]  # NHWC in, NHWC out


@twin("CONV_2D", "DEPTHWISE_CONV_2D", "GROUPED_CONV_2D")
def convolution(call: Call) -> Callable[..., Results] | None:
    """A convolution with its weights prepared; weights that are computed are prepared at each run."""
    if call.key == OperandCode.TENSOR_FLOAT16:
        return None
    weights, bias = call.value("filter"), call.value("bias")
    if weights is None or bias is None:
        return lambda input, filter, bias: (_in_layout(call, filter, bias)(input),)
    run = _in_layout(call, weights, bias)
    return lambda input, filter, bias: (run(input),)


def _in_layout(call: Call, weights: np.ndarray, bias: np.ndarray) -> Run:
    nchw = bool(call.get("nchw"))
    make = _on_codes if call.is_quantized else _on_floats
    run = make(call, weights, bias)
    if not nchw:
        return lambda input: run(np.ascontiguousarray(input))
    return lambda input: from_nhwc(run(np.ascontiguousarray(to_nhwc(input, True))), True)


def _window(call: Call) -> Window:
    scalars = call.resolved()
    height, width = call["filter"].shape[1:3]
    return Window(
        height, width, scalars["stride_h"], scalars["stride_w"], scalars["pad_top"], scalars["pad_bottom"],
        scalars["pad_left"], scalars["pad_right"], scalars.get("dilation_h", 1), scalars.get("dilation_w", 1),
    )  # fmt: skip


def _grouped(call: Call, weights: np.ndarray) -> tuple[np.ndarray, int]:
    """The filter as [out, h, w, in per group], and the number of groups."""
    if call.spec.kind == "DEPTHWISE_CONV_2D":
        # Output channel k m + q belongs to input channel k: torch's order of groups too.
        return np.ascontiguousarray(weights[0].transpose(2, 0, 1)[..., None]), nhwc_shape(
            call["input"], bool(call.get("nchw"))
        )[3]
    return weights, call.get("num_groups") or 1


# --- float32 -------------------------------------------------------------------------------------------


def _on_floats(call: Call, weights: np.ndarray, bias: np.ndarray) -> Run:
    window = _window(call)
    codes, groups = _grouped(call, weights)
    filter = channels_second(torch.from_numpy(np.array(codes, order="C")))
    offset = torch.from_numpy(np.array(bias))
    stride, dilation = (window.stride_h, window.stride_w), (window.dilation_h, window.dilation_w)
    low, high = (float(end) for end in float_range(call["fuse"]))
    pad, pads, _ = torch_pads(window, nhwc_shape(call["input"], bool(call.get("nchw"))))

    def run(x: np.ndarray) -> np.ndarray:
        image = channels_second(tensor_of(x if pads is None else surrounded(x, pads, 0)))
        out = torch.conv2d(image, filter, offset, stride, pad, dilation, groups).clamp_(low, high)
        return out.permute(0, 2, 3, 1).contiguous().numpy()

    return run


# --- codes ---------------------------------------------------------------------------------------------


def _on_codes(call: Call, weights: np.ndarray, bias: np.ndarray) -> Run:
    window, nchw = _window(call), bool(call.get("nchw"))
    codes, groups = _grouped(call, weights.astype(np.int16) - np.int16(call["filter"].zero_point))
    filter = Filter(codes, groups)
    is_pointwise = (
        groups == 1 and codes.shape[3] >= LEAST_DEPTH and window == Window(1, 1, window.stride_h, window.stride_w)
    )
    if is_pointwise and filter.fits_int8 and matrix_product_is_exact():
        return _pointwise(call, weights, filter, bias, window)
    finish = requantization(call, call["filter"], bias)
    if finish is None:
        return _by_reference(call, weights, bias)
    input = call["input"]
    sums = convolution_sums(filter, window, input.zero_point, input.code.numpy, nhwc_shape(call["input"], nchw))
    shape, dtype = nhwc_shape(call.out, nchw), call.out.code.numpy

    def run(x: np.ndarray) -> np.ndarray:
        out = np.empty(shape, dtype)
        finish.apply(sums(x), out.reshape(-1, shape[3]))
        return out

    return run


def _pointwise(call: Call, given: np.ndarray, filter: Filter, bias: np.ndarray, window: Window) -> Run:
    """A 1x1 filter is a matrix product; the input's zero point is taken off at the end."""
    matrix = filter.codes.reshape(filter.codes.shape[0], -1)
    finish = requantization(call, call["filter"], bias + zero_point_correction(call, matrix))
    if finish is None:
        return _by_reference(call, given, bias)
    weights, nchw = torch.from_numpy(matrix.astype(np.int8)).t(), bool(call.get("nchw"))
    shape, dtype = nhwc_shape(call.out, nchw), call.out.code.numpy
    strides = (window.stride_h, window.stride_w)

    def run(x: np.ndarray) -> np.ndarray:
        if strides != (1, 1):
            x = np.ascontiguousarray(x[:, :: strides[0], :: strides[1]])
        out = np.empty(shape, dtype)
        finish.apply(matrix_sums(x.reshape(-1, x.shape[3]), weights), out.reshape(-1, shape[3]))
        return out

    return run


def zero_point_correction(call: Call, matrix: np.ndarray) -> np.ndarray:
    """-zero_point * (sum of each row of weights), for inputs taken as `signed` codes; an int32 that wraps."""
    input = call["input"]
    zero = input.zero_point - (128 if input.code.numpy == np.uint8 else 0)
    return (-zero * matrix.astype(np.int64).sum(axis=1)).astype(np.int32)


def _by_reference(call: Call, weights: np.ndarray, bias: np.ndarray) -> Run:
    scalars, nchw = call.resolved(), bool(call.get("nchw"))

    def run(x: np.ndarray) -> np.ndarray:
        return to_nhwc(call.spec.kernel(from_nhwc(x, nchw), weights, bias, **scalars, call=call), nchw)

    return run
