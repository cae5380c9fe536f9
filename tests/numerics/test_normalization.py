"""L2_NORMALIZATION on codes against the float64 formula, and the two kernels int8 has."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.numerics.fixed_point import inverse_sqrt_multiplier
from nnapi_lab.numerics.normalization import l2_normalization_codes
from nnapi_lab.numerics.quantize import code_limits
from nnapi_lab.numerics.rounding import round_half_away


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("depth", [1, 2, 7, 64])
def test_l2_norm_equals_the_rounded_function(dtype: type, depth: int) -> None:
    lo, hi = code_limits(dtype)
    codes = np.random.default_rng(depth).integers(lo, hi + 1, (300, depth)).astype(dtype)
    zero_point = lo + 100
    x = codes.astype(np.float64) - zero_point
    norm = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    ideal = 128 * x / np.where(norm == 0, 1, norm)
    # The mantissa is good to 1.2e-6, times 128. R's first rounding is half a unit of 2^exponent unless it is
    # the only one; int8 along the last axis makes it 2^7 coarser. Within that band of a tie anything goes.
    _, exponent = inverse_sqrt_multiplier((x * x).sum(axis=-1, keepdims=True).astype(np.int64))
    first_unit = exponent + (7 if dtype is np.int8 else 0)
    band = np.where(first_unit < 0, 0.5 * 2.0 ** np.minimum(first_unit, 0), 0) + 2e-4
    decided = np.abs(ideal - np.floor(ideal) - 0.5) > band
    actual = l2_normalization_codes(codes, zero_point)
    expected = np.clip(round_half_away(ideal) + lo + 128, lo, hi)
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual[decided], expected[decided])
    np.testing.assert_allclose(actual, expected, atol=1, rtol=0)
    assert decided.mean() > 0.4


@pytest.mark.parametrize(
    ("row", "expected"),
    {
        "three_four_five": ([103, 104], [128 + 77, 128 + 102]),  # 76.8, 102.4
        "one_axis_only": ([100, 105], [128, 255]),  # 128 is cut to 127
        "zeros": ([100, 100], [128, 128]),
        "negative": ([99, 100], [0, 128]),
    }.values(),
)
def test_rows(row: list[int], expected: list[int]) -> None:
    np.testing.assert_array_equal(l2_normalization_codes(np.array([row], np.uint8), 100), [expected])


def test_any_axis() -> None:
    codes = np.random.default_rng(1).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    along_first = l2_normalization_codes(codes, 90, axis=0)
    moved = l2_normalization_codes(np.ascontiguousarray(np.moveaxis(codes, 0, -1)), 90)
    np.testing.assert_array_equal(along_first, np.moveaxis(moved, -1, 0))


def test_int8_rounds_earlier_along_the_last_axis() -> None:
    """The same rows along either axis differ by one in places: only one kernel multiplies by 128 first."""
    codes = np.random.default_rng(2).integers(-128, 128, (200, 50)).astype(np.int8)
    last = l2_normalization_codes(codes, 3, axis=1).astype(int)
    first = l2_normalization_codes(np.ascontiguousarray(codes.T), 3, axis=0).T.astype(int)
    assert np.max(np.abs(last - first)) == 1
    assert np.mean(last != first) < 0.2
