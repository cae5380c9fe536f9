"""Shapes: RESHAPE, SQUEEZE, EXPAND_DIMS, TRANSPOSE, TILE, REVERSE, PACK, FILL, RANK.

None of them computes: elements are copied, codes keep their scale and zero point.
Source: AOSP 13 CpuExecutor.cpp, OperationsExecutionUtils.cpp and the file named for each operation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Shape, same_dims, shape_text
from nnapi_lab.ops.axes import (
    axis_seen,
    count_seen,
    element_count,
    entries,
    entry_count,
    position,
    times,
    unknown,
)
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
I32 = OperandCode.TENSOR_INT32

Result = tuple[OperandType, ...]


def integers(name: str, **options: object) -> Slot:
    """A TENSOR_INT32 slot of rank 1: a shape, a permutation, a list of axes."""
    return tensor(name, fixed(I32), **{"rank": 1, **options})


# --- RESHAPE ------------------------------------------------------------------------------------------------


def reshaped_type(call: Call) -> Result:
    """The sizes in `shape`; a -1 becomes what the element count leaves."""
    input, sizes = call["input"], entries(call, "shape")
    if sizes is None:
        count = entry_count(call["shape"])
        return (input.with_shape(None if count is None else (Dim("?"),) * count),)
    if _bad_sizes(call) is not None:
        return (input.with_shape(None),)
    total = None if input.shape is None else element_count(input.shape)
    rest = element_count(tuple(size for size in sizes if size != -1))
    stretch = unknown(*(input.shape or ())) if total is None or not rest else total // rest
    return (input.with_shape(tuple(stretch if size == -1 else size for size in sizes)),)


def reshape(input: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The same elements in row-major order under another shape."""
    return input.reshape(tuple(int(size) for size in shape))


def _bad_sizes(call: Call) -> str | None:
    sizes = entries(call, "shape")
    if sizes is None:
        return None
    if sizes.count(-1) > 1:
        return f"shape {list(sizes)} holds -1 more than once"
    negative = [size for size in sizes if size < -1]
    return f"shape {list(sizes)} holds {negative[0]}" if negative else None


def _count_differs(call: Call) -> str | None:
    sizes, shape = entries(call, "shape"), call["input"].shape
    total = None if shape is None else element_count(shape)
    if sizes is None or total is None or _bad_sizes(call) is not None:
        return None
    rest = element_count(tuple(size for size in sizes if size != -1)) or 0
    fits = total == rest if -1 not in sizes else rest > 0 and total % rest == 0
    return None if fits else f"input {shape_text(shape)} has {total} elements, shape asks for {list(sizes)}"


_RESHAPE = OpSpec(
    kind="RESHAPE",
    code=22,
    since=1,
    summary="The same elements under another shape.",
    types={F32: 1, F16: 3, Q8: 1, Q8S: 4, I32: 6},
    forms=(Form("only", (tensor("input", rank=(1, 4)), integers("shape"))),),
    result=reshaped_type,
    kernel=reshape,
    source="AOSP 13 OperationsExecutionUtils.cpp (reshapePrepare)",
    constraints=(
        Constraint("C1", "shape holds sizes and at most one -1, which is worked out", _bad_sizes),
        Constraint("C2", "input and result have the same number of elements", _count_differs),
    ),
    half="native",
    notes=("Only the input's rank is limited to 4; the reference accepts a longer shape.",),
)


# --- SQUEEZE ------------------------------------------------------------------------------------------------


def squeezed_type(call: Call) -> Result:
    """The input's shape without the listed axes; without every size 1 when `dims` is omitted."""
    input = call["input"]
    axes = None if input.shape is None else _squeezed_axes(call, input.shape)
    if input.shape is None or axes is None or _squeezed_outside(call) or _not_squeezable(call):
        return (input.with_shape(None),)
    kept = tuple(size for axis, size in enumerate(input.shape) if axis not in axes)
    return (input.with_shape(kept or (1,)),)


def _squeezed_axes(call: Call, shape: Shape) -> set[int] | None:
    if call["dims"] is None:
        if any(isinstance(size, Dim) for size in shape):
            return None  # it may turn out to be 1
        return {axis for axis, size in enumerate(shape) if size == 1}
    axes = entries(call, "dims")
    return None if axes is None else {position(axis, len(shape)) for axis in axes}


