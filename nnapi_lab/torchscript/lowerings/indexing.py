"""Picking elements: embeddings, constant and computed indices, top k, sorting, reversing, rolling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PARAMETER_TENSOR
from nnapi_lab.rewrites.indices import LINEAR_INDEX, SORTED_BY_TOPK, WRAPPED
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.lowerings.comparison import number_of, one_number
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.lowerings.reduction_more import is_read
from nnapi_lab.torchscript.lowerings.shape import sliced
from nnapi_lab.torchscript.lowerings.shape_more import joined
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import MOVABLE, Site

I32, B8 = OperandCode.TENSOR_INT32, OperandCode.TENSOR_BOOL8


@lowers("aten::embedding", ignores=("padding_idx", "scale_grad_by_freq", "sparse"))
def embedding(site: Site, weight: TorchValue, indices: TorchValue) -> None:
    """Rows of the table: GATHER takes indices of any rank (EMBEDDING_LOOKUP of rank 1 only)."""
    picked(site, weight, 0, indices)


@lowers("aten::index_select")
def index_select(site: Site, self: TorchValue, dim: int, index: TorchValue) -> None:
    picked(site, self, dim % max(1, len(self.type.shape or ())), index)


@lowers("aten::index")
def index(site: Site, self: TorchValue, indices: Any) -> None:
    """x[:, i]: one tensor of integers along one dimension. Truth values as indices give a size nobody knows before."""
    given = [(dim, value) for dim, value in enumerate(indices) if value is not None]
    for _, value in given:
        if isinstance(value, TorchValue) and value.type.dtype in ("bool", "uint8") and not value.is_constant:
            site.forbid("INDEX_MASK", "indexing with a computed mask gives a result whose size depends on the data",
                        fix="use torch.where with a mask of static size",
                        source="NNAPI result shapes do not depend on data")  # fmt: skip
    constants = [constant_of(value) for value in indices]
    if len(given) == 1 and given[0][1].type.dtype != "bool":
        picked(site, self, *given[0])
        return
    if all(constants[dim] is not None for dim, _ in given):
        _constant_points(site, self, constants)
        return
    site.not_yet("INDEX_SEVERAL", f"indexing with {len(given)} tensors", fix="index one dimension after the other",
                 source="NNAPI GATHER takes one axis")  # fmt: skip


def constant_of(value: Any) -> TensorData | None:
    """The tensor behind a constant index, which is a value of its own or a member of a constant list."""
    held = value.constant if isinstance(value, TorchValue) else value
    return held if isinstance(held, TensorData) else None


def _constant_points(site: Site, value: TorchValue, indices: Any) -> None:
    """Several constant index tensors (or a constant mask): which elements come out is known, so one flat GATHER."""
    shape = value.type.shape or ()
    key = tuple(slice(None) if held is None else held.array for held in indices)
    positions = np.arange(math.prod(shape)).reshape(shape)[key]
    flat = site.reshape(site.plain(value), (math.prod(shape),), value)
    table = site.int32(positions.reshape(-1).tolist(), f"{site.out.name}.positions", "indices")
    name = site.add("GATHER", input=flat, axis=0, indices=table, rule=LINEAR_INDEX, suffix="flat",
                    facts={"positions": positions.shape})  # fmt: skip
    site.place(site.reshape(name, site.out_shape, site.out, site.out.name), Layout.plain(site.out_shape))


def picked(site: Site, value: TorchValue, dim: int, index: TorchValue | TensorData) -> None:
    """GATHER along one dimension with integers of any rank; the dimensions of the index take its place."""
    operand, layout, axis = site.along(value, dim)
    code = site.builder.type_of(operand).code
    number = site.as_number(operand, value) if code == B8 else operand
    held = constant_of(index)
    size, rank = (value.type.shape or ())[dim], len((held or index).type.shape or ())
    lookups = _lookups(site, index, size)
    if len(layout.perm) - 1 + rank > RANK_LIMIT:
        lookups = _flat_lookups(site, lookups, index)
    name = site.add("GATHER", input=number, axis=axis, indices=lookups, facts={"dim": dim, "axis": axis},
                    suffix="" if code != B8 else "number")  # fmt: skip
    if code == B8:
        name = site.as_truth(name, value, site.out.name)
    perm: list[int] = []
    for stored in layout.perm:
        if stored == dim:
            perm += range(dim, dim + rank)
        else:
            perm.append(stored + (rank - 1 if stored > dim else 0))
    result = Layout(site.out_shape, tuple(perm))
    site.place(site.reshape(name, result.stored_dims, site.out), result)


def _flat_lookups(site: Site, lookups: str, index: TorchValue | TensorData) -> str:
    """Indices of many dimensions as a list: the dimensions exist only in the result's layout."""
    held = site.builder[lookups]
    if held.is_constant:
        return site.int32(np.asarray(held.value).reshape(-1).tolist(), f"{lookups}.flat", "indices")
    return site.reshape(lookups, (math.prod(index.type.shape or ()),), site.out)


