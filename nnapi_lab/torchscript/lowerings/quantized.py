"""Quantized layers: int32 bias, unsigned or per-channel weights, requantisation stated."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ir.torch_graph import PackedParams, TorchValue
from nnapi_lab.numerics.requantize import quantize_multiplier
from nnapi_lab.numerics.rounding import round_half_away
from nnapi_lab.rewrites.constants import PLACED, ZERO_BIAS
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.quantization import (
    BIAS_INT32,
    BIAS_OVERFLOW,
    DEQUANTIZED_HERE,
    LINEAR_AS_CONV,
    PER_CHANNEL,
    QUANTIZED_HERE,
    REQUANTIZED,
    WEIGHT_QINT8_SHIFT,
)
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.torchscript.lowerings.convolution import (
    Geometry,
    extra_arguments,
    kind_and_weight,
    padded_apart,
    pair,
)
from nnapi_lab.torchscript.lowerings.linear import finish_linear, flattened_input
from nnapi_lab.torchscript.lowerings.quantized_arithmetic import per_tensor
from nnapi_lab.torchscript.maps import map_dims, place_map, read_map
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import QINT8_SHIFT, Site

_OUT_PARAMS = ("output_scale", "output_zero_point")
BIAS_LIMIT = 2**30


@lowers("aten::quantize_per_tensor", ignores=("scale", "zero_point", "dtype"))
def quantize_per_tensor(site: Site, self: TorchValue) -> None:
    held = site.held(self)
    # FX graph mode keeps scale and zero point in buffers.
    kept = [name for name in site.node.inputs[1:] if site.graph[name].type.is_tensor]
    step = site.log(QUANTIZED_HERE, facts={"scale": site.out.type.quant}, values=[*kept, site.out.name])
    steps = [step, *site.shift_step(site.out)]
    site.place(site.add("QUANTIZE", input=held.operand, quant=site.quant_of(site.out), steps=steps), held.layout)


@lowers("aten::dequantize")
def dequantize(site: Site, self: TorchValue) -> None:
    held = site.held(self)
    steps = [site.log(DEQUANTIZED_HERE, facts={"scale": self.type.quant})]
    site.place(site.add("DEQUANTIZE", input=held.operand, steps=steps), held.layout)


@lowers("quantized::conv1d", ignores=_OUT_PARAMS)
def conv1d(site: Site, qx: TorchValue, packed_weight: PackedParams) -> None:
    quantized_convolution(site, qx, packed_weight, "NONE", 1)


@lowers("quantized::conv1d_relu", ignores=_OUT_PARAMS)
def conv1d_relu(site: Site, qx: TorchValue, packed_weight: PackedParams) -> None:
    quantized_convolution(site, qx, packed_weight, "RELU", 1)


@lowers("quantized::conv_transpose1d", ignores=_OUT_PARAMS)
def conv_transpose1d(site: Site, qx: TorchValue, packed_weight: PackedParams) -> None:
    quantized_convolution(site, qx, packed_weight, "NONE", 1)


@lowers("quantized::conv2d", ignores=_OUT_PARAMS)
def conv2d(site: Site, qx: TorchValue, packed_weight: PackedParams) -> None:
    quantized_convolution(site, qx, packed_weight, "NONE")


@lowers("quantized::conv2d_relu", ignores=_OUT_PARAMS)
def conv2d_relu(site: Site, qx: TorchValue, packed_weight: PackedParams) -> None:
    quantized_convolution(site, qx, packed_weight, "RELU")


@lowers("quantized::conv_transpose2d", ignores=_OUT_PARAMS)
def conv_transpose2d(site: Site, qx: TorchValue, packed_weight: PackedParams) -> None:
    quantized_convolution(site, qx, packed_weight, "NONE")


@lowers("quantized::linear", ignores=("Y_scale_i", "Y_zero_point_i"))
def linear(site: Site, X: TorchValue, W_prepack: PackedParams) -> None:
    _linear(site, X, W_prepack, "NONE")


@lowers("quantized::linear_relu", ignores=("Y_scale_i", "Y_zero_point_i"))
def linear_relu(site: Site, X: TorchValue, W_prepack: PackedParams) -> None:
    _linear(site, X, W_prepack, "RELU")


# --- weights and bias ----------------------------------------------------------------------------------------


def packed_origin(site: Site) -> tuple[str, tuple[str, ...]]:
    """Name and torch value of the packed parameters of this node."""
    packed = next(site.graph[name] for name in site.node.inputs if isinstance(site.graph[name].constant, PackedParams))
    # A linear layer keeps its packed parameters in a submodule of the same name.
    path = (packed.origin or packed.name).split(".")
    while len(path) > 1 and path[-1] == "_packed_params":
        path.pop()
    return ".".join(path), (packed.name,)


def weight_scales(site: Site, params: PackedParams) -> Quant | PerChannel:
    """The weights' quantization, refused where NNAPI has no such type."""
    quant = params.weight.type.quant
    if isinstance(quant, PerChannel) and any(params.weight.zero_points or ()):
        site.forbid("WEIGHT_ZERO_POINT", "per-channel weights have zero points other than 0",
                    fix="quantize the weights symmetrically", source="TENSOR_QUANT8_SYMM_PER_CHANNEL")  # fmt: skip
    if quant is None:
        site.forbid("WEIGHT_QUANT", "the packed weights carry no quantization")
    return quant


