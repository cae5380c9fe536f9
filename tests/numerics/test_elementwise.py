"""Quantized element-by-element operations: float64 formulas where they hold, exact twins elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.numerics.elementwise import (
    add_codes,
    hard_swish_codes,
    input_radius,
    logistic_codes,
    look_up,
    mul_codes,
    prelu_codes,
    rsqrt_codes,
    sub_codes,
    tanh_codes,
)
from nnapi_lab.numerics.quantize import Affine, code_limits
from nnapi_lab.numerics.requantize import quantize_multiplier
from nnapi_lab.numerics.rounding import round_half_away

RANDOM_SCALES = [float(np.float32(scale)) for scale in np.exp(np.random.default_rng(3).uniform(-7, 1, 60))]
TIE_PRONE_SCALES = [f * 2.0**p for p in range(-10, 2) for f in (1.0, 0.75, 1.25, 0.625)]
EIGHT_BIT = pytest.mark.parametrize("dtype", [np.uint8, np.int8])


def every(dtype: type) -> np.ndarray:
    lo, hi = code_limits(dtype)
    return np.arange(lo, hi + 1).astype(dtype)


def zero_points(dtype: type) -> list[int]:
    lo, hi = code_limits(dtype)
    return [lo, lo + 77, lo + 128, hi]


def check_against_ideal(
    codes_of: Callable[[np.ndarray, float, int], np.ndarray],
    ideal_of: Callable[[np.ndarray], np.ndarray],
    levels: int,
    zero_point_out: int,
    dtype: type,
) -> None:
    """Equal to clamp(rha(levels f(x)) + z) for all 256 codes, unless the value is within 3e-5 of a tie.

    3e-5 is levels times the fixed-point error of 1e-7; within it the true function does not decide. What
    does not fit Q4.27, as far as a power of two of steps tells, saturates.
    """
    lo, hi = code_limits(dtype)
    compared = 0
    for scale in RANDOM_SCALES + TIE_PRONE_SCALES:
        for zero_point in zero_points(dtype):
            codes = every(dtype)
            real = float(np.float32(scale)) * (codes.astype(np.int64) - zero_point)
            ideal = levels * ideal_of(real)
            decided = np.abs(np.abs(ideal - np.floor(ideal)) - 0.5) > 3e-5
            radius = 15 * 2**27 // 2 ** math.frexp(scale * 2**27)[1]
            ideal[codes.astype(np.int64) - zero_point >= radius] = 2 * levels
            ideal[codes.astype(np.int64) - zero_point <= -radius] = -2 * levels
            expected = np.clip(round_half_away(ideal) + zero_point_out, lo, hi)
            actual = codes_of(codes, scale, zero_point)
            assert actual.dtype == dtype
            np.testing.assert_array_equal(actual[decided], expected[decided], f"{scale=} {zero_point=}")
            np.testing.assert_allclose(actual, expected, atol=1, rtol=0)
            compared += int(decided.sum())
    assert compared > 0.999 * 256 * len(zero_points(dtype)) * len(RANDOM_SCALES + TIE_PRONE_SCALES)


@EIGHT_BIT
def test_logistic_equals_the_rounded_function_on_every_code(dtype: type) -> None:
    lo = code_limits(dtype)[0]
    check_against_ideal(logistic_codes, lambda x: 1 / (1 + np.exp(-x)), 256, lo, dtype)


@EIGHT_BIT
def test_tanh_equals_the_rounded_function_on_every_code(dtype: type) -> None:
    lo = code_limits(dtype)[0]
    check_against_ideal(tanh_codes, np.tanh, 128, lo + 128, dtype)


@pytest.mark.parametrize(
    ("codes_of", "code", "scale", "expected"),
    {
        "logistic_near_tie_goes_up": (logistic_codes, 1, 2.0**-7, 129),  # 256 sigma(1/128) = 128.4999975
        "logistic_near_tie_goes_down": (logistic_codes, 255, 2.0**-7, 225),
        "logistic_radius_before_function": (logistic_codes, 3, 2.0, 255),  # 256 sigma(6) = 255.4
        "logistic_zero": (logistic_codes, 0, 0.1, 128),
        "logistic_top": (logistic_codes, 255, 1.0, 255),
        "tanh_near_tie_goes_up": (tanh_codes, 1, 2.0**-8, 129),  # 128 tanh(1/256) = 0.4999975
        "tanh_one": (tanh_codes, 100, 0.01, 225),  # 128 tanh(1) = 97.48
        "tanh_top": (tanh_codes, 255, 1.0, 255),
    }.values(),
)
def test_where_fixed_point_decides(codes_of: Callable[..., np.ndarray], code: int, scale: float, expected: int) -> None:
    assert codes_of(np.uint8([code]), scale, 0) == expected


@pytest.mark.parametrize(("integer_bits", "shift", "radius"), [(4, 20, 1920), (5, 26, 31), (4, 31, 0), (4, 40, 0)])
def test_input_radius(integer_bits: int, shift: int, radius: int) -> None:
    assert input_radius(integer_bits, shift) == radius


def test_huge_scales_saturate_everything_even_zero() -> None:
    """From scale 16 on nothing fits Q4.27, the radius is 0, and q = z counts as below it."""
    np.testing.assert_array_equal(logistic_codes(np.uint8([9, 10, 11]), 16.0, 10), [0, 0, 255])
    np.testing.assert_array_equal(tanh_codes(np.int8([-1, 0, 1]), 64.0, 0), [-128, -128, 127])


@pytest.mark.parametrize("codes_of", [logistic_codes, tanh_codes])
def test_tiny_scales_are_refused(codes_of: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match="above 1"):
        codes_of(np.uint8([0]), 2.0**-27, 0)


def test_look_up_indexes_from_the_smallest_code() -> None:
    table = np.arange(256).astype(np.uint8)
    np.testing.assert_array_equal(look_up(np.array([[-128, 0], [127, -1]], np.int8), table), [[0, 128], [255, 127]])
    np.testing.assert_array_equal(look_up(np.array([0, 255], np.uint8), table), [0, 255])


# --- HARD_SWISH -------------------------------------------------------------------------


def high16(a: int, b: int) -> int:
    return min(math.floor(Fraction(a * b, 2**15) + Fraction(1, 2)), 2**15 - 1)


def clamp16(value: int) -> int:
    return max(-(2**15), min(2**15 - 1, value))


def away(value: Fraction) -> int:
    return int(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1)


def twin_hard_swish(code: int, quant: Affine, quant_out: Affine, lo: int, hi: int) -> int:
    """One code at a time, from the formula, in big integers."""
    hires = np.float32(quant.scale) / np.float32(128)
    to_out = quantize_multiplier(float(hires / np.float32(quant_out.scale)))
    to_unit = quantize_multiplier(float(hires / np.float32(3 / 32768)))
    m_out, m_unit = (min((m.mantissa + 2**15) // 2**16, 2**15 - 1) for m in (to_out, to_unit))
    v = 128 * (code - quant.zero_point)
    r = v
    if to_unit.exponent > 0:
        r = clamp16(2 * high16(clamp16(r * 2 ** (to_unit.exponent - 1)), m_unit))
    else:
        r = away(Fraction(high16(r, m_unit), 2**-to_unit.exponent))
    r = (r + 2**15) // 2
    y = away(Fraction(int(Fraction(r * high16(v, m_out), 2**15)), 2**-to_out.exponent))
    return max(lo, min(hi, y + quant_out.zero_point))


@EIGHT_BIT
@pytest.mark.parametrize(
    ("scale", "scale_out"),
    [
        (0.03, 0.03),
        (0.1, 0.05),
        (0.5, 0.25),
        (1.0, 0.0625),
        (2.0, 0.5),
        (0.0123, 0.0007),
        (10.0, 0.4),
        (0.004, 1.0),
    ],
)
def test_hard_swish_equals_its_twin_and_is_near_the_function(dtype: type, scale: float, scale_out: float) -> None:
    lo, hi = code_limits(dtype)
    quant, quant_out = Affine(scale, lo + 100), Affine(scale_out, lo + 20)
    codes = every(dtype)
    actual = hard_swish_codes(codes, quant, quant_out)
    expected = [twin_hard_swish(int(code), quant, quant_out, lo, hi) for code in codes]
    np.testing.assert_array_equal(actual, expected)
    real = scale * (codes.astype(np.int64) - quant.zero_point)
    ideal = real * np.clip(real + 3, 0, 6) / 6 / scale_out + quant_out.zero_point
    # 16-bit intermediates: about 2^-14 of the largest input, in output steps, and one step of rounding.
    slack = 1 + 256 * scale / scale_out * 2.0**-14
    assert np.max(np.abs(actual - np.clip(ideal, lo, hi))) <= slack


def test_hard_swish_refuses_an_output_scale_too_fine() -> None:
    with pytest.raises(ValueError, match="scale_in < 128 scale_out"):
        hard_swish_codes(np.uint8([0]), Affine(1.0, 0), Affine(1 / 128, 0))


def test_hard_swish_wraps_a_16_bit_sum_that_c_wraps() -> None:
    """32640 of 32767 plus zero point 255 leaves int16; the code that should be largest becomes smallest."""
    codes = np.uint8([200, 255])
    quant_out = Affine(1 / 127.9, 255)
    np.testing.assert_array_equal(hard_swish_codes(codes, Affine(1.0, 0), quant_out), [255, 0])


# --- PRELU, RSQRT -----------------------------------------------------------------------


def test_prelu_rows() -> None:
    codes = np.array([[0, 4, 6, 10]], np.uint8)  # x = -4 0 2 6
    alpha = np.array([2, 2, 2, 2], np.uint8)  # alpha = 0.5 each
    out = prelu_codes(codes, Affine(1.0, 4), alpha, Affine(0.25, 0), Affine(0.5, 100))
    np.testing.assert_array_equal(out, [[96, 100, 104, 112]])


@EIGHT_BIT
def test_prelu_broadcasts_alpha_and_saturates(dtype: type) -> None:
    lo, hi = code_limits(dtype)
    codes = np.array([[[lo, hi], [hi, lo]]], dtype)
    alpha = np.array([lo + 1, hi], dtype)
    out = prelu_codes(codes, Affine(1.0, lo + 128), alpha, Affine(1.0, lo), Affine(0.5, lo + 10))
    # x = -128 or 127; alpha 1 gives -256 + 10, alpha 255 far less; 127 gives 254 + 10
    np.testing.assert_array_equal(out, [[[lo, hi], [hi, lo]]])


def test_prelu_divides_in_float32_on_the_positive_side_only() -> None:
    """0.024 / 0.016 is 1.5 in float32 and less in double: 1 becomes 2, and -1 · -1 becomes 1, not 2."""
    assert float(np.float32(0.024)) / float(np.float32(0.016)) < 1.5
    quant, quant_alpha, quant_out = Affine(0.024, 1), Affine(1.0, 1), Affine(0.016, 0)
    codes, alpha = np.uint8([2, 0]), np.uint8([0, 0])
    np.testing.assert_array_equal(prelu_codes(codes, quant, alpha, quant_alpha, quant_out), [2, 1])


def test_rsqrt_rows() -> None:
    codes = np.array([9, 10, 11, 14, 26, 110], np.uint8)  # x = -1 0 1 4 16 100
    out = rsqrt_codes(codes, Affine(1.0, 10), Affine(1 / 16, 3))
    np.testing.assert_array_equal(out, [255, 255, 19, 11, 7, 5])  # 16/10 = 1.6 -> 2


# --- ADD, SUB, MUL ----------------------------------------------------------------------


def twin_r(acc: int, real: float, negate: bool = False) -> int:
    multiplier = quantize_multiplier(real)
    mantissa = -multiplier.mantissa if negate else multiplier.mantissa
    high = math.floor(Fraction(acc * 2 ** max(multiplier.exponent, 0) * mantissa, 2**31) + Fraction(1, 2))
    return away(Fraction(high, 2 ** max(-multiplier.exponent, 0)))


SCALES = st.sampled_from(TIE_PRONE_SCALES[8:]) | st.floats(2.0**-8, 2.0, width=32)
CODE = st.integers(0, 255)


@given(CODE, SCALES, CODE, CODE, SCALES, CODE, SCALES, CODE, st.booleans())
def test_add_and_sub_equal_their_twin(
    qa: int, sa: float, za: int, qb: int, sb: float, zb: int, so: float, zo: int, subtract: bool
) -> None:
    sa, sb, so = (float(np.float32(scale)) for scale in (sa, sb, so))
    t = 2 * max(sa, sb)
    total = twin_r((qa - za) * 2**20, sa / t) + twin_r((qb - zb) * 2**20, sb / t, negate=subtract)
    expected = max(0, min(255, zo + twin_r(total, t / (2**20 * so))))
    operation = sub_codes if subtract else add_codes
    a, b = np.uint8([qa]), np.uint8([qb])
    assert operation(a, Affine(sa, za), b, Affine(sb, zb), Affine(so, zo)) == expected
    # The same codes shifted to int8 are the same numbers.
    signed = operation(
        (a - 128).astype(np.int8), Affine(sa, za - 128), (b - 128).astype(np.int8), Affine(sb, zb - 128),
        Affine(so, zo - 128),
    )  # fmt: skip
    assert signed == expected - 128


@given(CODE, SCALES, CODE, CODE, SCALES, CODE, SCALES, CODE)
def test_mul_equals_its_twin(qa: int, sa: float, za: int, qb: int, sb: float, zb: int, so: float, zo: int) -> None:
    a, b, quant_a, quant_b = np.uint8([qa]), np.uint8([qb]), Affine(sa, za), Affine(sb, zb)
    product = float(np.float32(sa) * np.float32(sb))
    so = float(np.float32(so))
    if product >= so:
        with pytest.raises(ValueError, match="between 0 and 1"):
            mul_codes(a, quant_a, b, quant_b, Affine(so, zo))
        return
    expected = max(0, min(255, zo + twin_r((qa - za) * (qb - zb), product / so)))
    assert mul_codes(a, quant_a, b, quant_b, Affine(so, zo)) == expected


def test_sub_negates_the_multiplier_not_the_term() -> None:
    """b = -(1/2 + 2^-21) is half a unit off a 2^-20 step: H(2^20, m) ties upward, -H(-2^20, m) downward.

    -1 + 1/2 + 2^-21 then rounds to 0 with the one and to -1 with the other.
    """
    a, b = np.uint8([9]), np.uint8([9])
    assert sub_codes(a, Affine(1.0, 10), b, Affine(0.5 + 2.0**-21, 10), Affine(1.0, 10)) == 10


def test_add_broadcasts_and_applies_the_fused_range() -> None:
    a = np.array([[10], [20]], np.uint8)
    b = np.array([1, 100, 200], np.uint8)
    quant = Affine(0.5, 10)
    np.testing.assert_array_equal(add_codes(a, quant, b, quant, quant, fuse=0), [[1, 100, 200], [11, 110, 210]])
    np.testing.assert_array_equal(add_codes(a, quant, b, quant, quant, fuse=3), [[10, 22, 22], [11, 22, 22]])


def test_add_refuses_an_output_scale_too_fine() -> None:
    coarse, fine = Affine(1.0, 0), Affine(2.0**-19, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        add_codes(np.uint8([1]), coarse, np.uint8([1]), coarse, fine)
