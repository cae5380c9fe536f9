"""Several operations for one node: operands that lie alike, one formula in the log, the last one placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, static_shape
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.ops.registry import OPS
from nnapi_lab.rewrites.constants import SCALAR_TENSOR
from nnapi_lab.rewrites.islands import FLOAT_ISLAND
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Rule
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.layouts import read_broadcast, read_together
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.sides import array_side, torch_side
from nnapi_lab.torchscript.site import Site

FLOAT = OperandCode.TENSOR_FLOAT32
INT = OperandCode.TENSOR_INT32
Term = str | float


class Chain:
    """The operations of one elementwise node.

    `chain("EXP", x)` adds an operation and returns its operand; numbers become constants of shape [1] and the
    chain's element type. `chain.done("MUL", a, b)` adds the last one under the node's own name and places it.
    Quantized values are read through DEQUANTIZE, and a quantized result is written through QUANTIZE.
    """

    def __init__(
        self, site: Site, values: Sequence[TorchValue], formula: str, *, rule: Rule = DECOMPOSED,
        code: OperandCode | None = None, layout: Layout | None = None,
    ) -> None:  # fmt: skip
        self.site = site
        self.formula = formula
        self.rule = rule
        values = [value for value in values if one_number(value) is None]
        if layout is None:
            operands, layout = read_together(site, values, site.out_shape)
        else:
            operands = [read_broadcast(site, value, layout) for value in values]
        self.layout = layout
        self._operands = {value.name: operand for value, operand in zip(values, operands, strict=True)}
        self.code = code or chain_code(site)
        self._numbers: dict[tuple[float, tuple[int, ...]], str] = {}

    def read(self, value: Any) -> Term:
        """A tensor's operand in the chain's layout and type; a number as it is."""
        if not isinstance(value, TorchValue):
            return value
        number = one_number(value)
        if number is not None:
            return self._number(number, (1,), self.code, value)
        operand = self._operands[value.name]
        if value.type.quant is not None:
            return self.dequantized(operand, value)
        return converted(self.site, operand, value, self.code)

    def __call__(self, kind: str, *terms: Term, **arguments: Any) -> str:
        """Add an operation on operands or numbers, in the order of its tensor slots."""
        return self._add(kind, terms, kind.lower(), arguments)

    def done(self, kind: str, *terms: Term, **arguments: Any) -> None:
        """Add the last operation and say that the node's result lives there."""
        if self.site.out.type.quant is None:
            self.place(self._add(kind, terms, "", arguments))
            return
        real = self._add(kind, terms, "real", arguments)
        steps = [self.site.log(FLOAT_ISLAND, after=[torch_side(self.site.out)]), *self.site.shift_step(self.site.out)]
        self.place(self.site.add("QUANTIZE", input=real, quant=self.site.quant_of(self.site.out), steps=steps))

    def place(self, operand: str) -> None:
        self.site.place(operand, self.layout)

    def full(self, number: float, like: str) -> str:
        """A constant of the operand's shape: SELECT does not broadcast."""
        shape = static_shape(self.site.builder.type_of(like))
        return self._number(number, shape)

    def select(self, condition: str, then: Term, otherwise: Term) -> str:
        """SELECT with numbers spread to the condition's shape."""
        return self("SELECT", condition, *self.spread(condition, then, otherwise))

    def spread(self, condition: str, *terms: Term) -> tuple[Term, ...]:
        """Numbers as constants of the condition's shape, operands as they are."""
        return tuple(term if isinstance(term, str) else self.full(term, condition) for term in terms)

    def dequantized(self, operand: str, value: TorchValue) -> str:
        """A quantized operand as real numbers."""
        step = self.site.log(FLOAT_ISLAND, before=[torch_side(value)], values=[value.name])
        return self.site.add("DEQUANTIZE", input=operand, suffix="real", steps=[step])

    def _add(self, kind: str, terms: Sequence[Term], suffix: str, arguments: dict[str, Any]) -> str:
        form = OPS[kind].forms[0]
        slots = [slot.name for slot in form.inputs if not slot.scalar][: len(terms)]
        if any(slot.name == "fuse" for slot in form.inputs):
            arguments.setdefault("fuse", "NONE")
        code = self._number_code(terms)
        operands: dict[str, Any] = {
            slot: term if isinstance(term, str) else self._number(term, (1,), code)
            for slot, term in zip(slots, terms, strict=True)
        }
        facts = {"formula": self.formula} if self.formula else {}
        return self.site.add(kind, rule=self.rule, facts=facts, suffix=suffix, **operands, **arguments)

    def _number_code(self, terms: Sequence[Term]) -> OperandCode:
        """The type of the operands a number stands beside."""
        codes = [self.site.builder.type_of(term).code for term in terms if isinstance(term, str)]
        return next((code for code in codes if code != OperandCode.TENSOR_BOOL8), self.code)

    def _number(self, number: float, shape: tuple[int, ...], code: OperandCode | None = None,
                value: TorchValue | None = None) -> str:  # fmt: skip
        """A constant filled with a number, which may be a torch value of one element."""
        code = code or self.code
        key = (float(number), shape)
        known = self._numbers.get(key)
        if known is not None and self.site.builder.type_of(known).code == code and value is None:
            return known
        site = self.site
        array = np.full(shape, number).astype(code.numpy)
        label = f"{site.out.name}.other" if value is None else value.origin or value.name
        values = [site.out.name if value is None else value.name]
        step = site.log(SCALAR_TENSOR, after=[array_side(label, array)], facts={"other": number}, values=values)
        operand = site.builder.constant(label, array, OperandType(code, shape), values=values, steps=[step])
        site.note_operands(step, operand)
        self._numbers[key] = operand
        return operand


def chain_code(site: Site) -> OperandCode:
    """The element type a node computes in: its result's, float32 for quantized results."""
    return FLOAT if site.out.type.quant is not None else site.code_of(site.out)


def one_number(value: TorchValue) -> float | None:
    """The number of a constant of one element that is not quantized; None for every other value."""
    held = value.constant
    if not isinstance(held, TensorData) or held.type.quant is not None or held.array.size != 1:
        return None
    number: float = held.array.reshape(-1)[0].item()
    return number
