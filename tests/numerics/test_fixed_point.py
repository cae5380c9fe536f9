"""Fixed-point functions: recorded raw words, a scalar big-integer twin, and closeness to the real functions.

The recorded words were printed by the original C++ templates; the twin is written from their definitions one
number at a time, with none of the arrays, wraps and shortcuts of the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.numerics.fixed_point import (
    exp_on_negative_values,
    inverse_sqrt_multiplier,
    logistic,
    one_over_one_plus_x,
    reciprocal,
    rescale,
    tanh,
)

# function -> (integer bits, bits, [(raw argument, raw result), …])
RECORDED: dict[str, tuple[Callable[..., np.ndarray], int, int, list[tuple[int, int]]]] = {
    "logistic_q4_27": (
        logistic,
        4,
        32,
        [
            (-(2**31), 241), (-1234567890, 217335), (-(2**27), 577547421), (-1, 1073741699), (0, 2**30),
            (1, 1073741948), (2**20, 1077936196), (987654321, 2146116376), (2**31 - 1, 2147483406),
        ],
    ),
    "tanh_q4_27": (
        tanh,
        4,
        32,
        [
            (-(2**31), -(2**31) + 1), (-1234567890, -2147483596), (-(2**27), -1635510876), (-1, -260), (0, 0),
            (1, 260), (2**20, 16776996), (987654321, 2147481900), (2**31 - 1, 2**31 - 1),
        ],
    ),
    "exp_q5_26": (
        exp_on_negative_values,
        5,
        32,
        [
            (-(2**31), 0), (-1234567890, 22), (-(2**26), 790015308), (-(2**24) - 1, 1672461539),
            (-(2**24), 1672462419), (-1, 2147483124), (0, 2**31 - 1),
        ],
    ),
    "logistic_q3_12": (
        logistic,
        3,
        16,
        [
            (-(2**15), 11), (-12345, 1531), (-4096, 8815), (-1, 16383), (0, 16384), (1, 16384), (2048, 20400),
            (23456, 32662), (2**15 - 1, 32756),
        ],
    ),
    "tanh_q3_12": (
        tanh,
        3,
        16,
        [
            (-(2**15), -32767), (-12345, -32616), (-4096, -24964), (-1, -8), (0, 0), (1, 8), (2048, 15136),
            (23456, 32767), (2**15 - 1, 32767),
        ],
    ),
    "tanh_q0_15": (
        tanh,
        0,
        16,
        [(-(2**15), -24964), (-12345, -11788), (-1, 8), (0, 0), (1, -8), (2048, 2048), (23456, 20136)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_words(name: str) -> None:
    function, integer_bits, bits, pairs = RECORDED[name]
    arguments, results = np.array(pairs).T
    computed = function(arguments, integer_bits, bits)
    np.testing.assert_array_equal(computed, results)
    assert computed.dtype == {32: np.int32, 16: np.int16}[bits]


# --- the twin ---------------------------------------------------------------------------


def cut(value: int, bits: int) -> int:
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def bound(value: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def times(a: int, b: int, bits: int) -> int:
    product, half = a * b, 2 ** (bits - 2)
    nudged = product + (half if product >= 0 else 1 - half)
    quotient = abs(nudged) // 2 ** (bits - 1)
    return min(quotient if nudged >= 0 else -quotient, 2 ** (bits - 1) - 1)


def shifted_right(value: int, amount: int) -> int:
    quotient, remainder = divmod(abs(value), 2**amount)
    quotient += 2 * remainder >= 2**amount and amount > 0
    return -quotient if value < 0 else quotient


def constant(real: float, bits: int, integer_bits: int = 0) -> int:
    """From the real number to 32 bits, then to the width: not from the code's integers."""
    return shifted_right(round(real * 2 ** (31 - integer_bits)), 32 - bits)


def twin_exp(a: int, integer_bits: int, bits: int) -> int:
    if a == 0:
        return 2 ** (bits - 1) - 1
    fraction_bits = bits - 1 - integer_bits
    if integer_bits > 5 and a < -32 * 2**fraction_bits:
        return 0
    quarter = 2 ** (fraction_bits - 2)
    inside = a % quarter - quarter
    x = bound(inside * 2**integer_bits, bits) + 2 ** (bits - 4)
    x2 = times(x, x, bits)
    x3, x4 = times(x2, x, bits), times(x2, x2, bits)
    cubic = times(shifted_right(x4, 2) + x3, constant(1 / 3, bits), bits)
    series = x + shifted_right(cubic + x2, 1)
    result = constant(math.exp(-1 / 8), bits) + times(constant(math.exp(-1 / 8), bits), series, bits)
    if bits == 16:
        result = bound(result, bits)
    quarters = (inside - a) // quarter
    for index in range(min(integer_bits + 2, 7)):
        if quarters >> index & 1:
            result = times(result, constant(math.exp(-(2.0 ** (index - 2))), bits), bits)
    return result


def twin_reciprocal(e: int, bits: int) -> int:
    """2 / (1 + e) with two integer bits."""
    half_denominator = (e + 2 ** (bits - 1)) // 2  # (e + max + 1) / 2 for e >= 0
    one = 2 ** (bits - 3)
    x = constant(48 / 17, bits, 2) + times(half_denominator, constant(-32 / 17, bits, 2), bits)
    for _ in range(3):
        x += bound(4 * times(x, one - times(half_denominator, x, bits), bits), bits)
    return cut(x, bits)


def twin_logistic(a: int, integer_bits: int, bits: int) -> int:
    if a == 0:
        return 2 ** (bits - 2)
    positive = bound(2 * twin_reciprocal(twin_exp(-abs(a), integer_bits, bits), bits), bits)
    return positive if a > 0 else 2 ** (bits - 1) - 1 - positive


