"""Choosing layouts: who wants channels last, and how several operands of one operation agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnapi_lab.ir.torch_graph import TorchGraph, TorchValue
from nnapi_lab.rewrites.placement import NHWC, RANK_LIMIT, Layout
from nnapi_lab.torchscript.permuting import moves
from nnapi_lab.torchscript.site import Site

NHWC_KINDS = frozenset(
    {
        "aten::_convolution", "aten::conv2d", "aten::conv_transpose2d", "aten::max_pool2d", "aten::avg_pool2d",
        "aten::max_pool2d_with_indices",
        "aten::_convolution_mode", "aten::conv1d", "aten::max_pool1d", "aten::avg_pool1d",
        "aten::adaptive_avg_pool2d", "aten::adaptive_max_pool2d", "aten::upsample_nearest2d",
        "aten::upsample_bilinear2d", "aten::_upsample_nearest_exact2d", "aten::pixel_shuffle",
        "aten::pixel_unshuffle", "aten::channel_shuffle", "aten::instance_norm", "aten::batch_norm", "aten::prelu",
        "quantized::conv2d", "quantized::conv2d_relu", "quantized::conv_transpose2d", "quantized::batch_norm2d",
    }
)  # fmt: skip
PLAIN_KINDS = frozenset(
    {
        "aten::flatten", "aten::reshape", "aten::view", "aten::linear", "aten::addmm", "aten::matmul", "aten::bmm",
        "aten::layer_norm", "aten::unsqueeze", "aten::squeeze", "aten::embedding", "aten::permute", "aten::transpose",
    }
)  # fmt: skip


def wants_nhwc(graph: TorchGraph, name: str) -> bool:
    """True when the first operation behind `name` that cares about layout is a channels-last one."""
    pending, seen = [name], {name}
    while pending:
        for node in graph.consumers(pending.pop(0)):
            if node.kind in NHWC_KINDS:
                return True
            if node.kind in PLAIN_KINDS:
                continue
            fresh = [output for output in node.outputs if output not in seen]
            seen.update(fresh)
            pending.extend(fresh)
    return False


def padded_shape(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """Leading ones up to `rank`: the shape broadcasting sees."""
    return (1,) * (rank - len(shape)) + tuple(shape)


def agreed_layout(site: Site, values: Sequence[TorchValue], shape: tuple[int, ...]) -> Layout:
    """The layout of an elementwise result of `shape`: the one for which the fewest elements are transposed.

    Candidates are the orders the operands lie in, channels last first, and plain. Constants cost nothing.
    """
    layouts = [(site.layout_of(value), value.type.shape or ()) for value in values if not value.is_constant]
    full = {layout for layout, held in layouts if held == shape}
    small = all(held == shape or all(size == 1 for size in held) for _, held in layouts)
    constants = all(
        all(size == 1 for size in value.type.shape or ()) or (value.type.shape == shape)
        for value in values if value.is_constant
    )  # fmt: skip
    if len(full) == 1 and small and constants:
        (only,) = full
        if only is not None:
            return only
    rank = len(shape)
    orders = {layout.perm for layout, _ in layouts if layout is not None and len(layout.dims) == rank}
    candidates = [Layout(shape, perm) for perm in sorted(orders, key=lambda perm: (perm != NHWC, perm))]
    candidates = [*(layout for layout in candidates if _is_broadcastable(values, layout)), Layout.plain(shape)]
    return min(candidates, key=lambda layout: sum(elements_moved(site, value, layout) for value in values))


def elements_moved(site: Site, value: TorchValue, target: Layout) -> int:
    """How many elements a TRANSPOSE moves to read `value` beside a tensor in `target`: none where it lies so."""
    shape = value.type.shape or ()
    if value.is_constant or all(size == 1 for size in shape):
        return 0
    rank = len(target.perm)
    wanted = Layout(padded_shape(shape, rank), target.perm)
    held = site.held(value).layout
    if site.has_in(value, wanted):
        return 0
    if held.dims != shape:
        return 0 if held.is_plain and wanted.is_plain else math.prod(shape)
    extra = rank - len(shape)
    order = (*range(extra), *(axis + extra for axis in held.perm))
    stored = tuple(wanted.dims[axis] for axis in order)
    return math.prod(shape) if moves(stored, tuple(map(order.index, target.perm))) else 0


def _is_broadcastable(values: Sequence[TorchValue], layout: Layout) -> bool:
    """True when few enough dimensions remain after merging neighbours in this order."""
    rank = len(layout.perm)
    padded = [padded_shape(value.type.shape or (), rank) for value in values]
    stored = [[dims[axis] for axis in layout.perm] for dims in padded]
    return rank <= RANK_LIMIT or len(_merged_for_broadcast(stored)[0]) <= RANK_LIMIT


def read_broadcast(site: Site, value: TorchValue, target: Layout) -> str:
    """The operand of `value` so that NNAPI's right-aligned broadcast does what torch's logical one does."""
    shape = value.type.shape or ()
    if shape != target.dims and not value.is_constant and site.held(value).layout == target:
        return site.held(value).operand  # stored in another shape: flattened channels last
    if all(size == 1 for size in shape):
        return site.read(value, Layout.plain((1,)))
    if shape == target.dims or target.dims != padded_shape(target.dims, len(target.perm)):
        return site.read(value, target)
    if target.perm == tuple(range(len(target.perm))):
        return site.read(value, Layout.plain(shape))
    return site.read(value, Layout(padded_shape(shape, len(target.perm)), target.perm))


def read_together(site: Site, values: Sequence[TorchValue], shape: tuple[int, ...]) -> tuple[list[str], Layout]:
    """Operands of several values that broadcast to `shape`, and the layout of an elementwise result of them.

    Beyond rank 4, neighbouring dimensions that are full (or 1) together in each value are merged.
    """
    layout = agreed_layout(site, values, shape)
    if len(shape) <= RANK_LIMIT:
        return [read_broadcast(site, value, layout) for value in values], layout
    if layout.dims != shape:
        layout = Layout.plain(shape)
    padded = [padded_shape(value.type.shape or (), len(shape)) for value in values]
    operands = [site.read(value, Layout(dims, layout.perm)) for value, dims in zip(values, padded, strict=True)]
    stored = [[dims[axis] for axis in layout.perm] for dims in padded]
    merged = _merged_for_broadcast(stored)
    if len(merged[0]) > RANK_LIMIT:
        seen = " and ".join(map(str, padded))
        site.not_yet("BROADCAST_RANK", f"broadcasting {seen} needs {len(merged[0])} dimensions",
                     fix="expand the smaller operand first", source="NNAPI ADD, MUL: rank 1 to 4")  # fmt: skip
    shaped = zip(values, operands, merged, strict=True)
    return [site.reshape(operand, dims, value) for value, operand, dims in shaped], layout


def _merged_for_broadcast(shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The same shapes with neighbours merged as far as broadcasting between them allows."""
    columns: list[list[int]] = []
    kind: tuple[bool, ...] = ()
    for sizes in zip(*shapes, strict=True):
        if all(size == 1 for size in sizes):
            continue
        full = tuple(size != 1 for size in sizes)
        if columns and full == kind:
            columns[-1] = [have * size for have, size in zip(columns[-1], sizes, strict=True)]
        else:
            columns.append(list(sizes))
        kind = full
    return [tuple(column[index] for column in columns) or (1,) for index in range(len(shapes))]
