"""Reductions over a list of axes: MEAN, REDUCE_SUM, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, REDUCE_ALL, REDUCE_ANY.

Axes may be negative and may repeat. Elements are taken one after the other in row-major order, and a partial
result is rounded after each: in float16 a long sum stalls. ARGMAX, ARGMIN and TOPK_V2 live in order.py.
Source: AOSP 13 Reduce.cpp, SimpleMath.cpp and the generic reduction of the TFLite kernels they call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Shape
from nnapi_lab.numerics.averages import mean_codes
from nnapi_lab.ops.axes import axis_seen, entries, position
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, scalar, tensor

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
B8 = OperandCode.TENSOR_BOOL8

Result = tuple[OperandType, ...]


# --- shapes ------------------------------------------------------------------------------------------------


def reduced_shape(shape: Shape, axes: Iterable[int], keep_dims: bool) -> Shape:
    """`shape` with the axes kept as 1 or dropped; [1] when nothing is left."""
    gone = {position(axis, len(shape)) for axis in axes}
    if keep_dims:
        return tuple(1 if axis in gone else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in gone) or (1,)


def reduced_type(call: Call) -> Result:
    """The input's type and quantization over what the axes leave."""
    input, axes, keep_dims = call["input"], entries(call, "axes"), call["keep_dims"]
    if input.shape is None or keep_dims is None or _axes_seen(call) is not None:
        return (input.with_shape(None),)
    if axes is not None:
        return (input.with_shape(reduced_shape(input.shape, axes, keep_dims > 0)),)
    if keep_dims > 0:
        return (input.with_shape(tuple(1 if size == 1 else Dim("?") for size in input.shape)),)
    return (input.with_shape(None),)


def _axes_seen(call: Call) -> str | None:
    rank = call["input"].rank
    seen = (axis_seen(axis, rank, name="an axis in axes") for axis in entries(call, "axes") or ())
    return next((text for text in seen if text is not None), None)


