"""Joining and cutting: CONCATENATION, SPLIT, SLICE, STRIDED_SLICE, GATHER.

Only CONCATENATION computes: it brings codes of unlike scales into the result's.
Source: AOSP 13 CpuExecutor.cpp, OperationsExecutionUtils.cpp and the file named for each operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, same_dims, shape_text
from nnapi_lab.numerics.quantize import requantize_concat
from nnapi_lab.ops.axes import Size, agreed, axis_seen, count_seen, entries, position, total, unknown
from nnapi_lab.ops.shape import integers
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, Slot, fixed, same, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
I32 = OperandCode.TENSOR_INT32

Result = tuple[OperandType, ...]


# --- CONCATENATION ------------------------------------------------------------------------------------------


def joined_type(call: Call) -> Result:
    """Sizes add up along `axis`; elsewhere they agree. Codes are brought into the wanted quantization."""
    inputs: Sequence[OperandType] = call["inputs"]
    quant = _joined_quant(call)
    shapes = [held.shape for held in inputs if held.shape is not None]
    axis = call["axis"]
    if not shapes or _joined_axis(call) is not None or _unlike_shapes(call) is not None:
        return (OperandType(call.key, None, quant),)
    rank = len(shapes[0])
    columns = [tuple(shape[at] for shape in shapes) for at in range(rank)]
    if axis is None:
        return (OperandType(call.key, (Dim("?"),) * rank, quant),)
    sizes = [_agreed(column) for column in columns]
    sizes[axis] = total(columns[axis]) if len(shapes) == len(inputs) else Dim("?")
    return (OperandType(call.key, tuple(sizes), quant),)


def _agreed(sizes: Sequence[Size]) -> Size:
    size = sizes[0]
    for other in sizes[1:]:
        size = agreed(size, other)
    return size


def _joined_quant(call: Call) -> Quant | PerChannel | None:
    """The wanted quantization; what all inputs share when none is said."""
    wanted = call.wanted_quant()
    quants = {held.quant for held in call["inputs"]}
    return wanted if wanted is not None or len(quants) != 1 else quants.pop()


def concatenation(inputs: Sequence[np.ndarray], *, axis: int, call: Call) -> np.ndarray:
    """Join along `axis`; codes whose scale or zero point is not the result's are requantized in float32."""
    if not call.is_quantized:
        return np.concatenate(inputs, axis)
    out = call.out
    codes = [
        requantize_concat(array, held.scale, held.zero_point, out.scale, out.zero_point)
        for array, held in zip(inputs, call["inputs"], strict=True)
    ]
    return np.concatenate(codes, axis)


def _joined_axis(call: Call) -> str | None:
    ranks = [held.rank for held in call["inputs"] if held.rank is not None]
    return axis_seen(call["axis"], ranks[0], low=0) if ranks else None


def _unlike_shapes(call: Call) -> str | None:
    """AOSP compares every input with the first; so do we, among those whose rank is known."""
    axis, first = call["axis"], None
    for index, held in enumerate(call["inputs"]):
        if held.shape is None:
            continue
        first = (index, held.shape) if first is None else first
        texts = f"inputs[{first[0]}] {shape_text(first[1])} and inputs[{index}] {shape_text(held.shape)}"
        if len(held.shape) != len(first[1]):
            return f"{texts} have different ranks"
        for at, (left, right) in enumerate(zip(first[1], held.shape, strict=True)):
            if axis is not None and at != axis and not same_dims((left,), (right,)):
                return f"{texts} differ outside axis {axis}"
    return None


def _scale_missing(call: Call) -> str | None:
    if not call.is_quantized or _joined_quant(call) is not None:
        return None
    return "the inputs have different scales or zero points and the result's is not given"


def _scales_differ(call: Call) -> bool:
    quant = _joined_quant(call)
    return call.key == Q8 and any(held.quant != quant for held in call["inputs"])