def fitted_scales(
    site: Site, codes: np.ndarray, quant: Quant | PerChannel, bias: np.ndarray | None, scale_in: float, axis: int
) -> tuple[np.ndarray, Quant | PerChannel, list[Step]]:
    """Raise the scales of channels whose bias would not fit int32; codes shrink accordingly."""
    if bias is None:
        return codes, quant, []
    scales = np.array(quant.scales if isinstance(quant, PerChannel) else [quant.scale] * len(bias))
    needed = np.abs(bias.astype(np.float64)) / (scale_in * BIAS_LIMIT)
    low = needed > scales
    if not low.any():
        return codes, quant, []
    if isinstance(quant, Quant) and quant.zero_point != 0:
        site.lossy(
            "BIAS_OVERFLOW",
            f"{int(low.sum())} bias values do not fit int32 at scale {scale_in * quant.scale:.3g}",
            fix="quantize the weights per channel, or widen the input's range",
            source="NNAPI int32 bias",
        )
    raised = np.where(low, needed, scales)
    shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
    shrunk = round_half_away(codes * (scales / raised).reshape(shape)).astype(codes.dtype)
    step = site.log(
        BIAS_OVERFLOW,
        before=[array_side("scales", scales[low])],
        after=[array_side("scales", raised[low])],
        facts={"channels": np.flatnonzero(low).tolist()},
    )
    return shrunk, PerChannel(tuple(raised), axis), [step]


def weight_operand(
    site: Site, stem: str, values: tuple[str, ...], codes: np.ndarray, quant: Quant | PerChannel, axis: int,
    steps: list[Step],
) -> str:  # fmt: skip
    """The filter: signed per-channel codes as they are, per-tensor ones shifted to unsigned."""
    if isinstance(quant, PerChannel):
        type = OperandType(OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL, codes.shape, PerChannel(quant.scales, axis))
        step = site.log(PER_CHANNEL, after=[array_side(f"{stem}.weight", codes, quant=type.quant)],
                        facts={"channels": len(quant.scales), "axis": axis})  # fmt: skip
    elif site.lowering.signed:
        type = OperandType(OperandCode.TENSOR_QUANT8_ASYMM_SIGNED, codes.shape, quant)
        step = site.log(PLACED, after=[array_side(f"{stem}.weight", codes, quant=quant)])
    else:
        shifted = codes.astype(np.int32) + QINT8_SHIFT
        target = Quant(quant.scale, quant.zero_point + QINT8_SHIFT)
        type = OperandType(OperandCode.TENSOR_QUANT8_ASYMM, codes.shape, target)
        step = site.log(WEIGHT_QINT8_SHIFT, before=[array_side(f"{stem}.weight", codes, quant=quant)],
                        after=[array_side(f"{stem}.weight", shifted.astype(np.uint8), quant=target)],
                        facts={"shift": QINT8_SHIFT})  # fmt: skip
        codes = shifted.astype(np.uint8)
    name = site.builder.constant(f"{stem}.weight", codes, type, values=values, steps=[*steps, step])
    for made in (*steps, step):
        site.note_operands(made, name)
    return name


def bias_operand(
    site: Site, stem: str, values: tuple[str, ...], bias: np.ndarray | None, units: int, scale_in: float,
    quant: Quant | PerChannel,
) -> str:  # fmt: skip
    """The int32 bias at the accumulator's scale (product in float32, as the reference checks it)."""
    if isinstance(quant, PerChannel):
        scales: Any = (np.float32(scale_in) * np.array(quant.scales, np.float32)).astype(np.float64)
        type = OperandType(OperandCode.TENSOR_INT32, (units,), None)
    else:
        product = np.float32(scale_in) * np.float32(quant.scale)
        scales = np.float64(product)
        type = OperandType(OperandCode.TENSOR_INT32, (units,), Quant(float(product), 0))
    real = np.zeros(units, np.float32) if bias is None else bias
    codes = round_half_away(real.astype(np.float64) / scales)
    codes = np.clip(codes, -(2**31), 2**31 - 1).astype(np.int32)
    error = float(np.abs(codes * scales - real).max(initial=0.0))
    step = site.log(
        ZERO_BIAS if bias is None else BIAS_INT32,
        before=[array_side(f"{stem}.bias", real)],
        after=[array_side(f"{stem}.bias", codes, quant=type.quant, dtype="TENSOR_INT32")],
        facts={"s_in": scale_in, "s_w": "per channel" if isinstance(quant, PerChannel) else quant.scale,
               "largest rounding error": error},
    )  # fmt: skip
    name = site.builder.constant(f"{stem}.bias", codes, type, values=values, steps=[step])
    site.note_operands(step, name)
    return name


