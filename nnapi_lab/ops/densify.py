"""DENSIFY: a sparse tensor, block-sparse if wanted, written out in full. Experimental in Android 13.

The sparse form lists, level by level of a traversal, either every index (dense) or only those that hold
something (compressed: segments and indices). The first n levels are the axes of the tensor in traversal order;
k more are axes of blocks, which `block_map` assigns to tensor axes.
Source: AOSP 13 Densify.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.axes import entries, entry_count
from nnapi_lab.ops.shape import integers
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, tensor

# Above every numbered feature level: the operation is behind a build flag and in no level.
EXPERIMENTAL = 99
DENSE, COMPRESSED = 0, 1

_ASYMMETRIC = (
    OperandCode.TENSOR_QUANT8_ASYMM,
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    OperandCode.TENSOR_QUANT16_ASYMM,
)
_HELD = (
    OperandCode.TENSOR_FLOAT32,
    OperandCode.TENSOR_FLOAT16,
    OperandCode.TENSOR_INT32,
    *_ASYMMETRIC,
    OperandCode.TENSOR_QUANT8_SYMM,
    OperandCode.TENSOR_QUANT16_SYMM,
    OperandCode.TENSOR_BOOL8,
)


def densified_type(call: Call) -> tuple[OperandType, ...]:
    """The size of each tensor axis, times the sizes of the blocks along it."""
    data = call["data"]
    order, sizes = entries(call, "traversal_order"), entries(call, "dimensions")
    blocks = () if call["block_map"] is None else entries(call, "block_map")
    if order is None or sizes is None or blocks is None or _bad_traversal(call) is not None:
        levels = entry_count(call["traversal_order"])
        count = 0 if call["block_map"] is None else entry_count(call["block_map"])
        known = levels is not None and count is not None and levels > count
        return (data.with_shape((Dim("?"),) * (levels - count) if known else None),)  # type: ignore[operator]
    return (data.with_shape(_dense_shape(order, sizes, blocks)),)


def _dense_shape(order: Sequence[int], sizes: Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    rank = len(order) - len(blocks)
    shape = [0] * rank
    for level in range(rank):
        shape[order[level]] = sizes[level]
    for level in range(rank, len(order)):
        shape[blocks[order[level] - rank]] *= sizes[level]
    return tuple(shape)


def densify(
    data: np.ndarray, traversal_order: np.ndarray, block_map: np.ndarray | None, dim_format: np.ndarray,
    dimensions: np.ndarray, segments_and_indices: Sequence[np.ndarray | None], *, call: Call,
) -> np.ndarray:  # fmt: skip
    """Put each element of `data` where the traversal ends with it; the rest is zero (the zero point, for codes).

    data [elements]; traversal_order, dim_format (0 dense, 1 compressed), dimensions [n + k]; block_map [k];
    segments_and_indices two per level, empty for dense ones.
    """
    blocks = [] if block_map is None else [int(axis) for axis in block_map]
    rank = len(traversal_order) - len(blocks)
    shape = _dense_shape([int(a) for a in traversal_order], [int(size) for size in dimensions], blocks)
    indices, positions = _traverse(dim_format, dimensions, segments_and_indices)
    places = np.zeros((rank, indices.shape[1]), np.int64)
    places[traversal_order[:rank]] = indices[:rank]
    for level in range(rank, len(traversal_order)):
        block = int(traversal_order[level]) - rank
        axis = blocks[block]
        # The reference reads a block's size at the level that the traversal names, its place in the order.
        places[axis] = places[axis] * int(dimensions[traversal_order[rank + block]]) + indices[level]
    zero = call["data"].zero_point if call.key in _ASYMMETRIC else 0
    dense = np.full(shape, zero, data.dtype)
    dense[tuple(places)] = data[positions]
    return dense


def _traverse(
    formats: np.ndarray, sizes: np.ndarray, metadata: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
    """([levels, elements] index at every level of each stored element, [elements] its position in the data)."""
    paths, positions = np.zeros((0, 1), np.int64), np.zeros(1, np.int64)
    for level, (format, size) in enumerate(zip(formats, sizes, strict=True)):
        if format == DENSE:
            first, counts = positions * size, np.full(positions.size, size)
        else:
            segments = np.asarray(metadata[2 * level], np.int64)
            first, counts = segments[positions], segments[positions + 1] - segments[positions]
        parents = np.repeat(np.arange(positions.size), counts)
        steps = np.arange(parents.size) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = first[parents] + steps
        here = steps if format == DENSE else np.asarray(metadata[2 * level + 1], np.int64)[positions]
        paths = np.vstack([paths[:, parents], here])
    return paths, positions


def _level_count(call: Call) -> str | None:
    levels = entry_count(call["traversal_order"])
    pairs = len(call["segments_and_indices"])
    if levels is None:
        return None
    for slot in ("dim_format", "dimensions"):
        if entry_count(call[slot]) not in (None, levels):
            return f"{slot} has {entry_count(call[slot])} entries, traversal_order {levels}"
    return None if pairs == 2 * levels else f"{pairs} segments and indices for {levels} levels"


def _bad_traversal(call: Call) -> str | None:
    order = entries(call, "traversal_order")
    blocks = () if call["block_map"] is None else entries(call, "block_map")
    if order is None or blocks is None:
        return None
    rank = len(order) - len(blocks)
    if rank < 1 or sorted(order[:rank]) != list(range(rank)) or sorted(order[rank:]) != list(range(rank, len(order))):
        return f"traversal_order {list(order)} with {len(blocks)} block axes"
    if any(not 0 <= axis < rank for axis in blocks):
        return f"block_map {list(blocks)} names an axis outside [0, {rank - 1}]"
    return None


def _bad_format(call: Call) -> str | None:
    formats = entries(call, "dim_format") or ()
    wrong = [one for one in formats if one not in (DENSE, COMPRESSED)]
    return f"dim_format {list(formats)} holds {wrong[0]}" if wrong else None


def _segments_seen(call: Call) -> str | None:
    """Segments that descend, or index lists that are missing or shorter than the segments say."""
    formats, metadata = entries(call, "dim_format"), call.value("segments_and_indices")
    if formats is None or metadata is None or len(metadata) != 2 * len(formats):
        return None
    for level, one in enumerate(formats):
        segments, stored = metadata[2 * level], metadata[2 * level + 1]
        if one != COMPRESSED or segments is None or stored is None:
            continue
        if any(b < a for a, b in pairwise(segments)) or segments[0] < 0 or segments[-1] > len(stored):
            return f"level {level}: segments {list(segments)} for {len(stored)} indices"
    return None


_INT32 = fixed(OperandCode.TENSOR_INT32)

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="DENSIFY",
        code=20000,
        since=EXPERIMENTAL,
        summary="Write a sparse tensor out in full (experimental).",
        types=dict.fromkeys(_HELD, EXPERIMENTAL),
        forms=(
            Form(
                "only",
                (
                    tensor("data", rank=1),
                    integers("traversal_order"),
                    integers("block_map", optional=True),
                    integers("dim_format"),
                    integers("dimensions"),
                    tensor("segments_and_indices", _INT32, rank=1, optional=True, variadic=True),
                ),
                (Slot("out", lambda key: (key,)),),
            ),
        ),
        result=densified_type,
        kernel=densify,
        source="AOSP 13 Densify.cpp",
        constraints=(
            Constraint("C1", "format, size, segments and indices are given for every level", _level_count),
            Constraint("C2", "the traversal takes every axis once, tensor axes first", _bad_traversal),
            Constraint("C3", "a level is 0 dense or 1 compressed", _bad_format),
            Constraint("C4", "segments ascend and stay within the indices", _segments_seen),
        ),
        zero_sized=EXPERIMENTAL,
        half="native",
        notes=(
            "Experimental: behind a build flag of Android 13, in the NDK of no feature level.",
            "Zero-sized operands stand for omitted ones.",
        ),
    ),
)
