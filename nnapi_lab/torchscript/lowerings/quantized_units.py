"""Activations on quantized values: PRELU in codes, everything else through float in between."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, Quant
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.numerics.rounding import round_half_away
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.torchscript.lowerings.activation import real_numbers, stored_axis
from nnapi_lab.torchscript.lowerings.chain import Chain
from nnapi_lab.torchscript.lowerings.elementwise import bounded
from nnapi_lab.torchscript.lowerings.units import exponential, replaced_below
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

_OUT = ("output_scale", "output_zero_point")
SOFTMAX_OUT = Quant(1 / 256, 0)


@lowers("quantized::leaky_relu", ignores=("inplace", *_OUT))
def leaky_relu(site: Site, qx: TorchValue, negative_slope: float) -> None:
    quantized_prelu(site, qx, np.array([negative_slope], np.float32), [site.out.name])


@lowers("quantized::prelu", ignores=_OUT)
def prelu(site: Site, qx: TorchValue, weight: TorchValue) -> None:
    slopes_of(site, qx, weight)


def slopes_of(site: Site, input: TorchValue, weight: TorchValue) -> None:
    data = weight.constant
    if not isinstance(data, TensorData):
        site.not_yet("PRELU_WEIGHT", f"the slope {weight.name} is computed by the model")
    quantized_prelu(site, input, real_numbers(data).reshape(-1), [weight.name], data.type.quant)


def quantized_prelu(site: Site, input: TorchValue, slopes: np.ndarray, values: list[str], quant: Any = None) -> None:
    """PRELU with quantized slopes: torch's own codes, or 8 bits over the slopes' range."""
    shape = input.type.shape or ()
    held = site.held(input)
    operand, layout = held.operand, held.layout
    if slopes.size > 1:
        layout = Layout.nhwc(shape) if len(shape) == 4 else Layout.plain(shape)
        operand = site.read(input, layout)
    if not isinstance(quant, Quant):
        quant = slope_quant(slopes)
    elif site.graph[values[0]].type.dtype == "qint8":
        quant = Quant(quant.scale, quant.zero_point + 128)
    codes = np.clip(round_half_away(slopes / np.float64(quant.scale)) + quant.zero_point, 0, 255).astype(np.uint8)
    if slopes.size > 1:
        axis = layout.perm.index(1)
        codes = codes.reshape([codes.size if i == axis else 1 for i in range(len(shape))])
    name = f"{site.out.name}.alpha"
    step = site.log(PLACED, after=[array_side(name, codes, quant=quant)], values=values)
    alpha = site.builder.constant(name, codes, OperandType(OperandCode.TENSOR_QUANT8_ASYMM, codes.shape, quant),
                                  values=values, steps=[step])  # fmt: skip
    site.note_operands(step, alpha)
    site.place(site.add("PRELU", input=operand, alpha=alpha, quant=site.quant_of(site.out),
                        steps=site.shift_step(site.out)), layout)  # fmt: skip


def slope_quant(slopes: np.ndarray) -> Quant:
    """Scale and zero point that hold 0 and every slope; a single slope is held exactly."""
    low, high = min(0.0, float(slopes.min())), max(0.0, float(slopes.max()))
    scale = (high - low) / 255 or 1 / 255
    return Quant(scale, round(-low / scale))


@lowers("quantized::elu", ignores=_OUT)
def elu(site: Site, self: TorchValue, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> None:
    exponential(site, self, float(alpha), float(scale), float(input_scale))


@lowers("quantized::celu", ignores=_OUT)
def celu(site: Site, self: TorchValue, alpha: float = 1) -> None:
    exponential(site, self, float(alpha), 1.0, 1.0 / float(alpha))


@lowers("quantized::softmax", ignores=_OUT)
def softmax(site: Site, qx: TorchValue, dim: int) -> None:
    """SOFTMAX where the parameters are its own, float in between where they are not."""
    operand, layout, axis = stored_axis(site, qx, dim)
    if site.quant_of(site.out) == SOFTMAX_OUT:
        name = site.add("SOFTMAX", input=operand, beta=1.0, axis=axis, steps=site.shift_step(site.out))
        site.place(name, layout)
        return
    chain = Chain(site, [], "", rule=DIRECT, layout=layout)
    chain.done("SOFTMAX", chain.dequantized(operand, qx), beta=1.0, axis=axis)


@lowers("quantized::threshold")
def quantized_threshold(site: Site, qx: TorchValue, threshold: float, value: float) -> None:
    replaced_below(site, qx, threshold, value)


@lowers("quantized::clamp")
def clamp(site: Site, qx: TorchValue, min: float | None = None, max: float | None = None) -> None:
    bounded(site, qx, min, max)
