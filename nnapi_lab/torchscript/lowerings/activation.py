"""Activations: one input, same shape, same layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.quantization import FIXED_PARAMETERS
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

_CLAMPS: dict[tuple[float | None, float | None], str] = {
    (0.0, None): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU1",
}


def unary(site: Site, kind: str, input: TorchValue, **arguments: Any) -> None:
    """One operation on the input as it lies; the result lies the same way."""
    held = site.held(input)
    site.place(site.add(kind, input=held.operand, **arguments), held.layout)


@lowers("aten::relu", "aten::relu_")
def relu(site: Site, self: TorchValue) -> None:
    unary(site, "RELU", self)


@lowers("aten::relu6", "aten::relu6_")
def relu6(site: Site, self: TorchValue) -> None:
    unary(site, "RELU6", self)


@lowers("aten::hardtanh", "aten::hardtanh_")
def hardtanh(site: Site, self: TorchValue, min_val: float, max_val: float) -> None:
    clamp(site, self, min_val, max_val)


@lowers("aten::clamp", "aten::clamp_")
def clamp(site: Site, self: TorchValue, min: float | None = None, max: float | None = None) -> None:
    """RELU, RELU1 and RELU6 where the bounds are theirs; MAXIMUM and MINIMUM with constants otherwise."""
    if isinstance(min, TorchValue) or isinstance(max, TorchValue):
        site.not_yet("CLAMP_TENSOR", "clamp with tensor bounds")
    bounds = (None if min is None else float(min), None if max is None else float(max))
    kind = _CLAMPS.get(bounds)
    if kind is not None and self.type.dtype != "int64":
        unary(site, kind, self)
        return
    if self.type.quant is not None:
        site.not_yet("CLAMP_QUANTIZED", f"clamp({min}, {max}) on a quantized tensor")
    held = site.held(self)
    operand = held.operand
    parts = [("MAXIMUM", float(min), "min")] if min is not None else []
    parts += [("MINIMUM", float(max), "max")] if max is not None else []
    for index, (step, bound, name) in enumerate(parts):
        suffix = "" if index == len(parts) - 1 else step.lower()
        operand = site.add(step, input0=operand, input1=site.number(bound, self, name), suffix=suffix,
                           rule=DECOMPOSED, facts={"formula": "MINIMUM(MAXIMUM(x, min), max)"})  # fmt: skip
    site.place(operand, held.layout)


def fixed(site: Site, kind: str, input: TorchValue, quant: Quant, **arguments: Any) -> None:
    """An operation whose quantized output parameters are prescribed; refuses when torch has others."""
    held = site.held(input)
    steps = []
    if input.type.quant is not None:
        theirs = site.quant_of(site.out)
        if theirs != quant:
            site.not_yet("FIXED_PARAMETERS", f"{kind} gives {quant}, PyTorch has {theirs}",
                         source=FIXED_PARAMETERS.source)  # fmt: skip
        steps = [site.log(FIXED_PARAMETERS, facts={"scale": quant.scale, "zero_point": quant.zero_point})]
    site.place(site.add(kind, input=held.operand, steps=steps, **arguments), held.layout)


@lowers("aten::sigmoid", "aten::sigmoid_")
def sigmoid(site: Site, self: TorchValue) -> None:
    fixed(site, "LOGISTIC", self, Quant(1 / 256, 0))


@lowers("aten::tanh", "aten::tanh_")
def tanh(site: Site, self: TorchValue) -> None:
    fixed(site, "TANH", self, Quant(1 / 128, 128))


@lowers("aten::hardswish", "aten::hardswish_")
def hardswish(site: Site, self: TorchValue) -> None:
    unary(site, "HARD_SWISH", self, quant=site.quant_of(site.out))


@lowers("aten::leaky_relu", "aten::leaky_relu_")
def leaky_relu(site: Site, self: TorchValue, negative_slope: float) -> None:
    if self.type.quant is not None:
        site.not_yet("LEAKY_RELU_QUANTIZED", "leaky_relu on a quantized tensor")
    held = site.held(self)
    slope = site.number(negative_slope, self, "negative_slope")
    site.place(site.add("PRELU", input=held.operand, alpha=slope), held.layout)


@lowers("aten::prelu")
def prelu(site: Site, self: TorchValue, weight: TorchValue) -> None:
    """One slope, or one per channel: a [C] constant meets the stored channel axis."""
    data = weight.constant
    if not isinstance(data, TensorData):
        site.not_yet("PRELU_WEIGHT", f"the slope {weight.name} is computed by the model")
    if self.type.quant is not None:
        site.not_yet("PRELU_QUANTIZED", "prelu on a quantized tensor")
    shape = self.type.shape or ()
    held = site.held(self)
    layout, operand = held.layout, held.operand
    alpha = data.array.reshape(-1)
    if alpha.size > 1:
        layout = Layout.nhwc(shape) if len(shape) == 4 else Layout.plain(shape)
        operand = site.read(self, layout)
        axis = layout.perm.index(1)
        alpha = alpha.reshape([alpha.size if i == axis else 1 for i in range(len(shape))])
    step = site.log(PLACED, after=[array_side(weight.origin or weight.name, alpha)], values=[weight.name])
    name = site.builder.constant(weight.origin or weight.name, alpha, values=[weight.name], steps=[step])
    site.note_operands(step, name)
    site.place(site.add("PRELU", input=operand, alpha=name), layout)


@lowers("aten::elu", "aten::elu_")
def elu(site: Site, self: TorchValue, alpha: float, scale: float, input_scale: float) -> None:
    if (float(scale), float(input_scale)) != (1.0, 1.0) or self.type.quant is not None:
        site.not_yet("ELU", f"elu with scale={scale}, input_scale={input_scale} or on a quantized tensor")
    unary(site, "ELU", self, alpha=float(alpha))


@lowers("aten::softmax")
def softmax(site: Site, self: TorchValue, dim: int, dtype: int | None) -> None:
    _over_axis(site, "SOFTMAX", self, dim, dtype)


@lowers("aten::log_softmax")
def log_softmax(site: Site, self: TorchValue, dim: int, dtype: int | None) -> None:
    _over_axis(site, "LOG_SOFTMAX", self, dim, dtype)


def _over_axis(site: Site, kind: str, input: TorchValue, dim: int, dtype: int | None) -> None:
    if dtype is not None and input.type.dtype != site.out.type.dtype:
        site.not_yet("SOFTMAX_DTYPE", f"{kind.lower()} that changes the type to {site.out.type.dtype}")
    if input.type.quant is not None:
        site.not_yet("SOFTMAX_QUANTIZED", f"{kind.lower()} on a quantized tensor without output parameters")
    operand, layout, axis = stored_axis(site, input, dim)
    site.place(site.add(kind, input=operand, beta=1.0, axis=axis), layout)


def stored_axis(site: Site, value: TorchValue, dim: int) -> tuple[str, Layout, int]:
    """Operand, layout and stored axis for a torch dim: mapped, not transposed, where the layout is a permutation."""
    operand, layout = site.as_permuted(value)
    dim = dim % max(1, len(layout.perm))
    axis = layout.perm.index(dim) if layout.perm else 0
    if axis != dim:
        step = site.log(AXIS_MAPPED, facts={"dim": dim, "axis": axis, "layout": layout.name}, values=[site.out.name])
        site.note_operands(step, operand)
    return operand, layout, axis


@lowers("aten::silu", "aten::silu_")
def silu(site: Site, self: TorchValue) -> None:
    if self.type.quant is not None:
        site.not_yet("SILU_QUANTIZED", "silu on a quantized tensor")
    held = site.held(self)
    gate = site.add("LOGISTIC", input=held.operand, suffix="sigmoid", rule=DECOMPOSED,
                    facts={"formula": "x · LOGISTIC(x)"})  # fmt: skip
    site.place(site.add("MUL", input0=held.operand, input1=gate, fuse="NONE", rule=DECOMPOSED,
                        facts={"formula": "x · LOGISTIC(x)"}), held.layout)  # fmt: skip


@lowers("aten::hardsigmoid", "aten::hardsigmoid_")
def hardsigmoid(site: Site, self: TorchValue) -> None:
    if self.type.quant is not None:
        site.not_yet("HARDSIGMOID_QUANTIZED", "hardsigmoid on a quantized tensor")
    held = site.held(self)
    formula = {"formula": "RELU6(x + 3) / 6"}
    shifted = site.add("ADD", input0=held.operand, input1=site.number(3.0, self, "three"), fuse="RELU6",
                       suffix="shifted", rule=DECOMPOSED, facts=formula)  # fmt: skip
    sixth = site.number(float(np.float32(1 / 6)), self, "sixth")
    site.place(site.add("MUL", input0=shifted, input1=sixth, fuse="NONE", rule=DECOMPOSED, facts=formula),
               held.layout)  # fmt: skip
