"""TRANSPOSE_CONV_2D: every input element stamps the filter onto the output.

Source: AOSP 13 `TransposeConv2D.cpp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, shape_text
from nnapi_lab.ops.conv import filter_depth_seen, filter_empty_seen
from nnapi_lab.ops.geometry import (
    EXPLICIT_PADS,
    SAME,
    UNKNOWN,
    Size,
    codes_seen,
    feature_map_shape,
    from_nhwc,
    sizes,
    to_nhwc,
    with_pads,
)
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, fixed, fuse_slot, scalar, tensor
from nnapi_lab.ops.weighted import (
    F16,
    F32,
    I32,
    Q8,
    Q8S,
    activated,
    bias_types,
    factors,
    filter_types,
    weighted_constraints,
)

# --- sizes -------------------------------------------------------------------------------------------------


def stamped_size(size: int, filter: int, stride: int, before: int, after: int) -> int:
    """(size - 1) * stride + filter - before - after; 0 when nothing remains. `after` may be negative."""
    return max(0, (size - 1) * stride + filter - before - after)


def implicit_transpose_pads(out: int, filter: int, stride: int, padding: int) -> tuple[int, int]:
    """(before, after) for a wanted size; SAME may give a negative `after`, to end with the last stamp."""
    if padding != SAME:
        return 0, 0
    surplus = (-(-out // stride) - 1) * stride + filter - out
    before = max(0, surplus) // 2
    return before, surplus - before


def _explicit(call: Call) -> Mapping[str, Any]:
    """The scalars with pads in place of `padding`; they follow from the wanted output, not from the input."""
    wanted = call.value("output_shape")
    wanted_h, wanted_w = (wanted[2], wanted[3]) if call["nchw"] else (wanted[1], wanted[2])
    filter_h, filter_w = call["filter"].shape[1:3]
    padding = call["padding"]
    top, bottom = implicit_transpose_pads(int(wanted_h), filter_h, call["stride_h"], padding)
    left, right = implicit_transpose_pads(int(wanted_w), filter_w, call["stride_w"], padding)
    return with_pads(call, top, bottom, left, right)


def transpose_conv_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, out_h, out_w, filter's out]; the quantization is the caller's choice.

    The size follows from the pads even when `output_shape` is given: it only decides how large they are.
    """
    shape = call["filter"].shape
    batch, height, width, _ = sizes(call)
    out_h, out_w = _out_sizes(call, height, width)
    depth = UNKNOWN if shape is None else shape[0]
    quant = call.wanted_quant() if call.is_quantized else None
    return (OperandType(call.key, feature_map_shape(call, batch, out_h, out_w, depth), quant),)


def _out_sizes(call: Call, height: Size, width: Size) -> tuple[Size, Size]:
    if not _is_resolvable(call):
        return UNKNOWN, UNKNOWN
    filter_h, filter_w = call["filter"].shape[1:3]
    pads = call.resolved()
    out_h: Size = UNKNOWN
    out_w: Size = UNKNOWN
    if isinstance(height, int):
        out_h = stamped_size(height, filter_h, call["stride_h"], pads["pad_top"], pads["pad_bottom"])
    if isinstance(width, int):
        out_w = stamped_size(width, filter_w, call["stride_w"], pads["pad_left"], pads["pad_right"])
    return out_h, out_w


def _is_resolvable(call: Call) -> bool:
    """True when filter sizes, strides and whatever decides the pads are known and usable."""
    shape = call["filter"].shape
    if shape is None or not all(isinstance(size, int) for size in shape[1:3]):
        return False
    if any(value is None for value in call.params.values()) or min(call["stride_w"], call["stride_h"]) < 1:
        return False
    wanted = call.value("output_shape")
    return "padding" not in call.params or (wanted is not None and np.size(wanted) == 4)


# --- kernel ------------------------------------------------------------------------------------------------


