"""SOFTMAX and LOG_SOFTMAX along one axis.

Source: AOSP 13 Softmax.cpp, LogSoftmax.cpp.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, float32_text
from nnapi_lab.numerics.softmax import overflowing_rows, softmax_codes
from nnapi_lab.ops.axes import axis_seen
from nnapi_lab.ops.scales import fixed_type, with_scales
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, Undefined, real_scalar, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

Result = tuple[OperandType, ...]


# --- SOFTMAX -----------------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def softmax(input: np.ndarray, *, beta: float, axis: int = -1, call: Call | None = None) -> np.ndarray:
    """exp(beta (x - max)) / sum of the same along `axis`; codes in fixed point, out at 1/256."""
    if input.dtype != np.float32:
        return softmax_codes(input, with_scales(call)["input"].scale, beta, axis)
    # The search for the largest element starts at -FLT_MAX and passes over NaN.
    largest = np.fmax.reduce(input, axis=axis, keepdims=True, initial=np.finfo(np.float32).min)
    powers = np.exp((input - largest) * np.float32(beta))
    shares: np.ndarray = powers / np.sum(powers, axis=axis, keepdims=True)
    return shares


def softmax_type(call: Call) -> Result:
    """The input's shape; quantized results have scale 1/256, zero point 0 (signed: -128)."""
    return (fixed_type(call, call["input"].shape, 1 / 256, 0),)


def _beta_seen(call: Call) -> str | None:
    beta = call["beta"]
    return f"beta={beta:g} is not above 0" if beta is not None and not beta > 0 else None


def _declared_seen(call: Call) -> str | None:
    """Unlike its siblings, the reference does not correct another declared scale: it fails."""
    wanted, computed = call.wanted_quant(), call.out.quant
    if not call.is_quantized or wanted is None or wanted == computed:
        return None
    return f"the result is declared with {wanted}, it has {computed}"


def _resolution_seen(call: Call) -> str | None:
    """beta * scale of 2^-26 or less: the fixed point needs a multiplier above 1."""
    beta, scale = call["beta"], call["input"].scale
    if not call.is_quantized or beta is None or not beta > 0 or scale == 0:
        return None
    if float(np.float32(beta)) * scale * 2**26 > 1:
        return None
    return f"beta={beta:g} times input's scale {float32_text(scale)} is not above 2^-26 (1.49e-8)"


def _axis_seen(call: Call) -> str | None:
    return axis_seen(call["axis"], call["input"].rank)


def _is_odd_rank(call: Call) -> bool:
    return call["input"].rank not in (2, 4, None)


def _may_overflow(call: Call) -> bool:
    """An exponential is at most 1: a sum of 512 takes as many elements."""
    input = call["input"]
    return call.is_quantized and (not input.is_static or max(input.shape, default=0) >= 512)


def _overflow_seen(call: Call, input: np.ndarray) -> str | None:
    if input.size == 0:
        return None
    rows = overflowing_rows(input, call["input"].scale, call["beta"], call["axis"])
    return f"the exponentials of {rows} row{'s' if rows > 1 else ''} sum to 512 or more" if rows else None


_SOFTMAX = OpSpec(
    kind="SOFTMAX",
    code=25,
    since=1,
    summary="Shares along an axis, in proportion to exp(beta * x).",
    types={F32: 1, F16: 3, Q8: 1, Q8S: 4},
    forms=(Form("only", (tensor("input", rank=(1, 4)), real_scalar("beta"), scalar("axis", default=-1, since=3))),),
    result=softmax_type,
    kernel=softmax,
    source="AOSP 13 Softmax.cpp",
    constraints=(
        Constraint("C1", "beta is above 0", _beta_seen),
        Constraint("C2", "axis lies in [-rank, rank)", _axis_seen),
        Constraint("C3", "quantized: the result has scale 1/256, zero point 0 (signed: -128)", _declared_seen),
        Constraint("C4", "quantized: beta times the input's scale is above 2^-26", _resolution_seen),
    ),
    levels=(LevelRule(3, "below feature level 3 SOFTMAX takes rank 2 or 4", _is_odd_rank),),
    undefined=(
        Undefined(
            "U1",
            "quantized: the exponentials of a row sum to less than 512, else an int32 is shifted by more than 31 bits",
            "such rows give 0, where a device may give anything or stop",
            _may_overflow,
            _overflow_seen,
        ),
    ),
    zero_sized=3,
)


# --- LOG_SOFTMAX -------------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def log_softmax(input: np.ndarray, *, beta: float, axis: int) -> np.ndarray:
    """beta (x - max) - log(sum exp(beta (x - max))) along `axis`.

    Works in the input's own precision; only exp and log are taken in double.
    """
    precision = input.dtype.type
    scaled = (input - np.max(input, axis=axis, keepdims=True)) * precision(beta)
    total = np.zeros((), precision)
    for power in np.moveaxis(np.exp(scaled.astype(np.float64)), axis, 0):
        total = (total.astype(np.float64) + power).astype(precision)
    log_total = np.log(total.astype(np.float64)).astype(precision)
    log_shares: np.ndarray = scaled - np.expand_dims(log_total, axis)
    return log_shares


_LOG_SOFTMAX = OpSpec(
    kind="LOG_SOFTMAX",
    code=64,
    since=3,
    summary="Logarithm of the shares along an axis.",
    types={F32: 3, F16: 3},
    forms=(Form("only", (tensor("input"), real_scalar("beta"), scalar("axis"))),),
    result=lambda call: (call["input"],),
    kernel=log_softmax,
    source="AOSP 13 LogSoftmax.cpp",
    constraints=(Constraint("C1", "axis lies in [-rank, rank)", _axis_seen),),
    half="native",
    notes=("The documentation wants beta above 0; the reference takes any.",),
)

SPECS: tuple[OpSpec, ...] = (_SOFTMAX, _LOG_SOFTMAX)
