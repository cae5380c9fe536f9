"""Activations and normalization of recurrent cells on float32, as LSTM, RNN and SVDF name them.

Codes are those of the cells, not FuseCode: 0 NONE, 1 RELU, 2 RELU1, 3 RELU6, 4 TANH, 6 SIGMOID.
Source: AOSP 13 `ActivationFunctor.h` and the TFLite vector functions its kernels call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

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
