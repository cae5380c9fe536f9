"""Shapes: reshape, flatten, permute, pad, slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, static_shape
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.constants import PARAMETER_TENSOR
from nnapi_lab.rewrites.layout import AXIS_MAPPED, FLATTENED_NHWC, NHWC_PLACEMENT
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Rule, Side
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site


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
        operand = site.reshape(held.operand, target or (1,), site.out, site.out.name)
        site.place(operand, Layout.plain(target))
        return
    if len(target) == 2 and target[0] == shape[0] and held.layout.perm[0] == 0 and _only_linear(site):
        step = site.log(FLATTENED_NHWC, before=[array_like(value.name, shape, ("N", "C", "H", "W"))],
                        after=[array_like(site.out.name, target, ("N", "HWC"))], facts={"dims": shape})  # fmt: skip
        operand = site.reshape(held.operand, target, site.out, site.out.name)
        site.note_operands(step, operand)
        site.builder.also_made_by(operand, [step])
        site.place(operand, held.layout)
        return
    operand = site.reshape(site.plain(value), target or (1,), site.out, site.out.name)
    site.place(operand, Layout.plain(target))


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
    if len(shape) > 4:
        site.not_yet("PERMUTE_RANK", f"permute of rank {len(shape)}", source="NNAPI TRANSPOSE takes rank 1 to 4")
    operand, layout = site.as_permuted(value)
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


@lowers("aten::constant_pad_nd")
def constant_pad_nd(site: Site, self: TorchValue, pad: Any, value: float = 0) -> None:
    _constant_pad(site, self, pad, value)


@lowers("aten::pad")
def pad(site: Site, self: TorchValue, pad: Any, mode: str = "constant", value: float | None = None) -> None:
    if mode != "constant":
        site.not_yet("PAD_MODE", f"padding mode {mode!r}", source="NNAPI MIRROR_PAD (feature level 7)")
    _constant_pad(site, self, pad, value or 0)


def _constant_pad(site: Site, input: TorchValue, pad: Sequence[int], value: float) -> None:
    shape = input.type.shape or ()
    if any(amount < 0 for amount in pad):
        site.not_yet("PAD_NEGATIVE", f"padding {list(pad)} crops", source="NNAPI PAD takes no negative amounts")
    if input.type.quant is not None and value != 0:
        site.not_yet("PAD_QUANTIZED", "padding a quantized tensor with a number other than 0")
    operand, layout = site.as_permuted(input)
    logical = [(0, 0)] * len(shape)
    for index in range(len(pad) // 2):
        logical[len(shape) - 1 - index] = (pad[2 * index], pad[2 * index + 1])
    table = padding_table(site, [logical[axis] for axis in layout.perm])
    if value == 0:
        name = site.add("PAD", input=operand, paddings=table)
    else:
        name = site.add("PAD_V2", input=operand, paddings=table, pad_value=float(value))
    site.place(name, Layout(site.out_shape, layout.perm))


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
    first = index % shape[dim]
    _strided(site, self, dim % len(shape), first, first + 1, 1, shrink=True)


def _strided(site: Site, value: TorchValue, dim: int, first: int, last: int, stride: int, shrink: bool) -> None:
    """One slice along one logical dimension; select drops the dimension afterwards."""
    operand, layout = site.as_permuted(value)
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
    """[first:last:stride] of the stored position of logical `dim`: STRIDED_SLICE, or SLICE for int32."""
    axis = layout.perm.index(dim)
    stored = static_shape(site.builder.type_of(operand))
    begin = [first if i == axis else 0 for i in range(len(stored))]
    facts = {"dim": dim, "axis": axis, "begin": first, "end": last, "stride": stride}
    if site.builder.type_of(operand).code == OperandCode.TENSOR_INT32:
        if stride != 1:
            site.not_yet("SLICE_INT32", "slicing int32 tensors with a step", source="NNAPI STRIDED_SLICE types")
        size = [last - first if i == axis else full for i, full in enumerate(stored)]
        tables = {"begin": begin, "size": size}
        kind, scalars = "SLICE", {}
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