def squeeze(input: np.ndarray, dims: np.ndarray | None) -> np.ndarray:
    """Drop axes of size 1: the listed ones, or all of them."""
    squeezed = np.squeeze(input, None if dims is None else tuple({int(axis) % input.ndim for axis in dims}))
    return squeezed.reshape(1) if squeezed.ndim == 0 else squeezed


def _squeezed_outside(call: Call) -> str | None:
    axes, rank = entries(call, "dims"), call["input"].rank
    seen = (axis_seen(axis, rank, name="an axis in dims") for axis in axes or ())
    return next((text for text in seen if text is not None), None)


def _not_squeezable(call: Call) -> str | None:
    axes, shape = entries(call, "dims"), call["input"].shape
    if axes is None or shape is None or _squeezed_outside(call) is not None:
        return None
    for axis in axes:
        size = shape[position(axis, len(shape))]
        if not isinstance(size, Dim) and size != 1:
            return f"axis {axis} of input {shape_text(shape)} has size {size}, not 1"
    return None


_SQUEEZE = OpSpec(
    kind="SQUEEZE",
    code=34,
    since=2,
    summary="Drop axes of size 1.",
    types={F32: 2, F16: 3, Q8: 2, Q8S: 4},
    forms=(Form("only", (tensor("input", rank=(1, 4)), integers("dims", optional=True))),),
    result=squeezed_type,
    kernel=squeeze,
    source="AOSP 13 Squeeze.cpp",
    constraints=(
        Constraint("C1", "axes lie in [-rank, rank)", _squeezed_outside),
        Constraint(
            "C2",
            "only axes of size 1 can go (torch.squeeze keeps the others; RESHAPE says that here)",
            _not_squeezable,
        ),
    ),
    half="native",
    notes=(
        "The documentation counts axes from 0; the kernel takes negative ones too, and so do we.",
        "When every axis goes, the result has shape [1]: NNAPI has no tensors of rank 0.",
    ),
)


# --- EXPAND_DIMS --------------------------------------------------------------------------------------------


def expanded_type(call: Call) -> Result:
    """The input's shape with a 1 put in at `axis`."""
    input, axis = call["input"], call["axis"]
    if input.shape is None or _axis_outside_result(call) is not None:
        return (input.with_shape(None),)
    if axis is None:
        return (input.with_shape((Dim("?"),) * (len(input.shape) + 1)),)
    at = position(axis, len(input.shape) + 1)
    return (input.with_shape((*input.shape[:at], 1, *input.shape[at:])),)


def expand_dims(input: np.ndarray, *, axis: int) -> np.ndarray:
    """Put in an axis of size 1 before axis `axis`; negative counts from the result's end."""
    return np.expand_dims(input, axis)


def _axis_outside_result(call: Call) -> str | None:
    rank = call["input"].rank
    return None if rank is None else axis_seen(call["axis"], rank + 1)


_EXPAND_DIMS = OpSpec(
    kind="EXPAND_DIMS",
    code=50,
    since=3,
    summary="Put in an axis of size 1.",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("input"), scalar("axis"))),),
    result=expanded_type,
    kernel=expand_dims,
    source="AOSP 13 ExpandDims.cpp",
    constraints=(Constraint("C1", "axis lies in [-(rank + 1), rank]", _axis_outside_result),),
    half="native",
)


# --- TRANSPOSE ----------------------------------------------------------------------------------------------


def transposed_type(call: Call) -> Result:
    """Axis i of the result is axis perm[i] of the input; without `perm` the two axes of a matrix swap."""
    input = call["input"]
    if input.shape is None or _not_a_permutation(call) is not None:
        return (input.with_shape(None),)
    if call["perm"] is None:
        return (input.with_shape(input.shape[::-1]),)
    perm = entries(call, "perm")
    if perm is None or len(perm) != len(input.shape):
        return (input.with_shape((Dim("?"),) * len(input.shape)),)
    return (input.with_shape(tuple(input.shape[axis] for axis in perm)),)


def transpose(input: np.ndarray, perm: np.ndarray | None) -> np.ndarray:
    """Move axis perm[i] to place i."""
    return np.ascontiguousarray(np.transpose(input, None if perm is None else tuple(perm)))


def _perm_length(call: Call) -> str | None:
    if call["perm"] is None:
        rank = call["input"].rank
        return None if rank in (None, 2) else f"perm is omitted and input has rank {rank}, not 2"
    return count_seen(call, "perm")