def _lookups(site: Site, index: TorchValue | TensorData, size: int) -> str:
    """The indices, counted from 0: constants are brought there now, computed ones are taken as they are."""
    if index.type.dtype not in ("int32", "int64"):
        site.forbid("INDEX_TYPE", f"indices of type {index.type.dtype}", fix="use int32 or int64 indices")
    held = constant_of(index)
    if held is None:
        return site.plain(index)  # type: ignore[arg-type]
    array = np.where(held.array < 0, held.array + size, held.array).astype(np.int32)
    array = array.reshape(array.shape or (1,))
    named = (index.origin, [index.name]) if isinstance(index, TorchValue) else ("", [site.out.name])
    step = site.log(WRAPPED if (held.array < 0).any() else PARAMETER_TENSOR, after=[array_side("indices", array)],
                    facts={"argument": "indices"}, values=named[1])  # fmt: skip
    name = site.builder.constant(named[0] or f"{site.out.name}.indices", array, values=named[1], steps=[step])
    site.note_operands(step, name)
    return name


@lowers("aten::gather", ignores=("sparse_grad",))
def gather(site: Site, self: TorchValue, dim: int, index: TorchValue) -> None:
    _element_wise_picked(site, self, dim, index)


@lowers("aten::take_along_dim")
def take_along_dim(site: Site, self: TorchValue, indices: TorchValue, dim: int | None = None) -> None:
    if dim is None:
        site.not_yet("TAKE_FLAT", "take_along_dim without a dimension", fix="flatten and name dimension 0")
    _element_wise_picked(site, self, dim, indices)


def _element_wise_picked(site: Site, value: TorchValue, dim: int, index: TorchValue) -> None:
    """out[i,j] = x[i, index[i,j]]: one flat GATHER at index · stride + the offset of everything else."""
    shape, wanted = value.type.shape or (), index.type.shape or ()
    dim %= len(shape)
    if len(wanted) != len(shape):
        site.not_yet("GATHER_RANK", f"gather of rank {len(shape)} with indices of rank {len(wanted)}")
    stride = math.prod(shape[dim + 1 :])
    flat_positions = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    first = np.take(flat_positions, [0], axis=dim)
    for axis, size in enumerate(wanted):
        if axis != dim:
            first = np.take(first, range(size), axis=axis)
    offsets = np.broadcast_to(first, wanted).astype(np.int32).reshape(-1)
    indices = site.reshape(site.plain(index), (math.prod(wanted),), index)
    facts = {"formula": "GATHER(flat, index · stride + offset)", "stride": stride}
    scaled = site.add("MUL", input0=indices, input1=one_number(site, stride, I32), fuse="NONE", suffix="scaled",
                      rule=LINEAR_INDEX, facts=facts)  # fmt: skip
    table = site.int32(offsets.tolist(), f"{site.out.name}.offsets", "gather")
    linear = site.add("ADD", input0=scaled, input1=table, fuse="NONE", suffix="linear", rule=LINEAR_INDEX, facts=facts)
    flat = site.reshape(site.plain(value), (math.prod(shape),), value)
    name = site.add("GATHER", input=flat, axis=0, indices=linear, suffix="flat", rule=LINEAR_INDEX, facts=facts)
    site.place(site.reshape(name, site.out_shape, site.out, site.out.name), Layout.plain(site.out_shape))


