"""More shapes: expanding and repeating, stacking, moving dimensions, pixel shuffles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnapi_lab.ir.operand_types import OperandCode, Quant, static_shape
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import BROADCAST_LEFT, BROADCAST_MADE, DECOMPOSED, PIXELS_SHUFFLED
from nnapi_lab.torchscript.layouts import padded_shape
from nnapi_lab.torchscript.lowerings.comparison import full
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.lowerings.shape import reshape_to, sliced, transposed, with_size
from nnapi_lab.torchscript.permuting import moves
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import MOVABLE, Site

B8 = OperandCode.TENSOR_BOOL8
BROADCASTING = frozenset({"aten::mul", "aten::add", "aten::sub", "aten::div", "quantized::mul", "quantized::add"})
LOOK_AHEAD = 8  # nodes
MOST_PIECES = 64  # operands of one PACK


# --- copies ------------------------------------------------------------------------------------------------


@lowers("aten::expand", "aten::expand_as", "aten::broadcast_to", ignores=("implicit", "size", "other"))
def expand(site: Site, self: TorchValue) -> None:
    """Copies along dimensions of size 1, unless all who read them broadcast by themselves."""
    shape, target = self.type.shape or (), site.out_shape
    if shape == target:
        drop(site, self)
        return
    if _left_to_its_readers(site):
        site.log(BROADCAST_LEFT, facts={"from": shape, "to": target})
        site.lowering.unexpanded[site.out.name] = self.name
        return
    have = padded_shape(shape, len(target))
    layout = site.layout_of(self)
    offset = len(target) - len(shape)
    if layout is None or layout.dims != shape:
        perm = tuple(range(len(target)))
    else:
        perm = (*range(offset), *(axis + offset for axis in layout.perm))
    beside = _order_beside(site)
    if beside is not None and not moves(tuple(have[axis] for axis in perm), tuple(map(perm.index, beside))):
        perm = beside
    operand = site.read(self, Layout(have, perm))
    stored = [(have[axis], target[axis]) for axis in perm]
    site.place(_repeated(site, self, operand, stored), Layout(target, perm))


def _left_to_its_readers(site: Site) -> bool:
    """True when only elementwise operations read the result, each beside a tensor that has its full shape."""
    out, graph = site.out, site.graph
    readers = graph.consumers(out.name)
    return bool(readers) and out.name not in graph.outputs and all(
        node.kind.removesuffix("_") in BROADCASTING
        and any(graph[name].type.shape == site.out_shape for name in node.inputs[:2] if name != out.name)
        for node in readers
    )  # fmt: skip


def _order_beside(site: Site) -> tuple[int, ...] | None:
    """The order of the first tensor of the result's shape that it meets, looking through elementwise operations."""
    graph, pending, met = site.graph, [site.out.name], 0
    while pending and met < LOOK_AHEAD:
        name = pending.pop(0)
        for node in graph.consumers(name):
            met += 1
            for other in node.inputs:
                held = site.lowering.placements.get(other)
                if other != name and held is not None and held.layout.dims == site.out_shape:
                    return held.layout.perm
            pending += [output for output in node.outputs if graph[output].type.shape == site.out_shape]
    return None