_CONCATENATION = OpSpec(
    kind="CONCATENATION",
    code=2,
    since=1,
    summary="Join tensors along an axis.",
    types={F32: 1, F16: 3, Q8: 1, Q8S: 4},
    forms=(Form("only", (tensor("inputs", rank=(1, 4), variadic=True), scalar("axis"))),),
    result=joined_type,
    kernel=concatenation,
    source="AOSP 13 Concatenation.cpp",
    constraints=(
        Constraint("C1", "axis lies in [0, rank); negative axes are refused", _joined_axis),
        Constraint("C2", "the inputs have one rank and agree in every size outside the axis", _unlike_shapes),
        Constraint("C3", "inputs of unlike scales need the result's scale to be given", _scale_missing),
    ),
    levels=(LevelRule(3, "CONCATENATION of codes whose scale or zero point is not the result's", _scales_differ),),
    zero_sized=3,
    half="native",
)


# --- SPLIT --------------------------------------------------------------------------------------------------


def split_types(call: Call) -> Result:
    """`num_splits` equal parts; as many as are declared while the number is not known."""
    input: OperandType = call["input"]
    axis, number = call["axis"], call["num_splits"]
    if number is None or number < 1 or _split_remainder(call) is not None:
        return (input.with_shape(None),) * max(1, len(call.declared))
    if input.shape is None or axis is None or _split_axis(call) is not None:
        return (input.with_shape(None),) * int(number)
    at = position(axis, len(input.shape))
    size = input.shape[at]
    part = unknown(size) if isinstance(size, Dim) else size // number
    return (input.with_shape((*input.shape[:at], part, *input.shape[at + 1 :])),) * int(number)


def split(input: np.ndarray, *, axis: int, num_splits: int) -> tuple[np.ndarray, ...]:
    """Equal parts along `axis`, in order."""
    return tuple(np.ascontiguousarray(part) for part in np.split(input, num_splits, axis))


def _split_axis(call: Call) -> str | None:
    return axis_seen(call["axis"], call["input"].rank)


def _split_number(call: Call) -> str | None:
    number = call["num_splits"]
    return None if number is None or number >= 1 else f"num_splits={number} is below 1"


def _split_remainder(call: Call) -> str | None:
    shape, axis, number = call["input"].shape, call["axis"], call["num_splits"]
    if shape is None or axis is None or number is None or number < 1 or _split_axis(call) is not None:
        return None
    size = shape[position(axis, len(shape))]
    if isinstance(size, Dim) or size % number == 0:
        return None
    return f"axis {axis} of input {shape_text(shape)} has size {size}, not a multiple of num_splits={number}"


_SPLIT = OpSpec(
    kind="SPLIT",
    code=87,
    since=3,
    summary="Equal parts along an axis.",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
    forms=(
        Form(
            "only",
            (tensor("input"), scalar("axis"), scalar("num_splits")),
            (Slot("outputs", same, variadic=True),),
        ),
    ),
    result=split_types,
    kernel=split,
    source="AOSP 13 OperationsExecutionUtils.cpp (splitPrepare)",
    constraints=(
        Constraint("C1", "axis lies in [-rank, rank)", _split_axis),
        Constraint("C2", "num_splits is at least 1", _split_number),
        Constraint("C3", "the parts are equal (SLICE takes unequal ones)", _split_remainder),
    ),
    half="native",
)


# --- SLICE --------------------------------------------------------------------------------------------------


def sliced_type(call: Call) -> Result:
    """The sizes in `size`; -1 means up to the end."""
    input = call["input"]
    begin, size = entries(call, "begin"), entries(call, "size")
    if input.shape is None or _slice_counts(call) is not None:
        return (input.with_shape(None),)
    rank = len(input.shape)
    sizes = size or (None,) * rank
    begins = begin or (None,) * rank
    return (input.with_shape(tuple(_sliced(*one) for one in zip(input.shape, begins, sizes, strict=True))),)


def _sliced(whole: Size, begin: int | None, size: int | None) -> Size:
    if size is not None and size >= 0:
        return size
    if size is None or begin is None or isinstance(whole, Dim):
        return unknown(whole)
    return max(0, whole - begin)


def slice_(input: np.ndarray, begin: np.ndarray, size: np.ndarray) -> np.ndarray:
    """size[i] elements from begin[i] on along axis i; -1 means up to the end."""
    stops = (whole if n == -1 else b + n for whole, b, n in zip(input.shape, begin, size, strict=True))
    return np.ascontiguousarray(input[tuple(slice(b, stop) for b, stop in zip(begin, stops, strict=True))])


def _slice_counts(call: Call) -> str | None:
    return count_seen(call, "begin") or count_seen(call, "size")


