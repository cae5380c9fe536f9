"""Real numbers to codes, codes to real numbers, and codes of one scale to codes of another.

NNAPI rounds ties away from zero and divides in float32; PyTorch multiplies by the reciprocal and rounds
ties to even. Codes are uint8 or int8 arrays (TENSOR_QUANT8_ASYMM, TENSOR_QUANT8_ASYMM_SIGNED) unless said
otherwise; scales are Python floats and become float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.rounding import round_half_away


class AffineLike(Protocol):
    """Anything with a scale and a zero point: real = scale (code - zero_point)."""

    @property
    def scale(self) -> float: ...

    @property
    def zero_point(self) -> int: ...


class Affine(NamedTuple):
    """A scale and a zero point, for callers that have no operand type at hand."""

    scale: float
    zero_point: int


def code_limits(dtype: npt.DTypeLike) -> tuple[int, int]:
    """Smallest and largest code of an integer type."""
    info = np.iinfo(np.dtype(dtype))
    return int(info.min), int(info.max)


def quantize(values: npt.ArrayLike, scale: float, zero_point: int, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    """clamp(zero_point + rha(f32(x / scale))): QUANTIZE, all in float32.

    NaN, +infinity and anything huge give the largest code, -infinity the smallest: the reference asks
    min(qmax, x) first, and a comparison with NaN is false. Source: AOSP 13 `Quantize.cpp`.
    """
    lo, hi = code_limits(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = round_half_away(np.asarray(values, np.float32) / np.float32(scale))
        shifted = np.float32(zero_point) + scaled
    bounded = np.where(shifted < hi, shifted, np.float32(hi))  # NaN -> hi
    return np.maximum(bounded, np.float32(lo)).astype(dtype)


def dequantize(codes: npt.ArrayLike, scale: float, zero_point: int = 0) -> npt.NDArray[np.float32]:
    """f32(scale (q - zero_point)): DEQUANTIZE, and the real values that comparisons see.

    Source: AOSP 13 `Dequantize.cpp`, `Comparisons.cpp`.
    """
    return np.float32(scale) * (np.asarray(codes, np.int64) - zero_point).astype(np.float32)


def dequantize_per_channel(codes: npt.ArrayLike, scales: npt.ArrayLike, channel_dim: int) -> npt.NDArray[np.float32]:
    """f32(s_c q), zero point 0, one scale per index along `channel_dim`: TENSOR_QUANT8_SYMM_PER_CHANNEL.

    Raises ValueError when the number of scales is not the size of that dimension.
    """
    codes = np.asarray(codes)
    scales = np.asarray(scales, np.float32)
    if scales.shape != (codes.shape[channel_dim],):
        raise ValueError(f"{scales.size} scales for {codes.shape[channel_dim]} channels (axis {channel_dim})")
    shape = [1] * codes.ndim
    shape[channel_dim] = scales.size
    return scales.reshape(shape) * codes.astype(np.float32)


def quantize_per_channel(values: npt.ArrayLike, scales: npt.ArrayLike, channel_dim: int) -> npt.NDArray[np.int8]:
    """clamp(rha(f32(x / s_c))) as int8 with zero point 0, one scale per index along `channel_dim`.

    NNAPI has no such operation; this is how weights and constants are prepared, with NNAPI's own rounding.
    """
    values = np.asarray(values, np.float32)
    scales = np.asarray(scales, np.float32)
    if scales.shape != (values.shape[channel_dim],):
        raise ValueError(f"{scales.size} scales for {values.shape[channel_dim]} channels (axis {channel_dim})")
    shape = [1] * values.ndim
    shape[channel_dim] = scales.size
    return np.clip(round_half_away(values / scales.reshape(shape)), -128, 127).astype(np.int8)


def quantize_bias(values: npt.ArrayLike, scale: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """rha(b / scale) as a saturating int32, computed in double; `scale` is one number or one per channel.

    NNAPI fixes the scale, f32(scale_in scale_filter), and the type; how the bias came to be integer is the
    converter's affair, so this is our choice of rounding and says so.
    """
    scaled = round_half_away(np.asarray(values, np.float64) / np.asarray(scale, np.float64))
    return np.clip(scaled, -(2.0**31), 2.0**31 - 1).astype(np.int32)


def requantize_concat(
    codes: npt.NDArray[Any], scale: float, zero_point: int, scale_out: float, zero_point_out: int
) -> npt.NDArray[Any]:
    """Codes of one CONCATENATION input in the output's scale, all in float32.

    Equal parameters: a copy. Else k = f32(scale f32(1 / scale_out)) and
    clamp(rha(f32(f32(q k) + f32(-z k))) + z_out). int8 codes go through uint8 (both zero points + 128), as
    the reference does; the float32 sums then round differently than on the signed codes.
    Source: AOSP 13 `Concatenation.cpp`.
    """
    scale32, scale_out32 = np.float32(scale), np.float32(scale_out)
    if zero_point == zero_point_out and scale32 == scale_out32:
        return codes.copy()
    shift = 128 if codes.dtype == np.int8 else 0
    factor = scale32 * (np.float32(1) / scale_out32)
    bias = np.float32(-(zero_point + shift)) * factor
    unsigned = codes.astype(np.int32) + shift
    rounded = round_half_away(unsigned.astype(np.float32) * factor + bias).astype(np.int64)
    return (np.clip(rounded + zero_point_out + shift, 0, 255) - shift).astype(codes.dtype)


def requantize_elementwise(
    codes: npt.NDArray[Any], scale: float, zero_point: int, scale_out: float, zero_point_out: int
) -> npt.NDArray[Any]:
    """Codes of one MAXIMUM, MINIMUM or SELECT operand in the output's scale.

    clamp, then rha of v / scale_out + zero_point_out in double, where v = f32((q - zero_point) scale).
    Source: AOSP 13 `OperationsExecutionUtils.cpp` (requantize), `MaximumMinimum.cpp`, `Select.cpp`.
    """
    lo, hi = code_limits(codes.dtype)
    real = dequantize(codes, scale, zero_point).astype(np.float64)
    target = real / float(np.float32(scale_out)) + zero_point_out
    return round_half_away(np.clip(target, lo, hi)).astype(codes.dtype)