def _repeated(site: Site, value: TorchValue, operand: str, sizes: Sequence[tuple[int, int]]) -> str:
    """The operand with every dimension of (have, want) repeated want / have times; neighbours merged first."""
    runs: list[list[int]] = []  # [have, want], neighbours merged where neither or both are copied from 1
    for have, want in sizes:
        if want == 1:
            continue
        if runs and (runs[-1][0] == runs[-1][1]) == (have == want) and (have == want or have == 1 == runs[-1][0]):
            runs[-1] = [runs[-1][0] * have, runs[-1][1] * want]
        else:
            runs.append([have, want])
    have_shape, want_shape = tuple(run[0] for run in runs) or (1,), tuple(run[1] for run in runs) or (1,)
    operand = site.reshape(operand, have_shape, value)
    if have_shape == want_shape:
        return operand
    code = site.builder.type_of(operand).code
    if all(have in (1, want) for have, want in runs):
        return full(site, operand, want_shape, site.out.name)
    if code == B8:
        operand = site.as_number(operand, value)
    multiples = site.int32([want // have for have, want in runs], f"{site.out.name}.multiples", "multiples")
    name = site.add("TILE", input=operand, multiples=multiples, suffix="number" if code == B8 else "",
                    rule=BROADCAST_MADE, facts={"from": have_shape, "to": want_shape})  # fmt: skip
    return site.as_truth(name, value, site.out.name) if code == B8 else name


@lowers("aten::repeat", "aten::tile", ignores=("repeats", "dims"))
def repeat(site: Site, self: TorchValue) -> None:
    """The whole tensor again and again along each dimension."""
    shape, target = self.type.shape or (), site.out_shape
    have = padded_shape(shape, len(target))
    if have == target:
        reshape_to(site, self)
        return
    operand = site.read(self, Layout.plain(have))
    site.place(_repeated(site, self, operand, list(zip(have, target, strict=True))), Layout.plain(target))


@lowers("aten::repeat_interleave", ignores=("output_size",))
def repeat_interleave(site: Site, self: TorchValue, repeats: Any, dim: int | None = None) -> None:
    """Every element several times in a row: a dimension of 1 behind it is copied and merged into it."""
    if isinstance(repeats, TorchValue):
        site.not_yet("REPEATS_TENSOR", "repeat_interleave with a tensor of repeats", fix="index with a constant")
    shape = self.type.shape or ()
    if dim is None:
        before, after = math.prod(shape), 1
    else:
        dim %= len(shape)
        before, after = math.prod(shape[: dim + 1]), math.prod(shape[dim + 1 :])
    operand = site.reshape(site.plain(self), (before, 1, after), self)
    made = _repeated(site, self, operand, [(before, before), (1, repeats), (after, after)])
    site.place(site.reshape(made, site.out_shape, site.out), Layout.plain(site.out_shape))


@lowers("aten::stack")
def stack(site: Site, tensors: Any, dim: int = 0) -> None:
    """A new dimension of size 1 in each, then CONCATENATION along it: level 1, where PACK needs 6."""
    rank = len(site.out_shape)
    dim %= rank
    layouts = {site.layout_of(value) for value in tensors} - {None}
    shape = site.out_shape[:dim] + site.out_shape[dim + 1 :]
    common = layouts.pop() if len(layouts) == 1 else None
    if common is None or common.dims != shape:
        common = Layout.plain(shape)
    shifted = [axis + (axis >= dim) for axis in common.perm]
    place = shifted.index(dim + 1) if dim + 1 in shifted else len(shifted)
    perm = (*shifted[:place], dim, *shifted[place:])
    stored = common.stored_dims
    outer, inner = math.prod(stored[:place]), math.prod(stored[place:])
    members = [site.reshape(site.read(value, common), (outer, 1, inner), value) for value in tensors]
    site.place(joined(site, members, 1, dim), Layout(site.out_shape, perm))


def joined(site: Site, members: Sequence[str], axis: int, dim: int, name: str = "") -> str:
    """CONCATENATION of operands; int32 and truth values, which it does not take, travel as other types."""
    wanted = name or site.out.name
    code = site.builder.type_of(members[0]).code
    facts = {"dim": dim, "axis": axis}
    quant = site.quant_of(site.out)
    if code == B8:
        numbers = [site.as_number(member, site.out) for member in members]
        return site.as_truth(joined(site, numbers, axis, dim, f"{wanted}.number"), site.out, wanted)
    if code not in MOVABLE:
        return _joined_integers(site, members, axis, wanted)
    return site.add_all("CONCATENATION", inputs=list(members), axis=axis, facts=facts, names=[wanted],
                        quant=quant if isinstance(quant, Quant) else None)[0]  # fmt: skip


def _joined_integers(site: Site, members: Sequence[str], axis: int, wanted: str) -> str:
    """int32, which CONCATENATION does not take: cut into pieces of one size and PACKed (level 6)."""
    shapes = [static_shape(site.builder.type_of(member)) for member in members]
    piece = math.gcd(*(shape[axis] for shape in shapes))
    count = sum(shape[axis] // piece for shape in shapes)
    if count > MOST_PIECES:
        site.not_yet("CONCAT_INT32", f"joining int32 tensors by {count} pieces", fix="convert them to float first",
                     source="NNAPI CONCATENATION takes no int32")  # fmt: skip
    facts = {"formula": "PACK of equal pieces: CONCATENATION takes no int32", "pieces": count}
    pieces: list[str] = []
    for member, shape in zip(members, shapes, strict=True):
        parts = shape[axis] // piece
        names = [f"{member}.piece{index}" for index in range(parts)]
        pieces += [member] if parts == 1 else site.add_all(
            "SPLIT", input=member, axis=axis, num_splits=parts, names=names, rule=DECOMPOSED, facts=facts)  # fmt: skip
    outer, inner = math.prod(shapes[0][:axis]), math.prod(shapes[0][axis + 1 :])
    flat = [site.reshape(part, (outer, piece * inner), site.out) for part in pieces]
    packed = site.add_all("PACK", axis=1, inputs=flat, names=[f"{wanted}.packed"], rule=DECOMPOSED, facts=facts)[0]
    return site.reshape(packed, (*shapes[0][:axis], piece * count, *shapes[0][axis + 1 :]), site.out, wanted)


# --- moving dimensions -------------------------------------------------------------------------------------


@lowers("aten::swapaxes", "aten::swapdims")
def swapaxes(site: Site, self: TorchValue, axis0: int = 0, axis1: int = 0, dim0: Any = None, dim1: Any = None) -> None:
    order = list(range(len(self.type.shape or ())))
    first, second = axis0 if dim0 is None else dim0, axis1 if dim1 is None else dim1
    order[first], order[second] = order[second], order[first]
    transposed(site, self, tuple(order))


@lowers("aten::movedim", "aten::moveaxis")
def movedim(site: Site, self: TorchValue, source: Any, destination: Any) -> None:
    rank = len(self.type.shape or ())
    given = source if isinstance(source, Sequence) else (source,)
    wanted = destination if isinstance(destination, Sequence) else (destination,)
    places = {target % rank: axis % rank for axis, target in zip(given, wanted, strict=True)}
    rest = iter(axis for axis in range(rank) if axis not in places.values())
    transposed(site, self, tuple(places[place] if place in places else next(rest) for place in range(rank)))


@lowers("aten::numpy_T", "aten::mT", "aten::adjoint")
def matrix_transpose(site: Site, self: TorchValue) -> None:
    order = list(range(len(self.type.shape or ())))
    if site.node.kind == "aten::numpy_T":
        order.reverse()
    else:
        order[-2], order[-1] = order[-1], order[-2]
    transposed(site, self, tuple(order))


@lowers("aten::narrow")
def narrow(site: Site, self: TorchValue, dim: int, start: Any, length: int) -> None:
    if isinstance(start, TorchValue):
        site.forbid("NARROW_START", "narrow at a computed position", fix="slice at a constant position")
    shape = self.type.shape or ()
    dim %= len(shape)
    first = start % shape[dim] if shape[dim] else 0
    operand, layout, _ = site.along(self, dim)
    name = sliced(site, operand, layout, dim, first, first + length, 1, name=site.out.name)
    site.place(name, Layout(with_size(shape, dim, length), layout.perm))


@lowers("aten::reshape_as", "aten::view_as", ignores=("other",))
def reshape_as(site: Site, self: TorchValue) -> None:
    reshape_to(site, self)


@lowers("aten::ravel", "aten::squeeze_copy", "aten::_reshape_alias", ignores=("size", "stride", "dim"))
def ravel(site: Site, self: TorchValue) -> None:
    reshape_to(site, self)


# --- pixels and channels -----------------------------------------------------------------------------------


@lowers("aten::channel_shuffle", "aten::native_channel_shuffle")
def channel_shuffle(site: Site, self: TorchValue, groups: int) -> None:
    operand, layout = site.as_permuted(self)
    axis = layout.perm.index(1)
    steps = [site.log(AXIS_MAPPED, facts={"dim": 1, "axis": axis, "layout": layout.name})] if axis != 1 else []
    site.place(site.add("CHANNEL_SHUFFLE", input=operand, num_groups=groups, axis=axis, steps=steps), layout)


@lowers("aten::pixel_shuffle")
def pixel_shuffle(site: Site, self: TorchValue, upscale_factor: int) -> None:
    """DEPTH_TO_SPACE counts channels last: CHANNEL_SHUFFLE first, unless there is one channel left."""
    left = _image(site, site.out)
    shape = _image(site, self)
    operand = site.reshape(site.read(self, _map_layout(self)), _stored(shape), self)
    if left[1] > 1 and upscale_factor > 1:
        operand = site.add("CHANNEL_SHUFFLE", input=operand, num_groups=left[1], axis=3, suffix="shuffled",
                           rule=PIXELS_SHUFFLED, facts={"groups": left[1]})  # fmt: skip
    name = site.add("DEPTH_TO_SPACE", input=operand, block_size=upscale_factor, facts={"layout": "NHWC"})
    _place_image(site, name, left)


@lowers("aten::pixel_unshuffle")
def pixel_unshuffle(site: Site, self: TorchValue, downscale_factor: int) -> None:
    shape, out = _image(site, self), _image(site, site.out)
    operand = site.reshape(site.read(self, _map_layout(self)), _stored(shape), self)
    shuffle = shape[1] > 1 and downscale_factor > 1
    name = site.add("SPACE_TO_DEPTH", input=operand, block_size=downscale_factor, facts={"layout": "NHWC"},
                    suffix="shuffled" if shuffle else "")  # fmt: skip
    if shuffle:
        name = site.add("CHANNEL_SHUFFLE", input=name, num_groups=downscale_factor**2, axis=3, rule=PIXELS_SHUFFLED,
                        facts={"groups": downscale_factor**2})  # fmt: skip
    _place_image(site, name, out)


def _image(site: Site, value: TorchValue) -> tuple[int, int, int, int]:
    """N, C, H, W of a value of rank 3 or more; all leading dimensions are the batch."""
    shape = value.type.shape or ()
    return (math.prod(shape[:-3]), *shape[-3:])  # type: ignore[return-value]


def _stored(shape: tuple[int, int, int, int]) -> tuple[int, ...]:
    return Layout.nhwc(shape).stored_dims


def _map_layout(value: TorchValue) -> Layout:
    """Channels last whatever the rank."""
    shape = value.type.shape or ()
    rank = len(shape)
    return Layout(shape, (*range(rank - 3), rank - 2, rank - 1, rank - 3))


def _place_image(site: Site, operand: str, shape: tuple[int, int, int, int]) -> None:
    layout = _map_layout(site.out)
    if len(site.out_shape) != 4:
        operand = site.reshape(operand, layout.stored_dims, site.out)
    site.place(operand, layout)
