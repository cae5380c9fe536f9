"""Activations: one input, same shape, same layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.layout import AXIS_MAPPED
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.quantization import FIXED_PARAMETERS
from nnapi_lab.torchscript.lowerings.chain import INT, Chain
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.lowerings.elementwise import bounded
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import CODES, Site

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
    """RELU, RELU1 and RELU6 where the bounds are theirs; MAXIMUM and MINIMUM with the bounds otherwise."""
    if isinstance(min, TorchValue) or isinstance(max, TorchValue):
        bounded(site, self, min, max)
        return
    bounds = (None if min is None else float(min), None if max is None else float(max))
    kind = _CLAMPS.get(bounds)
    if kind is not None and site.code_of(self) != INT:
        unary(site, kind, self)
        return
    bounded(site, self, min, max)


def fixed(site: Site, kind: str, input: TorchValue, quant: Quant, **arguments: Any) -> None:
    """An operation whose quantized output parameters are prescribed: where torch has others, float in between."""
    quant = site.stored_quant(quant)
    if input.type.quant is None or site.quant_of(site.out) != quant:
        chain = Chain(site, [input], "", rule=DIRECT)
        chain.done(kind, chain.read(input), **arguments)
        return
    held = site.held(input)
    steps = [site.log(FIXED_PARAMETERS, facts={"scale": quant.scale, "zero_point": quant.zero_point}),
             *site.shift_step(site.out)]  # fmt: skip
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
    """PRELU with one slope; a quantized one computes in float, as PyTorch's table of 256 codes does."""
    chain = Chain(site, [self], "", rule=DIRECT)
    chain.done("PRELU", chain.read(self), negative_slope)


@lowers("aten::prelu")
def prelu(site: Site, self: TorchValue, weight: TorchValue) -> None:
    """One slope, or one per channel: a [C] constant meets the stored channel axis."""
    data = weight.constant
    if not isinstance(data, TensorData):
        site.not_yet("PRELU_WEIGHT", f"the slope {weight.name} is computed by the model")
    shape = self.type.shape or ()
    alpha = real_numbers(data).reshape(-1)
    forced = Layout.nhwc(shape) if alpha.size > 1 and len(shape) == 4 else None
    chain = Chain(site, [self], "", rule=DIRECT, layout=forced)
    if alpha.size > 1:
        axis = chain.layout.perm.index(1)
        alpha = alpha.reshape([alpha.size if i == axis else 1 for i in range(len(shape))])
    step = site.log(PLACED, after=[array_side(weight.origin or weight.name, alpha)], values=[weight.name])
    name = site.builder.constant(weight.origin or weight.name, alpha, values=[weight.name], steps=[step])
    site.note_operands(step, name)
    chain.done("PRELU", chain.read(self), name)


def real_numbers(data: TensorData) -> np.ndarray:
    """The float32 numbers a constant tensor stands for."""
    quant = data.type.quant
    if isinstance(quant, Quant):
        return ((data.array.astype(np.float32) - quant.zero_point) * np.float32(quant.scale)).astype(np.float32)
    return data.array.astype(np.float32)


@lowers("aten::softmax")
def softmax(site: Site, self: TorchValue, dim: int, dtype: int | None) -> None:
    _over_axis(site, "SOFTMAX", self, dim, dtype)


@lowers("aten::log_softmax")
def log_softmax(site: Site, self: TorchValue, dim: int, dtype: int | None) -> None:
    _over_axis(site, "LOG_SOFTMAX", self, dim, dtype)


def _over_axis(site: Site, kind: str, input: TorchValue, dim: int, dtype: int | None) -> None:
    """Along the stored axis; a result of another type is converted first, a quantized one computed in float."""
    if dtype is not None and site.out.type.dtype not in CODES:
        site.forbid("SOFTMAX_DTYPE", f"{kind.lower()} that changes the type to {site.out.type.dtype}",
                    fix="keep it float32", source="NNAPI OperandCode")  # fmt: skip
    operand, layout, axis = stored_axis(site, input, dim)
    chain = Chain(site, [], "", rule=DIRECT, layout=layout)
    if input.type.quant is not None:
        operand = chain.dequantized(operand, input)
    elif dtype is not None:
        operand = converted(site, operand, input, chain.code)
    chain.done(kind, operand, beta=1.0, axis=axis)


def stored_axis(site: Site, value: TorchValue, dim: int) -> tuple[str, Layout, int]:
    """Operand, layout and stored axis for a torch dim: mapped, not transposed, where the layout is a permutation."""
    dim = dim % max(1, len(value.type.shape or ()))
    operand, layout, axis = site.along(value, dim) if value.type.shape else (*site.as_permuted(value), 0)
    if axis != dim:
        step = site.log(AXIS_MAPPED, facts={"dim": dim, "axis": axis, "layout": layout.name}, values=[site.out.name])
        site.note_operands(step, operand)
    return operand, layout, axis


@lowers("aten::hardsigmoid", "aten::hardsigmoid_")
def hardsigmoid(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], "RELU6(x + 3) / 6")
    shifted = chain("ADD", chain.read(self), 3.0, fuse="RELU6")
    chain.done("MUL", shifted, float(np.float32(1 / 6)))
