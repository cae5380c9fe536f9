"""SOFTMAX on codes: fixed-point exponentials, their sum, and its reciprocal."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.elementwise import input_radius, scale_up
from nnapi_lab.numerics.fixed_point import exp_on_negative_values, reciprocal, rescale
from nnapi_lab.numerics.quantize import code_limits
from nnapi_lab.numerics.requantize import quantize_multiplier_greater_than_one
from nnapi_lab.numerics.rounding import (
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap,
)

_DIFF_BITS = 5  # Q5.26 differences
_SUM_BITS = 12  # Q12.19 sums


def softmax_codes(codes: npt.NDArray[Any], scale: float, beta: float = 1.0, axis: int = -1) -> npt.NDArray[Any]:
    """SOFTMAX along `axis` of uint8 or int8 codes; the output scale is 1/256, zero point 0 (int8 -128).

    d = q - max; e = exp(R(d; beta scale 2^26)), Q5.26 to Q0.31, 0 for d below the input radius;
    y = P(H(1 / sum P(e, 12), e), b + 23), b the bits of the sum above 1. Equals rha(256 p) wherever it was
    tried. The multiplier is cut at 2^31 - 1; ValueError when beta scale <= 2^-26.
    Where a row's sum of exponentials reaches 512 (see `overflowing_rows`) the reference is undefined; the formula
    continued gives 0 there. Source: AOSP 13 `Softmax.cpp`.
    """
    exponentials, inverse, shift = _rows(codes, scale, beta, axis)
    level = rounding_divide_by_pot(saturating_rounding_doubling_high_mul(inverse, exponentials), np.minimum(shift, 31))
    lo, hi = code_limits(codes.dtype)
    out = np.clip(np.where(shift > 31, 0, level).astype(np.int64) + lo, lo, hi).astype(codes.dtype)
    return np.moveaxis(out, -1, axis)


def overflowing_rows(codes: npt.NDArray[Any], scale: float, beta: float = 1.0, axis: int = -1) -> int:
    """How many rows along `axis` sum to 512 or more: the reference then shifts an int32 by more than 31 bits."""
    return int(np.count_nonzero(_rows(codes, scale, beta, axis)[2] > 31))


def _rows(codes: npt.NDArray[Any], scale: float, beta: float, axis: int) -> tuple[Any, Any, Any]:
    """(exponentials, `axis` moved to the end; reciprocal of their sum; the shift b + 23) of every row."""
    exponentials = np.moveaxis(_exponentials(codes, scale, beta, axis), axis, -1)
    # A wide sum, wrapped: what the reference's int32 accumulator holds.
    total = wrap(np.sum(rescale(exponentials, 0, _SUM_BITS), axis=-1, keepdims=True, dtype=np.int64))
    inverse, bits_over_one = reciprocal(total, _SUM_BITS)
    return exponentials, inverse, bits_over_one + 31 - 8


def _exponentials(codes: npt.NDArray[Any], scale: float, beta: float, axis: int) -> npt.NDArray[np.int32]:
    """exp(beta scale (q - max)) as Q0.31 words, from a table over the 256 possible differences."""
    real = float(np.float32(beta)) * float(np.float32(scale)) * 2**26
    multiplier = quantize_multiplier_greater_than_one(min(real, 2.0**31 - 1))
    radius = input_radius(_DIFF_BITS, multiplier.exponent)
    depth = np.arange(256)  # max - q
    raw = scale_up(np.where(depth <= radius, -depth, 0), multiplier)
    table = np.where(depth <= radius, exp_on_negative_values(raw, _DIFF_BITS), 0)
    wide = codes.astype(np.int64)
    return table[np.max(wide, axis=axis, keepdims=True) - wide].astype(np.int32)