def transpose_conv_2d(
    input: np.ndarray, filter: np.ndarray, bias: np.ndarray, output_shape: np.ndarray | None = None, *,
    pad_left: int, pad_right: int, pad_top: int, pad_bottom: int, stride_w: int, stride_h: int, fuse: int,
    nchw: bool, call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """out[n, y sh + i - top, x sw + j - left, o] gathers in[n, y, x, c] w[o, i, j, c]; then + b[o]."""
    types = {} if call is None else call.types
    x = to_nhwc(factors(input, types.get("input")), nchw)
    w = factors(filter, types.get("filter"))
    batch, height, width, depth = x.shape
    out_h = stamped_size(height, w.shape[1], stride_h, pad_top, pad_bottom)
    out_w = stamped_size(width, w.shape[2], stride_w, pad_left, pad_right)
    # Negative tail pads reach beyond the last stamp: nothing is gathered there.
    canvas_h = max((height - 1) * stride_h + w.shape[1], pad_top + out_h)
    canvas_w = max((width - 1) * stride_w + w.shape[2], pad_left + out_w)
    canvas = np.zeros((batch, canvas_h, canvas_w, w.shape[0]), x.dtype)
    rows = x.reshape(-1, depth)
    for i in range(w.shape[1]):
        for j in range(w.shape[2]):
            stamps = (rows @ w[:, i, j].T).reshape(batch, height, width, w.shape[0])
            bottom, right = i + (height - 1) * stride_h + 1, j + (width - 1) * stride_w + 1
            canvas[:, i:bottom:stride_h, j:right:stride_w] += stamps
    acc = canvas[:, pad_top : pad_top + out_h, pad_left : pad_left + out_w]
    return from_nhwc(activated(acc, bias, fuse, call), nchw)


# --- declaration -------------------------------------------------------------------------------------------


def _pads_seen(call: Call) -> str | None:
    for name in ("pad_left", "pad_top"):
        if (call.get(name) or 0) < 0:
            return f"{name}={call[name]} is negative; only pad_right and pad_bottom may be"
    for name in ("stride_w", "stride_h"):
        if call[name] is not None and call[name] < 1:
            return f"{name}={call[name]} is below 1"
    return None


def _output_shape_seen(call: Call) -> str | None:
    type_, wanted = call.get("output_shape"), call.value("output_shape")
    if type_ is None:
        return None
    if type_.shape is not None and len(type_.shape) == 1 and type_.shape[0] in range(4):
        return f"output_shape {shape_text(type_.shape)} does not hold 4 sizes"
    if wanted is not None and np.size(wanted) != 4:
        return f"output_shape holds {np.size(wanted)} sizes, not 4"
    if wanted is not None and np.min(wanted) < 0:
        return f"output_shape {[int(size) for size in wanted]} has a negative size"
    return None


_TENSORS = (
    tensor("input", rank=4),
    tensor("filter", filter_types, rank=4),
    tensor("bias", bias_types, rank=1),
)
_TAIL = (scalar("stride_w"), scalar("stride_h"), fuse_slot(), scalar("nchw", OperandCode.BOOL))

FORMS = (
    Form("explicit_padding", (*_TENSORS, *EXPLICIT_PADS, *_TAIL)),
    Form(
        "implicit_padding",
        (*_TENSORS, tensor("output_shape", fixed(I32), rank=1), scalar("padding"), *_TAIL),
        resolve=_explicit,
    ),
)

SPECS = (
    OpSpec(
        kind="TRANSPOSE_CONV_2D",
        code=91,
        since=3,
        summary="Stamp the filter, times each input element, onto a larger feature map.",
        types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
        forms=FORMS,
        result=transpose_conv_type,
        kernel=transpose_conv_2d,
        source="AOSP 13 TransposeConv2D.cpp",
        constraints=(
            Constraint("C1", "leading pads are not negative, strides at least 1", _pads_seen),
            Constraint("C2", "output_shape holds 4 sizes", _output_shape_seen),
            Constraint("C3", "only the batch may be empty", filter_empty_seen),
            Constraint("C4", "fuse is a FuseCode, padding a PaddingCode", codes_seen),
            Constraint("C5", "the filter is as deep as the input", filter_depth_seen),
            *weighted_constraints(6, channel_axis=0),
        ),
        zero_sized=3,
        notes=("Of output_shape only height and width are read, and only to find the pads.",),
    ),
)
