"""Quantized norms, pools and units beyond the plain layers, and dynamic quantization, which changes the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import PerChannel, Quant
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.quantized_numbers import NORM_AS_DEPTHWISE
from nnapi_lab.torchscript.lowerings.activation import fixed, relu6
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.lowerings.pooling import max_pool2d
from nnapi_lab.torchscript.lowerings.quantized import bias_operand, fitted_scales, requantized, weight_operand
from nnapi_lab.torchscript.lowerings.quantized_arithmetic import per_tensor
from nnapi_lab.torchscript.maps import map_dims, map_layout
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

_OUT = ("output_scale", "output_zero_point")


# --- units ---------------------------------------------------------------------------------------------------


@lowers("quantized::relu6", ignores=("inplace",))
def quantized_relu6(site: Site, qx: TorchValue) -> None:
    relu6(site, qx)


@lowers("quantized::sigmoid", ignores=_OUT)
def quantized_sigmoid(site: Site, qx: TorchValue) -> None:
    fixed(site, "LOGISTIC", qx, Quant(1 / 256, 0))


@lowers("quantized::dropout", ignores=(*_OUT, "p"))
def quantized_dropout(site: Site, self: TorchValue, training: bool = False) -> None:
    if training:
        site.forbid("DROPOUT", "dropout in training mode draws random numbers", fix="call model.eval() first")
    drop(site, self)


@lowers("quantized::max_pool2d")
def quantized_max_pool2d(
    site: Site, qx: TorchValue, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> None:
    max_pool2d(site, qx, kernel_size, stride, padding, dilation, ceil_mode)


# --- norms ---------------------------------------------------------------------------------------------------


@lowers("quantized::batch_norm", "quantized::batch_norm1d", "quantized::batch_norm2d", ignores=_OUT)
def batch_norm(
    site: Site, qx: TorchValue, weight: Any, bias: Any, mean: TorchValue, var: TorchValue, eps: float
) -> None:
    _batch_norm(site, qx, weight, bias, mean, var, eps, "NONE")


@lowers("quantized::batch_norm_relu", "quantized::batch_norm1d_relu", "quantized::batch_norm2d_relu", ignores=_OUT)
def batch_norm_relu(
    site: Site, qx: TorchValue, weight: Any, bias: Any, mean: TorchValue, var: TorchValue, eps: float
) -> None:
    _batch_norm(site, qx, weight, bias, mean, var, eps, "RELU")


def _batch_norm(
    site: Site, input: TorchValue, weight: Any, bias: Any, mean: TorchValue, var: TorchValue, eps: float, fuse: str
) -> None:
    """A 1x1 depthwise convolution: factor and addend go through one accumulator."""
    shape = input.type.shape or ()
    if len(shape) > 4:
        site.forbid("RANK", f"a batch norm over rank {len(shape)}", fix="keep it outside the model")
    spatial = max(0, len(shape) - 2)
    gain, shift, values = _gain_and_shift(site, weight, bias, mean, var, eps)
    quant_in, quant_out = per_tensor(site, input), per_tensor(site, site.out)
    scales = np.where(gain == 0, 1.0, np.abs(gain) / 127)
    codes = (np.sign(gain) * 127).astype(np.int8).reshape(-1, 1, 1, 1)
    codes, quant, steps = fitted_scales(site, codes, PerChannel(tuple(scales), 0), shift, quant_in.scale, 0)
    step = site.log(NORM_AS_DEPTHWISE, before=[array_side("factor", gain), array_side("addend", shift)],
                    facts={"channels": len(gain), "eps": eps})  # fmt: skip
    stem = site.node.scope or site.out.name
    filter = np.ascontiguousarray(codes.reshape(1, 1, 1, -1))
    weights = weight_operand(site, stem, values, filter, quant, 3, [*steps, step])
    addend = bias_operand(site, stem, values, shift, len(gain), quant_in.scale, quant)
    layout = map_layout(shape, spatial)
    stored = layout.stored_dims
    batch, channels, height, width = (*shape, 1, 1) if spatial == 0 else map_dims(shape, spatial)
    image = site.reshape(site.read(input, layout), (batch, height, width, channels), input)
    pads: dict[str, Any] = {f"pad_{side}": 0 for side in ("left", "right", "top", "bottom")}
    logged = [requantized(site, quant_in.scale, quant, quant_out), *site.shift_step(site.out)]
    name = site.add("DEPTHWISE_CONV_2D", input=image, filter=weights, bias=addend, **pads, stride_w=1, stride_h=1,
                    depth_multiplier=1, fuse=fuse, quant=quant_out, suffix="" if len(shape) == 4 else "map",
                    steps=logged)  # fmt: skip
    site.place(name if len(shape) == 4 else site.reshape(name, stored, site.out, site.out.name), layout)


def _gain_and_shift(
    site: Site, weight: Any, bias: Any, mean: TorchValue, var: TorchValue, eps: float
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    given = [value for value in (weight, bias, mean, var) if isinstance(value, TorchValue)]
    if any(not isinstance(value.constant, TensorData) for value in given):
        site.not_yet("NORM_WEIGHT", "a batch norm whose statistics the model computes", fix="make them buffers")
    gamma, beta, centre, spread = (
        value.constant.array.astype(np.float64) if isinstance(value, TorchValue) else default
        for value, default in ((weight, 1.0), (bias, 0.0), (mean, 0.0), (var, 1.0))
    )
    gain = np.asarray(gamma / np.sqrt(spread + eps), np.float64)
    return gain, np.asarray(beta - centre * gain, np.float32), tuple(value.name for value in given)


# --- dynamic quantization ------------------------------------------------------------------------------------


@lowers("quantized::linear_dynamic", "quantized::linear_relu_dynamic", "quantized::linear_dynamic_fp16",
        "quantized::linear_relu_dynamic_fp16", ignores=("X", "W_prepack", "reduce_range"))  # fmt: skip
def linear_dynamic(site: Site) -> None:
    _refuse_dynamic(site)


@lowers("aten::quantized_lstm", "aten::quantized_gru",
        ignores=("input", "data", "batch_sizes", "hx", "params", "has_biases", "num_layers", "dropout", "train",
                 "bidirectional", "batch_first", "dtype", "use_dynamic"))  # fmt: skip
def quantized_recurrent(site: Site) -> None:
    _refuse_dynamic(site)


def _refuse_dynamic(site: Site) -> None:
    site.lossy(
        "DYNAMIC_QUANTIZATION",
        f"{site.node.kind} chooses the scale of its input anew for every batch; NNAPI's scales are fixed. With the "
        "weights dequantized at compile time the result is nearer to float32, and off from PyTorch's by some 1.7 % of "
        "its largest value",
        fix="lower the float model, or quantize it statically (torch.ao.quantization.prepare, calibrate, convert)",
        source="NNAPI operand scales are part of the type; torch.ao.quantization.quantize_dynamic",
    )
