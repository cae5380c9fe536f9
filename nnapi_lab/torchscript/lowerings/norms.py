"""Lengths of vectors: norms, distances, cosines."""

from __future__ import annotations

import math
from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.torchscript.lowerings.chain import Chain
from nnapi_lab.torchscript.lowerings.reduction import keeps_dims, laid_out, named_dims, reduced, reduced_layout
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::linalg_vector_norm", ignores=("keepdim", "dtype"))
def vector_norm(site: Site, self: TorchValue, ord: float = 2, dim: Any = None) -> None:
    _norm(site, self, ord, dim)


@lowers("aten::norm", "aten::frobenius_norm", ignores=("keepdim", "dtype"))
def norm(site: Site, self: TorchValue, p: float | None = 2, dim: Any = None) -> None:
    _norm(site, self, 2 if p is None else p, dim)


@lowers("aten::linalg_norm", ignores=("keepdim", "dtype"))
def linalg_norm(site: Site, self: TorchValue, ord: Any = None, dim: Any = None) -> None:
    """A vector norm unless two dimensions and an order ask for a matrix norm."""
    count = len(dim) if isinstance(dim, list | tuple) else 1 if isinstance(dim, int) else len(self.type.shape or ())
    if ord not in (None, "fro") and count == 2:
        site.not_yet("MATRIX_NORM", f"linalg.norm of order {ord} over two dimensions", fix="use a vector norm")
    _norm(site, self, 2 if ord in (None, "fro") else ord, dim)


def _norm(site: Site, input: TorchValue, order: float, dim: Any) -> None:
    if site.out.type.dtype != input.type.dtype or input.type.quant is not None:
        site.not_yet("NORM_DTYPE", f"{site.node.kind} from {input.type} to {site.out.type}",
                     fix="convert the input first")  # fmt: skip
    dims = named_dims(input, dim)
    operand, layout, axes = laid_out(site, input, dims)
    keep = keeps_dims(site, input)
    left = reduced_layout(layout, dims, keep)
    chain = Chain(site, [], norm_formula(order), layout=left)
    length(chain, operand, axes, order, keep=keep)


def norm_formula(order: float) -> str:
    return {2: "SQRT(REDUCE_SUM(x · x))", 1: "REDUCE_SUM(ABS(x))", math.inf: "REDUCE_MAX(ABS(x))",
            -math.inf: "REDUCE_MIN(ABS(x))",
            }.get(order, f"POW(REDUCE_SUM(POW(ABS(x), {order})), 1/{order})")  # fmt: skip


def length(chain: Chain, operand: str, axes: list[int], order: float, *, keep: bool, done: bool = True) -> str:
    """The norm of `operand` along stored axes; placed as the node's result unless `done` is False."""
    site = chain.site
    if order == 0:
        site.not_yet("NORM_ORDER", "the norm of order 0 counts elements", fix="compare with 0 and sum")
    name = site.out.name
    common: dict[str, Any] = {"rule": chain.rule, "facts": {"formula": chain.formula}}
    last = {1: "REDUCE_SUM", math.inf: "REDUCE_MAX", -math.inf: "REDUCE_MIN"}.get(order)
    if last is not None:
        size = reduced(site, last, chain("ABS", operand), axes, keep=keep, name=name if done else f"{name}.size",
                       **common)  # fmt: skip
        if done:
            chain.place(size)
        return size
    powers = chain("MUL", operand, operand) if order == 2 else chain("POW", chain("ABS", operand), float(order))
    total = reduced(site, "REDUCE_SUM", powers, axes, keep=keep, name=f"{name}.sum", **common)
    terms = ("SQRT", total) if order == 2 else ("POW", total, 1.0 / order)
    if not done:
        return chain(*terms)
    chain.done(*terms)
    return name


@lowers("aten::pairwise_distance", ignores=("keepdim",))
def pairwise_distance(site: Site, x1: TorchValue, x2: TorchValue, p: float = 2, eps: float = 1e-6) -> None:
    """The norm of x1 - x2 + eps along the last dimension."""
    left, right, layout = _alike(site, x1, x2)
    dim = len(layout.dims) - 1
    keep = keeps_dims(site, x1)
    chain = Chain(site, [], f"d = a - b + {eps}; {norm_formula(p)}", layout=reduced_layout(layout, (dim,), keep))
    distance = chain("ADD", chain("SUB", left, right), eps)
    length(chain, distance, [layout.perm.index(dim)], p, keep=keep)


@lowers("aten::cosine_similarity")
def cosine_similarity(site: Site, x1: TorchValue, x2: TorchValue, dim: int = 1, eps: float = 1e-8) -> None:
    """The product of the vectors over the product of their lengths, each at least eps."""
    left, right, layout = _alike(site, x1, x2)
    dim = dim % len(layout.dims)
    axes = [layout.perm.index(dim)]
    chain = Chain(site, [], "REDUCE_SUM(a·b) / (MAXIMUM(|a|, eps)·MAXIMUM(|b|, eps))",
                  layout=reduced_layout(layout, (dim,), keep=False))  # fmt: skip
    common: dict[str, Any] = {"rule": chain.rule, "facts": {"formula": chain.formula}}
    dot = reduced(site, "REDUCE_SUM", chain("MUL", left, right), axes, keep=False, name=f"{site.out.name}.dot",
                  **common)  # fmt: skip
    lengths = [
        chain("MAXIMUM", length(chain, vector, axes, 2, keep=False, done=False), eps) for vector in (left, right)
    ]
    chain.done("DIV", dot, chain("MUL", *lengths))


def _alike(site: Site, left: TorchValue, right: TorchValue) -> tuple[str, str, Layout]:
    """Both operands in the layout of the first."""
    if left.type.shape != right.type.shape or len(left.type.shape or ()) > 4 or left.type.quant is not None:
        site.not_yet("VECTORS", f"{site.node.kind} of {left.type} and {right.type}",
                     fix="expand both to one float shape of rank 4 at most")  # fmt: skip
    operand, layout = site.as_permuted(left)
    return operand, site.read(right, layout), layout
