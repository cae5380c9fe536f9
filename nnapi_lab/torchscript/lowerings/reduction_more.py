"""More reductions: sums, products, extremes, truth, variance, logsumexp."""

from __future__ import annotations

import math
from typing import Any

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.lowerings.arithmetic import binary
from nnapi_lab.torchscript.lowerings.comparison import one_number
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.lowerings.reduction import (
    keeps_dims,
    laid_out,
    named_dims,
    reduce,
    reduced,
    reduced_layout,
)
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import MOVABLE, Site

F32, I32, B8 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32, OperandCode.TENSOR_BOOL8
EXACT = 2**24  # float32 counts up to here without gaps


@lowers("aten::sum", ignores=("dtype", "keepdim"))
def sum_(site: Site, self: TorchValue, dim: Any = None) -> None:
    _of_floats(site, "REDUCE_SUM", self, dim)


@lowers("aten::prod", ignores=("dtype", "keepdim"))
def prod(site: Site, self: TorchValue, dim: Any = None) -> None:
    _of_floats(site, "REDUCE_PROD", self, dim)


@lowers("aten::count_nonzero")
def count_nonzero(site: Site, self: TorchValue, dim: Any = None) -> None:
    """Truth values as ones, summed."""
    _counted(site, self, named_dims(self, dim))


def _of_floats(site: Site, kind: str, input: TorchValue, dim: Any) -> None:
    """NNAPI sums floats only. torch converts to the result's type first; truth values are counted."""
    dims = named_dims(input, dim)
    if input.type.quant is not None:
        site.not_yet("REDUCE_QUANTIZED", f"{site.node.kind} of a quantized tensor", fix="dequantize it first",
                     source=f"NNAPI {kind}: floating point only")  # fmt: skip
    if site.code_of(site.out) not in MOVABLE:
        if input.type.dtype == "bool" and kind == "REDUCE_SUM":
            _counted(site, input, dims)
            return
        site.lossy("SUM_INTEGERS", f"{kind} of integers would have to be computed in float32, exact up to 2^24",
                   fix="convert to float in the model: x.float()", source=f"NNAPI {kind}: floats only")  # fmt: skip
    if site.code_of(input) == site.code_of(site.out):
        reduce(site, kind, input, dims)
        return
    operand, layout, axes = laid_out(site, input, dims)
    operand = converted(site, operand, input, site.code_of(site.out))
    keep = keeps_dims(site, input)
    site.place(reduced(site, kind, operand, axes, keep=keep), reduced_layout(layout, dims, keep))


def _counted(site: Site, input: TorchValue, dims: tuple[int, ...]) -> None:
    shape = input.type.shape or ()
    count = math.prod(shape[d] for d in dims)
    if count > EXACT:
        site.lossy("COUNT", f"{count} truth values cannot be counted exactly in float32")
    operand, layout, axes = laid_out(site, input, dims)
    truth = converted(site, operand, input, B8)
    number = site.as_number(truth, input)
    keep = keeps_dims(site, input)
    summed = reduced(site, "REDUCE_SUM", number, axes, keep=keep, name=f"{site.out.name}.count", rule=DECOMPOSED,
                     facts={"formula": "CAST(REDUCE_SUM(SELECT(x, 1, 0)))"})  # fmt: skip
    site.place(converted(site, summed, input, I32, site.out.name), reduced_layout(layout, dims, keep))


# --- extremes and truth ------------------------------------------------------------------------------------


@lowers("aten::amax", ignores=("keepdim",))
def amax(site: Site, self: TorchValue, dim: Any = None) -> None:
    extreme(site, "REDUCE_MAX", self, named_dims(self, dim))


@lowers("aten::amin", ignores=("keepdim",))
def amin(site: Site, self: TorchValue, dim: Any = None) -> None:
    extreme(site, "REDUCE_MIN", self, named_dims(self, dim))


def extreme(site: Site, kind: str, input: TorchValue, dims: tuple[int, ...]) -> None:
    """REDUCE_MAX or REDUCE_MIN; of truth values that is any or all."""
    if input.type.dtype == "bool":
        kind = {"REDUCE_MAX": "REDUCE_ANY", "REDUCE_MIN": "REDUCE_ALL"}[kind]
    elif site.code_of(input) not in MOVABLE:
        site.not_yet("EXTREME_INT32", f"{site.node.kind} of integers", fix="convert them to float first: x.float()",
                     source=f"NNAPI {kind}: float and quantized tensors")  # fmt: skip
    reduce(site, kind, input, dims)


