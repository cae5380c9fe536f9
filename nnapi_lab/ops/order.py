"""Order along an axis: ARGMAX, ARGMIN, TOPK_V2.

Source: AOSP 13 ArgMinMax.cpp, TopK_V2.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Shape, shape_text
from nnapi_lab.ops.axes import axis_seen, position
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, Undefined, fixed, same, scalar, tensor

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

Result = tuple[OperandType, ...]

_TYPES = {F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4}


# --- ARGMAX, ARGMIN ----------------------------------------------------------------------------------------


def index_type(call: Call) -> Result:
    """TENSOR_INT32 without the axis; [1] for rank 1."""
    shape, axis = call["input"].shape, call["axis"]
    return (OperandType(I32, _without(shape, axis) if _axis_seen(call) is None else None),)


def _without(shape: Shape | None, axis: int | None) -> Shape | None:
    if shape is None:
        return None
    if len(shape) == 1:
        return (1,)
    if axis is None:
        return (Dim("?"),) * (len(shape) - 1)
    at = position(axis, len(shape))
    return (*shape[:at], *shape[at + 1 :])


def _axis_seen(call: Call) -> str | None:
    return axis_seen(call["axis"], call["input"].rank)


def argmax(input: np.ndarray, *, axis: int) -> np.ndarray:
    """Index of the first largest element; NaN is chosen only when it comes first."""
    return _first_index(np.argmax, input, axis, -np.inf)


def argmin(input: np.ndarray, *, axis: int) -> np.ndarray:
    """Index of the first smallest element; NaN is chosen only when it comes first."""
    return _first_index(np.argmin, input, axis, np.inf)


def _first_index(choose: Callable[..., np.ndarray], input: np.ndarray, axis: int, worst: float) -> np.ndarray:
    if input.dtype.kind == "f":
        # A comparison with NaN is false: first it stays, later it never wins.
        missing = np.isnan(input)
        stays = np.take(missing, 0, axis=axis)
        chosen = np.where(stays, 0, choose(np.where(missing, worst, input), axis=axis))
    else:
        chosen = choose(input, axis=axis)
    return np.atleast_1d(chosen).astype(np.int32)


def _arg_spec(kind: str, code: int, summary: str, kernel: Callable[..., np.ndarray]) -> OpSpec:
    return OpSpec(
        kind=kind,
        code=code,
        since=3,
        summary=summary,
        types=_TYPES,
        forms=(Form("only", (tensor("input"), scalar("axis")), (Slot("out", fixed(I32)),)),),
        result=index_type,
        kernel=kernel,
        source="AOSP 13 ArgMinMax.cpp",
        constraints=(Constraint("C1", "axis lies in [-rank, rank)", _axis_seen),),
        notes=("Of equal elements the first wins.",),
    )


# --- TOPK_V2 -----------------------------------------------------------------------------------------------


def top_types(call: Call) -> Result:
    """The input's type and TENSOR_INT32, both with the last size replaced by k."""
    input, k = call["input"], call["k"]
    if not input.shape:
        return input.with_shape(None), OperandType(I32, None)
    shape = (*input.shape[:-1], Dim("?") if k is None or k < 0 else k)
    return input.with_shape(shape), OperandType(I32, shape)


def topk(input: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest elements along the last axis, descending, and where they are.

    Of equal elements the larger index comes first. NaN is undefined in the reference and comes first here.
    """
    ascending = np.argsort(input, axis=-1, kind="stable")
    indices = ascending[..., ::-1][..., :k]
    return np.take_along_axis(input, indices, axis=-1), indices.astype(np.int32)


def _k_seen(call: Call) -> str | None:
    k, shape = call["k"], call["input"].shape
    if k is None:
        return None
    if k < 1:
        return f"k={k} is below 1"
    if not shape or isinstance(shape[-1], Dim) or k <= shape[-1]:
        return None
    return f"k={k} is more than the {shape[-1]} elements in the last axis of input {shape_text(shape)}"


def _nan_seen(call: Call, input: np.ndarray) -> str | None:
    count = int(np.count_nonzero(np.isnan(input)))
    return f"{count} of {input.size} elements are NaN" if count else None


def _is_real(call: Call) -> bool:
    return call.key in (F32, F16)


_TOPK = OpSpec(
    kind="TOPK_V2",
    code=90,
    since=3,
    summary="The k largest elements along the last axis, and their indices.",
    types=_TYPES,
    forms=(Form("only", (tensor("input"), scalar("k")), (Slot("values", same), Slot("indices", fixed(I32)))),),
    result=top_types,
    kernel=topk,
    source="AOSP 13 TopK_V2.cpp",
    constraints=(Constraint("C1", "k is at least 1 and at most the last size", _k_seen),),
    undefined=(
        Undefined("U1", "no element is NaN: it has no place in an order", "NaN comes first", _is_real, _nan_seen),
    ),
    notes=("Of equal elements the larger index comes first; torch.topk leaves the order open.",),
)

SPECS: tuple[OpSpec, ...] = (
    _arg_spec("ARGMAX", 39, "Index of the largest element along an axis.", argmax),
    _arg_spec("ARGMIN", 40, "Index of the smallest element along an axis.", argmin),
    _TOPK,
)
