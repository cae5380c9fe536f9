"""Taking tensors apart: split, chunk, unbind."""

from __future__ import annotations

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.lowerings.shape import drop_axis, sliced
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::split", "aten::split_with_sizes", "aten::chunk", "aten::tensor_split", "aten::unsafe_chunk",
        "aten::unsafe_split", "aten::unsafe_split_with_sizes",
        ignores=("split_size", "split_sizes", "chunks", "sections", "indices",
                 "tensor_indices_or_sections"))  # fmt: skip
def split(site: Site, self: TorchValue, dim: int = 0) -> None:
    """SPLIT where the parts are equal, one slice per part otherwise."""
    take_apart(site, self, dim, keep=True)


@lowers("aten::unbind")
def unbind(site: Site, self: TorchValue, dim: int = 0) -> None:
    """Parts of size 1 whose dimension is dropped."""
    take_apart(site, self, dim, keep=False)


def take_apart(site: Site, value: TorchValue, dim: int, keep: bool) -> None:
    shape = value.type.shape or ()
    dim = dim % len(shape)
    members = [site.graph[name] for name in site.out.items]
    sizes = [(member.type.shape or ())[dim] if keep else 1 for member in members]
    truth = value.type.dtype == "bool"  # SPLIT takes none
    if len(set(sizes)) == 1 and len(sizes) > 1 and not truth:
        parts, layout = _equal_parts(site, value, dim, members)
    else:
        parts, layout = _slices(site, value, dim, sizes, members)
    for member, part, size in zip(members, parts, sizes, strict=True):
        if keep:
            kept = tuple(size if axis == dim else full for axis, full in enumerate(shape))
            site.place(part, Layout(kept, layout.perm), member)
        else:
            drop_axis(site, part, layout, dim, member)


def _equal_parts(site: Site, value: TorchValue, dim: int, members: list[TorchValue]) -> tuple[tuple[str, ...], Layout]:
    operand, layout, axis = site.along(value, dim)
    steps = [site.log(AXIS_MAPPED, facts={"dim": dim, "axis": axis, "layout": layout.name})] if axis != dim else []
    names = [member.name for member in members]
    return site.add_all("SPLIT", input=operand, axis=axis, num_splits=len(members), names=names, steps=steps), layout


def _slices(
    site: Site, value: TorchValue, dim: int, sizes: list[int], members: list[TorchValue]
) -> tuple[tuple[str, ...], Layout]:
    operand, layout, _ = site.along(value, dim)
    names, start = [], 0
    for member, size in zip(members, sizes, strict=True):
        names.append(sliced(site, operand, layout, dim, start, start + size, 1, name=member.name, rule=DECOMPOSED))
        start += size
    return tuple(names), layout