@lowers("aten::max", ignores=("keepdim",))
def max_(site: Site, self: TorchValue, dim: int | None = None, other: TorchValue | None = None) -> None:
    _max_or_min(site, "MAX", self, dim, other)


@lowers("aten::min", ignores=("keepdim",))
def min_(site: Site, self: TorchValue, dim: int | None = None, other: TorchValue | None = None) -> None:
    _max_or_min(site, "MIN", self, dim, other)


def _max_or_min(site: Site, which: str, input: TorchValue, dim: int | None, other: TorchValue | None) -> None:
    """Three functions of one name: of two tensors, of a whole tensor, and values with indices along a dimension."""
    if other is not None:
        binary(site, {"MAX": "MAXIMUM", "MIN": "MINIMUM"}[which], input, other)
        return
    dims = named_dims(input, None if dim is None else (dim,))
    extreme(site, f"REDUCE_{which}", input, dims)
    if len(site.node.outputs) > 1 and is_read(site, site.node.outputs[1]):
        arg_extreme(site, f"ARG{which}", input, dims[0], site.graph[site.node.outputs[1]])


def is_read(site: Site, name: str) -> bool:
    """True when anybody looks at this result."""
    return bool(site.graph.consumers(name)) or name in site.graph.outputs


@lowers("aten::argmax", ignores=("keepdim",))
def argmax(site: Site, self: TorchValue, dim: int | None = None) -> None:
    _arg(site, "ARGMAX", self, dim)


@lowers("aten::argmin", ignores=("keepdim",))
def argmin(site: Site, self: TorchValue, dim: int | None = None) -> None:
    _arg(site, "ARGMIN", self, dim)


def _arg(site: Site, kind: str, input: TorchValue, dim: int | None) -> None:
    shape = input.type.shape or ()
    if dim is not None and shape:
        arg_extreme(site, kind, input, dim % len(shape), site.out)
        return
    flat = site.reshape(site.plain(input), (1, math.prod(shape)), input)
    name = site.add(kind, input=flat, axis=1, facts={"over": "all elements, in logical order"})
    site.place(name, Layout.plain(site.out_shape))


def arg_extreme(site: Site, kind: str, input: TorchValue, dim: int, value: TorchValue) -> None:
    """The position of the first largest (or smallest) element along one dimension, as int32."""
    if input.type.dtype == "bool":
        site.not_yet("ARG_TRUTH", f"{site.node.kind} of truth values", fix="convert them to float first: x.float()")
    operand, layout, axis = site.along(input, dim)
    keep = keeps_dims(site, input, value)
    name = site.add_all(kind, input=operand, axis=axis, facts={"dim": dim, "axis": axis},
                        names=[f"{value.name}.found" if keep else value.name])[0]  # fmt: skip
    result = reduced_layout(layout, (dim,), keep)
    if keep:
        name = site.add_all("EXPAND_DIMS", input=name, axis=axis, names=[value.name])[0]
        result = Layout(tuple(1 if d == dim else size for d, size in enumerate(layout.dims)), layout.perm)
    site.place(name, result, value)


@lowers("aten::any", ignores=("keepdim",))
def any_(site: Site, self: TorchValue, dim: Any = None) -> None:
    _truth(site, "REDUCE_ANY", self, dim)


@lowers("aten::all", ignores=("keepdim",))
def all_(site: Site, self: TorchValue, dim: Any = None) -> None:
    _truth(site, "REDUCE_ALL", self, dim)


def _truth(site: Site, kind: str, input: TorchValue, dim: Any) -> None:
    dims = named_dims(input, dim)
    operand, layout, axes = laid_out(site, input, dims)
    operand = converted(site, operand, input, B8)
    keep = keeps_dims(site, input)
    site.place(reduced(site, kind, operand, axes, keep=keep), reduced_layout(layout, dims, keep))


# --- variance ----------------------------------------------------------------------------------------------


@lowers("aten::var", ignores=("keepdim",))
def var(site: Site, self: TorchValue, dim: Any = None, unbiased: bool = True, correction: float | None = 1) -> None:
    _variance(site, self, dim, _correction(unbiased, correction))


