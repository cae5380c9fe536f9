"""Shapes: reshape, flatten, permute, pad, slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, static_shape
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.constants import PARAMETER_TENSOR
from nnapi_lab.rewrites.layout import AXIS_MAPPED, FLATTENED_NHWC, NHWC_PLACEMENT
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout
from nnapi_lab.rewrites.rule import Rule, Side
from nnapi_lab.rewrites.shapes import RANK_FOLDED, SHUFFLE_MATCHED
from nnapi_lab.torchscript.layouts import wants_nhwc
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.permuting import neighbour_swap
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import MOVABLE, Site


@lowers("aten::flatten", ignores=("start_dim", "end_dim"))
def flatten(site: Site, self: TorchValue) -> None:
    reshape_to(site, self)


@lowers("aten::reshape", "aten::view", "aten::_unsafe_view", ignores=("shape", "size"))
def reshape(site: Site, self: TorchValue) -> None:
    reshape_to(site, self)


@lowers("aten::squeeze", "aten::unsqueeze", "aten::squeeze_", "aten::unsqueeze_", ignores=("dim",))
def squeeze(site: Site, self: TorchValue) -> None:
    reshape_to(site, self)


@lowers("aten::unflatten", ignores=("dim", "sizes"))
def unflatten(site: Site, self: TorchValue) -> None:
    reshape_to(site, self)


def reshape_to(site: Site, value: TorchValue) -> None:
    """The result's shape is known, so every reshaping kind is one rule.

    A channels-last map that becomes [N, C·H·W] and goes straight into linear layers stays as it lies: their weight
    columns are permuted instead. Every other reshape needs logical order first.
    """
    shape, target = value.type.shape or (), site.out_shape
    if shape == target:
        drop(site, value)
        return
    held = site.held(value)
    if held.layout.is_plain:
        site.place(viewed(site, value, held.operand, target), Layout.plain(target))
        return
    if len(target) == 2 and target[0] == shape[0] and held.layout.perm[0] == 0 and _only_linear(site):
        step = site.log(FLATTENED_NHWC, before=[array_like(value.name, shape, ("N", "C", "H", "W"))],
                        after=[array_like(site.out.name, target, ("N", "HWC"))], facts={"dims": shape})  # fmt: skip
        operand = site.reshape(held.operand, target, site.out, site.out.name)
        site.note_operands(step, operand)
        site.builder.also_made_by(operand, [step])
        site.place(operand, held.layout)
        return
    reshape_stored(site, value)


def reshape_stored(site: Site, value: TorchValue) -> None:
    """Reshape a value that is not stored in logical order, moving as little as possible.

    Both shapes are written in common factors. Where every new dimension's factors lie side by side in memory nothing
    moves; otherwise the factors are brought together, channels last if a channels-last operation follows.
    """
    target = site.out_shape
    held = site.held(value)
    pieces = factors(held.layout.dims, target)
    if pieces is None:
        site.place(viewed(site, value, site.plain(value), target), Layout.plain(target))
        return
    sizes, olds, news = pieces
    stored = [factor for axis in held.layout.perm for factor in olds[axis]]
    axes = sorted(range(len(target)), key=lambda axis: _innermost(news[axis], sizes, stored))
    source = Layout(sizes, tuple(stored))
    if not _side_by_side(sizes, source.perm, [factor for axis in axes for factor in news[axis]]):
        axes = list(Layout.nhwc(target).perm) if _before_maps(site) else axes
    wanted = Layout(sizes, tuple(factor for axis in axes for factor in news[axis]))
    layout = Layout(target, tuple(axes))
    order = tuple(source.perm.index(factor) for factor in wanted.perm)
    swapped = neighbour_swap(source.stored_dims, order) if len(held.layout.dims) > RANK_LIMIT else None
    movable = site.builder.type_of(held.operand).code in MOVABLE
    if swapped is not None and movable and any({source.perm[axis] for axis in swapped} <= set(group) for group in news):
        operand = _channels_shuffled(site, held.operand, source.stored_dims, swapped)
    else:
        operand = site.reordered(site.reshape(held.operand, source.stored_dims, value), source, wanted, value)
    site.place(viewed(site, value, operand, layout.stored_dims), layout)


def viewed(site: Site, value: TorchValue, operand: str, dims: tuple[int, ...]) -> str:
    """The operand in the shape of the result; a result of rank above 4 stays as it is, which is noted."""
    if len(dims) > RANK_LIMIT:
        step = site.log(RANK_FOLDED, values=[value.name, site.out.name], facts={"dims": dims})
        site.note_operands(step, operand)
        site.builder.also_from(operand, [site.out.name])
        return operand
    return site.reshape(operand, dims or (1,), site.out, site.out.name)


def _channels_shuffled(site: Site, operand: str, stored: tuple[int, ...], swapped: tuple[int, ...]) -> str:
    """Two neighbouring factors of one dimension change places: CHANNEL_SHUFFLE, without a rank of 5."""
    begin, end = min(swapped), max(swapped) + 1
    outer, channels, inner = math.prod(stored[:begin]), math.prod(stored[begin:end]), math.prod(stored[end:])
    groups = math.prod(stored[axis] for axis in swapped if axis >= min(swapped) and axis < swapped[0])
    shape = static_shape(site.builder.type_of(operand))
    axes = [axis for axis, size in enumerate(shape) if size == channels and math.prod(shape[:axis]) == outer]
    if not axes:
        operand, axes = site.reshape(operand, (outer, channels, inner), site.out), [1]
    return site.add("CHANNEL_SHUFFLE", input=operand, num_groups=groups, axis=axes[0], rule=SHUFFLE_MATCHED,
                    suffix="shuffled", facts={"groups": groups, "axis": axes[0]})  # fmt: skip


def _before_maps(site: Site) -> bool:
    return len(site.out_shape) == 4 and wants_nhwc(site.graph, site.out.name)


def _innermost(members: Sequence[int], sizes: Sequence[int], stored: Sequence[int]) -> tuple[int, int]:
    """Where a new dimension lies: at its innermost factor. Dimensions of size 1 lie anywhere."""
    moving = [stored.index(member) for member in members if sizes[member] != 1]
    return (max(moving), 0) if moving else (-1, min(members, default=0))


def _side_by_side(sizes: Sequence[int], stored: Sequence[int], wanted: Sequence[int]) -> bool:
    return [f for f in stored if sizes[f] != 1] == [f for f in wanted if sizes[f] != 1]


def factors(old: Sequence[int], new: Sequence[int]) -> tuple[tuple[int, ...], list[list[int]], list[list[int]]] | None:
    """Common factors of two shapes of equally many elements: their sizes, and which make up each dimension.

    [6, 4] and [2, 12] are (2, 3, 4): dimension 0 of the first is factors 0 and 1. None when a boundary of one shape
    falls inside a factor of the other that it does not divide: [2, 3] and [3, 2].
    """
    sizes: list[int] = []
    olds: list[list[int]] = [[] for _ in old]
    news: list[list[int]] = [[] for _ in new]
    left, right = list(old), list(new)
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and left[i] == 1:
            if not olds[i]:
                olds[i].append(len(sizes))
                sizes.append(1)
            i += 1
            continue
        if j < len(right) and right[j] == 1:
            if not news[j]:
                news[j].append(len(sizes))
                sizes.append(1)
            j += 1
            continue
        size = math.gcd(left[i], right[j])
        if size != min(left[i], right[j]):
            return None
        olds[i].append(len(sizes))
        news[j].append(len(sizes))
        sizes.append(size)
        left[i] //= size
        right[j] //= size
    for groups in (olds, news):
        for factor in range(len(sizes)):  # a 1 that only the other shape has: beside its neighbour
            if not any(factor in group for group in groups):
                _beside(groups, factor)
    return tuple(sizes), olds, news


def _beside(groups: list[list[int]], factor: int) -> None:
    before = [group for group in groups if group and group[0] < factor]
    if before:
        before[-1].append(factor)
        before[-1].sort()
    else:
        groups[0].insert(0, factor)


def array_like(name: str, shape: Sequence[int], axes: tuple[str, ...]) -> Side:
    """A side without values."""
    return Side(name, tuple(shape), axes)


_LINEAR = frozenset({"aten::linear", "aten::addmm", "quantized::linear", "quantized::linear_relu"})
_ELEMENTWISE = frozenset(
    {"aten::dropout", "aten::dropout_", "aten::relu", "aten::relu_", "aten::contiguous", "aten::hardtanh",
     "aten::hardtanh_", "aten::relu6", "aten::detach", "aten::sigmoid", "aten::tanh", "aten::hardswish",
     "aten::dequantize", "aten::quantize_per_tensor"}
)  # fmt: skip


def _only_linear(site: Site) -> bool:
    """True when the result reaches only linear layers, through layout-blind operations at most."""
    pending = [site.out.name]
    while pending:
        name = pending.pop()
        if name in site.graph.outputs:
            return False
        for node in site.graph.consumers(name):
            if node.kind in _ELEMENTWISE:
                pending.extend(node.outputs)
            elif node.kind not in _LINEAR or node.inputs[1 if node.kind == "aten::addmm" else 0] != name:
                return False
    return True


@lowers("aten::permute", ignores=())
def permute(site: Site, self: TorchValue, dims: Any) -> None:
    rank = len(self.type.shape or ())
    transposed(site, self, tuple(d % rank for d in dims))


@lowers("aten::transpose")
def transpose(site: Site, self: TorchValue, dim0: int, dim1: int) -> None:
    order = list(range(len(self.type.shape or ())))
    if order:
        order[dim0], order[dim1] = order[dim1], order[dim0]
    transposed(site, self, tuple(order))


@lowers("aten::t")
def t(site: Site, self: TorchValue) -> None:
    transposed(site, self, tuple(reversed(range(len(self.type.shape or ())))))


def transposed(site: Site, value: TorchValue, order: tuple[int, ...]) -> None:
    """A permutation costs nothing yet: the same operand, read in another logical order.

    Whoever needs the elements in a particular order has them moved then.
    """
    shape = value.type.shape or ()
    operand, layout = site.as_stored(value)
    position = {axis: new for new, axis in enumerate(order)}
    result = Layout(tuple(shape[axis] for axis in order), tuple(position[axis] for axis in layout.perm))
    step = site.log(NHWC_PLACEMENT if result.name == "NHWC" else AXIS_MAPPED, values=[value.name, site.out.name],
                    facts={"dims": order, "stored as": result.name})  # fmt: skip
    site.note_operands(step, operand)
    site.builder.also_from(operand, [site.out.name])
    site.place(operand, result)


def padding_table(site: Site, amounts: Sequence[tuple[int, int]]) -> str:
    """The [rank, 2] tensor of PAD: (before, after) of every stored dimension."""
    array = np.array(amounts, dtype=np.int32)
    name = f"{site.out.name}.paddings"
    step = site.log(PARAMETER_TENSOR, after=[array_side(name, array, ("dim", "before/after"))],
                    facts={"argument": "padding"})  # fmt: skip
    operand = site.builder.constant(name, array, steps=[step])
    site.note_operands(step, operand)
    return operand


@lowers("aten::slice")
def slice_(site: Site, self: TorchValue, dim: int = 0, start: int | None = None, end: int | None = None,
           step: int = 1) -> None:  # fmt: skip
    shape = self.type.shape or ()
    size = shape[dim]
    first, last, stride = slice(start, end, step).indices(size)
    if (first, stride) == (0, 1) and last >= size:
        drop(site, self)
        return
    _strided(site, self, dim % len(shape), first, last, stride, shrink=False)


@lowers("aten::select")
def select(site: Site, self: TorchValue, dim: int, index: int) -> None:
    shape = self.type.shape or ()
    if isinstance(index, TorchValue):
        site.forbid("SELECT_INDEX", "select at a computed position", fix="use index_select with a tensor of indices")
    first = index % shape[dim]
    _strided(site, self, dim % len(shape), first, first + 1, 1, shrink=True)


def _strided(site: Site, value: TorchValue, dim: int, first: int, last: int, stride: int, shrink: bool) -> None:
    """One slice along one logical dimension; select drops the dimension afterwards."""
    operand, layout, _ = site.along(value, dim)
    shape = value.type.shape or ()
    suffix = ".kept" if shrink else ""
    name = sliced(site, operand, layout, dim, first, last, stride, name=f"{site.out.name}{suffix}")
    if shrink:
        drop_axis(site, name, Layout(with_size(shape, dim, 1), layout.perm), dim, site.out)
    else:
        site.place(name, Layout(with_size(shape, dim, len(range(first, last, stride))), layout.perm))


def with_size(shape: Sequence[int], dim: int, size: int) -> tuple[int, ...]:
    return tuple(size if axis == dim else full for axis, full in enumerate(shape))


def sliced(
    site: Site, operand: str, layout: Layout, dim: int, first: int, last: int, stride: int, *, name: str,
    rule: Rule = DIRECT,
) -> str:  # fmt: skip
    """[first:last:stride] of the stored position of logical `dim`: STRIDED_SLICE, or SLICE for int32.

    `operand` and `layout` are as `Site.along` gives them.
    """
    code = site.builder.type_of(operand).code
    if code == OperandCode.TENSOR_BOOL8:
        number = sliced(site, site.as_number(operand, site.out), layout, dim, first, last, stride,
                        name=f"{name}.number", rule=rule)  # fmt: skip
        return site.as_truth(number, site.out, name)
    axis = layout.perm.index(dim) if len(layout.perm) <= RANK_LIMIT else 1
    stored = static_shape(site.builder.type_of(operand))
    begin = [first if i == axis else 0 for i in range(len(stored))]
    scalars: dict[str, Any] = {}
    facts = {"dim": dim, "axis": axis, "begin": first, "end": last, "stride": stride}
    if site.builder.type_of(operand).code == OperandCode.TENSOR_INT32:
        if stride != 1:
            picked = site.int32(range(first, last, stride), f"{name}.indices", "slice")
            return site.add_all("GATHER", input=operand, axis=axis, indices=picked, facts=facts, rule=rule,
                                names=[name])[0]  # fmt: skip
        size = [last - first if i == axis else full for i, full in enumerate(stored)]
        tables = {"begin": begin, "size": size}
        kind = "SLICE"
    else:
        end = [last if i == axis else full for i, full in enumerate(stored)]
        tables = {"begin": begin, "end": end, "strides": [stride if i == axis else 1 for i in range(len(stored))]}
        kind, scalars = "STRIDED_SLICE", {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}
    constants: dict[str, Any] = {
        label: site.int32(numbers, f"{name}.{label}", label) for label, numbers in tables.items()
    }
    return site.add_all(kind, input=operand, **constants, **scalars, facts=facts, rule=rule, names=[name])[0]


def drop_axis(site: Site, operand: str, layout: Layout, dim: int, value: TorchValue) -> None:
    """Place `value` in `operand` without its logical dimension `dim`, which has size 1."""
    left = [axis for axis in layout.perm if axis != dim]
    kept = sorted(left)
    stored = tuple(layout.dims[axis] for axis in left)
    result = site.reshape(operand, stored or (1,), value, value.name)
    site.place(result, Layout(tuple(layout.dims[axis] for axis in kept), tuple(kept.index(a) for a in left)), value)