def twin_tanh(a: int, integer_bits: int, bits: int) -> int:
    if a == 0:
        return 0
    reciprocal_minus_one = twin_reciprocal(twin_exp(-abs(a), integer_bits + 1, bits), bits) - 2 ** (bits - 3)
    magnitude = bound(4 * reciprocal_minus_one, bits)
    return magnitude if a > 0 else cut(-magnitude, bits)


def words(bits: int) -> st.SearchStrategy[int]:
    limit = 2 ** (bits - 1)
    return st.integers(-limit, limit - 1) | st.integers(-300, 300)


@given(words(32), st.integers(0, 6))
def test_32_bit_functions_equal_their_twin(raw: int, integer_bits: int) -> None:
    assert exp_on_negative_values(-abs(raw), integer_bits) == twin_exp(-abs(raw), integer_bits, 32)
    assert logistic(raw, integer_bits) == twin_logistic(raw, integer_bits, 32)
    assert tanh(raw, integer_bits) == twin_tanh(raw, integer_bits, 32)


@given(words(16), st.integers(0, 6))
def test_16_bit_functions_equal_their_twin(raw: int, integer_bits: int) -> None:
    assert exp_on_negative_values(-abs(raw), integer_bits, 16) == twin_exp(-abs(raw), integer_bits, 16)
    assert logistic(raw, integer_bits, 16) == twin_logistic(raw, integer_bits, 16)
    assert tanh(raw, integer_bits, 16) == twin_tanh(raw, integer_bits, 16)


# --- the real functions -----------------------------------------------------------------


@pytest.mark.parametrize("integer_bits", [2, 4, 5, 6, 8])
def test_exp_is_close(integer_bits: int) -> None:
    raw = np.unique(np.linspace(-(2**31), 0, 20001).astype(np.int64))
    real = np.exp(raw / 2.0 ** (31 - integer_bits))
    # Degree 4 around -1/8 leaves (1/8)^5 / 5! = 2.6e-7, the measured maximum is 2.3e-7.
    np.testing.assert_allclose(exp_on_negative_values(raw, integer_bits) / 2.0**31, real, atol=3e-7, rtol=0)


def test_logistic_and_tanh_are_close() -> None:
    raw = np.linspace(-(2**31), 2**31 - 1, 20001).astype(np.int64)
    x = raw / 2.0**27
    # The exponential's error, halved by 1 / (1 + e) and doubled or so by Newton's remainder.
    np.testing.assert_allclose(logistic(raw, 4) / 2.0**31, 1 / (1 + np.exp(-x)), atol=1e-7, rtol=0)
    np.testing.assert_allclose(tanh(raw, 4) / 2.0**31, np.tanh(x), atol=2e-7, rtol=0)


def test_reciprocals() -> None:
    x = np.linspace(0, 1, 1001)
    computed = one_over_one_plus_x(np.minimum(x * 2.0**31, 2.0**31 - 1).astype(np.int64)) / 2.0**31
    # Newton from 48/17 - 32/17 d starts within 1/17: (1/17)^8 = 1.4e-10, the rest is rounding of Q2.29.
    np.testing.assert_allclose(computed, 1 / (1 + x), atol=2e-8, rtol=0)
    words = np.array([2**19, 2**20, 3 * 2**18, 511 * 2**19, 2**31 - 1])  # Q12.19
    scale, shift = reciprocal(words, 12)
    np.testing.assert_array_equal(shift, [0, 1, 0, 8, 11])
    np.testing.assert_allclose(scale / 2.0 ** (31 + shift) * words / 2.0**19, 1, atol=5e-8, rtol=0)


def test_reciprocal_reads_a_wrapped_sum_as_unsigned() -> None:
    scale, shift = reciprocal(3 * 2**30 - 2**32, 12)
    assert shift == 12
    assert scale / 2.0 ** (31 + shift) * (3 * 2**11) == pytest.approx(1, abs=5e-8)  # Q2.29 rounding


@pytest.mark.parametrize(
    ("value", "mantissa", "exponent"),
    [
        (0, 2147483647, 0), (1, 2147483647, 0), (2, 1518498372, 0), (3, 1239850284, 0), (4, 1073741828, 0),
        (100, 214748363, 0), (65025, 269488147, -5), (123456789, 197912100, -10), (2**29, 379624593, -12),
        (2**31 - 1, 189812531, -12),
    ],
)  # fmt: skip
def test_inverse_sqrt_recorded_words(value: int, mantissa: int, exponent: int) -> None:
    assert inverse_sqrt_multiplier(value) == (mantissa, exponent)


def test_inverse_sqrt_is_close_and_vectorised() -> None:
    values = np.unique(np.geomspace(1, 2**31 - 1, 3000).astype(np.int64)).reshape(1, -1)
    mantissa, exponent = inverse_sqrt_multiplier(values)
    real = mantissa * 2.0 ** (exponent - 31.0)
    # Five Newton steps from 1: the worst start, x = 2, leaves 1.2e-6 relative (measured over 20 000 values).
    np.testing.assert_allclose(real * np.sqrt(values), 1, atol=2e-6, rtol=0)


def test_inverse_sqrt_refuses_negative_values() -> None:
    with pytest.raises(ValueError, match=">= 0, not -4"):
        inverse_sqrt_multiplier([1, -4])


def test_rescale_rounds_or_saturates() -> None:
    np.testing.assert_array_equal(rescale([5, -5, 6], 0, 1), [3, -3, 3])
    np.testing.assert_array_equal(
        rescale([2**29, 2**30, -(2**30), -(2**31)], 1, 0), [2**30, 2**31 - 1, -(2**31), -(2**31)]
    )
    np.testing.assert_array_equal(rescale([16384, -16385], 4, 3, 16), [32767, -32768])