@lowers("aten::std", ignores=("keepdim",))
def std(site: Site, self: TorchValue, dim: Any = None, unbiased: bool = True, correction: float | None = 1) -> None:
    _variance(site, self, dim, _correction(unbiased, correction), root=True)


@lowers("aten::var_mean", ignores=("keepdim",))
def var_mean(site: Site, self: TorchValue, dim: Any = None, unbiased: bool = True,
             correction: float | None = 1) -> None:  # fmt: skip
    _variance(site, self, dim, _correction(unbiased, correction))


@lowers("aten::std_mean", ignores=("keepdim",))
def std_mean(site: Site, self: TorchValue, dim: Any = None, unbiased: bool = True,
             correction: float | None = 1) -> None:  # fmt: skip
    _variance(site, self, dim, _correction(unbiased, correction), root=True)


def _correction(unbiased: bool | None, correction: float | None) -> float:
    if unbiased is False:
        return 0.0
    return 1.0 if correction is None else float(correction)


def _variance(site: Site, input: TorchValue, dim: Any, correction: float, root: bool = False) -> None:
    """MEAN of the squared distance from the mean, times n/(n - correction)."""
    if input.type.quant is not None:
        site.not_yet("VAR_QUANTIZED", f"{site.node.kind} of a quantized tensor", fix="dequantize it first")
    dims = named_dims(input, dim)
    count = math.prod((input.type.shape or ())[d] for d in dims)
    if count <= correction:
        site.forbid("VAR_COUNT", f"{site.node.kind} over {count} elements with correction {correction} divides by zero")
    operand, layout, axes = laid_out(site, input, dims)
    keep = keeps_dims(site, input)
    name, facts = site.out.name, {"formula": "MEAN((x - MEAN(x))²) · n/(n - correction)", "n": count}
    common: dict[str, Any] = {"rule": DECOMPOSED, "facts": facts}
    mean = reduced(site, "MEAN", operand, axes, keep=True, name=f"{name}.mean", **common)
    centred = site.add("SUB", input0=operand, input1=mean, fuse="NONE", suffix="centred", **common)
    square = site.add("MUL", input0=centred, input1=centred, fuse="NONE", suffix="square", **common)
    scaled = correction != 0
    operand = reduced(site, "MEAN", square, axes, keep=keep, name=f"{name}.biased" if scaled or root else "", **common)
    if scaled:
        factor = one_number(site, count / (count - correction), site.code_of(input))
        operand = site.add("MUL", input0=operand, input1=factor, fuse="NONE", suffix="var" if root else "", **common)
    if root:
        operand = site.add("SQRT", input=operand, **common)
    left = reduced_layout(layout, dims, keep)
    site.place(operand, left)
    if len(site.node.outputs) > 1 and is_read(site, site.node.outputs[1]):
        second = site.graph[site.node.outputs[1]]
        if not keep:
            mean = reduced(site, "MEAN", _source(site, input, dims), axes, keep=False, name=second.name, **common)
        site.place(mean, left, second)


def _source(site: Site, input: TorchValue, dims: tuple[int, ...]) -> str:
    return laid_out(site, input, dims)[0]


@lowers("aten::logsumexp", ignores=("keepdim",))
def logsumexp(site: Site, self: TorchValue, dim: Any) -> None:
    """LOG of the sum of EXP, with the largest element taken out so that nothing overflows."""
    dims = named_dims(self, dim)
    operand, layout, axes = laid_out(site, self, dims)
    keep = keeps_dims(site, self)
    name, facts = site.out.name, {"formula": "m + LOG(REDUCE_SUM(EXP(x - m)))"}
    common: dict[str, Any] = {"rule": DECOMPOSED, "facts": facts}
    top = reduced(site, "REDUCE_MAX", operand, axes, keep=True, name=f"{name}.max", **common)
    shifted = site.add("SUB", input0=operand, input1=top, fuse="NONE", suffix="shifted", **common)
    grown = site.add("EXP", input=shifted, suffix="exp", **common)
    total = reduced(site, "REDUCE_SUM", grown, axes, keep=keep, name=f"{name}.sum", **common)
    log = site.add("LOG", input=total, suffix="log", **common)
    if not keep:
        top = reduced(site, "REDUCE_MAX", operand, axes, keep=False, name=f"{name}.top", **common)
    site.place(site.add("ADD", input0=log, input1=top, fuse="NONE", **common), reduced_layout(layout, dims, keep))
