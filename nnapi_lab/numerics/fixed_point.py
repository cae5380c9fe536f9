"""exp, tanh, logistic, reciprocal and inverse square root on fixed-point integers, exact to the bit.

A fixed-point word is a signed integer of `bits` bits (32 or 16) with `integer_bits` bits left of the binary
point besides the sign: raw / 2^(bits - 1 - integer_bits) is the number it stands for. Q5.26 is integer_bits 5
in 32 bits; Q0.31 and Q0.15 hold results in [-1, 1). Functions take and return arrays of raw words.

Every step is the arithmetic of gemmlowp's `fixedpoint.h`, which AOSP 13's quantized LOGISTIC, TANH, SOFTMAX,
L2_NORMALIZATION and LSTM kernels call; results are off the real functions by a few units in the last place,
and so are ours, by the same units. Plain sums wrap, shifts saturate, products are H.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.rounding import (
    IntArray,
    count_leading_zeros,
    rounding_divide_by_pot,
    rounding_half_sum,
    saturating_rounding_doubling_high_mul,
    saturating_rounding_multiply_by_pot,
    storage,
    wrap,
)

# Real constants as Q0.31 (Q2.29 where said so), rounded to nearest.
_EXP_MINUS_EIGHTH = 1895147668
_ONE_THIRD = 715827883
_48_OVER_17_Q2 = 1515870810
_MINUS_32_OVER_17_Q2 = -1010580540
_HALF_SQRT_2 = 1518500250

# exp(-2^k) for k = -2 … 4, the factors that a remainder's bits switch on.
_EXP_MINUS_POT = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}


def one(integer_bits: int, bits: int = 32) -> int:
    """The raw word of 1.0, or of the largest number below it when there are no integer bits."""
    if integer_bits == 0:
        return int(np.iinfo(storage(bits)).max)
    return 1 << (bits - 1 - integer_bits)


def rescale(raw: npt.ArrayLike, integer_bits: int, integer_bits_to: int, bits: int = 32) -> IntArray:
    """The same number with another count of integer bits: more of them rounds (P), fewer saturate."""
    return saturating_rounding_multiply_by_pot(raw, integer_bits - integer_bits_to, bits)


def exp_on_quarter_interval(raw: npt.ArrayLike, bits: int = 32) -> IntArray:
    """exp(a) for a in [-1/4, 0): raw words without integer bits in and out.

    Taylor's series of degree 4 around -1/8: with x = a + 1/8,
    e^(-1/8) (1 + x + (((x^4 / 4 + x^3) / 3) + x^2) / 2). The original's 16-bit form saturates the last sum,
    which no argument in the interval reaches.
    """
    mul = _product(bits)
    constant_term = _constant(_EXP_MINUS_EIGHTH, bits)
    x = wrap(np.asarray(raw, np.int64) + (1 << (bits - 4)), bits)
    x2 = mul(x, x)
    x3, x4 = mul(x2, x), mul(x2, x2)
    cubic = wrap(_wide(rounding_divide_by_pot(x4, 2, bits)) + x3, bits)
    curved = wrap(_wide(mul(cubic, _constant(_ONE_THIRD, bits))) + x2, bits)
    series = wrap(_wide(x) + rounding_divide_by_pot(curved, 1, bits), bits)
    return wrap(_wide(mul(constant_term, series)) + constant_term, bits)


def exp_on_negative_values(raw: npt.ArrayLike, integer_bits: int, bits: int = 32) -> IntArray:
    """exp(a) for a <= 0 as a word without integer bits; exp(0) is the largest word, not quite 1.

    a = quarter + rest: the part in [-1/4, 0) goes through the series, each set bit 2^k of the rest
    multiplies by exp(-2^k). With more than 5 integer bits anything below -32 gives 0.
    """
    mul = _product(bits)
    raw = wrap(raw, bits)
    wide = _wide(raw)
    fraction_bits = bits - 1 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    in_quarter = (wide & (quarter - 1)) - quarter
    result = exp_on_quarter_interval(rescale(in_quarter, integer_bits, 0, bits), bits)
    rest = in_quarter - wide
    for power, factor in _EXP_MINUS_POT.items():
        if integer_bits > power:
            is_set = (rest >> (fraction_bits + power)) & 1 == 1
            result = np.where(is_set, mul(result, _constant(factor, bits)), result)
    if integer_bits > 5:
        floor = _constant(-(1 << (36 - integer_bits)), bits)  # -32
        result = np.where(raw < floor, 0, result)
    return wrap(np.where(raw == 0, one(0, bits), result), bits)


def one_over_one_plus_x(raw: npt.ArrayLike, bits: int = 32) -> IntArray:
    """1 / (1 + x) for x in (0, 1): words without integer bits in and out."""
    return rescale(_half_denominator_reciprocal(raw, bits), 1, 0, bits)


def one_minus_x_over_one_plus_x(raw: npt.ArrayLike, bits: int = 32) -> IntArray:
    """(1 - x) / (1 + x) for x in (0, 1): words without integer bits in and out."""
    reciprocal = _half_denominator_reciprocal(raw, bits)
    return rescale(wrap(_wide(reciprocal) - one(2, bits), bits), 2, 0, bits)


def logistic(raw: npt.ArrayLike, integer_bits: int, bits: int = 32) -> IntArray:
    """1 / (1 + exp(-a)) as a word without integer bits; negative a by 1 - logistic(-a), 0 gives one half."""
    raw = wrap(raw, bits)
    minus_magnitude = np.where(raw > 0, wrap(-_wide(raw), bits), raw)
    positive = one_over_one_plus_x(exp_on_negative_values(minus_magnitude, integer_bits, bits), bits)
    negative = wrap(one(0, bits) - _wide(positive), bits)
    half = 1 << (bits - 2)
    return wrap(np.where(raw == 0, half, np.where(raw > 0, positive, negative)), bits)


def tanh(raw: npt.ArrayLike, integer_bits: int, bits: int = 32) -> IntArray:
    """tanh(a) = (1 - e) / (1 + e), e = exp(-2 |a|), as a word without integer bits; odd, 0 gives 0."""
    raw = wrap(raw, bits)
    minus_magnitude = np.where(raw < 0, raw, wrap(-_wide(raw), bits))
    # The same raw word with one integer bit more is the doubled number.
    exponential = exp_on_negative_values(minus_magnitude, integer_bits + 1, bits)
    magnitude = one_minus_x_over_one_plus_x(exponential, bits)
    signed = np.where(raw < 0, wrap(-_wide(magnitude), bits), magnitude)
    return wrap(np.where(raw == 0, 0, signed), bits)


def reciprocal(raw: npt.ArrayLike, integer_bits: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(scale, shift) with 1 / x = scale / 2^(31 + shift), for x > 0 in 32 bits read as uint32.

    shift is the number of bits of x above its binary point, beyond the first; scale is a Q0.31 word.
    Source: AOSP 13 `Softmax.cpp`, TFLite `GetReciprocal`.
    """
    headroom_plus_one = count_leading_zeros(raw)
    shifted_minus_one = wrap((_wide(raw) << headroom_plus_one) - (1 << 31))
    return one_over_one_plus_x(shifted_minus_one), integer_bits - headroom_plus_one


