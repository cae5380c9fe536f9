"""Axes and sizes: where an axis lies, what a constant shape tensor holds, sizes that are not known yet.

Shared by the operations that move elements without computing on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandType, shape_text
from nnapi_lab.ops.spec import Call

Size = int | Dim


def unknown(*because: Size) -> Dim:
    """A size that cannot be told; known when the sizes it depends on are (at load, or only at execution)."""
    load = [dim for dim in because if isinstance(dim, Dim) and dim.known == "load"]
    run = [dim for dim in because if isinstance(dim, Dim) and dim.known == "run"]
    return Dim("?", "load") if load and not run else Dim("?")


def total(sizes: Iterable[Size]) -> Size:
    """The sum of sizes."""
    sizes = tuple(sizes)
    known = [size for size in sizes if not isinstance(size, Dim)]
    return sum(known) if len(known) == len(sizes) else unknown(*sizes)


def times(left: Size, right: Size) -> Size:
    """The product of two sizes; 1 leaves an unknown size as it is."""
    if isinstance(left, Dim) or isinstance(right, Dim):
        return right if left == 1 else left if right == 1 else unknown(left, right)
    return left * right


def agreed(left: Size, right: Size) -> Size:
    """One size from two that must be equal: the one that is known."""
    return right if isinstance(left, Dim) else left


def element_count(shape: Sequence[Size]) -> int | None:
    return None if any(isinstance(size, Dim) for size in shape) else math.prod(shape)  # type: ignore[arg-type]


def entries(call: Call, slot: str) -> tuple[int, ...] | None:
    """The integers in a tensor slot, None while they are not known (or the operand is omitted)."""
    value = call.value(slot)
    return None if value is None else tuple(int(entry) for entry in np.ravel(value))


def entry_count(type_: OperandType | None) -> int | None:
    """Number of entries of a rank-1 operand, None while it is not known."""
    if type_ is None or type_.shape is None or len(type_.shape) != 1 or isinstance(type_.shape[0], Dim):
        return None
    return type_.shape[0]


def position(axis: int, rank: int) -> int:
    """A negative axis counts from the end."""
    return axis + rank if axis < 0 else axis


def axis_seen(axis: int | None, rank: int | None, low: int | None = None, name: str = "axis") -> str | None:
    """An axis outside [low, rank), None if it fits or is not known; `low` is -rank unless given."""
    if axis is None or rank is None:
        return None
    low = -rank if low is None else low
    return None if low <= axis < rank else f"{name}={axis} is not in [{low}, {rank - 1}]"


def count_seen(call: Call, slot: str, tensor: str = "input") -> str | None:
    """A rank-1 slot that does not have one entry per dimension of `tensor`, None if it does."""
    count, rank = entry_count(call[slot]), call[tensor].rank
    if count is None or rank is None or count == rank:
        return None
    entry_word = "entry" if count == 1 else "entries"
    return f"{slot} has {count} {entry_word} for {tensor} {shape_text(call[tensor].shape)} of rank {rank}"
