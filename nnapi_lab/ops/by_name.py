"""Operations with dozens of arguments: sizes that slots share, and kernels that take their tensors by name.

A size table names the axes of each slot, `{"input": ("batch", "features"), "bias": ("units",)}`. One name is
one size: the first slot of the table in which it is known decides, the others are held against it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandType, Shape, shape_text
from nnapi_lab.ops.axes import Size
from nnapi_lab.ops.spec import Call, Slot

SizeTable = Mapping[str, tuple[str, ...]]
Tensors = Mapping[str, Any]  # slot name → array, None where omitted

_UNKNOWN = Dim("?")


def is_given(call: Call, name: str) -> bool:
    """Whether an optional slot holds an operand."""
    return call.types.get(name) is not None


def is_surely_given(call: Call, name: str) -> bool:
    """Whether it holds one that will be there at execution: an operand of open size may still be omitted."""
    type_ = call.types.get(name)
    return isinstance(type_, OperandType) and type_.is_static


def given_all_or_none(call: Call, names: Sequence[str]) -> str | None:
    """Which of these belong together but are partly omitted, None when all or none are there."""
    there = [name for name in names if is_surely_given(call, name)]
    missing = [name for name in names if not is_given(call, name)]
    if not there or not missing:
        return None
    return f"{', '.join(there)} given, {', '.join(missing)} omitted"


# --- sizes by name -----------------------------------------------------------------------------------------


def named_sizes(call: Call, table: SizeTable) -> dict[str, Size]:
    """The size behind each name of the table: a number if any slot knows one, else the first slot's Dim."""
    found: dict[str, Size] = {}
    for slot, names in table.items():
        for name, size in zip(names, _shape(call, slot, len(names)), strict=True):
            known = found.setdefault(name, size)
            if known == _UNKNOWN or (isinstance(known, Dim) and not isinstance(size, Dim)):
                found[name] = size
    return found


def sizes_seen(call: Call, table: SizeTable) -> str | None:
    """The first slot whose size contradicts what an earlier slot says, None when all agree."""
    found: dict[str, tuple[int, str]] = {}
    for slot, names in table.items():
        for axis, (name, size) in enumerate(zip(names, _shape(call, slot, len(names)), strict=True)):
            if isinstance(size, Dim):
                continue
            expected, where = found.setdefault(name, (size, slot))
            if size != expected:
                return (
                    f"{slot} {shape_text(call[slot].shape)} has {size} along axis {axis}, but the number of "
                    f"{name.replace('_', ' ')} is {expected} by {where} {shape_text(call[where].shape)}"
                )
    return None


def _shape(call: Call, slot: str, rank: int) -> Shape:
    """The slot's shape; unknown sizes where it is omitted or of another rank."""
    type_ = call.types.get(slot)
    if not isinstance(type_, OperandType) or type_.shape is None or len(type_.shape) != rank:
        return (_UNKNOWN,) * rank
    return type_.shape


# --- kernels -----------------------------------------------------------------------------------------------


def kernel_by_name(compute: Callable[..., Any], inputs: Sequence[Slot]) -> Callable[..., Any]:
    """A kernel for these slots around `compute(tensors, *, scalars…)`, with tensors a mapping by slot name.

    It has the signature every kernel has: tensors by position in slot order, then compute's own keywords.
    """
    names = [slot.name for slot in inputs if not slot.scalar]
    tensors = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    keywords = [
        parameter
        for parameter in inspect.signature(compute).parameters.values()
        if parameter.kind == parameter.KEYWORD_ONLY
    ]
    signature = inspect.Signature([*tensors, *keywords])

    def kernel(*arrays: np.ndarray | None, **named: Any) -> Any:
        bound = signature.bind(*arrays, **named).arguments
        by_name = {name: bound.pop(name) for name in names}
        return compute(by_name, **bound)

    kernel.__signature__ = signature  # type: ignore[attr-defined]
    kernel.__name__, kernel.__doc__ = compute.__name__, compute.__doc__
    kernel.__module__ = compute.__module__
    return kernel
