"""Rearranging feature maps: depth, batch and space exchanged in blocks, channels shuffled.

No arithmetic: every element keeps its value, and only the padding of SPACE_TO_BATCH_ND is new (the real 0).
Source: AOSP 13 `Reshape.cpp`, `ChannelShuffle.cpp`, `OperationsExecutionUtils.cpp` (the prepare functions).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, shape_text
from nnapi_lab.ops.geometry import UNKNOWN, Size, feature_map_shape, from_nhwc, sizes, to_nhwc
from nnapi_lab.ops.spec import (
    Call,
    Constraint,
    Form,
    LevelRule,
    OpSpec,
    Slot,
    fixed,
    nchw_slot,
    scalar,
    tensor,
)

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED


def times(size: Size, factor: int | None) -> Size:
    """size * factor, unknown while either is."""
    return UNKNOWN if isinstance(size, Dim) or factor is None else size * max(0, factor)


def over(size: Size, factor: int | None) -> Size:
    """size / factor, unknown while either is or factor is not usable."""
    return UNKNOWN if isinstance(size, Dim) or factor is None or factor < 1 else size // factor


def _result(call: Call, batch: Size, height: Size, width: Size, depth: Size) -> tuple[OperandType, ...]:
    return (call["input"].with_shape(feature_map_shape(call, batch, height, width, depth)),)


def _blocks(call: Call) -> tuple[int | None, int | None]:
    """(height, width) of the block, None while block_shape is not known or does not hold two numbers."""
    block = call.value("block_shape")
    if block is None or np.size(block) != 2:
        return None, None
    return int(np.ravel(block)[0]), int(np.ravel(block)[1])


def _paddings(call: Call) -> tuple[int, int, int, int] | None:
    """(top, bottom, left, right), None while unknown or not four numbers."""
    paddings = call.value("paddings")
    if paddings is None or np.size(paddings) != 4:
        return None
    top, bottom, left, right = (int(pad) for pad in np.ravel(paddings))
    return top, bottom, left, right


# --- results -----------------------------------------------------------------------------------------------


def depth_to_space_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, height b, width b, depth / b²] with the input's quantization."""
    batch, height, width, depth = sizes(call)
    block = call["block_size"]
    square = None if block is None else block * block
    return _result(call, batch, times(height, block), times(width, block), over(depth, square))


def space_to_depth_type(call: Call) -> tuple[OperandType, ...]:
    """[batch, height / b, width / b, depth b²] with the input's quantization."""
    batch, height, width, depth = sizes(call)
    block = call["block_size"]
    square = None if block is None else block * block
    return _result(call, batch, over(height, block), over(width, block), times(depth, square))


def batch_to_space_type(call: Call) -> tuple[OperandType, ...]:
    """[batch / (bh bw), height bh, width bw, depth] with the input's quantization."""
    batch, height, width, depth = sizes(call)
    block_h, block_w = _blocks(call)
    product = None if block_h is None or block_w is None else block_h * block_w
    return _result(call, over(batch, product), times(height, block_h), times(width, block_w), depth)


def space_to_batch_type(call: Call) -> tuple[OperandType, ...]:
    """[batch bh bw, padded height / bh, padded width / bw, depth] with the input's quantization."""
    batch, height, width, depth = sizes(call)
    (block_h, block_w), pads = _blocks(call), _paddings(call)
    product = None if block_h is None or block_w is None else block_h * block_w
    padded_h, padded_w = _padded(height, width, pads)
    return _result(call, times(batch, product), over(padded_h, block_h), over(padded_w, block_w), depth)


def _padded(height: Size, width: Size, pads: tuple[int, int, int, int] | None) -> tuple[Size, Size]:
    if pads is None:
        return UNKNOWN, UNKNOWN
    top, bottom, left, right = (max(0, pad) for pad in pads)
    padded_h = UNKNOWN if isinstance(height, Dim) else height + top + bottom
    padded_w = UNKNOWN if isinstance(width, Dim) else width + left + right
    return padded_h, padded_w


# --- kernels -----------------------------------------------------------------------------------------------


def depth_to_space(input: np.ndarray, *, block_size: int, nchw: bool = False) -> np.ndarray:
    """out[n, y b + i, x b + j, c] = in[n, y, x, (i b + j) C + c], C the output's depth."""
    x = to_nhwc(input, nchw)
    n, h, w, c = x.shape
    blocks = x.reshape(n, h, w, block_size, block_size, c // block_size**2)
    out = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * block_size, w * block_size, -1)
    return from_nhwc(out, nchw)


