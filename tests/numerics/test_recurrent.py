"""Activations and normalization of recurrent cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnapi_lab.numerics.recurrent import ACTIVATION_NAMES, activate, normalize_codes, normalize_rows, sigmoid
from nnapi_lab.numerics.requantize import Multiplier, quantize_multiplier

INF = np.inf
X = np.array([-INF, -2, -0.5, 0, 0.5, 2, 7, INF], np.float32)

ACTIVATIONS = {
    "NONE": X,
    "RELU": [0, 0, 0, 0, 0.5, 2, 7, INF],
    "RELU1": [-1, -1, -0.5, 0, 0.5, 1, 1, 1],
    "RELU6": [0, 0, 0, 0, 0.5, 2, 6, 6],
    "TANH": np.tanh(X.astype(np.float64)),
    "SIGMOID": 1 / (1 + np.exp(-X.astype(np.float64))),
}


@pytest.mark.parametrize("code", ACTIVATION_NAMES)
def test_activations(code: int) -> None:
    # 4 ulp at 1: float32 tanh and exp are off by one or two.
    np.testing.assert_allclose(activate(X, code), ACTIVATIONS[ACTIVATION_NAMES[code]], rtol=5e-7)


@pytest.mark.parametrize("code", [-1, 5, 7])
def test_unknown_activations_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"activation {code} is not one of 0 NONE"):
        activate(X, code)


def test_sigmoid_of_large_values_is_exact() -> None:
    np.testing.assert_array_equal(sigmoid(np.array([-200, 200], np.float32)), [0, 1])


def test_rows_are_normalized_apart() -> None:
    rows = np.array([[1, 3], [5, 5], [-10, 30]], np.float32)
    # The variance 1 and 400 swallow the 1e-8 in float32; a constant row is 0 / 1e-4.
    np.testing.assert_array_equal(normalize_rows(rows), [[-1, 1], [0, 0], [-1, 1]])


UNIT = Multiplier(1 << 30, 1)  # 1.0

CODES = {
    # mean 200, variance 100^2, n = ±1024; (1024 w + b) / 1024.
    "weights": ([[100, 300]], [7, 20], [0, 0], UNIT, [[-7, 20]]),
    "bias_rounds_away": ([[100, 300]], [7, 20], [-512, 512], UNIT, [[-8, 21]]),
    "no_spread": ([[50, 50]], [9, 9], [2048, -2048], UNIT, [[2, -2]]),
    "rows": ([[100, 300], [300, 100]], [5, 5], [0, 0], UNIT, [[-5, 5], [5, -5]]),
    "saturates": ([[100, 300]], [30000, 30000], [0, 0], quantize_multiplier(2), [[-32768, 32767]]),
}


@pytest.mark.parametrize("name", CODES)
def test_codes(name: str) -> None:
    codes, weights, bias, multiplier, expected = CODES[name]
    arrays = np.array(codes, np.int16), np.array(weights, np.int16), np.array(bias, np.int32)
    result = normalize_codes(*arrays, multiplier, 1)
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, expected)


@given(hnp.arrays(np.int16, (2, 8), elements=st.integers(-30000, 30000)), st.integers(1, 3000))
def test_codes_follow_the_real_formula(codes: np.ndarray, weight: int) -> None:
    x = codes.astype(np.float64)
    deviation = x.std(axis=1, keepdims=True)
    weights, bias = np.full(8, weight, np.int16), np.full(8, 1000, np.int32)
    result = normalize_codes(codes, weights, bias, UNIT, 1)
    expected = (x - x.mean(axis=1, keepdims=True)) / np.maximum(deviation, 1) * weight + 1000 / 1024
    # The variance is cut to a whole number, half a part in 400 from 20 codes on; n to 1/1024, so its share of
    # the weight too; then two roundings.
    steady = (deviation > 20)[:, 0]
    tolerance = weight / 1024 + np.abs(expected[steady]) / 400 + 1
    assert np.all(np.abs(result[steady] - expected[steady]) <= tolerance)