def _not_a_permutation(call: Call) -> str | None:
    perm = entries(call, "perm")
    if perm is None or sorted(perm) == list(range(len(perm))):
        return None
    return f"perm {list(perm)} does not name each of the axes 0…{len(perm) - 1} once"


_TRANSPOSE = OpSpec(
    kind="TRANSPOSE",
    code=37,
    since=2,
    summary="Put the axes in another order.",
    types={F32: 2, F16: 3, Q8: 2, Q8S: 4},
    forms=(Form("only", (tensor("input", rank=(1, 4)), integers("perm", optional=True))),),
    result=transposed_type,
    kernel=transpose,
    source="AOSP 13 Transpose.cpp",
    constraints=(
        Constraint("C1", "perm has one entry per axis; it may be omitted for rank 2 only", _perm_length),
        Constraint("C2", "perm names every axis once, counted from 0", _not_a_permutation),
    ),
    zero_sized=3,
    half="native",
    notes=(
        "The documentation reverses the axes of any rank when perm is omitted; the kernel takes rank 2 only.",
        "The kernel does not look for axes named twice, whose result would be undefined; we refuse them.",
    ),
)


# --- TILE, REVERSE ------------------------------------------------------------------------------------------


def tiled_type(call: Call) -> Result:
    """Each size times its multiple."""
    input, multiples = call["input"], entries(call, "multiples")
    if input.shape is None:
        count = entry_count(call["multiples"])
        return (input.with_shape(None if count is None else (Dim("?"),) * count),)
    if multiples is None or len(multiples) != len(input.shape) or min(multiples) < 0:
        return (input.with_shape((Dim("?"),) * len(input.shape)),)
    return (input.with_shape(tuple(times(size, n) for size, n in zip(input.shape, multiples, strict=True))),)


def tile(input: np.ndarray, multiples: np.ndarray) -> np.ndarray:
    """Repeat the whole tensor multiples[i] times along axis i."""
    return np.tile(input, tuple(multiples))


def _negative(slot: str, call: Call) -> str | None:
    held = entries(call, slot)
    return None if held is None or min(held, default=0) >= 0 else f"{slot} {list(held)} holds {min(held)}"


_TILE = OpSpec(
    kind="TILE",
    code=89,
    since=3,
    summary="Repeat a tensor along its axes.",
    types={F32: 3, F16: 3, I32: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("input"), integers("multiples"))),),
    result=tiled_type,
    kernel=tile,
    source="AOSP 13 Tile.cpp",
    constraints=(
        Constraint("C1", "multiples has one entry per axis", lambda call: count_seen(call, "multiples")),
        Constraint("C2", "multiples are not negative", lambda call: _negative("multiples", call)),
    ),
    half="native",
)


def input_type(call: Call) -> Result:
    return (call["input"],)


