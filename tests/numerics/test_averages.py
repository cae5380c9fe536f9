"""AVERAGE_POOL_2D's two roundings and MEAN's truncation, by hand and against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.numerics.averages import average_pool_codes, mean_codes


@pytest.mark.parametrize(
    ("total", "count", "dtype", "expected"),
    {
        "uint8_tie_up": (10, 4, np.uint8, 3),
        "uint8_below_tie": (9, 4, np.uint8, 2),
        "uint8_odd_count": (7, 3, np.uint8, 2),
        "int8_tie_away_from_zero": (-10, 4, np.int8, -3),
        "int8_positive_tie": (10, 4, np.int8, 3),
        "int8_minus_one_half": (-1, 2, np.int8, -1),
        "int8_below_tie": (-9, 4, np.int8, -2),
        "zero": (0, 9, np.int8, 0),
    }.values(),
)
def test_average_pool_rows(total: int, count: int, dtype: type, expected: int) -> None:
    info = np.iinfo(dtype)
    assert average_pool_codes(total, count, info.min, info.max, dtype) == expected


def test_the_two_types_disagree_on_the_same_pixels() -> None:
    """Codes 0 0 0 2, as int8 -128 -128 -128 -126: 0.5 goes up to 1, -127.5 away to -128, which is 0."""
    assert average_pool_codes(2, 4, 0, 255, np.uint8) == 1
    assert average_pool_codes(2 - 512, 4, -128, 127, np.int8) == -128


@given(st.integers(-128 * 50, 127 * 50), st.integers(1, 50))
def test_int8_average_is_nearest_with_ties_away(total: int, count: int) -> None:
    exact = Fraction(total, count)
    nearest = math.floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    assert average_pool_codes(total, count, -(2**20), 2**20, np.int32) == nearest


@given(st.integers(0, 255 * 50), st.integers(1, 50))
def test_uint8_average_is_nearest_with_ties_up(total: int, count: int) -> None:
    expected = math.floor(Fraction(total, count) + Fraction(1, 2))
    assert average_pool_codes(total, count, 0, 2**20, np.uint32) == expected


def test_average_pool_divides_each_window_by_its_own_count_and_clamps() -> None:
    out = average_pool_codes([[40, 90], [360, 1000]], [[4, 6], [4, 4]], 12, 200, np.uint8)
    np.testing.assert_array_equal(out, [[12, 15], [90, 200]])
    assert out.dtype == np.uint8


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        average_pool_codes([3], [0], 0, 255, np.uint8)


@pytest.mark.parametrize(
    ("total", "count", "dtype", "expected"),
    [
        (7, 4, np.uint8, 1),
        (-7, 4, np.int8, -1),
        (8, 4, np.uint8, 2),
        (-8, 4, np.int8, -2),
        (0, 3, np.int8, 0),
    ],
)
def test_mean_truncates(total: int, count: int, dtype: type, expected: int) -> None:
    result = mean_codes([total], count, dtype)
    assert result == expected
    assert result.dtype == dtype


def test_mean_sums_in_a_wrapping_int32() -> None:
    assert mean_codes([2**32 + 100], 50, np.uint8) == 2
