"""L2_NORMALIZATION on codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.fixed_point import inverse_sqrt_multiplier
from nnapi_lab.numerics.quantize import code_limits
from nnapi_lab.numerics.rounding import (
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    wrap,
)


def l2_normalization_codes(codes: npt.NDArray[Any], zero_point: int, axis: int = -1) -> npt.NDArray[Any]:
    """x / |x| along `axis`; the output scale is 1/128, zero point 128 (int8 0).

    y = clamp(z_out + R(128 x; 1 / sqrt(sum x^2))), x = q - zero_point, the sum in a wrapping int32.
    int8 along the last axis moves the factor 128 into the multiplier's shift, so the first of its two
    roundings falls 7 bits higher: that is another kernel in the reference. An all-zero row stays zero.
    Source: AOSP 13 `L2Normalization.cpp`, TFLite `reference_integer_ops::L2Normalization`.
    """
    x = codes.astype(np.int64) - zero_point
    mantissa, exponent = inverse_sqrt_multiplier(wrap(np.sum(x * x, axis=axis, keepdims=True)))
    if codes.dtype == np.int8 and axis in (-1, codes.ndim - 1):
        exponent = exponent + 7
        x = x << np.maximum(exponent, 0)
    else:
        x = x * 128
    level = rounding_divide_by_pot(saturating_rounding_doubling_high_mul(wrap(x), mantissa), np.maximum(-exponent, 0))
    lo, hi = code_limits(codes.dtype)
    return np.clip(level.astype(np.int64) + lo + 128, lo, hi).astype(codes.dtype)
