"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D, GROUPED_CONV_2D.

Padding stands for the real number 0, that is the input's zero point. The filter is [out, h, w, in] (depthwise
[1, h, w, out]) in either layout; the layout flag moves the channels of input and output only.
Source: AOSP 13 `Conv2D.cpp`, `DepthwiseConv2D.cpp`, `GroupedConv2D.cpp`.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, shape_text
from nnapi_lab.ops.geometry import (
    EXPLICIT_PADS,
    UNKNOWN,
    Size,
    Window,
    codes_seen,
    effective_filter,
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
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fuse_slot, nchw_slot, scalar, tensor
from nnapi_lab.ops.weighted import (
    F16,
    F32,
    FILTER_SCALE_LEVEL,
    OUT_SCALE_LEVEL,
    Q8,
    Q8S,
    activated,
    bias_types,
    factors,
    filter_types,
    weighted_constraints,
)

_TENSORS = (
    tensor("input", rank=4),
    tensor("filter", filter_types, rank=4),
    tensor("bias", bias_types, rank=1),
)
_STRIDES = (scalar("stride_w"), scalar("stride_h"))
# Writing dilation needs level 3 whatever its value; only trailing defaults count as not written.
_OPTIONS = (nchw_slot(), scalar("dilation_w", default=1, since=3), scalar("dilation_h", default=1, since=3))


def _forms(*between: Slot, options: tuple[Slot, ...] = _OPTIONS) -> tuple[Form, Form]:
    """Explicit and implicit padding; CONV_2D's two 10-input forms differ in the type of input 7."""
    tail = (*_STRIDES, *between, fuse_slot(), *options)
    return (
        Form("explicit_padding", (*_TENSORS, *EXPLICIT_PADS, *tail)),
        Form("implicit_padding", (*_TENSORS, scalar("padding"), *tail), resolve=_explicit),
    )


def _explicit(call: Call) -> dict[str, object]:
    height, width = filter_extent(call)
    return dict(explicit_params(call, height, width))  # type: ignore[arg-type]


def filter_extent(call: Call) -> tuple[Size, Size]:
    """(height, width) that the dilated filter covers."""
    shape = call["filter"].shape
    if shape is None:
        return UNKNOWN, UNKNOWN
    return (
        effective_filter(shape[1], call.get("dilation_h", 1)),
        effective_filter(shape[2], call.get("dilation_w", 1)),
    )


def _convolved(call: Call, depth: Size) -> tuple[OperandType, ...]:
    batch = sizes(call)[0]
    height, width = window_out_sizes(call, *filter_extent(call))
    shape = feature_map_shape(call, batch, height, width, depth)
    return (OperandType(call.key, shape, call.wanted_quant() if call.is_quantized else None),)


def conv_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, out_h, out_w, filter's out]; the quantization is the caller's choice."""
    shape = call["filter"].shape
    return _convolved(call, UNKNOWN if shape is None else shape[0])


def depthwise_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, out_h, out_w, filter's out]; the quantization is the caller's choice."""
    shape = call["filter"].shape
    return _convolved(call, UNKNOWN if shape is None else shape[3])


# --- kernels -----------------------------------------------------------------------------------------------


def conv_2d(
    input: np.ndarray, filter: np.ndarray, bias: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int,
    pad_bottom: int, stride_w: int, stride_h: int, fuse: int, nchw: bool = False, dilation_w: int = 1,
    dilation_h: int = 1, call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """out[n,y,x,o] = b[o] + sum over i,j,c of in[n, y sh + i dh - top, x sw + j dw - left, c] w[o,i,j,c]."""
    window = Window(filter.shape[1], filter.shape[2], stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right,
                    dilation_h, dilation_w)  # fmt: skip
    x, w = _factors(input, filter, nchw, call)
    return from_nhwc(activated(correlate(x, w, window), bias, fuse, call), nchw)


def grouped_conv_2d(
    input: np.ndarray, filter: np.ndarray, bias: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int,
    pad_bottom: int, stride_w: int, stride_h: int, num_groups: int, fuse: int, nchw: bool,
    call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """CONV_2D of each group of input channels with its own group of filters; results stand side by side."""
    window = Window(filter.shape[1], filter.shape[2], stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right)
    x, w = _factors(input, filter, nchw, call)
    groups = zip(np.split(x, num_groups, axis=3), np.split(w, num_groups, axis=0), strict=True)
    acc = np.concatenate([correlate(channels, filters, window) for channels, filters in groups], axis=3)
    return from_nhwc(activated(acc, bias, fuse, call), nchw)


def depthwise_conv_2d(
    input: np.ndarray, filter: np.ndarray, bias: np.ndarray, *, pad_left: int, pad_right: int, pad_top: int,
    pad_bottom: int, stride_w: int, stride_h: int, depth_multiplier: int, fuse: int, nchw: bool = False,
    dilation_w: int = 1, dilation_h: int = 1, call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """Each channel by itself: output channel k m + q sees input channel k, for q < m = depth_multiplier."""
    window = Window(filter.shape[1], filter.shape[2], stride_h, stride_w, pad_top, pad_bottom, pad_left, pad_right,
                    dilation_h, dilation_w)  # fmt: skip
    x, w = _factors(input, filter, nchw, call)
    acc = np.zeros((x.shape[0], *window.out_sizes(*x.shape[1:3]), w.shape[3]), x.dtype)
    for i, j, seen in window.taps(x):
        acc += np.repeat(seen, depth_multiplier, axis=3) * w[0, i, j]
    return from_nhwc(activated(acc, bias, fuse, call), nchw)


def correlate(x: np.ndarray, w: np.ndarray, window: Window) -> np.ndarray:
    """Sum of x [n, h, w, c] under every position of w [o, fh, fw, c]: [n, rows, columns, o], tap by tap."""
    rows, columns = window.out_sizes(*x.shape[1:3])
    acc = np.zeros((x.shape[0] * rows * columns, w.shape[0]), x.dtype)
    for i, j, seen in window.taps(x):
        acc += seen.reshape(-1, x.shape[3]) @ w[:, i, j].T
    return acc.reshape(x.shape[0], rows, columns, w.shape[0])


def _factors(input: np.ndarray, filter: np.ndarray, nchw: bool, call: Call | None) -> tuple[np.ndarray, np.ndarray]:
    types = {} if call is None else call.types
    return to_nhwc(factors(input, types.get("input")), nchw), factors(filter, types.get("filter"))


# --- constraints -------------------------------------------------------------------------------------------


def _pad_reaches_filter(call: Call) -> str | None:
    return pad_reaches_window_seen(call, *filter_extent(call))


def _one_dilation_seen(call: Call) -> str | None:
    if ("dilation_w" in call.given) == ("dilation_h" in call.given):
        return None
    alone = "dilation_w" if "dilation_w" in call.given else "dilation_h"
    return f"{alone} is given without the other one"


def filter_depth_seen(call: Call) -> str | None:
    return _depth_seen(call, groups=1)


def _grouped_depth_seen(call: Call) -> str | None:
    groups, shape = call["num_groups"], call["filter"].shape
    if groups is None:
        return None
    if groups < 1:
        return f"num_groups={groups} is below 1"
    if shape is not None and isinstance(shape[0], int) and shape[0] % groups:
        return f"the filter's {shape[0]} outputs are not divisible by num_groups={groups}"
    return _depth_seen(call, groups)


def _depth_seen(call: Call, groups: int) -> str | None:
    """An input whose depth is not the filter's depth times the number of groups."""
    depth, shape = sizes(call)[3], call["filter"].shape
    if shape is None or isinstance(depth, Dim) or isinstance(shape[3], Dim) or depth == shape[3] * groups:
        return None
    times = "" if groups == 1 else f" times {groups} groups"
    return f"input has {depth} channels, filter {shape_text(shape)} takes {shape[3]}{times}"


def _depthwise_depth_seen(call: Call) -> str | None:
    multiplier, shape, depth = call["depth_multiplier"], call["filter"].shape, sizes(call)[3]
    if multiplier is not None and multiplier < 1:
        return f"depth_multiplier={multiplier} is below 1"
    if shape is None:
        return None
    if isinstance(shape[0], int) and shape[0] != 1:
        return f"filter {shape_text(shape)} has {shape[0]} in place of 1 along axis 0"
    if multiplier is None or isinstance(depth, Dim) or isinstance(shape[3], Dim):
        return None
    if shape[3] != depth * multiplier:
        return f"filter {shape_text(shape)} does not have {depth} times depth_multiplier={multiplier} channels"
    return None


def filter_empty_seen(call: Call) -> str | None:
    shape = call["filter"].shape
    if shape is not None and any(dim == 0 for dim in shape):
        return f"filter {shape_text(shape)} has a size of zero"
    return empty_seen(call, call.out)


_WINDOW_RULES = (
    Constraint("C1", "pads are not negative, strides and dilations at least 1", pads_seen),
    Constraint("C2", "a pad is smaller than the filter's extent along its axis", _pad_reaches_filter),
    Constraint("C3", "only the batch may be empty", filter_empty_seen),
    Constraint("C4", "fuse is a FuseCode, padding a PaddingCode", codes_seen),
)
_DILATION_RULE = Constraint("C10", "both dilation factors are given or neither", _one_dilation_seen)

_TYPES: dict[OperandCode, int] = {F32: 1, F16: 3, Q8: 1, Q8S: 4}

SPECS = (
    OpSpec(
        kind="CONV_2D",
        code=3,
        since=1,
        summary="Slide filters over a feature map: a sum of products over a window and all channels.",
        types=_TYPES,
        forms=_forms(),
        result=conv_type,
        kernel=conv_2d,
        source="AOSP 13 Conv2D.cpp",
        constraints=(
            *_WINDOW_RULES,
            Constraint("C5", "the filter is as deep as the input", filter_depth_seen),
            *weighted_constraints(6, channel_axis=0),
            _DILATION_RULE,
        ),
        levels=(OUT_SCALE_LEVEL, FILTER_SCALE_LEVEL),
        zero_sized=3,
        notes=(
            "The validator reads input 0's scale where it means the output's; see the levels.",
            "The reference does not look at the bias scale of a per-channel filter; the standard wants 0.",
        ),
    ),
    OpSpec(
        kind="DEPTHWISE_CONV_2D",
        code=4,
        since=1,
        summary="Slide a filter of its own over each channel of a feature map.",
        types=_TYPES,
        forms=_forms(scalar("depth_multiplier")),
        result=depthwise_type,
        kernel=depthwise_conv_2d,
        source="AOSP 13 DepthwiseConv2D.cpp",
        constraints=(
            *_WINDOW_RULES,
            Constraint("C5", "the filter is [1, h, w, input depth * depth_multiplier]",
                       _depthwise_depth_seen),
            *weighted_constraints(6, channel_axis=3),
            _DILATION_RULE,
        ),
        levels=(OUT_SCALE_LEVEL, FILTER_SCALE_LEVEL),
        zero_sized=3,
        notes=("The validator reads input 0's scale where it means the output's; see the levels.",),
    ),
    OpSpec(
        kind="GROUPED_CONV_2D",
        code=55,
        since=3,
        summary="CONV_2D in which each group of filters sees its own group of input channels.",
        types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
        forms=_forms(scalar("num_groups"), options=(scalar("nchw", OperandCode.BOOL),)),
        result=conv_type,
        kernel=grouped_conv_2d,
        source="AOSP 13 GroupedConv2D.cpp",
        constraints=(
            *_WINDOW_RULES,
            Constraint("C5", "input depth = filter depth * num_groups, which divides the outputs",
                       _grouped_depth_seen),
            *weighted_constraints(6, channel_axis=0),
        ),
    ),
)  # fmt: skip
