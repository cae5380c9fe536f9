"""Quantize, dequantize and requantize: ties, extremes and both ways the reference rescales codes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.numerics.quantize import (
    Affine,
    code_limits,
    dequantize,
    dequantize_per_channel,
    quantize,
    quantize_bias,
    quantize_per_channel,
    requantize_concat,
    requantize_elementwise,
)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    {
        "tie_up": (0.25, np.uint8, 129),
        "tie_down": (-0.25, np.uint8, 127),
        "tie_is_not_even": (0.75, np.uint8, 130),
        "saturates_high": (1e30, np.uint8, 255),
        "saturates_low": (-1e30, np.uint8, 0),
        "plus_infinity": (np.inf, np.uint8, 255),
        "minus_infinity": (-np.inf, np.uint8, 0),
        "nan_becomes_the_largest_code": (np.nan, np.uint8, 255),
        "nan_int8": (np.nan, np.int8, 127),
    }.values(),
)
def test_quantize_rows(value: float, dtype: type, expected: int) -> None:
    codes = quantize([value], 0.5, 128 if dtype is np.uint8 else 0, dtype)
    assert codes[0] == expected
    assert codes.dtype == dtype


def test_quantize_divides_in_float32() -> None:
    """0.024 / 0.016 is 1.5 in float32, a tie that goes up, and less than 1.5 in double."""
    assert float(np.float32(0.024)) / float(np.float32(0.016)) < 1.5
    assert quantize(0.024, 0.016, 0) == 2


@given(st.sampled_from([np.uint8, np.int8]), st.floats(2.0**-20, 2.0**20, width=32), st.integers(-128, 127))
def test_codes_survive_the_round_trip(dtype: type, scale: float, zero_point: int) -> None:
    lo, hi = code_limits(dtype)
    zero_point += lo + 128
    codes = np.arange(lo, hi + 1).astype(dtype)
    np.testing.assert_array_equal(quantize(dequantize(codes, scale, zero_point), scale, zero_point, dtype), codes)


def test_dequantize_rounds_once_to_float32() -> None:
    real = dequantize(np.array([0, 3, 255], np.uint8), 0.1, 3)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(real, [np.float32(0.1) * np.float32(-3), 0, np.float32(0.1) * np.float32(252)])


def test_per_channel_scales_belong_to_one_axis() -> None:
    codes = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2)
    scales = [0.5, 0.25, 2.0]
    real = dequantize_per_channel(codes, scales, 1)
    np.testing.assert_array_equal(real[:, 1], codes[:, 1] * np.float32(0.25))
    np.testing.assert_array_equal(quantize_per_channel(real, scales, 1), codes)
    np.testing.assert_array_equal(quantize_per_channel([[300.0, -0.25]], [1.0, 0.5], 1), [[127, -1]])
    for function in (dequantize_per_channel, quantize_per_channel):
        with pytest.raises(ValueError, match="3 scales for 2 channels"):
            function(codes, scales, 0)


def test_bias_rounds_away_and_saturates() -> None:
    np.testing.assert_array_equal(quantize_bias([0.5, -0.5, 1e12, 0.3], [1.0, 1.0, 1e-3, 0.1]), [1, -1, 2**31 - 1, 3])


def test_concat_copies_equal_parameters() -> None:
    codes = np.array([0, 255], np.uint8)
    copied = requantize_concat(codes, 0.1, 3, 0.1, 3)
    np.testing.assert_array_equal(copied, codes)
    assert copied is not codes


@pytest.mark.parametrize(
    ("scale", "zero_point", "scale_out", "zero_point_out", "expected"),
    {
        "halving_ties_away": (0.5, 4, 1.0, 3, [1, 1, 3, 4, 6]),  # 3 + rha of -2, -1.5, 0, 0.5, 3
        "doubling": (1.0, 0, 0.5, 10, [10, 12, 18, 20, 30]),
        "shift_only": (1.0, 2, 1.0, 0, [0, 0, 2, 3, 8]),
    }.values(),
)
def test_concat_rows(scale: float, zero_point: int, scale_out: float, zero_point_out: int, expected: list[int]) -> None:
    codes = np.array([0, 1, 4, 5, 10], np.uint8)
    np.testing.assert_array_equal(requantize_concat(codes, scale, zero_point, scale_out, zero_point_out), expected)


def f32(value: Fraction) -> Fraction:
    """An exact value rounded once to float32; the products met here fit a double exactly."""
    assert Fraction(float(value)) == value
    return Fraction(float(np.float32(float(value))))


# 0.001 / 0.01 and 0.001 / 0.014 give other codes when one of the float32 steps is skipped.
@pytest.mark.parametrize(("scale", "scale_out"), [(0.1, 0.0371), (0.001, 0.01), (0.001, 0.014)])
def test_concat_equals_its_exact_twin_step_by_step(scale: float, scale_out: float) -> None:
    zero_point, zero_point_out = 77, 31
    factor = f32(Fraction(float(np.float32(scale))) * Fraction(float(np.float32(1) / np.float32(scale_out))))
    bias = f32(-zero_point * factor)
    for code in range(256):
        value = f32(f32(code * factor) + bias)
        rounded = int(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1)
        expected = max(0, min(255, rounded + zero_point_out))
        assert requantize_concat(np.uint8([code]), scale, zero_point, scale_out, zero_point_out) == expected


def test_concat_of_int8_goes_through_uint8() -> None:
    codes = np.arange(-128, 128).astype(np.int8)
    signed = requantize_concat(codes, 0.3, -5, 0.07, 9)
    unsigned = requantize_concat((codes.astype(int) + 128).astype(np.uint8), 0.3, 123, 0.07, 137)
    assert signed.dtype == np.int8
    np.testing.assert_array_equal(signed.astype(int) + 128, unsigned)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(
    ("scale", "scale_out"),
    # The last pair gives other codes when the product with the scale is kept in double.
    [(0.5, 1.0), (1.0, 0.5), (0.1, 0.0371), (0.75, 0.625), (0.001, 0.002)],
)
def test_elementwise_requantization_clamps_then_rounds(dtype: type, scale: float, scale_out: float) -> None:
    lo, hi = code_limits(dtype)
    quant, quant_out = Affine(scale, lo + 77), Affine(scale_out, lo + 31)
    for code in range(lo, hi + 1):
        product = np.float32(np.float32(scale) * np.float32(code - quant.zero_point))
        target = float(product) / float(np.float32(scale_out)) + quant_out.zero_point
        target = max(float(lo), min(float(hi), target))
        rounded = int(abs(target) + 0.5) * (1 if target >= 0 else -1)
        assert requantize_elementwise(np.array([code], dtype), *quant, *quant_out) == rounded
