"""Elementwise arithmetic: numbers become tensors, layouts agree, broadcasting is made physical."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.lowerings.chain import Chain
from nnapi_lab.torchscript.lowerings.response import response_normalization
from nnapi_lab.torchscript.lowerings.rounding import divided
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site


def binary(site: Site, kind: str, left: Any, right: Any, **arguments: Any) -> None:
    """`kind` on two operands of which one may be a Python number; types are promoted as torch does."""
    tensors = [value for value in (left, right) if isinstance(value, TorchValue)]
    if any(value.type.quant is not None for value in tensors):
        site.not_yet("QUANTIZED_ARITHMETIC", f"{site.node.kind} on quantized tensors",
                     fix="use torch.ao.nn.quantized.FloatFunctional, which carries output parameters")  # fmt: skip
    chain = Chain(site, tensors, "", rule=DIRECT)
    chain.done(kind, chain.read(left), chain.read(right), **arguments)


@lowers("aten::add", "aten::add_")
def add(site: Site, self: TorchValue, other: Any, alpha: float = 1) -> None:
    _weighted(site, "ADD", self, other, alpha)


@lowers("aten::sub", "aten::sub_")
def sub(site: Site, self: TorchValue, other: Any, alpha: float = 1) -> None:
    _weighted(site, "SUB", self, other, alpha)


@lowers("aten::rsub")
def rsub(site: Site, self: TorchValue, other: Any, alpha: float = 1) -> None:
    """other - alpha · self."""
    _weighted(site, "SUB", other, self, alpha)


def _weighted(site: Site, kind: str, left: Any, right: Any, alpha: float) -> None:
    """left ± alpha · right: a number is multiplied here, a tensor by a MUL in front."""
    if alpha == 1 or not isinstance(right, TorchValue):
        binary(site, kind, left, right if alpha == 1 else right * alpha)
        return
    tensors = [value for value in (left, right) if isinstance(value, TorchValue)]
    if any(value.type.quant is not None for value in tensors):
        site.not_yet("QUANTIZED_ARITHMETIC", f"{site.node.kind} on quantized tensors",
                     fix="use torch.ao.nn.quantized.FloatFunctional, which carries output parameters")  # fmt: skip
    chain = Chain(site, tensors, f"a {'+' if kind == 'ADD' else '-'} {alpha}·b")
    scaled = chain("MUL", chain.read(right), alpha)
    chain.done(kind, chain.read(left), scaled)


@lowers("aten::mul", "aten::mul_")
def mul(site: Site, self: TorchValue, other: Any) -> None:
    if self is other and response_normalization(site, self):
        return
    binary(site, "MUL", self, other)


@lowers("aten::div", "aten::div_", "aten::true_divide")
def div(site: Site, self: TorchValue, other: Any, rounding_mode: str | None = None) -> None:
    """True division in float; rounding modes are in `rounding`."""
    if rounding_mode is not None:
        divided(site, self, other, rounding_mode)
        return
    binary(site, "DIV", self, other)


@lowers("aten::maximum")
def maximum(site: Site, self: TorchValue, other: TorchValue) -> None:
    binary(site, "MAXIMUM", self, other)


@lowers("aten::minimum")
def minimum(site: Site, self: TorchValue, other: TorchValue) -> None:
    binary(site, "MINIMUM", self, other)


def _unary(kind: str) -> Any:
    def rule(site: Site, self: TorchValue) -> None:
        chain = Chain(site, [self], "", rule=DIRECT)
        chain.done(kind, chain.read(self))

    rule.__name__ = kind.lower()
    rule.__doc__ = f"{kind}, value by value; integers are converted first where torch does."
    return rule


for _kind, _names in {
    "EXP": ("aten::exp",), "LOG": ("aten::log",), "SQRT": ("aten::sqrt",), "RSQRT": ("aten::rsqrt",),
    "ABS": ("aten::abs", "aten::absolute"), "NEG": ("aten::neg", "aten::negative"), "SIN": ("aten::sin",),
}.items():  # fmt: skip
    lowers(*_names, *(f"{name}_" for name in _names))(_unary(_kind))


def scale_and_shift(
    site: Site, input: TorchValue, gain: np.ndarray, shift: np.ndarray, values: Sequence[str], steps: Sequence[Step]
) -> None:
    """input · gain + shift with two broadcast constants given in torch's order."""
    shape = input.type.shape or ()
    layout = site.held(input).layout
    if layout.is_plain or layout.dims != shape:
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
