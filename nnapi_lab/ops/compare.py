"""Comparisons, logic and choice: EQUAL … GREATER_EQUAL, LOGICAL_AND, LOGICAL_OR, LOGICAL_NOT, SELECT.

Codes are compared as the real numbers they stand for, in float32. SELECT alone does not broadcast.
Source: AOSP 13 Comparisons.cpp, LogicalAndOr.cpp, LogicalNot.cpp, Select.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, Shape, same_dims, shape_text
from nnapi_lab.numerics.quantize import dequantize, requantize_elementwise
from nnapi_lab.ops.axes import agreed
from nnapi_lab.ops.broadcast import broadcast_constraint, broadcast_shape
from nnapi_lab.ops.scales import free_type, scale_given, with_scales
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, tensor

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
B8 = OperandCode.TENSOR_BOOL8

Result = tuple[OperandType, ...]
Relation = Callable[[np.ndarray, np.ndarray], np.ndarray]

_PAIR = (tensor("input0"), tensor("input1"))
_TRUTH = (Slot("out", fixed(B8)),)


def truth_type(call: Call) -> Result:
    """One TENSOR_BOOL8 per element of the shape both operands broadcast to."""
    return (OperandType(B8, broadcast_shape(call["input0"].shape, call["input1"].shape)),)


# --- comparisons -------------------------------------------------------------------------------------------


def _comparing(relation: Relation) -> Callable[..., np.ndarray]:
    """A kernel for one relation; NaN is unequal to everything and neither less nor greater."""

    def kernel(input0: np.ndarray, input1: np.ndarray, *, call: Call | None = None) -> np.ndarray:
        if input0.dtype in (np.uint8, np.int8):
            call = with_scales(call)
            first, second = call["input0"], call["input1"]
            input0 = dequantize(input0, first.scale, first.zero_point)
            input1 = dequantize(input1, second.scale, second.zero_point)
        return relation(input0, input1)

    return kernel


def _comparison(kind: str, code: int, summary: str, relation: Relation) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=3,
        summary=summary,
        types={B8: 3, F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
        forms=(Form("only", _PAIR, _TRUTH),),
        result=truth_type,
        kernel=_comparing(relation),
        source="AOSP 13 Comparisons.cpp",
        constraints=(broadcast_constraint("C1"),),
        notes=("Codes of different scales that stand for the same number can differ in float32.",),
    )


_COMPARISONS = (
    _comparison("EQUAL", 48, "True where two elements are equal.", np.equal),
    _comparison("GREATER", 53, "True where the first element is greater.", np.greater),
    _comparison("GREATER_EQUAL", 54, "True where the first element is not less.", np.greater_equal),
    _comparison("LESS", 58, "True where the first element is less.", np.less),
    _comparison("LESS_EQUAL", 59, "True where the first element is not greater.", np.less_equal),
    _comparison("NOT_EQUAL", 68, "True where two elements differ.", np.not_equal),
)


# --- logic -------------------------------------------------------------------------------------------------


def logical_and(input0: np.ndarray, input1: np.ndarray) -> np.ndarray:
    """True where both are."""
    both: np.ndarray = input0 & input1
    return both


def logical_or(input0: np.ndarray, input1: np.ndarray) -> np.ndarray:
    """True where either is."""
    either: np.ndarray = input0 | input1
    return either


def logical_not(input: np.ndarray) -> np.ndarray:
    """True where the element is false."""
    return ~input


def _logical(kind: str, code: int, summary: str, kernel: Callable[..., np.ndarray]) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=3,
        summary=summary,
        types={B8: 3},
        forms=(Form("only", _PAIR, _TRUTH),),
        result=truth_type,
        kernel=kernel,
        source="AOSP 13 LogicalAndOr.cpp",
        constraints=(broadcast_constraint("C1"),),
    )


_LOGIC = (
    _logical("LOGICAL_AND", 61, "True where both elements are.", logical_and),
    _logical("LOGICAL_OR", 63, "True where either element is.", logical_or),
    OpSpec(
        kind="LOGICAL_NOT",
        code=62,
        since=3,
        summary="True where the element is false.",
        types={B8: 3},
        forms=(Form("only", (tensor("input"),), _TRUTH),),
        result=lambda call: (call["input"],),
        kernel=logical_not,
        source="AOSP 13 LogicalNot.cpp",
    ),
)


# --- SELECT ------------------------------------------------------------------------------------------------


def select(condition: np.ndarray, input1: np.ndarray, input2: np.ndarray, *, call: Call | None = None) -> np.ndarray:
    """input1 where the condition holds, else input2; codes are brought to the result's scale."""
    if input1.dtype in (np.uint8, np.int8):
        call = with_scales(call)
        out, first, second = call.out, call["input1"], call["input2"]
        input1 = requantize_elementwise(input1, first.scale, first.zero_point, out.scale, out.zero_point)
        input2 = requantize_elementwise(input2, second.scale, second.zero_point, out.scale, out.zero_point)
    return np.where(condition, input1, input2)


_SELECT_SLOTS = ("condition", "input1", "input2")


def select_type(call: Call) -> Result:
    """The shape all three operands share, as far as any of them tells it."""
    shape: Shape | None = None
    for name in _SELECT_SLOTS:
        held = call[name].shape
        if held is None or not same_dims(shape, held):
            continue
        shape = held if shape is None else tuple(map(agreed, shape, held))
    return (free_type(call, shape),)


def _shapes_differ(call: Call) -> str | None:
    for left, right in (("condition", "input1"), ("input1", "input2"), ("condition", "input2")):
        if not same_dims(call[left].shape, call[right].shape):
            return (
                f"{left} {shape_text(call[left].shape)} and {right} {shape_text(call[right].shape)} "
                "have different shapes"
            )
    return None


_SELECT = OpSpec(
    kind="SELECT",
    code=84,
    since=3,
    summary="One of two elements, by a condition of the same shape.",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("condition", fixed(B8)), tensor("input1"), tensor("input2"))),),
    result=select_type,
    kernel=select,
    source="AOSP 13 Select.cpp",
    key="input1",
    constraints=(
        Constraint("C1", "condition, input1 and input2 have the same shape; none broadcasts", _shapes_differ),
        scale_given("C2"),
    ),
    notes=("Android's validator says feature level 3 for every type; the signed type itself needs 4.",),
)

SPECS: tuple[OpSpec, ...] = (*_COMPARISONS, *_LOGIC, _SELECT)
