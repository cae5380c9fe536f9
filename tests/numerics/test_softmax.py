"""SOFTMAX on codes against the float64 formula, and where the reference is undefined."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.numerics.quantize import code_limits
from nnapi_lab.numerics.rounding import round_half_away
from nnapi_lab.numerics.softmax import overflowing_rows, softmax_codes


def probabilities(codes: np.ndarray, scale: float, beta: float, axis: int) -> np.ndarray:
    real = beta * float(np.float32(scale)) * codes.astype(np.float64)
    exponentials = np.exp(real - real.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("scale", [0.5, 0.25, 0.125, 0.0625, 0.75, 0.1, 0.0123, 1.0, 3.7])
@pytest.mark.parametrize("depth", [1, 2, 10, 101])
def test_softmax_equals_the_rounded_function(dtype: type, scale: float, depth: int) -> None:
    lo, hi = code_limits(dtype)
    rng = np.random.default_rng([depth, int(scale * 1000)])
    codes = rng.integers(lo, hi + 1, (40, depth)).astype(dtype)
    beta = float(np.float32(rng.choice([1.0, 0.5, 1.3])))
    ideal = 256 * probabilities(codes, scale, beta, -1)
    # Sums in Q12.19 lose up to 2^-20 per term and exponentials 2.3e-7: 256 times that is the undecided band.
    band = 256 * (2.0**-20 * depth**0.5 + 1e-6)
    decided = np.abs(ideal - np.floor(ideal) - 0.5) > band
    actual = softmax_codes(codes, scale, beta)
    assert actual.dtype == dtype
    expected = np.clip(round_half_away(ideal) + lo, lo, hi)
    np.testing.assert_array_equal(actual[decided], expected[decided])
    np.testing.assert_allclose(actual, expected, atol=1, rtol=0)
    assert decided.mean() > 0.99


def test_equal_codes_share_evenly() -> None:
    """exp(0) is one bit short of 1 and a sum in Q12.19 is not: 256/3 = 85.33, 256/2 = 128."""
    np.testing.assert_array_equal(softmax_codes(np.full((1, 3), 7, np.uint8), 0.1), [[85, 85, 85]])
    np.testing.assert_array_equal(softmax_codes(np.full((1, 2), -5, np.int8), 0.1), [[0, 0]])
    np.testing.assert_array_equal(softmax_codes(np.full((1, 1), 7, np.uint8), 0.1), [[255]])


def test_softmax_runs_along_any_axis() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (2, 5, 3)).astype(np.uint8)
    along_middle = softmax_codes(codes, 0.05, axis=1)
    swapped = softmax_codes(np.ascontiguousarray(codes.swapaxes(1, 2)), 0.05, axis=-1).swapaxes(1, 2)
    np.testing.assert_array_equal(along_middle, swapped)
    assert along_middle.shape == codes.shape


def test_far_codes_count_for_nothing() -> None:
    """beta scale 2^26 = 2^26 has 27 bits: the radius is floor(31 / 2) = 15 steps of exp(-1)."""
    codes = np.array([[100, 85, 84, 0]], np.uint8)
    np.testing.assert_array_equal(softmax_codes(codes, 1.0), [[255, 0, 0, 0]])


def test_the_multiplier_is_cut_and_only_the_maximum_survives() -> None:
    codes = np.array([[9, 10, 10]], np.uint8)
    np.testing.assert_array_equal(softmax_codes(codes, 1000.0), [[0, 128, 128]])


def test_vanishing_beta_is_refused() -> None:
    with pytest.raises(ValueError, match="above 1"):
        softmax_codes(np.zeros((1, 2), np.uint8), 2.0**-20, 2.0**-6)


def test_the_largest_defined_shift() -> None:
    """300 equal codes shift by 31 bits: 256/300 is 1, and 30 bits would make it 2."""
    np.testing.assert_array_equal(softmax_codes(np.zeros((1, 300), np.uint8), 0.1), np.full((1, 300), 1))


def test_a_sum_of_512_is_undefined_in_the_reference() -> None:
    just_below = np.zeros((1, 511), np.uint8)
    np.testing.assert_array_equal(softmax_codes(just_below, 0.1), np.full((1, 511), 1))  # 256/511 rounds up
    assert overflowing_rows(just_below, 0.1) == 0
    assert overflowing_rows(np.zeros((3, 512), np.int8), 0.1) == 3
    out = softmax_codes(np.zeros((1, 512), np.int8), 0.1)
    np.testing.assert_array_equal(out, np.full((1, 512), -128))
