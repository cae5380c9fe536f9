"""Comparisons, logic and choice: truth values in NNAPI's TENSOR_BOOL8."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, static_shape
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import SCALAR_TENSOR
from nnapi_lab.rewrites.shapes import BROADCAST_MADE, DECOMPOSED
from nnapi_lab.torchscript.layouts import padded_shape, read_together
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

F32, I32, B8 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32, OperandCode.TENSOR_BOOL8
_FLOATS = (F32, OperandCode.TENSOR_FLOAT16)
# an integer against a number that is not one: x > 0.5 is x > 0
_WHOLE: dict[str, Callable[[float], int]] = {
    "GREATER": math.floor, "LESS_EQUAL": math.floor, "LESS": math.ceil, "GREATER_EQUAL": math.ceil,
}  # fmt: skip


def compare(site: Site, kind: str, left: TorchValue, right: Any) -> None:
    """A comparison of two tensors, or of a tensor with a number, both brought to one element type first."""
    right = number_of(site, right)
    if not isinstance(right, TorchValue):
        _against_number(site, kind, left, float(right))
        return
    operands, layout = read_together(site, [left, right], site.out_shape)
    if left.type.quant is None or right.type.quant is None:
        code = common_code(site, [left, right])
        operands = [converted(site, *pair, code) for pair in zip(operands, (left, right), strict=True)]
    site.place(site.add(kind, input0=operands[0], input1=operands[1]), layout)


def number_of(site: Site, value: Any) -> Any:
    """A constant of no dimensions is a number, which is noted; anything else is left as it is."""
    held = value.constant if isinstance(value, TorchValue) else None
    if isinstance(held, TensorData) and held.type.shape == () and held.type.quant is None:
        site.log(SCALAR_TENSOR, values=[value.name, site.out.name], facts={"number": held.array.item()})
        return held.array.item()
    return value


def common_code(site: Site, values: Sequence[TorchValue]) -> OperandCode:
    """The element type torch promotes tensors to: float before integers before truth values."""
    codes = [F32 if value.type.quant is not None else site.code_of(value) for value in values]
    shaped = [code for code, value in zip(codes, values, strict=True) if value.type.shape != ()]
    for wanted in (*_FLOATS, I32):
        same_kind = _FLOATS if wanted in _FLOATS else (wanted,)
        if wanted in codes:
            # A tensor of no dimensions decides the kind of number, not its precision.
            return next((code for code in shaped if code in same_kind), wanted)
    return B8


def _against_number(site: Site, kind: str, value: TorchValue, number: float) -> None:
    held = site.held(value)
    operand, code = held.operand, site.code_of(value)
    if value.type.quant is not None:
        operand, code = converted(site, operand, value, F32), F32
    if code == B8:
        operand, code = converted(site, operand, value, I32), I32
    if code == I32 and (not number.is_integer() or abs(number) >= 2**31):
        whole = _WHOLE.get(kind)
        if whole is None or not math.isfinite(number) or abs(number) >= 2**31:
            site.not_yet("COMPARE_NUMBER", f"{kind} of {value.type} with {number}, which no int32 equals",
                         fix="compare with a whole number of at most 31 bits")  # fmt: skip
        number = whole(number)
    constant = one_number(site, number, code)
    site.place(site.add(kind, input0=operand, input1=constant, facts={"number": number}), held.layout)


def one_number(site: Site, number: float, code: OperandCode) -> str:
    """A number as a constant of shape [1]."""
    array = np.array([number]).astype(code.numpy)
    step = site.log(SCALAR_TENSOR, after=[array_side("other", array)], facts={"other": number})
    name = site.builder.constant(f"{site.out.name}.other", array, OperandType(code, (1,)), steps=[step])
    site.note_operands(step, name)
    return name


def _comparison(kind: str) -> Any:
    def rule(site: Site, self: TorchValue, other: Any) -> None:
        compare(site, kind, self, other)

    rule.__name__, rule.__doc__ = kind.lower(), f"{kind}, element by element."
    return rule


for _kind, _names in {
    "EQUAL": ("aten::eq",), "NOT_EQUAL": ("aten::ne", "aten::not_equal"),
    "LESS": ("aten::lt", "aten::less"), "LESS_EQUAL": ("aten::le", "aten::less_equal"),
    "GREATER": ("aten::gt", "aten::greater"), "GREATER_EQUAL": ("aten::ge", "aten::greater_equal"),
}.items():  # fmt: skip
    lowers(*_names)(_comparison(_kind))


# --- logic -------------------------------------------------------------------------------------------------


def logic(site: Site, kind: str, left: TorchValue, right: Any, bitwise: bool) -> None:
    """`kind` on truth values; a logical operation takes numbers too, a bitwise one only truth values."""
    right = number_of(site, right)
    tensors = [value for value in (left, right) if isinstance(value, TorchValue)]
    if bitwise:
        _only_truth(site, tensors)
    operands, layout = read_together(site, tensors, site.out_shape)
    truths = [converted(site, operand, value, B8) for operand, value in zip(operands, tensors, strict=True)]
    if len(truths) == 1:
        truths.append(one_number(site, bool(right), B8))
    site.place(site.add(kind, input0=truths[0], input1=truths[1]), layout)


def _only_truth(site: Site, values: Sequence[TorchValue]) -> None:
    for value in values:
        if value.type.dtype != "bool":
            site.forbid("BITWISE", f"{site.node.kind} on {value.type}: NNAPI has no operation on the bits of integers",
                        fix="use logical operations on truth values, or arithmetic",
                        source="NNAPI LOGICAL_AND, LOGICAL_OR: TENSOR_BOOL8 only")  # fmt: skip


def _logical(kind: str, bitwise: bool) -> Any:
    def rule(site: Site, self: TorchValue, other: Any) -> None:
        logic(site, kind, self, other, bitwise)

    rule.__name__, rule.__doc__ = kind.lower(), f"{kind}, element by element."
    return rule


for _kind, _word in {"LOGICAL_AND": "and", "LOGICAL_OR": "or", "NOT_EQUAL": "xor"}.items():
    lowers(f"aten::logical_{_word}", f"aten::logical_{_word}_")(_logical(_kind, bitwise=False))
    lowers(f"aten::bitwise_{_word}", f"aten::bitwise_{_word}_", f"aten::__{_word}__", f"aten::__i{_word}__")(
        _logical(_kind, bitwise=True)
    )


@lowers("aten::logical_not", "aten::logical_not_")
def logical_not(site: Site, self: TorchValue) -> None:
    held = site.held(self)
    if self.type.dtype == "bool":
        site.place(site.add("LOGICAL_NOT", input=held.operand), held.layout)
        return
    _against_number(site, "EQUAL", self, 0.0)


@lowers("aten::bitwise_not", "aten::bitwise_not_")
def bitwise_not(site: Site, self: TorchValue) -> None:
    _only_truth(site, [self])
    held = site.held(self)
    site.place(site.add("LOGICAL_NOT", input=held.operand), held.layout)


# --- choice ------------------------------------------------------------------------------------------------


@lowers("aten::where")
def where(site: Site, condition: TorchValue, self: Any = None, other: Any = None) -> None:
    if self is None and other is None:
        site.forbid("WHERE_INDICES", "where with one argument gives a result whose size depends on the data",
                    fix="use where(condition, a, b)", source="NNAPI result shapes do not depend on data")  # fmt: skip
    choose(site, condition, self, other)


@lowers("aten::masked_fill", "aten::masked_fill_")
def masked_fill(site: Site, self: TorchValue, mask: TorchValue, value: Any) -> None:
    choose(site, mask, value, self)


def choose(site: Site, condition: TorchValue, left: Any, right: Any) -> None:
    """SELECT, whose three tensors must have one shape: constants are filled, values are tiled."""
    left, right = number_of(site, left), number_of(site, right)
    tensors = [value for value in (condition, left, right) if isinstance(value, TorchValue)]
    if any(value.type.quant is not None for value in tensors):
        site.not_yet("SELECT_QUANTIZED", f"{site.node.kind} on quantized tensors", fix="dequantize first")
    read, layout = read_together(site, tensors, site.out_shape)
    code = site.code_of(site.out)
    by_name = dict(zip([value.name for value in tensors], read, strict=True))
    shape = np.broadcast_shapes(*[static_shape(site.builder.type_of(operand)) for operand in read])
    truth = full(site, converted(site, by_name[condition.name], condition, B8), shape)
    sides = []
    for value in (left, right):
        if isinstance(value, TorchValue):
            sides.append(full(site, converted(site, by_name[value.name], value, code), shape))
        else:
            sides.append(site.filled(truth, value, code, "value"))
    if code == B8:
        site.place(_choose_truth(site, truth, *sides), layout)
        return
    site.place(site.add("SELECT", condition=truth, input1=sides[0], input2=sides[1]), layout)


def _choose_truth(site: Site, truth: str, left: str, right: str) -> str:
    """SELECT takes no truth values to choose from: (c AND a) OR (NOT c AND b)."""
    facts = {"formula": "(c AND a) OR (NOT c AND b)"}
    first = site.add("LOGICAL_AND", input0=truth, input1=left, suffix="taken", rule=DECOMPOSED, facts=facts)
    opposite = site.add("LOGICAL_NOT", input=truth, suffix="not", rule=DECOMPOSED, facts=facts)
    second = site.add("LOGICAL_AND", input0=opposite, input1=right, suffix="left", rule=DECOMPOSED, facts=facts)
    return site.add("LOGICAL_OR", input0=first, input1=second, rule=DECOMPOSED, facts=facts)


def full(site: Site, operand: str, shape: Sequence[int], name: str = "") -> str:
    """The operand broadcast to `shape` for operations that do not broadcast.

    A constant is filled at compile time; truth values are OR-ed with a constant false of the full shape, other
    values tiled.
    """
    shape = tuple(shape)
    type = site.builder.type_of(operand)
    seen = static_shape(type)
    if seen == shape:
        return operand
    wanted = name or f"{operand}.full"
    facts = {"from": seen, "to": shape}
    held = site.builder[operand]
    if held.is_constant and not name:
        array = np.ascontiguousarray(np.broadcast_to(held.value, shape))
        step = site.log(BROADCAST_MADE, facts=facts, after=[array_side(wanted, array)])
        made = site.builder.constant(wanted, array, type.with_shape(shape), steps=[step])
        site.note_operands(step, made)
        return made
    if type.code == B8:
        nothing = np.zeros(shape, bool)
        step = site.log(SCALAR_TENSOR, facts={"false": shape})
        zeros = site.builder.constant(f"{operand}.false", nothing, OperandType(B8, shape), steps=[step])
        site.note_operands(step, zeros)
        return site.add_all("LOGICAL_OR", input0=operand, input1=zeros, rule=BROADCAST_MADE, facts=facts,
                            names=[wanted])[0]  # fmt: skip
    padded = padded_shape(seen, len(shape))
    operand = site.reshape(operand, padded, site.out)
    multiples = site.int32([want // have for want, have in zip(shape, padded, strict=True)], f"{wanted}.multiples",
                           "multiples")  # fmt: skip
    return site.add_all("TILE", input=operand, multiples=multiples, rule=BROADCAST_MADE, facts=facts,
                        names=[wanted])[0]  # fmt: skip


# --- what is not a finite number ---------------------------------------------------------------------------


def _floats(site: Site, value: TorchValue) -> OperandCode:
    code = site.code_of(value)
    if code not in _FLOATS:
        site.not_yet("FINITE_TYPE", f"{site.node.kind} of {value.type}", fix="integers are always finite: leave it out")
    return code


@lowers("aten::isnan")
def isnan(site: Site, self: TorchValue) -> None:
    """NaN is the only number unequal to itself. A device may decide otherwise; the reference does not."""
    _floats(site, self)
    held = site.held(self)
    site.place(site.add("NOT_EQUAL", input0=held.operand, input1=held.operand, rule=DECOMPOSED,
                        facts={"formula": "x != x"}), held.layout)  # fmt: skip


@lowers("aten::isinf")
def isinf(site: Site, self: TorchValue) -> None:
    _against_infinity(site, self, "EQUAL")


@lowers("aten::isfinite")
def isfinite(site: Site, self: TorchValue) -> None:
    _against_infinity(site, self, "LESS")


def _against_infinity(site: Site, value: TorchValue, kind: str) -> None:
    code, held = _floats(site, value), site.held(value)
    facts = {"formula": f"{kind}(|x|, inf)"}
    size = site.add("ABS", input=held.operand, suffix="abs", rule=DECOMPOSED, facts=facts)
    bound = one_number(site, math.inf, code)
    site.place(site.add(kind, input0=size, input1=bound, rule=DECOMPOSED, facts=facts), held.layout)


@lowers("aten::nan_to_num", "aten::nan_to_num_")
def nan_to_num(
    site: Site, self: TorchValue, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> None:
    """Three SELECTs: NaN, +inf, -inf, each by its own comparison."""
    code, held = _floats(site, self), site.held(self)
    operand, largest = held.operand, float(np.finfo(code.numpy).max)
    unlike = site.add("NOT_EQUAL", input0=operand, input1=operand, suffix="isnan", rule=DECOMPOSED)
    parts = [(unlike, 0.0 if nan is None else nan)]
    bounds = {"posinf": (math.inf, largest if posinf is None else posinf),
              "neginf": (-math.inf, -largest if neginf is None else neginf)}  # fmt: skip
    for label, (bound, number) in bounds.items():
        infinite = one_number(site, bound, code)
        truth = site.add("EQUAL", input0=operand, input1=infinite, suffix=f"is{label}", rule=DECOMPOSED)
        parts.append((truth, number))
    for index, (truth, number) in enumerate(parts, 1):
        operand = site.add("SELECT", condition=truth, input1=site.filled(truth, number, code, "value"), input2=operand,
                           suffix="" if index == len(parts) else f"part{index}", rule=DECOMPOSED)  # fmt: skip
    site.place(operand, held.layout)
