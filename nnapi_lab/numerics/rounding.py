"""Rounding, saturation and shifts of NNAPI's integer arithmetic, exact to the bit and vectorised.

Integer arguments are anything NumPy can read as integers; arithmetic runs in int64, which is wide enough
for every product of two 32-bit values. `bits` is the width of the C integers, 32 or 16. The names H and P
are those of the formulas used throughout this package:

    H(a, m) = round(a m / 2^31), ties toward +infinity, saturating
    P(x, r) = round(x / 2^r), ties away from zero

Source: AOSP 13 `OperationsExecutionUtils.cpp` and the fixed-point library its kernels include (gemmlowp).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[Any]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1

_STORAGE: dict[int, type[np.signedinteger[Any]]] = {16: np.int16, 32: np.int32}


def storage(bits: int) -> type[np.signedinteger[Any]]:
    """Signed NumPy type of `bits` bits; raises ValueError for a width other than 16 and 32."""
    if bits not in _STORAGE:
        raise ValueError(f"fixed-point words are 16 or 32 bits wide, not {bits}")
    return _STORAGE[bits]


def wrap(values: npt.ArrayLike, bits: int = 32) -> IntArray:
    """Keep the low `bits` bits, two's complement: what a C integer of that width holds after overflow.

    Signed overflow is undefined in C++; every compiler AOSP is built with wraps here, and so do we.
    """
    return np.asarray(values).astype(storage(bits))


def saturate(values: npt.ArrayLike, bits: int = 32) -> IntArray:
    """Clamp to the range of a signed integer of `bits` bits."""
    info = np.iinfo(storage(bits))
    return np.clip(np.asarray(values, np.int64), info.min, info.max).astype(info.dtype)


def round_half_away(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Round to the nearest integer, ties away from zero: C's `round`, in the precision of the argument.

    rha(x) = sign(x) floor(|x| + 1/2) in exact arithmetic. The sum is not formed, because in floating point
    0.49999997 + 0.5 is already 1. NaN and infinities pass through; integers become float64.
    """
    values = np.asarray(values)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):  # inf - inf
        fraction = np.abs(values - whole)  # exact: both are multiples of the same power of two
    return whole + np.copysign((fraction >= 0.5).astype(values.dtype), values)


def rounding_divide_by_pot(values: npt.ArrayLike, exponent: npt.ArrayLike, bits: int = 32) -> IntArray:
    """P(x, r) = floor(x / 2^r) + [x mod 2^r > floor((2^r - 1) / 2) + [x < 0]]: nearest, ties away from zero.

    `exponent` 0…31 broadcasts against `values`; results are int32 or int16. For 16-bit words and r >= 16
    the C code's mask 2^r - 1 is cut to 16 bits, all ones, and the result is 1 for x >= 0 and -1 for x < 0;
    that is reproduced. Raises ValueError outside 0…31, where the C shift is undefined.
    Source: gemmlowp `RoundingDivideByPOT`.
    """
    exponent = np.asarray(exponent, np.int64)
    if exponent.size and (exponent.min() < 0 or exponent.max() > 31):
        raise ValueError(f"a rounding shift takes 0…31 bits, not {exponent.min()}…{exponent.max()}")
    wide = np.asarray(values, np.int64)
    half = (np.int64(1) << exponent) >> 1
    result = (wide + half - ((wide < 0) & (exponent > 0))) >> exponent
    if bits == 16:
        result = np.where(exponent >= 16, np.where(wide < 0, -1, 1), result)
    return result.astype(storage(bits))


def saturating_rounding_doubling_high_mul(a: npt.ArrayLike, b: npt.ArrayLike, bits: int = 32) -> IntArray:
    """H(a, b) = trunc((a b + d) / 2^(bits-1)), d = 2^(bits-2) if a b >= 0 else 1 - 2^(bits-2).

    That is round-to-nearest with ties toward +infinity, so one addition and one arithmetic shift do it.
    The only overflow, both factors equal to the smallest integer, gives the largest integer.
    Source: gemmlowp `SaturatingRoundingDoublingHighMul`.
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    rounded = (product + (1 << (bits - 2))) >> (bits - 1)
    return np.minimum(rounded, np.iinfo(storage(bits)).max).astype(storage(bits))


def saturating_doubling_high_mul(a: npt.ArrayLike, b: npt.ArrayLike, bits: int = 16) -> IntArray:
    """trunc(a b / 2^(bits-1)), saturating: the product that HARD_SWISH truncates instead of rounding."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    magnitude = np.abs(product) >> (bits - 1)
    return saturate(np.where(product < 0, -magnitude, magnitude), bits)


def saturating_left_shift(values: npt.ArrayLike, amount: npt.ArrayLike, bits: int = 32) -> IntArray:
    """x 2^amount clamped to `bits` bits; `amount` 0…31."""
    return saturate(np.asarray(values, np.int64) << np.asarray(amount, np.int64), bits)


def saturating_rounding_multiply_by_pot(values: npt.ArrayLike, exponent: int, bits: int = 32) -> IntArray:
    """x 2^exponent: a saturating left shift for a positive exponent, P for a negative one."""
    if exponent > 0:
        return saturating_left_shift(values, exponent, bits)
    return rounding_divide_by_pot(values, -exponent, bits)


def saturating_add(a: npt.ArrayLike, b: npt.ArrayLike, bits: int = 16) -> IntArray:
    """a + b clamped to `bits` bits."""
    return saturate(np.asarray(a, np.int64) + np.asarray(b, np.int64), bits)


def rounding_half_sum(a: npt.ArrayLike, b: npt.ArrayLike, bits: int = 32) -> IntArray:
    """(a + b) / 2, ties away from zero. Source: gemmlowp `RoundingHalfSum`."""
    total = np.asarray(a, np.int64) + np.asarray(b, np.int64)
    magnitude = (np.abs(total) + 1) >> 1
    return np.where(total < 0, -magnitude, magnitude).astype(storage(bits))


def divide_truncating(dividend: npt.ArrayLike, divisor: npt.ArrayLike) -> IntArray:
    """Integer quotient toward zero, as C's `/`; NumPy's `//` floors. Raises ZeroDivisionError."""
    dividend = np.asarray(dividend, np.int64)
    divisor = np.asarray(divisor, np.int64)
    if np.any(divisor == 0):
        raise ZeroDivisionError("integer division by zero")
    quotient = np.abs(dividend) // np.abs(divisor)
    return np.where((dividend < 0) != (divisor < 0), -quotient, quotient)


def count_leading_zeros(values: npt.ArrayLike) -> IntArray:
    """Zero bits above the highest set bit of each value read as uint32; 32 for 0."""
    unsigned = np.asarray(values, np.int64) & 0xFFFFFFFF
    # frexp of an exactly converted integer returns its bit length as the exponent, and 0 for 0.
    return 32 - np.frexp(unsigned.astype(np.float64))[1].astype(np.int64)


def round_to_float16(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Float32 values as they survive a stay in float16: 11-bit mantissa, ties to even, infinite from 65520.

    The helper behind models marked relaxed, whose float32 operations may run in float16.
    """
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32).astype(np.float16).astype(np.float32)