def reverse(input: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Turn the order of the elements along one axis round."""
    return np.ascontiguousarray(np.flip(input, int(np.ravel(axis)[0])))


def _one_axis(call: Call) -> str | None:
    count = entry_count(call["axis"])
    return None if count in (None, 1) else f"axis has {count} entries, not one"


def _reversed_axis(call: Call) -> str | None:
    axes = entries(call, "axis")
    return None if axes is None or len(axes) != 1 else axis_seen(axes[0], call["input"].rank, low=0)


_REVERSE = OpSpec(
    kind="REVERSE",
    code=105,
    since=7,
    summary="Turn one axis round.",
    types={F32: 7, F16: 7, Q8: 7, Q8S: 7, I32: 7},
    forms=(Form("only", (tensor("input", rank=(1, 8)), integers("axis"))),),
    result=input_type,
    kernel=reverse,
    source="AOSP 13 Reverse.cpp",
    constraints=(
        Constraint("C1", "axis holds one entry", _one_axis),
        Constraint("C2", "axis lies in [0, rank); negative axes are refused", _reversed_axis),
    ),
    half="native",
)


# --- PACK ---------------------------------------------------------------------------------------------------


def packed_type(call: Call) -> Result:
    """The inputs' shape with their number put in at `axis`."""
    inputs: Sequence[OperandType] = call["inputs"]
    first, axis = inputs[0], call["axis"]
    if first.shape is None or _pack_axis(call) is not None:
        return (first.with_shape(None),)
    if axis is None:
        return (first.with_shape((Dim("?"),) * (len(first.shape) + 1)),)
    return (first.with_shape((*first.shape[:axis], len(inputs), *first.shape[axis:])),)


def pack(inputs: Sequence[np.ndarray], *, axis: int) -> np.ndarray:
    """Stack equal shapes along a new axis."""
    return np.stack(inputs, axis)


def _pack_axis(call: Call) -> str | None:
    rank = call["inputs"][0].rank
    return None if rank is None else axis_seen(call["axis"], rank + 1, low=0)


def _unlike_first(call: Call) -> str | None:
    first, *others = call["inputs"]
    for index, other in enumerate(others, 1):
        if not same_dims(first.shape, other.shape):
            return f"inputs[0] is {shape_text(first.shape)}, inputs[{index}] is {shape_text(other.shape)}"
    return None


def _unlike_quant(call: Call) -> str | None:
    first, *others = call["inputs"]
    for index, other in enumerate(others, 1):
        if other.quant != first.quant:
            return f"inputs[0] has {first.quant}, inputs[{index}] has {other.quant}"
    return None


_PACK = OpSpec(
    kind="PACK",
    code=103,
    since=6,
    summary="Stack tensors along a new axis.",
    types={F32: 6, F16: 6, Q8: 6, Q8S: 6, I32: 6},
    forms=(Form("only", (scalar("axis"), tensor("inputs", variadic=True))),),
    result=packed_type,
    kernel=pack,
    source="AOSP 13 Pack.cpp",
    constraints=(
        Constraint("C1", "axis lies in [0, rank of the inputs]; negative axes are refused", _pack_axis),
        Constraint("C2", "all inputs have one shape", _unlike_first),
        Constraint("C3", "all inputs and the result have one scale and one zero point", _unlike_quant),
    ),
    half="native",
)


# --- FILL, RANK ---------------------------------------------------------------------------------------------

_SCALAR_OF = {F32: OperandCode.FLOAT32, F16: OperandCode.FLOAT16, I32: OperandCode.INT32}


def scalar_of(key: OperandCode) -> tuple[OperandCode, ...]:
    """The scalar twin of a tensor type."""
    return (_SCALAR_OF[key],)


def filled_type(call: Call) -> Result:
    """The sizes in `dims`, of the value's type."""
    sizes, count = entries(call, "dims"), entry_count(call["dims"])
    if sizes is None or min(sizes, default=0) < 0:
        return (OperandType(call.key, None if count is None else (Dim("?"),) * count),)
    return (OperandType(call.key, sizes),)


def fill(dims: np.ndarray, *, value: float, call: Call) -> np.ndarray:
    """One value everywhere; the value's own type is the result's."""
    return np.full(tuple(dims), value, call.key.numpy)


_FILL = OpSpec(
    kind="FILL",
    code=100,
    since=4,
    summary="A tensor of one value.",
    types={F32: 4, F16: 4, I32: 4},
    forms=(Form("only", (integers("dims"), Slot("value", scalar_of, scalar=True))),),
    result=filled_type,
    kernel=fill,
    source="AOSP 13 Fill.cpp",
    key="value",
    constraints=(Constraint("C1", "sizes are not negative", lambda call: _negative("dims", call)),),
    half="native",
)

_RANKED = (
    F32, F16, I32, Q8, OperandCode.TENSOR_QUANT16_SYMM, OperandCode.TENSOR_BOOL8,
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL, OperandCode.TENSOR_QUANT16_ASYMM,
    OperandCode.TENSOR_QUANT8_SYMM, Q8S,
)  # fmt: skip


def rank(input: np.ndarray) -> np.ndarray:
    """The number of axes, as a scalar."""
    return np.array(input.ndim, np.int32)


_RANK = OpSpec(
    kind="RANK",
    code=101,
    since=4,
    summary="The number of axes, as an INT32 scalar: the only operation with a scalar result.",
    types=dict.fromkeys(_RANKED, 4),
    forms=(Form("only", (tensor("input"),), (Slot("out", fixed(OperandCode.INT32), scalar=True),)),),
    result=lambda call: (OperandType(OperandCode.INT32, ()),),
    kernel=rank,
    source="AOSP 13 Rank.cpp",
    half="native",
)

SPECS: tuple[OpSpec, ...] = (
    _RESHAPE, _SQUEEZE, _TRANSPOSE, _EXPAND_DIMS, _TILE, _FILL, _RANK, _PACK, _REVERSE,
)  # fmt: skip
