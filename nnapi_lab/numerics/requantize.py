"""Real multipliers as a 32-bit mantissa and a power of two, and the product R that every kernel ends with.

    M = q 2^e, 1/2 <= q < 1;  m = rha(q 2^31);  R(x; M) = P(H(x 2^max(e,0), m), max(-e,0))

R rounds twice, which is why it may differ by one from the correctly rounded x M. Scales are float32 numbers:
every function here takes a scale as Python float and rounds it to float32 first, as storing it in an NNAPI
operand does.
Source: AOSP 13 `OperationsExecutionUtils.cpp` (QuantizeMultiplier, GetQuantizedConvolutionMultiplier) and
`MultiplyByQuantizedMultiplier` of the TFLite kernels it calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.rounding import rounding_divide_by_pot, saturating_rounding_doubling_high_mul


@dataclass(frozen=True, slots=True)
class Multiplier:
    """mantissa 2^(exponent - 31): 2^30 <= |mantissa| < 2^31, or 0 for a multiplier too small to matter."""

    mantissa: int
    exponent: int

    @property
    def real(self) -> float:
        """The real number this multiplier stands for, exactly."""
        return math.ldexp(self.mantissa, self.exponent - 31)

    def __neg__(self) -> Multiplier:
        return Multiplier(-self.mantissa, self.exponent)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelMultipliers:
    """One multiplier per channel: int32 arrays of equal length, applied along an accumulator's last axis."""

    mantissas: npt.NDArray[np.int32]
    exponents: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.mantissas)

    def __getitem__(self, channel: int) -> Multiplier:
        return Multiplier(int(self.mantissas[channel]), int(self.exponents[channel]))


def quantize_multiplier(real: float) -> Multiplier:
    """Split `real` into mantissa and exponent; below about 2^-32 the mantissa becomes 0.

    Raises ValueError for NaN and infinity. Source: AOSP 13 `QuantizeMultiplier`.
    """
    if not math.isfinite(real):
        raise ValueError(f"a multiplier must be finite, not {real}")
    fraction, exponent = math.frexp(real)
    scaled = math.ldexp(fraction, 31)
    mantissa = int(math.copysign(math.floor(abs(scaled) + 0.5), scaled))  # exact: 53 bits hold 31 and a half
    if mantissa == 1 << 31:
        mantissa, exponent = mantissa // 2, exponent + 1
    if exponent < -31:
        return Multiplier(0, 0)
    return Multiplier(mantissa, exponent)


def quantize_multiplier_smaller_than_one(real: float) -> Multiplier:
    """The multiplier of an operation that insists on 0 < real < 1: ADD, SUB, MUL.

    Raises ValueError otherwise, also when `real` rounds to 1.
    Source: AOSP 13 `QuantizeMultiplierSmallerThanOneExp`.
    """
    if not 0.0 < real < 1.0:
        raise ValueError(f"this operation needs a multiplier between 0 and 1, not {real:g}")
    multiplier = quantize_multiplier(real)
    if multiplier.exponent > 0:
        raise ValueError(f"this operation needs a multiplier below 1, and {real!r} rounds to 1 in 31 bits")
    return multiplier


def quantize_multiplier_greater_than_one(real: float) -> Multiplier:
    """The multiplier of LOGISTIC, TANH and SOFTMAX, which insist on real > 1; raises ValueError otherwise.

    Source: AOSP 13 `QuantizeMultiplierGreaterThanOne`.
    """
    if not real > 1.0:
        raise ValueError(f"this operation needs a multiplier above 1, not {real:g}")
    return quantize_multiplier(real)


def quantize_multipliers(reals: Iterable[float]) -> ChannelMultipliers:
    """One multiplier per channel, each as `quantize_multiplier` makes it."""
    pairs = [quantize_multiplier(float(real)) for real in reals]
    mantissas = np.array([pair.mantissa for pair in pairs], np.int32)
    return ChannelMultipliers(mantissas, np.array([pair.exponent for pair in pairs], np.int32))


def product_multiplier(scale_a: float, scale_b: float, scale_out: float) -> float:
    """f32(scale_a scale_b) / scale_out: the product is rounded to float32, the quotient is a double.

    The multiplier of convolutions, FULLY_CONNECTED, MUL, BATCH_MATMUL and the negative side of PRELU.
    """
    return float(np.float32(scale_a) * np.float32(scale_b)) / float(np.float32(scale_out))


def product_multipliers(scale_in: float, filter_scales: Iterable[float], scale_out: float) -> ChannelMultipliers:
    """Multipliers f32(scale_in s_c) / scale_out of a filter with one scale per output channel."""
    return quantize_multipliers(product_multiplier(scale_in, scale, scale_out) for scale in filter_scales)


def multiply_by_quantized_multiplier(
    acc: npt.ArrayLike, multiplier: Multiplier | ChannelMultipliers
) -> npt.NDArray[np.int32]:
    """R(acc; M) as int32; channels run along the last axis of `acc`.

    `acc` is an int32 accumulator: wider integers lose their high bits first, and acc 2^e loses them again
    when it leaves 32 bits. Both are undefined in C++ and wrap in practice.
    Raises ValueError for an exponent above 31, where C++ defines no shift.
    """
    if isinstance(multiplier, Multiplier):
        mantissa, exponent = np.asarray(multiplier.mantissa), np.asarray(multiplier.exponent)
    else:
        mantissa, exponent = multiplier.mantissas, multiplier.exponents
    if np.any(exponent > 31):
        raise ValueError(f"multiplier 2^{int(np.max(exponent))} shifts an int32 by more than 31 bits")
    acc = np.asarray(acc).astype(np.int32, copy=False)
    if np.any(exponent > 0):
        acc = (acc.astype(np.int64) << np.maximum(exponent, 0)).astype(np.int32)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(acc, mantissa), np.maximum(-exponent, 0))


def requantize_accumulator(
    acc: npt.ArrayLike,
    multiplier: Multiplier | ChannelMultipliers,
    zero_point: int,
    lo: int,
    hi: int,
    dtype: npt.DTypeLike,
) -> npt.NDArray[Any]:
    """clamp(zero_point + R(acc; M), lo, hi) as codes of `dtype`: the last line of every integer kernel.

    `lo` and `hi` come from `quantized_range`. The sum is an int32 and wraps.
    Source: AOSP 13 `Conv2D.cpp`, `DepthwiseConv2D.cpp`, `FullyConnected.cpp`, `Broadcast.cpp`.
    """
    shifted = multiply_by_quantized_multiplier(acc, multiplier) + np.full((), zero_point, np.int32)
    return np.clip(shifted, lo, hi).astype(dtype)


def downscale_multiplier_to_16(multiplier: Multiplier) -> int:
    """The mantissa rounded to 16 bits, ties up, saturating at 32767. Source: AOSP 13 `Activation.cpp`.

    Raises ValueError for a negative mantissa.
    """
    if multiplier.mantissa < 0:
        raise ValueError(f"only a non-negative multiplier has a 16-bit form, not {multiplier.real:g}")
    return min((multiplier.mantissa + (1 << 15)) >> 16, 2**15 - 1)
