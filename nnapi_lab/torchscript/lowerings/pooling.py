"""Pools: which padding counts, ceil mode, adaptive windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import static_shape
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.rewrites.shapes import (
    BINS_APART,
    CEIL_TAIL,
    DILATED_MAX,
    PAD_SEPARATED,
    POOL_OVER_IMAGE,
    SUM_FROM_AVERAGE,
)
from nnapi_lab.torchscript.lowerings.reduction import reduced
from nnapi_lab.torchscript.lowerings.shape import padding_table, sliced
from nnapi_lab.torchscript.lowerings.shape_more import joined
from nnapi_lab.torchscript.maps import map_dims, place_map, read_map, two
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::max_pool2d", "aten::max_pool1d", ignores=("ceil_mode",))
def max_pool2d(site: Site, self: TorchValue, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> None:
    spatial = 1 if "1d" in site.node.kind else 2
    window, steps = two(kernel_size, spatial, 1), two(stride or kernel_size, spatial, 1)
    pads, spread = two(padding, spatial, 0), two(dilation, spatial, 1)
    if spread != (1, 1):
        _dilated_maximum(site, self, window, steps, pads, spread, spatial)
        return
    _pool(site, "MAX_POOL_2D", self, window, steps, pads, spatial=spatial)


@lowers("aten::max_pool2d_with_indices", "aten::max_pool1d_with_indices", ignores=("ceil_mode",))
def max_pool2d_with_indices(
    site: Site, self: TorchValue, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    _refuse_indices(site)
    max_pool2d(site, self, kernel_size, stride, padding, dilation)


def _refuse_indices(site: Site) -> None:
    indices = site.node.outputs[1]
    if site.graph.consumers(indices) or indices in site.graph.outputs:
        site.forbid("POOL_INDICES", f"the indices of {site.node.kind} are used", fix="use the pool without indices",
                    source="NNAPI MAX_POOL_2D")  # fmt: skip


@lowers("aten::avg_pool2d", "aten::avg_pool1d", ignores=("ceil_mode",))
def avg_pool2d(
    site: Site, self: TorchValue, kernel_size: Any, stride: Any, padding: Any, count_include_pad: bool,
    divisor_override: int | None = None,
) -> None:  # fmt: skip
    spatial = 1 if site.node.kind == "aten::avg_pool1d" else 2
    window, steps = two(kernel_size, spatial, 1), two(stride or kernel_size, spatial, 1)
    pads = two(padding, spatial, 0)
    if divisor_override is not None and divisor_override != window[0] * window[1]:
        _divided(site, self, window, steps, pads, divisor_override)
    elif count_include_pad and pads != (0, 0):
        _padded_average(site, self, window, steps, pads, spatial)
    else:
        _pool(site, "AVERAGE_POOL_2D", self, window, steps, pads, spatial=spatial)


def _pool(
    site: Site, kind: str, input: TorchValue, window: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int],
    operand: str = "", size: Sequence[int] | None = None, steps: Sequence[Step] = (), spatial: int = 2,
) -> None:  # fmt: skip
    """One pool over a channels-last map; the tail is padded until the result has torch's size (ceil mode)."""
    source = operand or read_map(site, input, spatial)
    sizes = tuple(size or map_dims(input.type.shape or (), spatial)[2:])
    outs = map_dims(site.out_shape, spatial)[2:]
    extra = tuple(
        max(0, (out - 1) * step + win - (size + 2 * head))
        for out, step, win, size, head in zip(outs, stride, window, sizes, pad, strict=True)
    )
    made = list(steps)
    if any(extra):
        made.append(site.log(CEIL_TAIL, facts={"extra rows": extra[0], "extra columns": extra[1]}))
    name = site.add(
        kind, input=source, pad_left=pad[1], pad_right=pad[1] + extra[1], pad_top=pad[0],
        pad_bottom=pad[0] + extra[0], stride_w=stride[1], stride_h=stride[0], filter_w=window[1],
        filter_h=window[0], fuse="NONE", steps=made, facts={"layout": "NHWC"},
    )  # fmt: skip
    place_map(site, name, spatial=spatial)


def _padded_average(
    site: Site, input: TorchValue, window: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], spatial: int
) -> None:
    """Zeros that count must be real: PAD, then a pool without padding of its own."""
    shape = map_dims(input.type.shape or (), spatial)
    table = padding_table(site, [(0, 0), (pad[0], pad[0]), (pad[1], pad[1]), (0, 0)])
    padded = site.add("PAD", input=read_map(site, input, spatial), paddings=table, suffix="padded",
                      rule=PAD_SEPARATED, facts={"count_include_pad": True, "pad": pad})  # fmt: skip
    _pool(site, "AVERAGE_POOL_2D", input, window, stride, (0, 0), padded,
          (shape[2] + 2 * pad[0], shape[3] + 2 * pad[1]), spatial=spatial)  # fmt: skip


def _tail(size: int, out: int, window: int, stride: int, pad: int, dilation: int = 1) -> int:
    """Padding behind the map so that every window is whole; never negative."""
    return max(0, (out - 1) * stride + (window - 1) * dilation + 1 - size - pad)


