"""Multipliers and R: hand-computed rows, a big-integer twin, and the limits the operations insist on."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.numerics.requantize import (
    Multiplier,
    downscale_multiplier_to_16,
    multiply_by_quantized_multiplier,
    product_multiplier,
    product_multipliers,
    quantize_multiplier,
    quantize_multiplier_greater_than_one,
    quantize_multiplier_smaller_than_one,
    quantize_multipliers,
    requantize_accumulator,
)

# Powers of two times small odd factors: products land on ties, where roundings differ.
TIE_PRONE = [factor * 2.0**power for power in (-9, -7, -4, -1, 0, 1) for factor in (1.0, 0.75, 1.25, 0.625, 1.5)]


def twin_of_r(acc: int, multiplier: Multiplier) -> int:
    """R in big integers, written from the two-rounding definition."""
    wide = acc << max(multiplier.exponent, 0)
    wide = (wide + 2**31) % 2**32 - 2**31
    high = min(math.floor(Fraction(wide * multiplier.mantissa, 2**31) + Fraction(1, 2)), 2**31 - 1)
    low = Fraction(high, 2 ** max(-multiplier.exponent, 0))
    rounded = math.floor(abs(low) + Fraction(1, 2))
    return -rounded if low < 0 else rounded


@pytest.mark.parametrize(
    ("real", "mantissa", "exponent"),
    {
        "one_half": (0.5, 2**30, 0),
        "one": (1.0, 2**30, 1),
        "three_quarters": (0.75, 3 * 2**29, 0),
        "ten": (10.0, 5 * 2**28, 4),
        "zero": (0.0, 0, 0),
        "negative": (-0.25, -(2**30), -1),
        "rounds_up_to_the_next_power": (1 - 2.0**-40, 2**30, 1),
        "smallest_kept": (2.0**-32, 2**30, -31),
        "flushed_to_zero": (2.0**-33, 0, 0),
        "flush_looks_at_the_exponent_after_rounding": (2.0**-32 * (1 - 2.0**-40), 2**30, -31),
        "tie_of_the_mantissa_goes_away": (0.5 + 2.0**-32, 2**30 + 1, 0),
    }.values(),
)
def test_quantize_multiplier_rows(real: float, mantissa: int, exponent: int) -> None:
    assert quantize_multiplier(real) == Multiplier(mantissa, exponent)


@given(st.floats(2.0**-31, 2.0**20))
def test_a_multiplier_is_its_real_number_to_31_bits(real: float) -> None:
    multiplier = quantize_multiplier(real)
    assert 2**30 <= multiplier.mantissa < 2**31
    assert abs(multiplier.real - real) <= 2.0**-31 * real
    assert (-multiplier).real == -multiplier.real


@pytest.mark.parametrize("real", [math.nan, math.inf])
def test_only_finite_multipliers(real: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        quantize_multiplier(real)


@pytest.mark.parametrize("real", [0.0, -0.5, 1.0, 1.5, math.nan, 1 - 2.0**-40])
def test_smaller_than_one_refuses(real: float) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1|rounds to 1"):
        quantize_multiplier_smaller_than_one(real)


@pytest.mark.parametrize("real", [1.0, 0.5, math.nan])
def test_greater_than_one_refuses(real: float) -> None:
    with pytest.raises(ValueError, match="above 1"):
        quantize_multiplier_greater_than_one(real)


@pytest.mark.parametrize(
    ("acc", "real", "expected"),
    {
        "half_of_three_up": (3, 0.5, 2),
        "half_of_minus_three": (-3, 0.5, -1),  # H rounds the tie upward, P has nothing left to do
        "quarter_of_six": (6, 0.25, 2),  # H gives 3, P(3, 1) = 2: 1.5 goes away from zero
        "quarter_of_minus_six": (-6, 0.25, -2),
        "quarter_of_five_rounds_twice": (5, 0.25, 2),  # 1.25, yet H gives 3 and P gives 2
        "three": (-7, 3.0, -21),
        "nothing": (2**31 - 1, 0.0, 0),
    }.values(),
)
def test_r_rows(acc: int, real: float, expected: int) -> None:
    assert multiply_by_quantized_multiplier(acc, quantize_multiplier(real)) == expected


@given(
    st.integers(-(2**31), 2**31 - 1) | st.integers(-5000, 5000),
    st.floats(2.0**-34, 2.0**12) | st.sampled_from(TIE_PRONE),
)
def test_r_equals_its_twin(acc: int, real: float) -> None:
    multiplier = quantize_multiplier(real)
    assert multiply_by_quantized_multiplier(acc, multiplier) == twin_of_r(acc, multiplier)


@pytest.mark.parametrize("real", TIE_PRONE)
def test_r_equals_its_twin_on_tie_prone_scales(real: float) -> None:
    multiplier = quantize_multiplier(real)
    accs = np.arange(-300, 301)
    expected = [twin_of_r(int(acc), multiplier) for acc in accs]
    np.testing.assert_array_equal(multiply_by_quantized_multiplier(accs, multiplier), expected)


def test_r_wraps_where_c_overflows() -> None:
    doubled = quantize_multiplier(1.0)  # mantissa 2^30, one bit to the left
    assert multiply_by_quantized_multiplier(2**30, doubled) == -(2**30)
    assert multiply_by_quantized_multiplier(2**32 + 8, quantize_multiplier(0.5)) == 4


def test_r_refuses_a_shift_c_does_not_define() -> None:
    with pytest.raises(ValueError, match="more than 31 bits"):
        multiply_by_quantized_multiplier(1, quantize_multiplier(2.0**32))


def test_r_per_channel_runs_along_the_last_axis() -> None:
    acc = np.array([[10, 20, 7], [-30, 40, 9]], np.int32)
    channels = quantize_multipliers([0.5, 3.0, 2.0**-40])
    result = multiply_by_quantized_multiplier(acc, channels)
    np.testing.assert_array_equal(result, [[5, 60, 0], [-15, 120, 0]])
    assert result.dtype == np.int32
    assert len(channels) == 3
    assert channels[1] == quantize_multiplier(3.0)


def test_product_multiplier_rounds_the_product_to_float32() -> None:
    """1.1f 1.1f needs 48 bits: the float32 product, not the exact one, is divided, and divided in double."""
    a = float(np.float32(1.1))
    product = float(np.float32(a * a))  # a double holds the 48-bit product exactly, so this rounds once
    assert product != a * a
    assert product_multiplier(1.1, 1.1, 3.0) == product / 3.0
    channels = product_multipliers(1.1, [1.1, 0.5], 3.0)
    assert channels[0] == quantize_multiplier(product / 3.0)


def test_requantize_accumulator_shifts_then_clamps() -> None:
    half = quantize_multiplier(0.5)
    codes = requantize_accumulator([-300, -11, 0, 11, 600], half, 128, 120, 255, np.uint8)
    np.testing.assert_array_equal(codes, [120, 123, 128, 134, 255])
    assert codes.dtype == np.uint8
    # The sum with the zero point is an int32 too: just below 2^31 it comes out negative.
    one = Multiplier(2**31 - 1, 0)
    assert requantize_accumulator(2**31 - 1, one, 128, 0, 255, np.uint8) == 0


@pytest.mark.parametrize(
    ("mantissa", "expected"),
    [(0, 0), (2**30, 2**14), (2**30 + 2**15, 2**14 + 1), (2**30 + 2**15 - 1, 2**14), (2**31 - 1, 2**15 - 1)],
)
def test_16_bit_mantissa(mantissa: int, expected: int) -> None:
    assert downscale_multiplier_to_16(Multiplier(mantissa, 0)) == expected


def test_16_bit_mantissa_is_not_negative() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        downscale_multiplier_to_16(Multiplier(-1, 0))
