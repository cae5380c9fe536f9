"""Frames around a tensor: PAD with zeros, PAD_V2 with a value, MIRROR_PAD with the tensor's own border.

Source: AOSP 13 OperationsExecutionUtils.cpp (padPrepare), CpuExecutor.cpp, MirrorPad.cpp.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, shape_text
from nnapi_lab.ops.axes import total
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, Slot, fixed, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
I32 = OperandCode.TENSOR_INT32

REFLECT, SYMMETRIC = 0, 1
_SOURCE = "AOSP 13 OperationsExecutionUtils.cpp (padPrepare)"
_PADDINGS = tensor("paddings", fixed(I32), rank=2, doc="[rank, 2]: elements before and after, axis by axis")


def padded_type(call: Call) -> tuple[OperandType, ...]:
    """Each size with what is put before and after it."""
    input, pairs = call["input"], pairs_of(call)
    if input.shape is None or _paddings_shape(call) is not None:
        return (input.with_shape(None),)
    if pairs is None:
        return (input.with_shape((Dim("?"),) * len(input.shape)),)
    sizes = (
        size if before == after == 0 else total((max(before, 0), size, max(after, 0)))
        for size, (before, after) in zip(input.shape, pairs, strict=True)
    )
    return (input.with_shape(tuple(sizes)),)


def pairs_of(call: Call) -> list[tuple[int, int]] | None:
    """(before, after) per axis, None while `paddings` is not known."""
    value = call.value("paddings")
    return None if value is None else [(int(before), int(after)) for before, after in np.reshape(value, (-1, 2))]


def pad(input: np.ndarray, paddings: np.ndarray, *, call: Call) -> np.ndarray:
    """Put zeros around: codes get the zero point, the code of the real number 0."""
    return np.pad(input, paddings, constant_values=call["input"].zero_point)


def pad_v2(input: np.ndarray, paddings: np.ndarray, *, pad_value: float) -> np.ndarray:
    """Put `pad_value` around; for codes it is a code already, of which the low 8 bits count."""
    return np.pad(input, paddings, constant_values=np.asarray(pad_value).astype(input.dtype))


def mirror_pad(input: np.ndarray, paddings: np.ndarray, *, mode: int) -> np.ndarray:
    """Continue the tensor by its mirror image: 0 REFLECT leaves the border out, 1 SYMMETRIC repeats it."""
    return np.pad(input, paddings, mode="reflect" if mode == REFLECT else "symmetric")


def _paddings_shape(call: Call) -> str | None:
    shape, rank = call["paddings"].shape, call["input"].rank
    if shape is None or rank is None or len(shape) != 2:
        return None
    fits = (isinstance(shape[0], Dim) or shape[0] == rank) and (isinstance(shape[1], Dim) or shape[1] == 2)
    return None if fits else f"paddings {shape_text(shape)} is not [{rank},2]"


def _negative(call: Call) -> str | None:
    pairs = pairs_of(call) or ()
    wrong = [(axis, pair) for axis, pair in enumerate(pairs) if min(pair) < 0]
    return f"paddings of axis {wrong[0][0]} are {wrong[0][1]}" if wrong else None


def _unknown_mode(call: Call) -> str | None:
    mode = call["mode"]
    return None if mode in (None, REFLECT, SYMMETRIC) else f"mode={mode} is not 0 REFLECT or 1 SYMMETRIC"


def _beyond_mirror(call: Call) -> str | None:
    shape, pairs, mode = call["input"].shape, pairs_of(call), call["mode"]
    if shape is None or pairs is None or mode is None or len(pairs) != len(shape):
        return None
    for axis, (size, pair) in enumerate(zip(shape, pairs, strict=True)):
        if isinstance(size, Dim):
            continue
        most = size - (mode == REFLECT)
        if max(pair) > most:
            return f"paddings of axis {axis} are {pair}, its mirror image has {most} elements"
    return None


def _zero_is_a_code(call: Call) -> bool:
    return call.key == Q8 and call["input"].zero_point != 0


def pad_value_type(key: OperandCode) -> tuple[OperandCode, ...]:
    """FLOAT32 and FLOAT16 for float tensors, INT32 for codes."""
    return ({F32: OperandCode.FLOAT32, F16: OperandCode.FLOAT16}.get(key, OperandCode.INT32),)


_FRAME = (
    Constraint("C1", "paddings has shape [rank of the input, 2]", _paddings_shape),
    Constraint("C2", "paddings are not negative (SLICE crops)", _negative),
)

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="PAD",
        code=32,
        since=2,
        summary="Put zeros around a tensor.",
        types={F32: 2, F16: 3, Q8: 2, Q8S: 4},
        forms=(Form("only", (tensor("input", rank=(1, 4)), _PADDINGS)),),
        result=padded_type,
        kernel=pad,
        source=_SOURCE,
        constraints=_FRAME,
        levels=(
            LevelRule(
                3,
                "PAD of codes whose zero point is not 0 (level 2 leaves the padded code open)",
                _zero_is_a_code,
            ),
        ),
        half="native",
    ),
    OpSpec(
        kind="PAD_V2",
        code=69,
        since=3,
        summary="Put a value around a tensor.",
        types={F32: 3, F16: 3, Q8: 3, Q8S: 4},
        forms=(
            Form(
                "only",
                (tensor("input", rank=(1, 4)), _PADDINGS, Slot("pad_value", pad_value_type, scalar=True)),
            ),
        ),
        result=padded_type,
        kernel=pad_v2,
        source=_SOURCE,
        constraints=_FRAME,
        half="native",
        notes=("For codes pad_value is a code, not a real number; the reference reads its low 8 bits.",),
    ),
    OpSpec(
        kind="MIRROR_PAD",
        code=104,
        since=7,
        summary="Continue a tensor by its mirror image.",
        types={F32: 7, F16: 7, Q8: 7, Q8S: 7, I32: 7},
        forms=(Form("only", (tensor("input"), _PADDINGS, scalar("mode"))),),
        result=padded_type,
        kernel=mirror_pad,
        source="AOSP 13 MirrorPad.cpp",
        constraints=(
            *_FRAME,
            Constraint("C3", "mode is 0 REFLECT or 1 SYMMETRIC", _unknown_mode),
            Constraint(
                "C4",
                "a mirror image ends where the tensor does: size - 1 elements (REFLECT) or size (SYMMETRIC)",
                _beyond_mirror,
            ),
        ),
        half="native",
    ),
)