def _slice_outside(call: Call) -> str | None:
    shape, begin, size = call["input"].shape, entries(call, "begin"), entries(call, "size")
    if shape is None or begin is None or size is None or _slice_counts(call) is not None:
        return None
    for axis, (whole, first, count) in enumerate(zip(shape, begin, size, strict=True)):
        if first < 0 or count < -1:
            return f"axis {axis}: begin={first}, size={count}; begin starts at 0, size at -1"
        if not isinstance(whole, Dim) and first + max(count, 0) > whole:
            return f"axis {axis}: begin={first}, size={count} leaves the {whole} elements of the input"
    return None


_SLICE = OpSpec(
    kind="SLICE",
    code=86,
    since=3,
    summary="A box of a tensor.",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("input"), integers("begin"), integers("size"))),),
    result=sliced_type,
    kernel=slice_,
    source="AOSP 13 Slice.cpp",
    constraints=(
        Constraint("C1", "begin and size have one entry per axis", _slice_counts),
        Constraint("C2", "the box lies inside the input", _slice_outside),
    ),
    zero_sized=3,
    half="native",
)


# --- STRIDED_SLICE ------------------------------------------------------------------------------------------


def strided_type(call: Call) -> Result:
    """ceil((end - begin) / stride) elements per axis, at least 0; shrunk axes go; never rank 0."""
    input, shrink = call["input"], call["shrink_axis_mask"]
    if input.shape is None or shrink is None or _strided_counts(call) is not None:
        return (input.with_shape(None),)
    kept = [axis for axis in range(len(input.shape)) if not shrink >> axis & 1]
    sizes = tuple(_strided_size(call, axis) for axis in kept)
    return (input.with_shape(sizes or (1,)),)


def _strided_size(call: Call, axis: int) -> Size:
    whole = call["input"].shape[axis]
    bounds = None if isinstance(whole, Dim) else _bounds(call, axis, whole)
    return unknown(whole) if bounds is None else len(range(*bounds))


def _bounds(call: Call, axis: int, whole: int) -> tuple[int, int, int] | None:
    """(begin, end, stride) along an axis as `range` takes them; None while unknown or with stride 0."""
    held = [entries(call, name) for name in ("begin", "end", "strides")]
    masks = [call["begin_mask"], call["end_mask"]]
    if any(one is None for one in (*held, *masks)) or held[2][axis] == 0:  # type: ignore[index]
        return None
    begin, end, stride = (one[axis] for one in held)  # type: ignore[index]
    return strided_bounds(whole, begin, end, stride, masks[0] >> axis & 1, masks[1] >> axis & 1)


def strided_bounds(
    whole: int, begin: int, end: int, stride: int, begin_masked: int, end_masked: int
) -> tuple[int, int, int]:
    """Begin, end and stride with masks applied, negative indices counted from the end, and clamped.

    Indices clamp to [0, whole] for a positive stride and to [-1, whole - 1] for a negative one.
    """
    first, last = (0, whole) if stride > 0 else (whole - 1, -1)
    low, high = min(first, last), max(first, last)

    def clamped(index: int) -> int:
        return min(max(index + whole if index < 0 else index, low), high)

    return first if begin_masked else clamped(begin), last if end_masked else clamped(end), stride


def strided_slice(
    input: np.ndarray, begin: np.ndarray, end: np.ndarray, strides: np.ndarray, *,
    begin_mask: int, end_mask: int, shrink_axis_mask: int,
) -> np.ndarray:  # fmt: skip
    """Every strides[i]-th element from begin[i] up to, without, end[i] along axis i.

    A set bit i of a mask: ignore begin[i] (end[i]), or drop axis i, whose slice has one element.
    """
    spans = []
    for axis, whole in enumerate(input.shape):
        masked = (begin_mask >> axis & 1, end_mask >> axis & 1)
        spans.append(np.arange(*strided_bounds(whole, begin[axis], end[axis], strides[axis], *masked)))
    picked = input[np.ix_(*spans)]
    kept = tuple(size for axis, size in enumerate(picked.shape) if not shrink_axis_mask >> axis & 1)
    return np.ascontiguousarray(picked.reshape(kept or (1,)))


def _strided_counts(call: Call) -> str | None:
    return count_seen(call, "begin") or count_seen(call, "end") or count_seen(call, "strides")