# --- order -------------------------------------------------------------------------------------------------


@lowers("aten::topk", ignores=("sorted",))
def topk(site: Site, self: TorchValue, k: int, dim: int = -1, largest: bool = True) -> None:
    """TOPK_V2: last axis, largest first; of equals the larger index comes first, where torch promises nothing."""
    ordered(site, self, number_of(site, k), dim, largest)


@lowers("aten::sort", ignores=("stable",))
def sort(site: Site, self: TorchValue, dim: int = -1, descending: bool = False) -> None:
    shape = self.type.shape or (1,)
    ordered(site, self, shape[dim], dim, descending)


@lowers("aten::argsort", ignores=("stable",))
def argsort(site: Site, self: TorchValue, dim: int = -1, descending: bool = False) -> None:
    shape = self.type.shape or (1,)
    ordered(site, self, shape[dim], dim, descending, values=None, indices=site.out)


_UNSET = object()


def ordered(
    site: Site, input: TorchValue, k: Any, dim: int, largest: bool, values: Any = _UNSET, indices: Any = _UNSET
) -> None:
    """TOPK_V2 along the last stored axis; the smallest are the largest of the negated."""
    shape = input.type.shape or ()
    if isinstance(k, TorchValue):
        site.forbid("TOPK_K", "k is computed by the model", fix="use a constant k")
    values = site.graph[site.node.outputs[0]] if values is _UNSET else values
    indices = site.graph[site.node.outputs[1]] if indices is _UNSET else indices
    dim %= max(1, len(shape))
    perm = (*(axis for axis in range(len(shape)) if axis != dim), dim)
    held = site.layout_of(input)
    if held is not None and held.dims == shape and held.perm and held.perm[-1] == dim:
        perm = held.perm
    if not largest and site.code_of(input) not in (OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, I32):
        site.not_yet("TOPK_SMALLEST", f"the smallest elements of {input.type}", fix="dequantize it first")
    operand = site.read(input, Layout(shape, perm))
    formula = {"k": k, "dim": dim, **({} if largest else {"formula": "NEG(TOPK_V2(NEG(x)))"})}
    first = (values or indices).name
    if not largest:
        operand = site.add_all("NEG", input=operand, names=[f"{first}.negated"], rule=DECOMPOSED, facts=formula)[0]
    whole = k == (shape[dim] if shape else 1)
    found, where = site.add_all("TOPK_V2", input=operand, k=int(k), facts=formula,
                                rule=SORTED_BY_TOPK if whole else DECOMPOSED,
                                names=[f"{first}.top" if not largest else first, f"{first}.indices"])  # fmt: skip
    result = Layout(tuple(int(k) if axis == dim else size for axis, size in enumerate(shape)), perm)
    if values is not None:
        if not largest:
            found = site.add_all("NEG", input=found, names=[values.name], rule=DECOMPOSED, facts=formula)[0]
        site.place(found, result, values)
    if indices is not None and is_read(site, indices.name):
        site.place(where, result, indices)


# --- turning and rolling -----------------------------------------------------------------------------------


@lowers("aten::flip")
def flip(site: Site, self: TorchValue, dims: Any) -> None:
    """REVERSE along one axis after the other (level 7)."""
    shape = self.type.shape or ()
    axes = [d % len(shape) for d in ((dims,) if isinstance(dims, int) else dims)]
    axes = [d for d in axes if shape[d] != 1]
    if not axes:
        drop(site, self)
        return
    operand, layout = site.as_stored(self)
    truth = site.builder.type_of(operand).code == B8
    if truth:
        operand = site.as_number(operand, self)
    for count, dim in enumerate(axes, 1):
        axis = layout.perm.index(dim)
        stored = layout.stored_dims
        if len(stored) > RANK_LIMIT:
            merged = (math.prod(stored[:axis]), stored[axis], math.prod(stored[axis + 1 :]))
            operand, axis = site.reshape(operand, merged, self), 1
        table = site.int32([axis], f"{site.out.name}.axis", "dims")
        suffix = "" if count == len(axes) and not truth else f"dim{dim}"
        operand = site.add("REVERSE", input=operand, axis=table, suffix=suffix, facts={"dim": dim, "axis": axis})
    site.place(site.as_truth(operand, self, site.out.name) if truth else operand, layout)


