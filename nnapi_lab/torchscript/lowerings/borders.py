"""Padding: constants, mirror images, repeated and wrapped borders; negative amounts crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout
from nnapi_lab.rewrites.shapes import BORDER_COPIED
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.lowerings.shape import padding_table, sliced, with_size
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import MOVABLE, Site


@lowers("aten::constant_pad_nd")
def constant_pad_nd(site: Site, self: TorchValue, pad: Any, value: float = 0) -> None:
    _constant_pad(site, self, pad, value)


@lowers("aten::pad")
def pad(site: Site, self: TorchValue, pad: Any, mode: str = "constant", value: float | None = None) -> None:
    if mode == "constant":
        _constant_pad(site, self, pad, value or 0)
    else:
        bordered(site, self, pad, mode)


def amounts(rank: int, padding: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of every logical dimension; torch lists the last dimension first."""
    pads = [(0, 0)] * rank
    for index in range(len(padding) // 2):
        pads[rank - 1 - index] = (padding[2 * index], padding[2 * index + 1])
    return pads


def _constant_pad(site: Site, input: TorchValue, padding: Sequence[int], value: float) -> None:
    shape = input.type.shape or ()
    pads = amounts(len(shape), padding)
    if not any(any(pad) for pad in pads):
        drop(site, input)
        return
    if input.type.quant is not None and value != 0:
        site.not_yet("PAD_QUANTIZED", "padding a quantized tensor with a number other than 0")
    if len(shape) > RANK_LIMIT:
        site.not_yet("PAD_RANK", f"padding a tensor of rank {len(shape)}", source="NNAPI PAD: rank 1 to 4")
    operand, layout = site.as_permuted(input)
    operand = _cropped(site, operand, layout, pads)
    table = [(max(pads[axis][0], 0), max(pads[axis][1], 0)) for axis in layout.perm]
    if any(any(pad) for pad in table):
        operand = _padded(site, operand, table, value)
    site.place(operand, Layout(site.out_shape, layout.perm))


def _cropped(site: Site, operand: str, layout: Layout, pads: Sequence[tuple[int, int]]) -> str:
    """Negative amounts as slices."""
    sizes = layout.dims
    grows = any(amount > 0 for pad in pads for amount in pad)
    cropped = [dim for dim, pad in enumerate(pads) if min(pad) < 0]
    for dim in cropped:
        head, tail = (min(amount, 0) for amount in pads[dim])
        final = dim == cropped[-1] and not grows
        name = site.out.name if final else f"{site.out.name}.cropped{dim}"
        operand = sliced(site, operand, Layout(sizes, layout.perm), dim, -head, sizes[dim] + tail, 1, name=name)
        sizes = with_size(sizes, dim, sizes[dim] + head + tail)
    return operand


def _padded(site: Site, operand: str, table: Sequence[tuple[int, int]], value: float) -> str:
    code = site.builder.type_of(operand).code
    if code == OperandCode.TENSOR_BOOL8:
        number = site.as_number(operand, site.out)
        wide = site.add("PAD_V2", input=number, paddings=padding_table(site, table), pad_value=float(bool(value)),
                        suffix="number")  # fmt: skip
        return site.as_truth(wide, site.out, site.out.name)
    if code not in MOVABLE:
        site.not_yet("PAD_INT32", "padding an int32 tensor", fix="pad outside the model, or pad as float",
                     source="NNAPI PAD, PAD_V2: no TENSOR_INT32")  # fmt: skip
    if value == 0:
        return site.add("PAD", input=operand, paddings=padding_table(site, table))
    return site.add("PAD_V2", input=operand, paddings=padding_table(site, table), pad_value=float(value))


@lowers("aten::reflection_pad1d", "aten::reflection_pad2d", "aten::reflection_pad3d")
def reflection_pad(site: Site, self: TorchValue, padding: Any) -> None:
    bordered(site, self, padding, "reflect")


@lowers("aten::replication_pad1d", "aten::replication_pad2d", "aten::replication_pad3d")
def replication_pad(site: Site, self: TorchValue, padding: Any) -> None:
    bordered(site, self, padding, "replicate")


def bordered(site: Site, input: TorchValue, padding: Any, mode: str) -> None:
    """Borders made of the tensor itself: MIRROR_PAD (level 7) for a reflection, else one GATHER each."""
    if isinstance(padding, int):
        padding = (padding,) * (2 * (len(input.type.shape or ()) - 2))
    shape = input.type.shape or ()
    operand, layout = site.as_permuted(input)
    pads = amounts(len(shape), padding)
    code = site.builder.type_of(operand).code
    mirrored = mode == "reflect" and len(shape) <= RANK_LIMIT and all(amount >= 0 for pad in pads for amount in pad)
    if mirrored and code in MOVABLE:
        table = padding_table(site, [pads[axis] for axis in layout.perm])
        name = site.add("MIRROR_PAD", input=operand, paddings=table, mode=0, facts={"mode": mode})
        site.place(name, Layout(site.out_shape, layout.perm))
        return
    last = max((dim for dim, pad in enumerate(pads) if pad != (0, 0)), default=-1)
    if last < 0:
        drop(site, input)
        return
    sizes = shape
    for dim, (head, tail) in enumerate(pads):
        if (head, tail) == (0, 0):
            continue
        name = site.out.name if dim == last else f"{site.out.name}.dim{dim}"
        operand = _border(site, operand, Layout(sizes, layout.perm), dim, (head, tail), mode, name)
        sizes = with_size(sizes, dim, sizes[dim] + head + tail)
    site.place(operand, Layout(sizes, layout.perm))


def border_positions(size: int, head: int, tail: int, mode: str) -> list[int]:
    """Which element stands at each position along a padded dimension; a negative amount crops."""
    positions = range(-head, size + tail)
    if mode == "circular":
        return [position % size for position in positions]
    if mode == "replicate":
        return [min(max(position, 0), size - 1) for position in positions]
    return [-position if position < 0 else 2 * (size - 1) - position if position >= size else position
            for position in positions]  # fmt: skip


def _border(site: Site, operand: str, layout: Layout, dim: int, pad: tuple[int, int], mode: str, name: str) -> str:
    """GATHER with the constant positions; every mode is one list of them."""
    positions = border_positions(layout.dims[dim], *pad, mode)
    axis = layout.perm.index(dim)
    indices = site.int32(positions, f"{name}.positions", "padding")
    facts = {"mode": mode, "dim": dim, "pad": pad, "positions": tuple(positions[:12])}
    return site.add_all("GATHER", input=operand, axis=axis, indices=indices, rule=BORDER_COPIED, names=[name],
                        facts=facts)[0]  # fmt: skip
