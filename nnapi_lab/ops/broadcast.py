"""Broadcasting: operands of different shapes meet dimension by dimension, aligned at the last one.

A size of 1 stretches to the other operand's size, also to 0; other sizes must be equal.
Source: AOSP 13 OperationsExecutionUtils.cpp (calculateBroadcastedShape).
"""

from __future__ import annotations

from collections.abc import Callable

from nnapi_lab.ir.operand_types import Dim, Shape, shape_text
from nnapi_lab.ops.axes import Size, unknown
from nnapi_lab.ops.spec import Call, Constraint


def broadcast_shape(left: Shape | None, right: Shape | None) -> Shape | None:
    """The shape both operands stretch to; None while a rank is unknown.

    An unknown size beside a size other than 1 becomes that size: it is equal to it or 1.
    """
    if left is None or right is None:
        return None
    rank = max(len(left), len(right))
    pairs = zip(_aligned(left, rank), _aligned(right, rank), strict=True)
    return tuple(_size(a, b) for a, b in pairs)


def broadcast_seen(left: Shape | None, right: Shape | None, names: tuple[str, str]) -> str | None:
    """Two known sizes that differ although neither is 1, None if the shapes fit (or are unknown)."""
    if left is None or right is None:
        return None
    rank = max(len(left), len(right))
    for axis, (a, b) in enumerate(zip(_aligned(left, rank), _aligned(right, rank), strict=True)):
        if isinstance(a, Dim) or isinstance(b, Dim) or a == b or 1 in (a, b):
            continue
        return (
            f"{names[0]} {shape_text(left)} and {names[1]} {shape_text(right)} differ at axis {axis - rank} "
            f"from the end ({a} and {b}), and neither is 1"
        )
    return None


def broadcast_constraint(id: str, left: str = "input0", right: str = "input1") -> Constraint:
    """The rule that two tensor slots broadcast against each other."""
    check: Callable[[Call], str | None] = lambda call: broadcast_seen(  # noqa: E731
        call[left].shape, call[right].shape, (left, right)
    )
    rule = f"aligned at the last dimension, sizes of {left} and {right} are equal or one of them is 1"
    return Constraint(id, rule, check)


def _aligned(shape: Shape, rank: int) -> Shape:
    return (*(1,) * (rank - len(shape)), *shape)


def _size(left: Size, right: Size) -> Size:
    if left == 1 or left == right:
        return right
    if right == 1:
        return left
    if isinstance(left, Dim):
        return unknown(left, right) if isinstance(right, Dim) else right
    return left