@lowers("aten::roll")
def roll(site: Site, self: TorchValue, shifts: Any, dims: Any = ()) -> None:
    """What leaves at one end comes in at the other: two slices changed about, joined."""
    shape = self.type.shape or ()
    moved = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    named = (dims,) if isinstance(dims, int) else tuple(dims or ())
    if not named:
        _roll_flat(site, self, moved[0])
        return
    pairs = [(d % len(shape), s % shape[d]) for d, s in zip(named, moved, strict=True) if s % shape[d]]
    if not pairs:
        drop(site, self)
        return
    operand, layout = site.as_stored(self)
    code = site.builder.type_of(operand).code
    truth, integers = code == B8, code not in MOVABLE
    for count, (dim, shift) in enumerate(pairs, 1):
        name = site.out.name if count == len(pairs) else f"{site.out.name}.dim{dim}"
        axis = layout.perm.index(dim)
        if len(layout.perm) > RANK_LIMIT:
            stored = layout.stored_dims
            operand, axis = site.reshape(
                operand, (math.prod(stored[:axis]), stored[axis], math.prod(stored[axis + 1 :])), self
            ), 1  # fmt: skip
        if integers and not truth:
            table = site.int32(np.roll(np.arange(shape[dim]), shift).tolist(), f"{name}.positions", "shifts")
            operand = site.add_all("GATHER", input=operand, axis=axis, indices=table, rule=DECOMPOSED,
                                   facts={"shift": shift, "dim": dim}, names=[name])[0]  # fmt: skip
            continue
        cut = shape[dim] - shift
        tail = sliced(site, operand, layout, dim, cut, shape[dim], 1, name=f"{name}.tail", rule=DECOMPOSED)
        head = sliced(site, operand, layout, dim, 0, cut, 1, name=f"{name}.head", rule=DECOMPOSED)
        operand = joined(site, [tail, head], axis, dim, name)
    site.place(operand, layout)


def _roll_flat(site: Site, value: TorchValue, shift: int) -> None:
    """Without dims torch rolls the flattened tensor."""
    count = math.prod(value.type.shape or ())
    flat = site.reshape(site.plain(value), (count,), value)
    table = site.int32(np.roll(np.arange(count), shift).tolist(), f"{site.out.name}.positions", "shifts")
    name = site.add("GATHER", input=flat, axis=0, indices=table, rule=DECOMPOSED, suffix="flat")
    site.place(site.reshape(name, site.out_shape, site.out, site.out.name), Layout.plain(site.out_shape))


@lowers("aten::one_hot")
def one_hot(site: Site, self: TorchValue, num_classes: int = -1) -> None:
    """EQUAL with 0 … n-1 along a new last dimension, truth values as int32."""
    if num_classes < 0:
        site.forbid("ONE_HOT_CLASSES", "one_hot without num_classes has a size that depends on the data",
                    fix="give num_classes")  # fmt: skip
    shape = self.type.shape or ()
    operand = site.plain(self)
    wide = site.reshape(operand, (*shape, 1), self)
    array = np.arange(num_classes, dtype=np.int32)
    step = site.log(PARAMETER_TENSOR, after=[array_side("classes", array)], facts={"argument": "num_classes"})
    classes = site.builder.constant(f"{site.out.name}.classes", array, OperandType(I32, array.shape), steps=[step])
    site.note_operands(step, classes)
    equal = site.add("EQUAL", input0=wide, input1=classes, suffix="hit", rule=DECOMPOSED)
    site.place(site.as_number(equal, site.out, I32, site.out.name), Layout.plain(site.out_shape))
