"""Pools: which padding counts, ceil mode, adaptive windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.rewrites.shapes import CEIL_TAIL, PAD_SEPARATED, POOL_OVER_IMAGE
from nnapi_lab.torchscript.lowerings.convolution import check_shape, pair
from nnapi_lab.torchscript.lowerings.shape import padding_table
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::max_pool2d")
def max_pool2d(
    site: Site, self: TorchValue, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> None:
    if pair(dilation) != (1, 1):
        site.not_yet("POOL_DILATION", f"max_pool2d with dilation {list(dilation)}",
                     source="NNAPI pools have no dilation")  # fmt: skip
    _pool(site, "MAX_POOL_2D", self, pair(kernel_size), pair(stride or kernel_size), pair(padding))


@lowers("aten::max_pool2d_with_indices")
def max_pool2d_with_indices(
    site: Site, self: TorchValue, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> None:
    _refuse_indices(site)
    max_pool2d(site, self, kernel_size, stride, padding, dilation, ceil_mode)


def _refuse_indices(site: Site) -> None:
    indices = site.node.outputs[1]
    if site.graph.consumers(indices) or indices in site.graph.outputs:
        site.forbid("POOL_INDICES", f"the indices of {site.node.kind} are used", fix="use the pool without indices",
                    source="NNAPI MAX_POOL_2D")  # fmt: skip


@lowers("aten::avg_pool2d", ignores=("ceil_mode",))
def avg_pool2d(
    site: Site, self: TorchValue, kernel_size: Any, stride: Any, padding: Any, count_include_pad: bool,
    divisor_override: int | None,
) -> None:  # fmt: skip
    if divisor_override is not None:
        site.not_yet("POOL_DIVISOR", f"avg_pool2d with divisor_override={divisor_override}")
    window, steps, pads = pair(kernel_size), pair(stride or kernel_size), pair(padding)
    if count_include_pad and pads != (0, 0):
        _padded_average(site, self, window, steps, pads)
        return
    _pool(site, "AVERAGE_POOL_2D", self, window, steps, pads)


def _pool(
    site: Site, kind: str, input: TorchValue, window: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int],
    operand: str = "", size: Sequence[int] | None = None, steps: Sequence[Step] = (),
) -> None:  # fmt: skip
    """One pool over a channels-last map; the tail is padded until the result has torch's size (ceil mode)."""
    shape = _map_shape(site, input)
    sizes = tuple(size or shape[2:])
    outs = site.out_shape[-2:]
    extra = tuple(
        max(0, (out - 1) * step + win - (size + 2 * head))
        for out, step, win, size, head in zip(outs, stride, window, sizes, pad, strict=True)
    )
    made = list(steps)
    if any(extra):
        made.append(site.log(CEIL_TAIL, facts={"extra rows": extra[0], "extra columns": extra[1]}))
    name = site.add(
        kind, input=operand or site.nhwc(input), pad_left=pad[1], pad_right=pad[1] + extra[1], pad_top=pad[0],
        pad_bottom=pad[0] + extra[0], stride_w=stride[1], stride_h=stride[0], filter_w=window[1],
        filter_h=window[0], fuse="NONE", steps=made, facts={"layout": "NHWC"},
    )  # fmt: skip
    check_shape(site, name, site.out)
    site.place(name, Layout.nhwc(site.out_shape))


def _map_shape(site: Site, value: TorchValue) -> tuple[int, ...]:
    shape = value.type.shape or ()
    if len(shape) != 4:
        site.not_yet("POOL_RANK", f"{site.node.kind} over rank {len(shape)}; only [N,C,H,W] is written",
                     fix="add a batch dimension with unsqueeze(0)")  # fmt: skip
    return shape


def _padded_average(
    site: Site, input: TorchValue, window: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]
) -> None:
    """Zeros that count must be real: PAD, then a pool without padding of its own."""
    shape = _map_shape(site, input)
    table = padding_table(site, [(0, 0), (pad[0], pad[0]), (pad[1], pad[1]), (0, 0)])
    padded = site.add("PAD", input=site.nhwc(input), paddings=table, suffix="padded", rule=PAD_SEPARATED,
                      facts={"count_include_pad": True, "pad": pad})  # fmt: skip
    _pool(site, "AVERAGE_POOL_2D", input, window, stride, (0, 0), padded,
          (shape[2] + 2 * pad[0], shape[3] + 2 * pad[1]))  # fmt: skip


@lowers("aten::adaptive_avg_pool2d")
def adaptive_avg_pool2d(site: Site, self: TorchValue, output_size: Any) -> None:
    _adaptive(site, "AVERAGE_POOL_2D", self)


@lowers("aten::adaptive_max_pool2d")
def adaptive_max_pool2d(site: Site, self: TorchValue, output_size: Any) -> None:
    _refuse_indices(site)
    _adaptive(site, "MAX_POOL_2D", self)


def _adaptive(site: Site, kind: str, input: TorchValue) -> None:
    shape, out = _map_shape(site, input), site.out_shape
    if shape[2] % out[2] or shape[3] % out[3]:
        site.not_yet("POOL_ADAPTIVE", f"adaptive pooling from {shape[2:]} to {out[2:]}: windows of unequal size",
                     fix="choose an output size that divides the input size",
                     source="torch adaptive pooling bins overlap unless the sizes divide")  # fmt: skip
    window = (shape[2] // out[2], shape[3] // out[3])
    step = site.log(POOL_OVER_IMAGE, facts={"in": shape[2:], "out": out[2:], "window": window})
    _pool(site, kind, input, window, window, (0, 0), steps=[step])