def _stride_zero(call: Call) -> str | None:
    strides = entries(call, "strides")
    return None if strides is None or 0 not in strides else f"strides {list(strides)} holds 0"


def _shrunk_not_one(call: Call) -> str | None:
    shape, strides, shrink = call["input"].shape, entries(call, "strides"), call["shrink_axis_mask"]
    if shape is None or strides is None or shrink is None or _strided_counts(call) is not None:
        return None
    for axis, (whole, stride) in enumerate(zip(shape, strides, strict=True)):
        if not shrink >> axis & 1 or stride == 0:
            continue
        if stride < 0:
            return f"axis {axis} is shrunk with stride {stride}"
        size = _strided_size(call, axis)
        if not isinstance(size, Dim) and size != 1:
            return f"axis {axis} of size {whole} is shrunk and its slice has {size} elements"
    return None


_STRIDED_SLICE = OpSpec(
    kind="STRIDED_SLICE",
    code=35,
    since=2,
    summary="A box of a tensor with steps, backwards if wanted.",
    types={F32: 2, F16: 3, Q8: 2, Q8S: 4},
    forms=(
        Form(
            "only",
            (
                tensor("input", rank=(1, 4)),
                integers("begin"),
                integers("end"),
                integers("strides"),
                scalar("begin_mask"),
                scalar("end_mask"),
                scalar("shrink_axis_mask"),
            ),
        ),
    ),
    result=strided_type,
    kernel=strided_slice,
    source="AOSP 13 StridedSlice.cpp",
    constraints=(
        Constraint("C1", "begin, end and strides have one entry per axis", _strided_counts),
        Constraint("C2", "strides are not 0", _stride_zero),
        Constraint("C3", "a shrunk axis has a positive stride and a slice of one element", _shrunk_not_one),
    ),
    half="native",
    notes=("x[-1] is begin -1 with the end masked: an end of 0 leaves no element, and the kernel refuses it.",),
)


# --- GATHER -------------------------------------------------------------------------------------------------


def gathered_type(call: Call) -> Result:
    """The input's shape with axis `axis` replaced by the shape of `indices`."""
    input, indices, axis = call["input"], call["indices"], call["axis"]
    if input.shape is None or indices.shape is None or _gather_axis(call) is not None:
        return (input.with_shape(None),)
    if axis is None:
        return (input.with_shape((Dim("?"),) * (len(input.shape) + len(indices.shape) - 1)),)
    at = position(axis, len(input.shape))
    return (input.with_shape((*input.shape[:at], *indices.shape, *input.shape[at + 1 :])),)


def gather(input: np.ndarray, indices: np.ndarray, *, axis: int) -> np.ndarray:
    """The slices that `indices` names along `axis`: torch.index_select with indices of any rank.

    Raises SimulationError for an index outside the axis; negative ones are outside.
    """
    seen = _index_outside(indices, input.shape[axis])
    if seen is not None:
        raise SimulationError(f"GATHER: {seen}")
    return np.take(input, indices, axis)


def _index_outside(indices: np.ndarray, size: int) -> str | None:
    wrong = indices[(indices < 0) | (indices >= size)]
    return f"index {wrong.flat[0]} is not in [0, {size - 1}]" if wrong.size else None


def _gather_axis(call: Call) -> str | None:
    return axis_seen(call["axis"], call["input"].rank)


def _gather_outside(call: Call) -> str | None:
    shape, indices, axis = call["input"].shape, call.value("indices"), call["axis"]
    if shape is None or indices is None or axis is None or _gather_axis(call) is not None:
        return None
    size = shape[position(axis, len(shape))]
    return None if isinstance(size, Dim) else _index_outside(np.asarray(indices), size)


_GATHER = OpSpec(
    kind="GATHER",
    code=51,
    since=3,
    summary="Pick slices along an axis by index (torch.index_select, not torch.gather).",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("input"), scalar("axis"), tensor("indices", fixed(I32)))),),
    result=gathered_type,
    kernel=gather,
    source="AOSP 13 Gather.cpp",
    constraints=(
        Constraint("C1", "axis lies in [-rank, rank)", _gather_axis),
        Constraint("C2", "indices lie inside the axis; negative ones are refused", _gather_outside),
    ),
    half="native",
)

SPECS: tuple[OpSpec, ...] = (_CONCATENATION, _SPLIT, _SLICE, _STRIDED_SLICE, _GATHER)
