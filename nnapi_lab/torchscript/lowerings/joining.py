"""Concatenation and stacking."""

from __future__ import annotations

from typing import Any

from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import IDENTITY_DROPPED
from nnapi_lab.torchscript.layouts import agreed_layout
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::cat", "aten::concat")
def cat(site: Site, tensors: Any, dim: int) -> None:
    concatenate(site, tensors, dim, site.quant_of(site.out))


def concatenate(site: Site, tensors: Any, dim: int, quant: Any) -> None:
    """CONCATENATION along the stored position of `dim`; every member is brought to one layout."""
    members = [value for value in tensors if value.type.shape != (0,)]
    empty = [value.name for value in tensors if value.type.shape == (0,)]
    if empty:
        site.log(IDENTITY_DROPPED, values=[*empty, site.out.name], facts={"skipped": "empty, as torch does"})
    layout = _member_layout(site, members)
    rank = len(site.out_shape)
    axis = layout.perm.index(dim % rank)
    steps = []
    if axis != dim:
        steps = [site.log(AXIS_MAPPED, facts={"dim": dim, "axis": axis, "layout": layout.name})]
    operands = [
        site.read(value, Layout.nhwc(value.type.shape or ()) if layout.name == "NHWC"
                  else Layout.plain(value.type.shape or ()))
        for value in members
    ]  # fmt: skip
    name = site.add("CONCATENATION", inputs=operands, axis=axis, steps=steps,
                    quant=quant if isinstance(quant, Quant) else None)  # fmt: skip
    site.place(name, layout)


def _member_layout(site: Site, members: list[TorchValue]) -> Layout:
    """Channels last if any computed rank-4 member is; the result's own layout object."""
    shape = site.out_shape
    agreed = agreed_layout(site, members, shape)
    return agreed if agreed.name == "NHWC" and len(shape) == 4 else Layout.plain(shape)
