"""Reductions over named dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.islands import FLOAT_ISLAND
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout
from nnapi_lab.rewrites.rule import Rule, Step
from nnapi_lab.rewrites.shapes import POOL_OVER_IMAGE
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import torch_side
from nnapi_lab.torchscript.site import Site


@lowers("aten::mean")
def mean(site: Site, self: TorchValue, dim: Any = None, keepdim: bool = False, dtype: int | None = None) -> None:
    if dtype is not None and site.code_of(site.out) != site.code_of(self):
        mean_of_converted(site, self, dim)
        return
    shape = self.type.shape or ()
    dims = named_dims(self, dim)
    if self.type.quant is not None and len(shape) == 4 and dims == (2, 3):
        _mean_as_pool(site, self)
        return
    if self.type.quant is not None:
        _mean_in_float(site, self, dims)
        return
    reduce(site, "MEAN", self, dims)


def mean_of_converted(site: Site, input: TorchValue, dim: Any) -> None:
    """mean(dtype=…) converts first, then averages."""
    dims = named_dims(input, dim)
    operand, layout, axes = laid_out(site, input, dims)
    operand = converted(site, operand, input, site.code_of(site.out))
    keep = keeps_dims(site, input)
    site.place(reduced(site, "MEAN", operand, axes, keep=keep), reduced_layout(layout, dims, keep))


def named_dims(input: TorchValue, dim: Any) -> tuple[int, ...]:
    """The dimensions a reduction names, counted from 0 and in order; none named means all."""
    rank = len(input.type.shape or ())
    given = (dim,) if isinstance(dim, int) else tuple(dim or ())
    return tuple(sorted(d % rank for d in given)) if given and rank else tuple(range(rank))


def reduce(site: Site, kind: str, input: TorchValue, dims: Sequence[int]) -> None:
    """`kind` over the stored axes of `dims`; what is left keeps its stored order, so nothing moves."""
    operand, layout, axes = laid_out(site, input, dims)
    steps = []
    if axes != list(dims):
        steps = [site.log(AXIS_MAPPED, facts={"dim": tuple(dims), "axis": tuple(axes), "layout": layout.name})]
    keep = keeps_dims(site, input)
    name = reduced(site, kind, operand, axes, keep=keep, steps=steps)
    site.place(name, reduced_layout(layout, dims, keep))


def laid_out(site: Site, input: TorchValue, dims: Sequence[int]) -> tuple[str, Layout, list[int]]:
    """Operand, layout and stored axes for an operation over `dims`; beyond rank 4 neighbours of one fate merge."""
    operand, layout = site.as_stored(input)
    if len(layout.perm) <= RANK_LIMIT:
        return operand, layout, sorted(layout.perm.index(d) for d in dims)
    runs: list[list[int]] = []  # [goes away, size]
    for axis, size in zip(layout.perm, layout.stored_dims, strict=True):
        if runs and runs[-1][0] == (axis in dims):
            runs[-1][1] *= size
        elif size != 1 or axis in dims:
            runs.append([axis in dims, size])
    if len(runs) > RANK_LIMIT:
        site.not_yet("REDUCE_RANK", f"{site.node.kind} over {list(dims)} of rank {len(layout.perm)}",
                     fix="merge dimensions with reshape first", source="NNAPI reductions: rank 1 to 4")  # fmt: skip
    operand = site.reshape(operand, tuple(size for _, size in runs), input)
    return operand, layout, [index for index, (away, _) in enumerate(runs) if away]


def keeps_dims(site: Site, input: TorchValue, value: TorchValue | None = None) -> bool:
    return len((value or site.out).type.shape or ()) == len(input.type.shape or ())


def reduced(
    site: Site, kind: str, operand: str, axes: Sequence[int], *, keep: bool, name: str = "", rule: Rule = DIRECT,
    steps: Sequence[Step] = (), facts: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """One reduction over stored axes."""
    table = site.int32(axes, f"{site.out.name}.axes", "dim")
    return site.add_all(kind, input=operand, axes=table, keep_dims=int(keep), steps=steps, rule=rule,
                        facts=dict(facts or {}), names=[name or site.out.name])[0]  # fmt: skip


def reduced_layout(layout: Layout, dims: Sequence[int], keep: bool) -> Layout:
    """The layout of what a reduction leaves of a value in `layout`."""
    if keep:
        kept = Layout(tuple(1 if d in dims else size for d, size in enumerate(layout.dims)), layout.perm)
        return kept if not kept.is_plain or layout.name == "NHWC" else Layout.plain(kept.dims)
    left = [axis for axis in layout.perm if axis not in dims]
    return Layout(tuple(layout.dims[axis] for axis in sorted(left)), tuple(sorted(left).index(axis) for axis in left))


def _mean_in_float(site: Site, input: TorchValue, dims: Sequence[int]) -> None:
    """Other quantized means through float: MEAN on codes truncates where PyTorch rounds (AOSP 13 SimpleMath.cpp)."""
    operand, layout, axes = laid_out(site, input, dims)
    step = site.log(FLOAT_ISLAND, before=[torch_side(input)], facts={"instead of": "MEAN on codes, which truncates"})
    real = site.add("DEQUANTIZE", input=operand, suffix="real", steps=[step])
    keep = keeps_dims(site, input)
    mean = reduced(site, "MEAN", real, axes, keep=keep, name=f"{site.out.name}.mean")
    name = site.add("QUANTIZE", input=mean, quant=site.quant_of(site.out), steps=[step, *site.shift_step(site.out)])
    site.place(name, reduced_layout(layout, dims, keep))


def _mean_as_pool(site: Site, input: TorchValue) -> None:
    """Quantized mean over H and W: AVERAGE_POOL_2D rounds, MEAN would truncate."""
    shape = input.type.shape or ()
    step = site.log(POOL_OVER_IMAGE, facts={"window": shape[2:], "instead of": "MEAN, which truncates"})
    flat = len(site.out_shape) == 2
    name = site.add(
        "AVERAGE_POOL_2D", input=site.nhwc(input), pad_left=0, pad_right=0, pad_top=0, pad_bottom=0, stride_w=1,
        stride_h=1, filter_w=shape[3], filter_h=shape[2], fuse="NONE", steps=[step], suffix="kept" if flat else "",
    )  # fmt: skip
    if flat:
        name = site.reshape(name, site.out_shape, site.out, site.out.name)
        site.place(name, Layout.plain(site.out_shape))
        return
    site.place(name, Layout.nhwc(site.out_shape))
