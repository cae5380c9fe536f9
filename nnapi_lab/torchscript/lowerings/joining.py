"""Concatenation and stacking."""

from __future__ import annotations

import math
from typing import Any

from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.placement import NHWC, RANK_LIMIT, Layout
from nnapi_lab.rewrites.shapes import IDENTITY_DROPPED
from nnapi_lab.torchscript.layouts import elements_moved, wants_nhwc
from nnapi_lab.torchscript.lowerings.comparison import common_code
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.lowerings.shape_more import joined
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import MOVABLE, Site


@lowers("aten::cat", "aten::concat")
def cat(site: Site, tensors: Any, dim: int) -> None:
    concatenate(site, tensors, dim, site.quant_of(site.out))


def concatenate(site: Site, tensors: Any, dim: int, quant: Any) -> None:
    """CONCATENATION along the stored position of `dim`; every member is brought to one layout."""
    members = [value for value in tensors if value.type.shape != (0,)]
    empty = [value.name for value in tensors if value.type.shape == (0,)]
    if empty:
        site.log(IDENTITY_DROPPED, values=[*empty, site.out.name], facts={"skipped": "empty, as torch does"})
    rank = len(site.out_shape)
    dim %= rank
    layout = Layout(site.out_shape, _member_perm(site, members))
    axis = layout.perm.index(dim)
    steps = []
    if axis != dim:
        steps = [site.log(AXIS_MAPPED, facts={"dim": dim, "axis": axis, "layout": layout.name})]
    operands = [site.read(value, Layout(value.type.shape or (), layout.perm)) for value in members]
    codes = {site.code_of(value) for value in members}
    if len(codes) > 1:
        code = common_code(site, members)
        operands = [converted(site, *pair, code) for pair in zip(operands, members, strict=True)]
    if rank > RANK_LIMIT:
        stored = [Layout(value.type.shape or (), layout.perm).stored_dims for value in members]
        shapes = [(math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :])) for dims in stored]
        rows = zip(operands, shapes, members, strict=True)
        operands, axis = [site.reshape(operand, shape, value) for operand, shape, value in rows], 1
    if site.builder.type_of(operands[0]).code not in MOVABLE:
        site.place(joined(site, operands, axis, dim), layout)
        return
    name = site.add("CONCATENATION", inputs=operands, axis=axis, steps=steps,
                    quant=quant if isinstance(quant, Quant) else None)  # fmt: skip
    site.place(name, layout)


def _member_perm(site: Site, members: list[TorchValue]) -> tuple[int, ...]:
    """The order for which the fewest elements of the members are transposed; channels last where that is open."""
    rank = len(site.out_shape)
    layouts = [site.layout_of(value) for value in members if not value.is_constant]
    perms = {layout.perm for layout in layouts if layout is not None and len(layout.perm) == rank}
    if rank == 4 and wants_nhwc(site.graph, site.out.name):
        perms.add(NHWC)
    ranked = [*sorted(perms, key=lambda perm: (perm != NHWC, perm)), tuple(range(rank))]
    return min(ranked, key=lambda perm: sum(
        elements_moved(site, value, Layout(value.type.shape or (), perm)) for value in members))  # fmt: skip
