"""Arithmetic on quantized tensors: output parameters stated, numbers as codes, MUL's scale rule, joins."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandType, Quant
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.quantization import REQUANTIZED
from nnapi_lab.rewrites.quantized_numbers import NUMBER_QUANTIZED
from nnapi_lab.rewrites.rule import Rule
from nnapi_lab.torchscript.layouts import read_together
from nnapi_lab.torchscript.lowerings.chain import Chain
from nnapi_lab.torchscript.lowerings.joining import concatenate
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side, torch_side
from nnapi_lab.torchscript.site import Site

_OUT = ("scale", "zero_point")


def per_tensor(site: Site, value: TorchValue) -> Quant:
    """The operand's scale and zero point. Refuses a value that is not quantized per tensor."""
    quant = site.quant_of(value)
    if not isinstance(quant, Quant):
        site.forbid("QUANTIZED_VALUE", f"{value.name} is not quantized per tensor", fix="quantize it per tensor",
                    source="NNAPI activation types")  # fmt: skip
    return quant


def binary(site: Site, kind: str, left: TorchValue, right: TorchValue, fuse: str) -> None:
    """ADD or MUL with the output's own parameters; a MUL whose output scale is too fine is computed in float."""
    scales = [per_tensor(site, value).scale for value in (left, right)]
    quant = per_tensor(site, site.out)
    if kind == "MUL" and not np.float32(scales[0]) * np.float32(scales[1]) < np.float32(quant.scale):
        chain = Chain(site, [left, right], "output scale <= product of the input scales: MUL in float")
        chain.done(kind, chain.read(left), chain.read(right), fuse=fuse)
        return
    operands, layout = read_together(site, [left, right], site.out_shape)
    step = site.log(REQUANTIZED, before=[torch_side(left), torch_side(right)], after=[torch_side(site.out)],
                    facts={"operation": kind, "scale": quant})  # fmt: skip
    site.place(site.add(kind, input0=operands[0], input1=operands[1], fuse=fuse, quant=quant,
                        steps=[step, *site.shift_step(site.out)]), layout)  # fmt: skip


@lowers("quantized::add", ignores=_OUT)
def add(site: Site, qa: TorchValue, qb: Any = None, b: Any = None) -> None:
    _either(site, "ADD", qa, qb, b, "NONE")


@lowers("quantized::add_relu", ignores=_OUT)
def add_relu(site: Site, qa: TorchValue, qb: Any = None, b: Any = None) -> None:
    _either(site, "ADD", qa, qb, b, "RELU")


@lowers("quantized::mul", ignores=_OUT)
def mul(site: Site, qa: TorchValue, qb: Any = None, b: Any = None) -> None:
    _either(site, "MUL", qa, qb, b, "NONE")


@lowers("quantized::mul_relu", ignores=_OUT)
def mul_relu(site: Site, qa: TorchValue, qb: Any = None, b: Any = None) -> None:
    _either(site, "MUL", qa, qb, b, "RELU")


def _either(site: Site, kind: str, left: TorchValue, right: Any, number: Any, fuse: str) -> None:
    if isinstance(right, TorchValue):
        binary(site, kind, left, right, fuse)
    else:
        _with_number(site, kind, left, number, fuse)


@lowers("quantized::add_scalar")
def add_scalar(site: Site, qa: TorchValue, b: Any) -> None:
    _with_number(site, "ADD", qa, b, "NONE")


@lowers("quantized::add_scalar_relu")
def add_scalar_relu(site: Site, qa: TorchValue, b: Any) -> None:
    _with_number(site, "ADD", qa, b, "RELU")


@lowers("quantized::mul_scalar")
def mul_scalar(site: Site, qa: TorchValue, b: Any) -> None:
    _with_number(site, "MUL", qa, b, "NONE")


@lowers("quantized::mul_scalar_relu")
def mul_scalar_relu(site: Site, qa: TorchValue, b: Any) -> None:
    _with_number(site, "MUL", qa, b, "RELU")


def _with_number(site: Site, kind: str, input: TorchValue, number: Any, fuse: str) -> None:
    """The tensor and a constant of one element whose code and scale say the number."""
    real = _plain_number(site, number)
    scale = per_tensor(site, input).scale
    code, quant = _added(real, scale) if kind == "ADD" else _factor(real, scale, per_tensor(site, site.out).scale)
    constant = code_constant(site, input, "number", code, quant, NUMBER_QUANTIZED, number=real)
    held = site.held(input)
    steps = site.shift_step(site.out)
    site.place(site.add(kind, input0=held.operand, input1=constant, fuse=fuse, steps=steps,
                        quant=per_tensor(site, site.out)), held.layout)  # fmt: skip


def _plain_number(site: Site, number: Any) -> float:
    if isinstance(number, TorchValue) and isinstance(number.constant, TensorData):
        return float(number.constant.array.item())
    if isinstance(number, int | float):
        return float(number)
    site.not_yet("QUANTIZED_NUMBER", f"{site.node.kind} with a number the model computes", fix="make it a constant")


def _added(number: float, scale: float) -> tuple[int, Quant]:
    """torch adds whole steps of the input's scale."""
    steps = float(np.rint(number / scale))
    if steps == 0:
        return 0, Quant(scale, 0)
    return (1, Quant(steps * scale, 0)) if steps > 0 else (0, Quant(-steps * scale, 1))


def _factor(number: float, scale: float, scale_out: float) -> tuple[int, Quant]:
    if number == 0:
        return 0, Quant(scale_out / (2 * scale), 0)
    return (2, Quant(number / 2, 0)) if number > 0 else (0, Quant(-number / 2, 2))


def code_constant(
    site: Site, like: TorchValue, label: str, code: int, quant: Quant, rule: Rule, **facts: Any
) -> str:  # fmt: skip
    """A constant of one element with this unsigned code, in the type that values of the model have."""
    type = OperandType(site.code_of(like), (1,), site.stored_quant(quant))
    array = np.array([code - site.unsigned_shift], dtype=type.code.numpy)
    step = site.log(rule, after=[array_side(label, array, quant=type.quant)], facts=facts)
    name = site.builder.constant(f"{site.out.name}.{label}", array, type, steps=[step])
    site.note_operands(step, name)
    return name


# --- joins ---------------------------------------------------------------------------------------------------


@lowers("quantized::cat", ignores=_OUT)
def cat(site: Site, qx: Any, dim: int) -> None:
    concatenate(site, qx, dim, site.quant_of(site.out))


@lowers("quantized::cat_relu", ignores=_OUT)
def cat_relu(site: Site, qx: Any, dim: int) -> None:
    """CONCATENATION has no fused activation."""
    concatenate(site, qx, dim, site.quant_of(site.out))
    joined = site.held(site.out)
    layout: Layout = joined.layout
    site.place(site.add("RELU", input=joined.operand, suffix="relu"), layout)
