"""Upsampling: corners, sizes, and what happens when the scale is not the size ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import RESIZE_MATRIX, RESIZE_PICKED, RESIZE_SIMPLIFIED
from nnapi_lab.torchscript.maps import map_dims, place_map, read_map
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

Scales = tuple[float | None, float | None]


@lowers("aten::upsample_bilinear2d", ignores=("output_size",))
def upsample_bilinear2d(
    site: Site, align_corners: bool, input: TorchValue | None = None, scale_factors: Any = None,
    scales_h: float | None = None, scales_w: float | None = None, self: TorchValue | None = None,
) -> None:  # fmt: skip
    _linear(site, either(input, self), align_corners, given_scales(scale_factors, scales_h, scales_w))


@lowers("aten::upsample_linear1d", ignores=("output_size",))
def upsample_linear1d(
    site: Site, align_corners: bool, input: TorchValue | None = None, scale_factors: Any = None,
    scales: float | None = None, self: TorchValue | None = None,
) -> None:  # fmt: skip
    """An image of height 1."""
    _linear(site, either(input, self), align_corners, given_scales(scale_factors, None, scales))


def _linear(site: Site, input: TorchValue, align_corners: bool, scales: Scales) -> None:
    if not align_corners and not by_sizes(site, input, scales):
        by_matrices(site, input, "upsample_bilinear2d", align_corners, scales)
        return
    flags = {"align_corners": True} if align_corners else {"align_corners": False, "half_pixel_centers": True}
    _resize(site, "RESIZE_BILINEAR", input, scales, flags)


@lowers("aten::upsample_nearest2d", "aten::upsample_nearest1d", ignores=("output_size",))
def upsample_nearest2d(
    site: Site, input: TorchValue | None = None, scale_factors: Any = None, scales_h: float | None = None,
    scales_w: float | None = None, scales: float | None = None, self: TorchValue | None = None,
) -> None:  # fmt: skip
    _nearest(site, either(input, self), given_scales(scale_factors, scales_h, scales or scales_w), exact=False)


@lowers("aten::_upsample_nearest_exact2d", "aten::_upsample_nearest_exact1d", ignores=("output_size",))
def upsample_nearest_exact2d(
    site: Site, input: TorchValue | None = None, scale_factors: Any = None, scales_h: float | None = None,
    scales_w: float | None = None, scales: float | None = None, self: TorchValue | None = None,
) -> None:  # fmt: skip
    _nearest(site, either(input, self), given_scales(scale_factors, scales_h, scales or scales_w), exact=True)


def _nearest(site: Site, input: TorchValue, scales: Scales, exact: bool) -> None:
    if not by_sizes(site, input, scales):
        _picked(site, input, scales, exact)
        return
    flags = {"align_corners": False, "half_pixel_centers": True} if exact else {}
    _resize(site, "RESIZE_NEAREST_NEIGHBOR", input, scales, flags)


@lowers("aten::upsample_bicubic2d", "aten::_upsample_bicubic2d_aa", "aten::_upsample_bilinear2d_aa",
        "aten::_upsample_lanczos2d_aa", ignores=("output_size",))  # fmt: skip
def upsample_by_matrix(
    site: Site, align_corners: bool, input: TorchValue | None = None, scale_factors: Any = None,
    scales_h: float | None = None, scales_w: float | None = None, self: TorchValue | None = None,
) -> None:  # fmt: skip
    """Bicubic and antialiased interpolation, which NNAPI has not."""
    kind = site.node.kind.removeprefix("aten::")
    by_matrices(site, either(input, self), kind, align_corners, given_scales(scale_factors, scales_h, scales_w))


def either(input: TorchValue | None, self: TorchValue | None) -> TorchValue:
    """The tensor under whichever of its two names the overload uses."""
    value = input if input is not None else self
    if value is None:
        raise TypeError("an upsampling without a tensor")
    return value


def given_scales(factors: Any, scales_h: float | None, scales_w: float | None) -> Scales:
    """The factors PyTorch samples by, height first; None where it samples by sizes."""
    if not factors:
        return scales_h, scales_w
    return (None, factors[0]) if len(factors) == 1 else (factors[0], factors[1])


def spatial_of(value: TorchValue) -> int:
    return len(value.type.shape or ()) - 2


def by_sizes(site: Site, input: TorchValue, scales: Scales) -> bool:
    """True when sampling by the ratio of sizes, as NNAPI does, is sampling by the factors."""
    spatial = spatial_of(input)
    sizes, outs = map_dims(input.type.shape or (), spatial)[2:], map_dims(site.out_shape, spatial)[2:]
    return all(scale is None or size * scale == out for size, out, scale in zip(sizes, outs, scales, strict=True))


def _resize(site: Site, kind: str, input: TorchValue, scales: Scales, flags: dict[str, bool]) -> None:
    spatial = spatial_of(input)
    shape, out = map_dims(input.type.shape or (), spatial), map_dims(site.out_shape, spatial)
    step = site.log(RESIZE_SIMPLIFIED, facts={"in": shape[2:], "out": out[2:], "scale": scales, **flags})
    # RESIZE_NEAREST_NEIGHBOR came with the layout flag (level 3): there it cannot be left out.
    needed = bool(flags) or kind == "RESIZE_NEAREST_NEIGHBOR"
    arguments: dict[str, Any] = {"nchw": False, **flags} if needed else {}
    name = site.add(kind, input=read_map(site, input, spatial), out_width=out[3], out_height=out[2], steps=[step],
                    facts={"layout": "NHWC", **flags}, **arguments)  # fmt: skip
    place_map(site, name, spatial=spatial)


WIDTH = 4  # of the impulses: PyTorch's antialiased kernels go wrong on images of width 1


def matrix(kind: str, size: int, out: int, align_corners: bool, scale: float | None) -> np.ndarray:
    """What an interpolation does along one axis, [out, size]: PyTorch's own result for each unit impulse."""
    impulses = torch.eye(size, dtype=torch.float64).reshape(size, 1, size, 1).repeat(1, 1, 1, WIDTH)
    operator = getattr(torch.ops.aten, kind)
    made = operator(impulses, [out, WIDTH], align_corners, scale, None)[..., 0]
    return np.ascontiguousarray(made.reshape(size, out).T.to(torch.float32).numpy())


