"""Elementwise arithmetic: numbers become tensors, layouts agree, broadcasting is made physical."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.layouts import read_together
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

FUSABLE = ("ADD", "SUB", "MUL", "DIV")


def binary(site: Site, kind: str, left: Any, right: Any, **arguments: Any) -> None:
    """`kind` on two operands of which one may be a Python number."""
    left, right = _without_dimensions(left, right), _without_dimensions(right, left)
    tensors = [value for value in (left, right) if isinstance(value, TorchValue)]
    _same_types(site, kind, tensors)
    read, layout = read_together(site, tensors, site.out_shape)
    operands = [
        read.pop(0) if isinstance(value, TorchValue) else site.number(value, tensors[0]) for value in (left, right)
    ]
    if kind in FUSABLE:
        arguments.setdefault("fuse", "NONE")
    site.place(site.add(kind, input0=operands[0], input1=operands[1], **arguments), layout)


def _without_dimensions(value: Any, beside: Any) -> Any:
    """A constant of no dimensions beside a tensor is a number: as in torch, it does not decide the result's type."""
    if not isinstance(value, TorchValue) or not isinstance(beside, TorchValue) or beside.is_constant:
        return value
    held = value.constant
    if not isinstance(held, TensorData) or held.type.shape != () or held.type.quant is not None:
        return value
    return value if held.type.dtype == beside.type.dtype else held.array.item()


def _same_types(site: Site, kind: str, tensors: Sequence[TorchValue]) -> None:
    codes = {site.code_of(value) for value in tensors}
    if len(codes) > 1:
        seen = " and ".join(str(value.type) for value in tensors)
        site.not_yet("TYPE_PROMOTION", f"{kind} of {seen}: both operands must have one type",
                     fix="convert one of them with .to(dtype) in the model", source=f"NNAPI {kind}")  # fmt: skip
    if any(value.type.quant is not None for value in tensors):
        site.not_yet("QUANTIZED_ARITHMETIC", f"{site.node.kind} on quantized tensors",
                     fix="use torch.ao.nn.quantized.FloatFunctional, which carries output parameters")  # fmt: skip
    out, first = site.out.type.dtype, tensors[0].type.dtype
    if out != first and kind in FUSABLE:
        site.not_yet("TYPE_PROMOTION", f"{kind} of {first} gives {out} in PyTorch",
                     fix="convert the operand to the result's type first")  # fmt: skip


@lowers("aten::add", "aten::add_")
def add(site: Site, self: TorchValue, other: Any, alpha: float = 1) -> None:
    binary(site, "ADD", self, _scaled(site, other, alpha))


@lowers("aten::sub", "aten::sub_")
def sub(site: Site, self: TorchValue, other: Any, alpha: float = 1) -> None:
    binary(site, "SUB", self, _scaled(site, other, alpha))


@lowers("aten::rsub")
def rsub(site: Site, self: TorchValue, other: Any, alpha: float = 1) -> None:
    if alpha != 1:
        site.not_yet("ALPHA", f"rsub with alpha={alpha}")
    binary(site, "SUB", other, self)


def _scaled(site: Site, other: Any, alpha: float) -> Any:
    """`alpha` · other for a number; other alphas on tensors are not written."""
    if alpha == 1:
        return other
    if not isinstance(other, TorchValue):
        return other * alpha
    site.not_yet("ALPHA", f"{site.node.kind} with alpha={alpha} on a tensor", fix="multiply by alpha in the model")


@lowers("aten::mul", "aten::mul_")
def mul(site: Site, self: TorchValue, other: Any) -> None:
    binary(site, "MUL", self, other)


@lowers("aten::div", "aten::div_")
def div(site: Site, self: TorchValue, other: Any, rounding_mode: str | None = None) -> None:
    if rounding_mode is not None:
        site.not_yet("DIV_ROUNDING", f"division with rounding_mode={rounding_mode!r}")
    binary(site, "DIV", self, other)


@lowers("aten::maximum")
def maximum(site: Site, self: TorchValue, other: TorchValue) -> None:
    binary(site, "MAXIMUM", self, other)


@lowers("aten::minimum")
def minimum(site: Site, self: TorchValue, other: TorchValue) -> None:
    binary(site, "MINIMUM", self, other)


def _unary_float(kind: str) -> Any:
    def rule(site: Site, self: TorchValue) -> None:
        held = site.held(self)
        site.place(site.add(kind, input=held.operand), held.layout)

    rule.__name__ = kind.lower()
    rule.__doc__ = f"{kind}, value by value."
    return rule


for _kind, _names in {
    "EXP": ("aten::exp",), "LOG": ("aten::log",), "SQRT": ("aten::sqrt",), "RSQRT": ("aten::rsqrt",),
    "ABS": ("aten::abs",), "NEG": ("aten::neg",), "SIN": ("aten::sin",), "FLOOR": ("aten::floor",),
}.items():  # fmt: skip
    lowers(*_names)(_unary_float(_kind))


def scale_and_shift(
    site: Site, input: TorchValue, gain: np.ndarray, shift: np.ndarray, values: Sequence[str], steps: Sequence[Step]
) -> None:
    """input · gain + shift with two broadcast constants given in torch's order."""
    shape = input.type.shape or ()
    layout = Layout.nhwc(shape) if len(shape) == 4 else Layout.plain(shape)
    operand = site.read(input, layout)
    formula = {"formula": "x · gain + shift"}
    for kind, array, label, suffix in (("MUL", gain, "gain", "scaled"), ("ADD", shift, "shift", "")):
        stored = Layout(array.shape, layout.perm).store(array)
        step = site.log(PLACED, after=[array_side(label, stored)])
        constant = site.builder.constant(f"{site.out.name}.{label}", stored, values=values, steps=[*steps, step])
        for made in (*steps, step):
            site.note_operands(made, constant)
        operand = site.add(kind, input0=operand, input1=constant, fuse="NONE", suffix=suffix, rule=DECOMPOSED,
                           facts=formula, steps=steps)  # fmt: skip
    site.place(operand, layout)