def _divided(
    site: Site, input: TorchValue, window: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], divisor: int
) -> None:
    """The sum of a window by another number: zeros around, averages, a factor."""
    shape, out = map_dims(input.type.shape or (), 2), map_dims(site.out_shape, 2)
    tails = [_tail(*row) for row in zip(shape[2:], out[2:], window, stride, pad, strict=True)]
    facts = {"divisor": divisor, "window": window}
    table = padding_table(site, [(0, 0), (pad[0], tails[0]), (pad[1], tails[1]), (0, 0)])
    padded = site.add("PAD", input=read_map(site, input), paddings=table, suffix="padded", rule=SUM_FROM_AVERAGE,
                      facts=facts)  # fmt: skip
    average = site.add(
        "AVERAGE_POOL_2D", input=padded, pad_left=0, pad_right=0, pad_top=0, pad_bottom=0, stride_w=stride[1],
        stride_h=stride[0], filter_w=window[1], filter_h=window[0], fuse="NONE", suffix="average",
        rule=SUM_FROM_AVERAGE, facts=facts,
    )  # fmt: skip
    factor = site.number(window[0] * window[1] / divisor, input, "factor")
    place_map(site, site.add("MUL", input0=average, input1=factor, fuse="NONE", rule=SUM_FROM_AVERAGE, facts=facts))


def _dilated_maximum(
    site: Site, input: TorchValue, window: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int],
    spread: tuple[int, int], spatial: int,
) -> None:  # fmt: skip
    """MAXIMUM of strided slices, along the rows and then along the columns."""
    if input.type.quant is not None:
        site.not_yet("POOL_DILATION", "a dilated max pool of a quantized tensor", fix="dequantize it first")
    shape, out = map_dims(input.type.shape or (), spatial), map_dims(site.out_shape, spatial)
    operand = read_map(site, input, spatial)
    tails = [_tail(*row) for row in zip(shape[2:], out[2:], window, stride, pad, spread, strict=True)]
    facts = {"window": window, "dilation": spread, "stride": stride}
    if any(pad) or any(tails):
        table = padding_table(site, [(0, 0), (pad[0], tails[0]), (pad[1], tails[1]), (0, 0)])
        lowest = float(np.finfo(site.code_of(input).numpy).min)
        operand = site.add("PAD_V2", input=operand, paddings=table, pad_value=lowest, suffix="padded",
                           rule=DILATED_MAX, facts=facts)  # fmt: skip
    for axis in (1, 2):
        size, count, step = out[axis + 1], window[axis - 1], stride[axis - 1]
        layout = Layout.plain(static_shape(site.builder.type_of(operand)))
        best = ""
        for index in range(count):
            first = index * spread[axis - 1]
            part = sliced(site, operand, layout, axis, first, first + (size - 1) * step + 1, step,
                          name=f"{site.out.name}.axis{axis}.{index}", rule=DILATED_MAX)  # fmt: skip
            last = axis == 2 and index == count - 1
            best = part if not best else site.add("MAXIMUM", input0=best, input1=part, rule=DILATED_MAX, facts=facts,
                                                  suffix="" if last else f"max{axis}.{index}")  # fmt: skip
        operand = best
    place_map(site, operand, spatial=spatial)


@lowers("aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool1d", ignores=("output_size",))
def adaptive_avg_pool2d(site: Site, self: TorchValue) -> None:
    _adaptive(site, "AVERAGE_POOL_2D", self)


@lowers("aten::adaptive_max_pool2d", "aten::adaptive_max_pool1d", ignores=("output_size",))
def adaptive_max_pool2d(site: Site, self: TorchValue) -> None:
    _refuse_indices(site)
    _adaptive(site, "MAX_POOL_2D", self)


def _adaptive(site: Site, kind: str, input: TorchValue) -> None:
    spatial = 1 if site.node.kind.endswith("1d") else 2
    shape, out = map_dims(input.type.shape or (), spatial), map_dims(site.out_shape, spatial)
    if shape[2] % out[2] or shape[3] % out[3]:
        _bins(site, {"AVERAGE_POOL_2D": "MEAN", "MAX_POOL_2D": "REDUCE_MAX"}[kind], input, shape[2:], out[2:], spatial)
        return
    window = (shape[2] // out[2], shape[3] // out[3])
    step = site.log(POOL_OVER_IMAGE, facts={"in": shape[2:], "out": out[2:], "window": window})
    _pool(site, kind, input, window, window, (0, 0), steps=[step], spatial=spatial)


def bins(size: int, out: int) -> list[tuple[int, int]]:
    """First and behind-last element of each adaptive bin."""
    return [(index * size // out, -(-(index + 1) * size // out)) for index in range(out)]


def _bins(site: Site, kind: str, input: TorchValue, sizes: Sequence[int], outs: Sequence[int], spatial: int) -> None:
    """A slice and a reduction for each bin, along the rows and then along the columns."""
    if input.type.quant is not None and kind == "MEAN":
        site.lossy("POOL_ADAPTIVE", "quantized adaptive pooling with windows of unequal size: NNAPI's MEAN truncates",
                   fix="choose an output size that divides", source="AOSP 13 SimpleMath.cpp")  # fmt: skip
    operand, facts = read_map(site, input, spatial), {"in": tuple(sizes), "out": tuple(outs)}
    for axis, size, out in zip((1, 2), sizes, outs, strict=True):
        if size == out:
            continue
        layout = Layout.plain(static_shape(site.builder.type_of(operand)))
        name, parts = f"{site.out.name}.axis{axis}", []
        for index, (first, last) in enumerate(bins(size, out)):
            cut = sliced(site, operand, layout, axis, first, last, 1, name=f"{name}.cut{index}", rule=BINS_APART)
            parts.append(reduced(site, kind, cut, [axis], keep=True, name=f"{name}.bin{index}", rule=BINS_APART,
                                 facts=facts))  # fmt: skip
        operand = parts[0] if out == 1 else joined(site, parts, axis, axis, name)
    place_map(site, operand, spatial=spatial)
