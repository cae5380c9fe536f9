"""Reductions over named dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import POOL_OVER_IMAGE
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::mean")
def mean(site: Site, self: TorchValue, dim: Any = None, keepdim: bool = False, dtype: int | None = None) -> None:
    if dtype is not None and site.out.type.dtype != self.type.dtype:
        site.not_yet("MEAN_DTYPE", f"mean that changes the type to {site.out.type.dtype}")
    shape = self.type.shape or ()
    dims = tuple(sorted(d % len(shape) for d in (dim if dim else range(len(shape)))))
    if self.type.quant is not None and len(shape) == 4 and dims == (2, 3):
        _mean_as_pool(site, self)
        return
    if self.type.quant is not None:
        site.lossy(
            "MEAN_QUANTIZED",
            f"NNAPI's quantized MEAN truncates where PyTorch rounds (dims {list(dims)})",
            fix="average over H and W, which becomes AVERAGE_POOL_2D",
            source="AOSP 13 SimpleMath.cpp",
        )
    reduce(site, "MEAN", self, dims)


def reduce(site: Site, kind: str, input: TorchValue, dims: Sequence[int]) -> None:
    """`kind` over stored axes with keep_dims, then the shape torch gives.

    Kept dimensions of size 1 make the stored order immaterial wherever only the channel is left.
    """
    shape = input.type.shape or ()
    operand, layout = site.as_permuted(input)
    axes = sorted(layout.perm.index(d) for d in dims)
    steps = []
    if axes != list(dims):
        steps = [site.log(AXIS_MAPPED, facts={"dim": tuple(dims), "axis": tuple(axes), "layout": layout.name})]
    table = site.int32(axes, f"{site.out.name}.axes", "dim")
    kept = tuple(1 if d in dims else size for d, size in enumerate(shape))
    result = Layout(kept, layout.perm)
    if len(site.out_shape) == len(shape):
        name = site.add(kind, input=operand, axes=table, keep_dims=1, steps=steps)
        site.place(name, result if not result.is_plain or layout.name == "NHWC" else Layout.plain(kept))
        return
    left = [axis for axis in layout.perm if axis not in dims]
    if left == sorted(left):
        name = site.add(kind, input=operand, axes=table, keep_dims=0, steps=steps)
        if not site.out_shape:
            site.place(name, Layout.plain(()))
            return
        site.place(name, Layout.plain(site.out_shape))
        return
    name = site.add(kind, input=operand, axes=table, keep_dims=1, steps=steps, suffix="kept")
    stored = Layout(tuple(size for d, size in enumerate(shape) if d not in dims),
                    tuple(sorted(range(len(left)), key=lambda i: i)))  # fmt: skip
    order = tuple(sorted(left).index(axis) for axis in left)
    reshaped = site.reshape(name, tuple(shape[axis] for axis in left), site.out, site.out.name)
    site.place(reshaped, Layout(stored.dims, order))


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
