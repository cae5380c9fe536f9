"""Normalization: L2_NORMALIZATION, LOCAL_RESPONSE_NORMALIZATION, INSTANCE_NORMALIZATION.

Source: AOSP 13 L2Normalization.cpp, LocalResponseNormalization.cpp, InstanceNormalization.cpp.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.numerics.normalization import l2_normalization_codes
from nnapi_lab.ops.axes import axis_seen
from nnapi_lab.ops.geometry import from_nhwc, to_nhwc
from nnapi_lab.ops.scales import fixed_type, with_scales
from nnapi_lab.ops.spec import Call, Constraint, Form, LevelRule, OpSpec, real_scalar, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED

SMALLEST_NORM = np.float32(1e-6)


def _axis_seen(call: Call) -> str | None:
    return axis_seen(call["axis"], call["input"].rank)


def _other_than_rank_4(kind: str) -> LevelRule:
    return LevelRule(3, f"below feature level 3 {kind} takes rank 4", lambda call: call["input"].rank not in (4, None))


_AXIS = scalar("axis", default=-1, since=3)
_AXIS_RULE = "axis lies in [-rank, rank)"


# --- L2_NORMALIZATION --------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def l2_normalization(input: np.ndarray, *, axis: int = -1, call: Call | None = None) -> np.ndarray:
    """x / max(sqrt(sum x^2), 1e-6) along `axis`; codes in fixed point, out at 1/128."""
    if input.dtype != np.float32:
        return l2_normalization_codes(input, with_scales(call)["input"].zero_point, axis)
    norm = np.sqrt(np.sum(input * input, axis=axis, keepdims=True))
    scaled: np.ndarray = input / np.maximum(norm, SMALLEST_NORM)
    return scaled


_L2_NORMALIZATION = OpSpec(
    kind="L2_NORMALIZATION",
    code=11,
    since=1,
    summary="Vectors along an axis scaled to length 1.",
    types={F32: 1, F16: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (tensor("input", rank=(1, 4)), _AXIS)),),
    result=lambda call: (fixed_type(call, call["input"].shape, 1 / 128, 128),),
    kernel=l2_normalization,
    source="AOSP 13 L2Normalization.cpp",
    constraints=(Constraint("C1", _AXIS_RULE, _axis_seen),),
    levels=(_other_than_rank_4("L2_NORMALIZATION"),),
    notes=(
        "A vector of zeros stays zero; the documentation leaves it undefined below feature level 4.",
        "The norm is at least 1e-6, where torch.nn.functional.normalize stops at 1e-12.",
    ),
)


# --- LOCAL_RESPONSE_NORMALIZATION --------------------------------------------------------------------------


@np.errstate(all="ignore")
def local_response_normalization(
    input: np.ndarray, *, radius: int, bias: float, alpha: float, beta: float, axis: int = -1
) -> np.ndarray:
    """x (bias + alpha * sum of x^2 over [i - radius, i + radius])^-beta along `axis`, cut at its ends."""
    x = np.moveaxis(input, axis, 0)
    size = x.shape[0]
    sums = np.zeros_like(x)
    for offset in range(-min(radius, size), min(radius, size) + 1):
        first, end = max(0, -offset), min(size, size - offset)
        if first < end:
            sums[first:end] += np.square(x[first + offset : end + offset])
    factor = np.power(np.float32(bias) + np.float32(alpha) * sums, np.float32(-beta))
    return np.ascontiguousarray(np.moveaxis(x * factor, 0, axis))


def _radius_seen(call: Call) -> str | None:
    radius = call["radius"]
    return f"radius={radius} is negative" if radius is not None and radius < 0 else None


_LOCAL_RESPONSE_NORMALIZATION = OpSpec(
    kind="LOCAL_RESPONSE_NORMALIZATION",
    code=13,
    since=1,
    summary="Each element divided by a power of its neighbours' sum of squares along an axis.",
    types={F32: 1, F16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("input", rank=(1, 4)),
                scalar("radius"),
                real_scalar("bias"),
                real_scalar("alpha"),
                real_scalar("beta"),
                _AXIS,
            ),
        ),
    ),
    result=lambda call: (call["input"],),
    kernel=local_response_normalization,
    source="AOSP 13 LocalResponseNormalization.cpp",
    constraints=(
        Constraint("C1", "radius is not negative", _radius_seen),
        Constraint("C2", _AXIS_RULE, _axis_seen),
    ),
    levels=(_other_than_rank_4("LOCAL_RESPONSE_NORMALIZATION"),),
    notes=(
        "alpha is not divided by the window's size, as torch.nn.functional.local_response_norm does.",
        "The documentation forbids bias 0; the reference takes it.",
    ),
)


# --- INSTANCE_NORMALIZATION --------------------------------------------------------------------------------


@np.errstate(all="ignore")
def instance_normalization(input: np.ndarray, *, gamma: float, beta: float, epsilon: float, nchw: bool) -> np.ndarray:
    """(x - mean) gamma / sqrt(variance + epsilon) + beta over the rows and columns of each channel.

    Works in the input's own precision, summing one element after the other: in float16 a long sum stalls.
    The variance divides by the number of elements.
    """
    precision = input.dtype.type
    x = to_nhwc(input, nchw)
    pixels = x.reshape(x.shape[0], -1, x.shape[3])
    count = np.asarray(pixels.shape[1]).astype(precision)
    centered = pixels - _sum_in_order(pixels) / count
    variance = _sum_in_order(centered * centered) / count
    deviation = np.sqrt(variance.astype(np.float32) + np.float32(epsilon)).astype(precision)
    out = centered * precision(gamma) / deviation + precision(beta)
    return from_nhwc(out.reshape(x.shape), nchw)


def _sum_in_order(pixels: np.ndarray) -> np.ndarray:
    """Sum over axis 1, rounded after every addition. [n, pixels, c] to [n, 1, c]."""
    return np.add.accumulate(pixels, axis=1)[:, -1:]


_INSTANCE_NORMALIZATION = OpSpec(
    kind="INSTANCE_NORMALIZATION",
    code=57,
    since=3,
    summary="Each channel of each image brought to mean beta and deviation gamma.",
    types={F32: 3, F16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("input", rank=4),
                real_scalar("gamma"),
                real_scalar("beta"),
                real_scalar("epsilon"),
                scalar("nchw", OperandCode.BOOL),
            ),
        ),
    ),
    result=lambda call: (call["input"],),
    kernel=instance_normalization,
    source="AOSP 13 InstanceNormalization.cpp",
    half="native",
    notes=("gamma and beta are scalars, not one per channel: PyTorch's need a MUL and an ADD after it.",),
)

SPECS: tuple[OpSpec, ...] = (_L2_NORMALIZATION, _LOCAL_RESPONSE_NORMALIZATION, _INSTANCE_NORMALIZATION)