def inverse_sqrt_multiplier(
    values: npt.ArrayLike,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(mantissa, exponent) with 1 / sqrt(x) = mantissa 2^(exponent - 31), for int32 x >= 0; 0 counts as 1.

    x is moved by an even number of bits into [1/2, 2) of Q3.28 and five Newton steps from 1 do
    t <- (3/2) t - (x/2) t^3. exponent <= 0. Raises ValueError for negative values.
    Source: TFLite `GetInvSqrtQuantizedMultiplierExp`, as called by AOSP 13 `L2Normalization.cpp`.
    """
    values = _wide(values)
    if np.any(values < 0):
        raise ValueError(f"the inverse square root needs values >= 0, not {int(values.min())}")
    x = np.maximum(values, 2)  # 0 and 1 are answered at the end
    right_shift = np.full(x.shape, 11, np.int64)
    while np.any(x >= 1 << 29):
        large = x >= 1 << 29
        x, right_shift = np.where(large, x >> 2, x), right_shift + large
    pairs = (count_leading_zeros(x) - 1) // 2 - 1
    x, right_shift = x << (2 * pairs), right_shift - pairs
    mantissa = _wide(_inverse_sqrt_newton(x >> 1))
    mantissa = wrap(mantissa << np.maximum(-right_shift, 0))
    trivial = values <= 1
    exponent = np.where(trivial, 0, -np.maximum(right_shift, 0))
    return np.where(trivial, np.int32(2**31 - 1), mantissa), exponent.astype(np.int32)


def _inverse_sqrt_newton(raw: IntArray) -> IntArray:
    """1 / sqrt(2 x) as a Q3.28 product word, for x a Q3.28 word in [1/4, 1)."""
    mul = _product(32)
    half_input = rounding_divide_by_pot(raw, 1)
    three_halves = (1 << 28) + (1 << 27)
    estimate = np.full(np.shape(raw), one(3), np.int32)
    for _ in range(5):
        cube = rescale(mul(mul(estimate, estimate), estimate), 9, 3)
        correction = _wide(mul(three_halves, estimate)) - mul(half_input, cube)
        estimate = rescale(wrap(correction), 6, 3)
    return mul(estimate, _HALF_SQRT_2)


def _half_denominator_reciprocal(raw: npt.ArrayLike, bits: int) -> IntArray:
    """2 / (1 + x) for x in (0, 1), a word with 2 integer bits: three Newton steps from 48/17 - 32/17 d."""
    mul = _product(bits)
    half_denominator = rounding_half_sum(raw, one(0, bits), bits)
    slope = _constant(_MINUS_32_OVER_17_Q2, bits)
    estimate = wrap(_wide(mul(half_denominator, slope)) + _constant(_48_OVER_17_Q2, bits), bits)
    for _ in range(3):
        error = wrap(one(2, bits) - _wide(mul(half_denominator, estimate)), bits)
        estimate = wrap(_wide(estimate) + rescale(mul(estimate, error), 4, 2, bits), bits)
    return estimate


def _product(bits: int) -> Callable[[npt.ArrayLike, npt.ArrayLike], IntArray]:
    """H at one width."""

    def mul(a: npt.ArrayLike, b: npt.ArrayLike) -> IntArray:
        return saturating_rounding_doubling_high_mul(a, b, bits)

    return mul


def _constant(raw32: int, bits: int) -> int:
    """A 32-bit constant at the width in use: 16-bit code rounds the upper half."""
    return int(rounding_divide_by_pot(raw32, 32 - bits))


def _wide(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.asarray(values, np.int64)