def requantized(site: Site, scale_in: float, quant: Quant | PerChannel, out: Quant) -> Step:
    """The log entry with the fixed-point multiplier."""
    scale = max(quant.scales) if isinstance(quant, PerChannel) else quant.scale
    real = float(np.float32(scale_in) * np.float32(scale)) / out.scale
    fixed = quantize_multiplier(real)
    return site.log(REQUANTIZED, facts={"M": real, "multiplier": str(fixed), "scale": out.scale,
                                        "zero point": out.zero_point})  # fmt: skip


# --- layers --------------------------------------------------------------------------------------------------


def quantized_convolution(site: Site, input: TorchValue, params: PackedParams, fuse: str, spatial: int = 2) -> None:
    """CONV_2D and its kind with the packed weights; `spatial` 1 for a sequence, whose height is 1."""
    stem, values = packed_origin(site)
    quant_in, quant_out = per_tensor(site, input), per_tensor(site, site.out)
    geometry = Geometry(pair(params.stride), pair(params.padding), pair(params.dilation), params.groups,
                        params.transposed, pair(params.output_padding or (0, 0)))  # fmt: skip
    channels = map_dims(input.type.shape or (), spatial)[1]
    quant = weight_scales(site, params)
    codes, quant, steps = fitted_scales(site, params.weight.array, quant, params.bias, quant_in.scale, 0)
    kind, codes_stored, rule, before, after = kind_and_weight(site, codes, geometry, channels)
    codes_stored = np.ascontiguousarray(codes_stored)
    moved = site.log(rule, before=[array_side(f"{stem}.weight", codes, before)],
                     after=[array_side(f"{stem}.weight", codes_stored, after)], facts={"weight": stem})  # fmt: skip
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    weight = weight_operand(site, stem, values, codes_stored, quant, axis, [*steps, moved])
    bias = bias_operand(site, stem, values, params.bias, codes_stored.shape[axis], quant_in.scale, quant)
    logged = [requantized(site, quant_in.scale, quant, quant_out), *site.shift_step(site.out)]
    source, geometry = padded_apart(site, read_map(site, input, spatial), geometry, codes.shape[2:])
    name = site.add(
        kind, input=source, filter=weight, bias=bias, fuse=fuse, quant=quant_out, steps=logged,
        facts={"layout": "NHWC"}, **geometry.arguments(),
        **extra_arguments(site, kind, codes_stored, geometry, channels),
    )  # fmt: skip
    place_map(site, name, spatial=spatial)


def _linear(site: Site, input: TorchValue, params: PackedParams, fuse: str) -> None:
    stem, values = packed_origin(site)
    quant_in, quant_out = per_tensor(site, input), per_tensor(site, site.out)
    operand, codes, moved = flattened_input(site, input, params.weight.array, f"{stem}.weight")
    quant = weight_scales(site, params)
    codes, quant, steps = fitted_scales(site, codes, quant, params.bias, quant_in.scale, 0)
    logged = [requantized(site, quant_in.scale, quant, quant_out), *site.shift_step(site.out), *moved]
    bias = bias_operand(site, stem, values, params.bias, codes.shape[0], quant_in.scale, quant)
    if isinstance(quant, PerChannel):
        _linear_as_convolution(site, input, operand, codes, quant, bias, fuse, [*steps, *logged])
        return
    weight = weight_operand(site, stem, values, codes, quant, 0, [*moved, *steps])
    finish_linear(site, input, operand, logged, quant=quant_out, weights=weight, bias=bias, fuse=fuse)


def _linear_as_convolution(
    site: Site, input: TorchValue, operand: str, codes: np.ndarray, quant: PerChannel, bias: str, fuse: str,
    steps: list[Step],
) -> None:  # fmt: skip
    stem, values = packed_origin(site)
    units, width = codes.shape
    rows = int(np.prod(input.type.shape or ())) // width
    filter = codes.reshape(units, 1, 1, width)
    step = site.log(LINEAR_AS_CONV, before=[array_side(f"{stem}.weight", codes, ("out", "in"))],
                    after=[array_side(f"{stem}.weight", filter, ("O", "H", "W", "I"))])  # fmt: skip
    weight = weight_operand(site, stem, values, filter, quant, 0, [step])
    image = site.reshape(operand, (rows, 1, 1, width), input)
    pads: dict[str, Any] = {f"pad_{side}": 0 for side in ("left", "right", "top", "bottom")}
    name = site.add("CONV_2D", input=image, filter=weight, bias=bias, **pads, stride_w=1, stride_h=1, fuse=fuse,
                    quant=site.quant_of(site.out), steps=steps, suffix="image")  # fmt: skip
    site.note_operands(step, name)
    site.place(site.reshape(name, site.out_shape, site.out, site.out.name), Layout.plain(site.out_shape))


# --- activations ---------------------------------------------------------------------------------------------


@lowers("quantized::hardswish", ignores=("output_scale", "output_zero_point"))
def hardswish(site: Site, input: TorchValue) -> None:
    held = site.held(input)
    site.place(site.add("HARD_SWISH", input=held.operand, quant=site.quant_of(site.out)), held.layout)
