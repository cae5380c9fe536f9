"""Upsampling: corners, sizes, and what happens when the scale is not the size ratio."""

from __future__ import annotations

from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import RESIZE_SIMPLIFIED
from nnapi_lab.torchscript.lowerings.convolution import check_shape
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::upsample_bilinear2d", ignores=("output_size",))
def upsample_bilinear2d(
    site: Site, input: TorchValue, align_corners: bool, scale_factors: Any = None, scales_h: float | None = None,
    scales_w: float | None = None,
) -> None:  # fmt: skip
    flags = {"align_corners": True} if align_corners else {"align_corners": False, "half_pixel_centers": True}
    _resize(site, "RESIZE_BILINEAR", input, (scales_h, scales_w), scale_factors, flags,
            sampling_by_scale=not align_corners)  # fmt: skip


@lowers("aten::upsample_nearest2d", ignores=("output_size",))
def upsample_nearest2d(
    site: Site, input: TorchValue, scale_factors: Any = None, scales_h: float | None = None,
    scales_w: float | None = None, self: Any = None,
) -> None:  # fmt: skip
    _resize(site, "RESIZE_NEAREST_NEIGHBOR", input if input is not None else self, (scales_h, scales_w),
            scale_factors, {})  # fmt: skip


@lowers("aten::_upsample_nearest_exact2d", ignores=("output_size",))
def upsample_nearest_exact2d(
    site: Site, input: TorchValue, scale_factors: Any = None, scales_h: float | None = None,
    scales_w: float | None = None,
) -> None:  # fmt: skip
    _resize(site, "RESIZE_NEAREST_NEIGHBOR", input, (scales_h, scales_w), scale_factors,
            {"align_corners": False, "half_pixel_centers": True})  # fmt: skip


def _resize(
    site: Site, kind: str, input: TorchValue, scales: tuple[Any, Any], factors: Any, flags: dict[str, bool],
    sampling_by_scale: bool = True,
) -> None:  # fmt: skip
    shape, out = input.type.shape or (), site.out_shape
    given = tuple(factors) if factors else scales
    for size, target, scale, axis in zip(shape[2:], out[2:], given, "HW", strict=True):
        if sampling_by_scale and scale is not None and size * scale != target:
            site.not_yet(
                "RESIZE_SCALE",
                f"{axis}: PyTorch samples by the factor {scale}, {size}·{scale} is not the whole number {target}; "
                "NNAPI samples by the ratio of sizes",
                fix="pass size= or recompute_scale_factor=True to interpolate",
                source="torch upsample: area_pixel_compute_scale",
            )
    step = site.log(RESIZE_SIMPLIFIED, facts={"in": shape[2:], "out": out[2:], "scale": given, **flags})
    # RESIZE_NEAREST_NEIGHBOR came with the layout flag (level 3): there it cannot be left out.
    needed = bool(flags) or kind == "RESIZE_NEAREST_NEIGHBOR"
    arguments: dict[str, Any] = {"nchw": False, **flags} if needed else {}
    name = site.add(kind, input=site.nhwc(input), out_width=out[3], out_height=out[2], steps=[step],
                    facts={"layout": "NHWC", **flags}, **arguments)  # fmt: skip
    check_shape(site, name, site.out)
    site.place(name, Layout.nhwc(out))