def space_to_depth(input: np.ndarray, *, block_size: int, nchw: bool = False) -> np.ndarray:
    """out[n, y, x, (i b + j) C + c] = in[n, y b + i, x b + j, c], C the input's depth."""
    x = to_nhwc(input, nchw)
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // block_size, block_size, w // block_size, block_size, c)
    out = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // block_size, w // block_size, -1)
    return from_nhwc(out, nchw)


def batch_to_space_nd(input: np.ndarray, block_shape: np.ndarray, *, nchw: bool = False) -> np.ndarray:
    """out[n, y bh + i, x bw + j, c] = in[(i bw + j) N + n, y, x, c], N the output's batch."""
    x = to_nhwc(input, nchw)
    block_h, block_w = (int(size) for size in block_shape)
    n, h, w, c = x.shape
    blocks = x.reshape(block_h, block_w, n // (block_h * block_w), h, w, c)
    return from_nhwc(blocks.transpose(2, 3, 0, 4, 1, 5).reshape(-1, h * block_h, w * block_w, c), nchw)


def space_to_batch_nd(
    input: np.ndarray, block_shape: np.ndarray, paddings: np.ndarray, *, nchw: bool = False,
    call: Call | None = None,
) -> np.ndarray:  # fmt: skip
    """out[(i bw + j) N + n, y, x, c] = padded[n, y bh + i, x bw + j, c]; pads hold the zero point."""
    (top, bottom), (left, right) = np.asarray(paddings).tolist()
    fill = 0 if call is None else call["input"].zero_point
    x = np.pad(to_nhwc(input, nchw), ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    block_h, block_w = (int(size) for size in block_shape)
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // block_h, block_h, w // block_w, block_w, c)
    return from_nhwc(blocks.transpose(2, 4, 0, 1, 3, 5).reshape(-1, h // block_h, w // block_w, c), nchw)


def channel_shuffle(input: np.ndarray, *, num_groups: int, axis: int) -> np.ndarray:
    """out[k g + j] = in[j size + k] along `axis`: g groups of `size` elements are dealt out in turn."""
    axis = axis % input.ndim
    head, tail = input.shape[:axis], input.shape[axis + 1 :]
    grouped = input.reshape(*head, num_groups, input.shape[axis] // num_groups, *tail)
    return np.ascontiguousarray(np.swapaxes(grouped, axis, axis + 1)).reshape(input.shape)


# --- constraints -------------------------------------------------------------------------------------------


def _indivisible(name: str, size: Size, factor: int | None) -> str | None:
    if isinstance(size, Dim) or factor is None or factor < 1 or size % factor == 0:
        return None
    return f"{name} {size} is not divisible by {factor}"


def _block_size_seen(call: Call) -> str | None:
    block = call["block_size"]
    return f"block_size={block} is below 1" if block is not None and block < 1 else None


def _depth_seen(call: Call) -> str | None:
    block = call["block_size"]
    return None if block is None else _indivisible("depth", sizes(call)[3], block * block)


def _area_seen(call: Call) -> str | None:
    _, height, width, _ = sizes(call)
    block = call["block_size"]
    return _indivisible("height", height, block) or _indivisible("width", width, block)


def _block_shape_seen(call: Call) -> str | None:
    type_, block = call["block_shape"], call.value("block_shape")
    if type_.is_static and type_.element_count != 2:
        return f"block_shape {shape_text(type_.shape)} does not hold 2 numbers"
    if block is not None and np.size(block) == 2 and np.min(block) < 1:
        return f"block_shape {np.ravel(block).tolist()} has a number below 1"
    return None


def _batch_seen(call: Call) -> str | None:
    block_h, block_w = _blocks(call)
    if block_h is None or block_w is None:
        return None
    return _indivisible("batch", sizes(call)[0], block_h * block_w)


def _paddings_seen(call: Call) -> str | None:
    type_, paddings = call["paddings"], call.value("paddings")
    if type_.shape is not None and any(isinstance(size, int) and size != 2 for size in type_.shape):
        return f"paddings {shape_text(type_.shape)} is not [2,2]"
    if paddings is not None and np.size(paddings) and np.min(paddings) < 0:
        return f"paddings {np.asarray(paddings).tolist()} has a negative number"
    return None


def _padded_area_seen(call: Call) -> str | None:
    _, height, width, _ = sizes(call)
    padded_h, padded_w = _padded(height, width, _paddings(call))
    block_h, block_w = _blocks(call)
    return _indivisible("padded height", padded_h, block_h) or _indivisible("padded width", padded_w, block_w)


def _axis_seen(call: Call) -> str | None:
    rank, axis = call["input"].rank, call["axis"]
    if rank is None or axis is None or -rank <= axis < rank:
        return None
    return f"axis={axis} is outside -{rank}…{rank - 1}"


def _groups_seen(call: Call) -> str | None:
    groups, axis, shape = call["num_groups"], call["axis"], call["input"].shape
    if groups is not None and groups < 1:
        return f"num_groups={groups} is below 1"
    if shape is None or axis is None or not -len(shape) <= axis < len(shape):
        return None
    return _indivisible(f"size {shape[axis]} along axis {axis}:", shape[axis], groups)


# --- declarations ------------------------------------------------------------------------------------------

_CPU = "AOSP 13 CpuExecutor.cpp, OperationsExecutionUtils.cpp"
_SINCE_1, _SINCE_2 = {F32: 1, F16: 3, Q8: 1, Q8S: 4}, {F32: 2, F16: 3, Q8: 2, Q8S: 4}


def _depth_space_spec(
    kind: str, code: int, summary: str, result: Callable[[Call], tuple[OperandType, ...]],
    kernel: Callable[..., np.ndarray], divides: Constraint,
) -> OpSpec:  # fmt: skip
    return OpSpec(
        kind=kind,
        code=code,
        since=1,
        summary=summary,
        types=_SINCE_1,
        forms=(Form("only", (tensor("input", rank=4), scalar("block_size"), nchw_slot())),),
        result=result,
        kernel=kernel,
        source=_CPU,
        constraints=(Constraint("C1", "the block size is at least 1", _block_size_seen), divides),
    )


_BLOCK_SHAPE: Slot = tensor("block_shape", fixed(I32), rank=1, doc="[height, width]")
_BLOCK_RULE = Constraint("C1", "block_shape holds two numbers of at least 1", _block_shape_seen)

SPECS = (
    _depth_space_spec(
        "DEPTH_TO_SPACE",
        5,
        "Spread the channels of each pixel over a block of pixels.",
        depth_to_space_type,
        depth_to_space,
        Constraint("C2", "the depth is divisible by the block size squared", _depth_seen),
    ),
    _depth_space_spec(
        "SPACE_TO_DEPTH",
        26,
        "Stack the pixels of each block as channels of one pixel.",
        space_to_depth_type,
        space_to_depth,
        Constraint("C2", "height and width are divisible by the block size", _area_seen),
    ),
    OpSpec(
        kind="BATCH_TO_SPACE_ND",
        code=29,
        since=2,
        summary="Interleave the images of a batch as the pixels of blocks.",
        types=_SINCE_2,
        forms=(Form("only", (tensor("input", rank=4), _BLOCK_SHAPE, nchw_slot())),),
        result=batch_to_space_type,
        kernel=batch_to_space_nd,
        source=_CPU,
        constraints=(
            _BLOCK_RULE,
            Constraint("C2", "the batch is divisible by the number of pixels in a block", _batch_seen),
        ),
        notes=("TensorFlow's crops do not exist here: SLICE afterwards.",),
    ),
    OpSpec(
        kind="SPACE_TO_BATCH_ND",
        code=33,
        since=2,
        summary="Pad, and make an image of its own from each pixel position in a block.",
        types=_SINCE_2,
        forms=(
            Form(
                "only",
                (
                    tensor("input", rank=4),
                    _BLOCK_SHAPE,
                    tensor("paddings", fixed(I32), rank=2, doc="[[top, bottom], [left, right]]"),
                    nchw_slot(),
                ),
            ),
        ),
        result=space_to_batch_type,
        kernel=space_to_batch_nd,
        source=_CPU,
        constraints=(
            _BLOCK_RULE,
            Constraint("C2", "paddings is [2,2] and not negative", _paddings_seen),
            Constraint("C3", "the padded height and width are divisible by the block's", _padded_area_seen),
        ),
        levels=(
            LevelRule(
                3,
                "padding TENSOR_QUANT8_ASYMM with a zero point other than 0 needs feature level 3",
                lambda call: call.key == Q8 and call["input"].zero_point != 0,
            ),
        ),
    ),
    OpSpec(
        kind="CHANNEL_SHUFFLE",
        code=46,
        since=3,
        summary="Deal the elements of several groups along an axis out in turn.",
        types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
        forms=(Form("only", (tensor("input", rank=(1, 4)), scalar("num_groups"), scalar("axis"))),),
        result=lambda call: (call["input"],),
        kernel=channel_shuffle,
        source="AOSP 13 ChannelShuffle.cpp",
        constraints=(
            Constraint("C1", "the axis is one of the input's, negative ones counting from the end", _axis_seen),
            Constraint("C2", "the size along the axis is divisible by num_groups", _groups_seen),
        ),
    ),
)
