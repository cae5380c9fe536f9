"""Rounding primitives against hand-computed rows and independently written big-integer twins."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.numerics.rounding import (
    count_leading_zeros,
    divide_truncating,
    round_half_away,
    round_to_float16,
    rounding_divide_by_pot,
    rounding_half_sum,
    saturate,
    saturating_add,
    saturating_doubling_high_mul,
    saturating_left_shift,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_multiply_by_pot,
    storage,
    wrap,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
INT16 = st.integers(-(2**15), 2**15 - 1)
EDGES = (-(2**31), -(2**31) + 1, -(2**30), -3, -2, -1, 0, 1, 2, 3, 2**30 - 1, 2**30, 2**31 - 2, 2**31 - 1)

BELOW_HALF_32 = float(np.nextafter(np.float32(0.5), np.float32(0)))
BELOW_HALF_64 = float(np.nextafter(0.5, 0))


def exact_round_ties_away(value: Fraction) -> int:
    magnitude = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return -magnitude if value < 0 else magnitude


def exact_round_ties_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    {
        "tie_up": (0.5, np.float32, 1),
        "tie_down": (-0.5, np.float32, -1),
        "ties_are_not_even": (2.5, np.float64, 3),
        "negative_tie": (-1.5, np.float64, -2),
        "just_below_half_32": (BELOW_HALF_32, np.float32, 0),
        "just_below_half_64": (BELOW_HALF_64, np.float64, 0),
        "last_odd_integer_32": (2**23 + 1, np.float32, 2**23 + 1),
        "last_odd_integer_64": (2**52 + 1, np.float64, 2**52 + 1),
        "infinity": (-np.inf, np.float32, -np.inf),
    }.values(),
)
def test_round_half_away_is_the_round_of_c(value: float, dtype: type, expected: float) -> None:
    rounded = round_half_away(np.array([value], dtype))
    assert rounded.dtype == dtype
    assert rounded[0] == expected


def test_round_half_away_keeps_nan_and_accepts_integers() -> None:
    assert np.isnan(round_half_away(np.array([np.nan], np.float32)))[0]
    assert round_half_away(7) == 7.0


@given(st.floats(-(2.0**40), 2.0**40))
def test_round_half_away_is_exact(value: float) -> None:
    assert round_half_away(value) == exact_round_ties_away(Fraction(value))


@pytest.mark.parametrize(
    ("value", "shift", "expected"),
    [
        (5, 1, 3),
        (-5, 1, -3),
        (6, 2, 2),
        (-6, 2, -2),
        (7, 3, 1),
        (3, 3, 0),
        (-4, 3, -1),
        (-1, 1, -1),
        (9, 0, 9),
    ],
)
def test_rounding_shift_rows(value: int, shift: int, expected: int) -> None:
    assert rounding_divide_by_pot(value, shift) == expected


@given(INT32 | st.sampled_from(EDGES), st.integers(0, 31))
def test_rounding_shift_is_nearest_with_ties_away(value: int, shift: int) -> None:
    assert rounding_divide_by_pot(value, shift) == exact_round_ties_away(Fraction(value, 2**shift))


def test_rounding_shift_takes_one_shift_per_element() -> None:
    np.testing.assert_array_equal(rounding_divide_by_pot([[5, 5], [-5, -5]], [0, 1]), [[5, 3], [-5, -3]])


@pytest.mark.parametrize("shift", [-1, 32])
def test_rounding_shift_refuses_what_c_leaves_undefined(shift: int) -> None:
    with pytest.raises(ValueError, match="0…31"):
        rounding_divide_by_pot(1, shift)


def test_rounding_shift_of_16_bits_breaks_like_its_mask() -> None:
    """2^16 - 1 cut to int16 is -1, so every remainder exceeds its threshold for x >= 0, none for x < 0."""
    np.testing.assert_array_equal(rounding_divide_by_pot([32767, 0, -1, -32768], 16, bits=16), [1, 1, -1, -1])
    np.testing.assert_array_equal(rounding_divide_by_pot([32767, 0, -1, -32768], 15, bits=16), [1, 0, 0, -1])


@given(INT32 | st.sampled_from(EDGES), INT32 | st.sampled_from(EDGES))
def test_high_mul_is_nearest_with_ties_up(a: int, b: int) -> None:
    expected = min(exact_round_ties_up(Fraction(a * b, 2**31)), 2**31 - 1)
    assert saturating_rounding_doubling_high_mul(a, b) == expected


@given(INT16, INT16)
def test_high_mul_of_16_bits(a: int, b: int) -> None:
    expected = min(exact_round_ties_up(Fraction(a * b, 2**15)), 2**15 - 1)
    result = saturating_rounding_doubling_high_mul(a, b, bits=16)
    assert result == expected
    assert result.dtype == np.int16


def test_high_mul_follows_the_written_formula_at_its_ties() -> None:
    """trunc((a b + d) / 2^31): -1/2 becomes 0, +1/2 becomes 1, -3/2 becomes -1."""
    a = np.array([-(2**30), 2**30, -3 * 2**29, 3 * 2**29, -(2**31)])
    np.testing.assert_array_equal(
        saturating_rounding_doubling_high_mul(a, [1, 1, 2, 2, -(2**31)]), [0, 1, -1, 2, 2**31 - 1]
    )


@given(INT16, INT16)
def test_truncating_high_mul(a: int, b: int) -> None:
    quotient = abs(a * b) // 2**15
    expected = min(quotient if a * b >= 0 else -quotient, 2**15 - 1)
    assert saturating_doubling_high_mul(a, b) == expected


@given(INT32, st.integers(-31, 31))
def test_multiplying_by_a_power_of_two_saturates_or_rounds(value: int, exponent: int) -> None:
    exact = Fraction(value) * Fraction(2) ** exponent
    expected = max(-(2**31), min(2**31 - 1, exact_round_ties_away(exact)))
    assert saturating_rounding_multiply_by_pot(value, exponent) == expected


@given(INT16, INT16)
def test_sums(a: int, b: int) -> None:
    assert saturating_add(a, b) == max(-(2**15), min(2**15 - 1, a + b))
    assert rounding_half_sum(a, b, bits=16) == exact_round_ties_away(Fraction(a + b, 2))


def test_saturation_and_wrapping_are_different_things() -> None:
    assert saturate(2**31) == 2**31 - 1
    assert wrap(2**31) == -(2**31)
    assert saturating_left_shift(-3, 15, bits=16) == -(2**15)
    assert wrap(-3 << 15, 16) == -(2**15)
    assert wrap(5 << 14, 16) == 2**14


def test_only_two_widths_exist() -> None:
    assert storage(16) is np.int16
    with pytest.raises(ValueError, match="16 or 32"):
        storage(8)


@given(st.integers(-1000, 1000), st.integers(-50, 50).filter(bool))
def test_division_truncates_as_in_c(dividend: int, divisor: int) -> None:
    assert divide_truncating(dividend, divisor) == int(Fraction(dividend, divisor))


def test_division_by_zero_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        divide_truncating([1, 2], [1, 0])


@given(st.integers(0, 2**32 - 1))
def test_leading_zeros(value: int) -> None:
    assert count_leading_zeros(value) == 32 - value.bit_length()


def test_leading_zeros_reads_negative_words_as_unsigned() -> None:
    assert count_leading_zeros(-1) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    {
        "exact": (0.5, 0.5),
        "tie_to_even": (2049.0, 2048.0),
        "tie_to_even_up": (2051.0, 2052.0),
        "largest": (65504.0, 65504.0),
        "last_that_stays_finite": (65519.0, 65504.0),
        "overflow": (65520.0, np.inf),
        "smallest_subnormal_half": (2.0**-25, 0.0),
    }.values(),
)
def test_float16_round_trip(value: float, expected: float) -> None:
    rounded = round_to_float16(value)
    assert rounded == np.float32(expected)
    assert rounded.dtype == np.float32