def by_matrices(site: Site, input: TorchValue, kind: str, align_corners: bool, scales: Scales) -> None:
    """FULLY_CONNECTED along the width, then along the height; an axis that stays as it is costs nothing."""
    if input.type.quant is not None:
        site.not_yet("RESIZE_QUANTIZED", f"{site.node.kind} of a quantized tensor by factors",
                     fix="interpolate by size")  # fmt: skip
    spatial = spatial_of(input)
    shape, out = map_dims(input.type.shape or (), spatial), map_dims(site.out_shape, spatial)
    dims = shape
    order = (0, 2, 3, 1)
    operand = read_map(site, input, spatial)
    axes = [axis for axis in (3, 2) if shape[axis] != out[axis] or scales[axis - 2] not in (None, 1.0)]
    for axis in axes:
        wanted = (*(other for other in range(4) if other != axis), axis)
        operand = site.reordered(operand, Layout(dims, order), Layout(dims, wanted), input)
        table = matrix(kind, shape[axis], out[axis], align_corners, scales[axis - 2])
        dims = tuple(out[axis] if other == axis else size for other, size in enumerate(dims))  # type: ignore[assignment]
        order, suffix = wanted, "HW"[axis - 2]  # type: ignore[assignment]
        operand = _times(site, operand, table, suffix)
        operand = site.reshape(operand, Layout(dims, order).stored_dims, input)
    result = Layout(dims, order)
    if spatial == 1:
        operand, result = site.reordered(operand, result, Layout(dims, (0, 2, 3, 1)), input), Layout.nhwc(dims)
        site.place(operand, Layout(site.out_shape, (0, 2, 1)))
        return
    site.place(operand, result)


def _times(site: Site, operand: str, table: np.ndarray, axis: str) -> str:
    facts = {"axis": axis, "from": table.shape[1], "to": table.shape[0]}
    step = site.log(RESIZE_MATRIX, after=[array_side(f"A_{axis.lower()}", table, ("out", "in"))], facts=facts)
    weights = site.builder.constant(f"{site.out.name}.A_{axis.lower()}", table, steps=[step])
    bias = site.builder.constant(f"{site.out.name}.zeros", np.zeros(table.shape[0], np.float32), steps=[step])
    site.note_operands(step, weights, bias)
    return site.add("FULLY_CONNECTED", input=operand, weights=weights, bias=bias, fuse="NONE", suffix=f"along{axis}",
                    rule=RESIZE_MATRIX, facts=facts)  # fmt: skip


def positions(size: int, out: int, scale: float | None, exact: bool) -> list[int]:
    """Which source pixel each nearest-neighbour output pixel shows: PyTorch's own answer on 0, 1, 2 …"""
    line = torch.arange(size, dtype=torch.float32).reshape(1, 1, size)
    operator = torch.ops.aten._upsample_nearest_exact1d if exact else torch.ops.aten.upsample_nearest1d
    return [int(value) for value in operator(line, [out], scale).reshape(-1)]


def _picked(site: Site, input: TorchValue, scales: Scales, exact: bool) -> None:
    """GATHER of constant rows and of constant columns."""
    spatial = spatial_of(input)
    shape, out = map_dims(input.type.shape or (), spatial), map_dims(site.out_shape, spatial)
    operand = read_map(site, input, spatial)
    rows: list[tuple[int, list[int]]] = []
    for axis in (1, 2):
        size, wanted = shape[axis + 1], out[axis + 1]
        found = positions(size, wanted, scales[axis - 1], exact)
        if found != list(range(size)):
            rows.append((axis, found))
    for axis, found in rows:
        table = site.int32(found, f"{site.out.name}.{'rows' if axis == 1 else 'columns'}", "pixels")
        operand = site.add("GATHER", input=operand, axis=axis, indices=table, rule=RESIZE_PICKED,
                           suffix="" if (axis, found) == rows[-1] else "rows",
                           facts={"axis": "HW"[axis - 1], "scale": scales[axis - 1]})  # fmt: skip
    place_map(site, operand, spatial=spatial)
