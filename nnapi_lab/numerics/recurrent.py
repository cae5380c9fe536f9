"""Activations and normalization inside recurrent cells, on float32 and on 16-bit codes.

Activation codes are those of the cells, not FuseCode: 0 NONE, 1 RELU, 2 RELU1, 3 RELU6, 4 TANH, 6 SIGMOID.
Source: AOSP 13 `ActivationFunctor.h`, `QuantUtils.cpp` and the TFLite vector functions its kernels call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.fixed_point import inverse_sqrt_multiplier
from nnapi_lab.numerics.requantize import (
    ChannelMultipliers,
    Multiplier,
    multiply_by_quantized_multiplier,
)
from nnapi_lab.numerics.rounding import divide_truncating, saturate, wrap

NONE, RELU, RELU1, RELU6, TANH, SIGMOID = 0, 1, 2, 3, 4, 6

FloatArray = npt.NDArray[np.float32]

# Added to the variance before the root is taken.
_EPSILON = np.float32(1e-8)


def sigmoid(values: FloatArray) -> FloatArray:
    """1 / (1 + e^-x) in float32; exactly 0 where e^-x overflows."""
    with np.errstate(over="ignore"):
        result: FloatArray = np.float32(1) / (np.float32(1) + np.exp(-values))
    return result


def _clamped(low: float, high: float) -> Callable[[FloatArray], FloatArray]:
    return lambda values: np.clip(values, np.float32(low), np.float32(high))


_ACTIVATIONS: dict[int, Callable[[FloatArray], FloatArray]] = {
    NONE: lambda values: values,
    RELU: _clamped(0, np.inf),
    RELU1: _clamped(-1, 1),
    RELU6: _clamped(0, 6),
    TANH: np.tanh,
    SIGMOID: sigmoid,
}
ACTIVATION_NAMES = {NONE: "NONE", RELU: "RELU", RELU1: "RELU1", RELU6: "RELU6", TANH: "TANH", SIGMOID: "SIGMOID"}


def activate(values: FloatArray, activation: int) -> FloatArray:
    """One of the cells' activations; unlike a fused NONE, NONE here lets infinities pass.

    Raises ValueError for an unknown code.
    """
    if activation not in _ACTIVATIONS:
        known = ", ".join(f"{code} {name}" for code, name in ACTIVATION_NAMES.items())
        raise ValueError(f"activation {activation} is not one of {known}")
    return _ACTIVATIONS[activation](values)


def normalize_rows(values: FloatArray) -> FloatArray:
    """(x - mean) / sqrt(variance + 1e-8) of each row [batch, units]; the variance divides by units."""
    centered = values - values.mean(axis=-1, keepdims=True, dtype=np.float32)
    variance = np.mean(centered * centered, axis=-1, keepdims=True, dtype=np.float32)
    result: FloatArray = centered / np.sqrt(variance + _EPSILON)
    return result


def normalize_codes(
    codes: npt.NDArray[np.int16],
    weights: npt.NDArray[np.int16],
    bias: npt.NDArray[np.int32],
    multiplier: Multiplier,
    variance_floor: int,
) -> npt.NDArray[np.int16]:
    """Layer norm of int16 codes [batch, units]: sat(R(round((n w + b) / 1024); M)), n the normalized row.

    The mean keeps 10 fractional bits. The variance is a whole number, rounded down by up to units / 2^20 of
    itself where units is no power of two; below 1 it counts as `variance_floor` (0 or 1, both give 1). n w + b
    is an int32 and wraps.
    Source: AOSP 13 `QuantUtils.cpp` (ApplyLayerNorm).
    """
    x = codes.astype(np.int64)
    units = x.shape[-1]
    mean = divide_truncating(x.sum(axis=-1, keepdims=True) * 1024, units)
    guard = 1 << 20
    spread = (x * x).sum(axis=-1, keepdims=True) * (guard // units) - mean * mean
    variance = wrap(divide_truncating(spread, guard))
    mantissa, exponent = inverse_sqrt_multiplier(np.where(variance < 1, variance_floor, variance))
    normalized = multiply_by_quantized_multiplier(wrap(1024 * x - mean), ChannelMultipliers(mantissa, exponent))
    weighted = wrap(normalized.astype(np.int64) * weights + bias).astype(np.int64)
    rounded = divide_truncating(weighted + np.where(weighted > 0, 512, -512), 1024)
    return saturate(multiply_by_quantized_multiplier(rounded, multiplier), 16)