def elements_to_reduce(input: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """[n, *kept]: the n elements that meet in each place, in row-major order."""
    gone = sorted({position(int(axis), input.ndim) for axis in axes})
    front = np.moveaxis(input, gone, range(len(gone)))
    return front.reshape(-1, *front.shape[len(gone) :])


def _finish(reduced: np.ndarray, input: np.ndarray, axes: np.ndarray, keep_dims: int) -> np.ndarray:
    shape = reduced_shape(input.shape, (int(axis) for axis in axes), keep_dims > 0)
    return np.asarray(reduced).reshape(shape)  # type: ignore[arg-type]


def _sum_in_order(elements: np.ndarray) -> np.ndarray:
    """Sum over axis 0, rounded after every addition."""
    total: np.ndarray = np.add.accumulate(elements, axis=0)[-1]
    return total


# --- MEAN --------------------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def mean(input: np.ndarray, axes: np.ndarray, *, keep_dims: int) -> np.ndarray:
    """Sum / count; codes: the int32 sum of raw codes divided with truncation, whatever the zero point."""
    elements = elements_to_reduce(input, axes)
    if input.dtype == np.float32:
        reduced = _sum_in_order(elements) / np.float32(len(elements))
    else:
        reduced = mean_codes(np.sum(elements, axis=0, dtype=np.int64), len(elements), input.dtype)
    return _finish(reduced, input, axes, keep_dims)


# --- REDUCE_* ----------------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def reduce_sum(input: np.ndarray, axes: np.ndarray, *, keep_dims: bool) -> np.ndarray:
    """Sum in the input's own precision."""
    return _finish(_sum_in_order(elements_to_reduce(input, axes)), input, axes, keep_dims)


@np.errstate(all="ignore")
def reduce_prod(input: np.ndarray, axes: np.ndarray, *, keep_dims: bool) -> np.ndarray:
    """Product in the input's own precision; once a factor or partial product is 0, the result is 0.

    So 0 times infinity or NaN is 0 here.
    """
    factors = elements_to_reduce(input, axes)
    products = np.multiply.accumulate(factors, axis=0)
    vanishes = np.any(factors == 0, axis=0) | np.any(products == 0, axis=0)
    return _finish(np.where(vanishes, input.dtype.type(0), products[-1]), input, axes, keep_dims)


def reduce_max(input: np.ndarray, axes: np.ndarray, *, keep_dims: bool) -> np.ndarray:
    """The largest element, starting at the lowest finite number: NaN and -infinity do not show."""
    largest = np.fmax.reduce(elements_to_reduce(input, axes), axis=0, initial=_limits(input).min)
    return _finish(largest, input, axes, keep_dims)


def reduce_min(input: np.ndarray, axes: np.ndarray, *, keep_dims: bool) -> np.ndarray:
    """The smallest element, starting at the largest finite number: NaN and infinity do not show."""
    smallest = np.fmin.reduce(elements_to_reduce(input, axes), axis=0, initial=_limits(input).max)
    return _finish(smallest, input, axes, keep_dims)


def _limits(input: np.ndarray) -> np.finfo | np.iinfo:
    return np.finfo(input.dtype) if input.dtype.kind == "f" else np.iinfo(input.dtype)


def reduce_all(input: np.ndarray, axes: np.ndarray, *, keep_dims: bool) -> np.ndarray:
    """True where all elements are."""
    return _finish(np.all(elements_to_reduce(input, axes), axis=0), input, axes, keep_dims)


def reduce_any(input: np.ndarray, axes: np.ndarray, *, keep_dims: bool) -> np.ndarray:
    """True where any element is."""
    return _finish(np.any(elements_to_reduce(input, axes), axis=0), input, axes, keep_dims)


# --- declarations ------------------------------------------------------------------------------------------


def _reduction(
    kind: str,
    code: int,
    summary: str,
    kernel: Callable[..., np.ndarray],
    types: Mapping[OperandCode, int],
    *notes: str,
    keep_dims: Slot | None = None,
    source: str = "AOSP 13 Reduce.cpp",
    half: str = "native",
) -> OpSpec:
    keep = keep_dims or scalar("keep_dims", OperandCode.BOOL)
    return OpSpec(
        kind=kind,
        code=code,
        since=min(types.values()),
        summary=summary,
        types=types,
        forms=(Form("only", (tensor("input", rank=(1, 4)), tensor("axes", fixed(I32), rank=1), keep)),),
        result=reduced_type,
        kernel=kernel,
        source=source,
        constraints=(Constraint("C1", "axes lie in [-rank, rank)", _axes_seen),),
        half=half,
        notes=("When every axis goes and none is kept, the result has shape [1].", *notes),
    )


SPECS: tuple[OpSpec, ...] = (
    _reduction(
        "MEAN",
        31,
        "Arithmetic mean over axes.",
        mean,
        {F32: 2, F16: 3, Q8: 2, Q8S: 4},
        "Codes are averaged with truncation, about half a step too low on average; AVERAGE_POOL_2D rounds.",
        "keep_dims is an INT32 here and a BOOL in REDUCE_*.",
        keep_dims=scalar("keep_dims", doc="above 0 keeps reduced axes as 1"),
        source="AOSP 13 SimpleMath.cpp",
        half="float32",
    ),
    _reduction("REDUCE_ALL", 75, "True where all elements over axes are.", reduce_all, {B8: 3}),
    _reduction("REDUCE_ANY", 76, "True where any element over axes is.", reduce_any, {B8: 3}),
    _reduction(
        "REDUCE_MAX",
        77,
        "The largest element over axes.",
        reduce_max,
        {F32: 3, F16: 3, Q8: 3, Q8S: 4},
        "NaN is passed over, where torch.amax returns it.",
    ),
    _reduction(
        "REDUCE_MIN",
        78,
        "The smallest element over axes.",
        reduce_min,
        {F32: 3, F16: 3, Q8: 3, Q8S: 4},
        "NaN is passed over, where torch.amin returns it.",
    ),
    _reduction(
        "REDUCE_PROD",
        79,
        "Product over axes.",
        reduce_prod,
        {F32: 3, F16: 3},
        "A factor of 0 makes the product 0, even beside infinity and NaN.",
    ),
    _reduction("REDUCE_SUM", 80, "Sum over axes.", reduce_sum, {F32: 3, F16: 3}),
)
