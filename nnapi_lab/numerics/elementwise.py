"""Element-by-element quantized operations on codes: LOGISTIC, TANH, HARD_SWISH, PRELU, RSQRT, ADD, SUB, MUL.

Codes are uint8 or int8 arrays and the result has their type. An operation on one operand is a function of 256
codes, so it is computed once as a table (`*_table`, indexed by code - smallest code) and looked up. Outputs
whose scale NNAPI prescribes: LOGISTIC 1/256 (zero point 0, int8 -128), TANH 1/128 (zero point 128, int8 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.activation_range import quantized_range
from nnapi_lab.numerics.fixed_point import logistic, tanh
from nnapi_lab.numerics.quantize import AffineLike, code_limits, dequantize, quantize
from nnapi_lab.numerics.requantize import (
    Multiplier,
    downscale_multiplier_to_16,
    multiply_by_quantized_multiplier,
    product_multiplier,
    quantize_multiplier,
    quantize_multiplier_greater_than_one,
    quantize_multiplier_smaller_than_one,
    requantize_accumulator,
)
from nnapi_lab.numerics.rounding import (
    IntArray,
    rounding_divide_by_pot,
    saturating_doubling_high_mul,
    saturating_left_shift,
    saturating_rounding_doubling_high_mul,
    wrap,
)

Codes = npt.NDArray[Any]


def every_code(dtype: npt.DTypeLike) -> npt.NDArray[np.int64]:
    """All codes of an 8-bit type in order: the arguments of a table."""
    lo, hi = code_limits(dtype)
    return np.arange(lo, hi + 1, dtype=np.int64)


def look_up(codes: Codes, table: Codes) -> Codes:
    """table[code - smallest code] for every code; the table has 256 entries."""
    return table[codes.astype(np.intp) - code_limits(codes.dtype)[0]]


def input_radius(integer_bits: int, left_shift: int) -> int:
    """floor((2^integer_bits - 1) 2^(31 - integer_bits) / 2^left_shift): smaller |q - z| fit the fixed point.

    Source: AOSP 13 `OperationsExecutionUtils.cpp` (CalculateInputRadius).
    """
    return (((1 << integer_bits) - 1) << (31 - integer_bits)) >> left_shift


def scale_up(centered: npt.ArrayLike, multiplier: Multiplier) -> IntArray:
    """H(x 2^e, m): R for a multiplier above 1; x 2^e wraps at 32 bits."""
    shifted = np.asarray(centered, np.int64) << multiplier.exponent
    return saturating_rounding_doubling_high_mul(wrap(shifted), multiplier.mantissa)


def logistic_table(scale: float, zero_point: int, dtype: npt.DTypeLike) -> Codes:
    """LOGISTIC of every code: min(255, P(logistic(u), 23)), u = R(q - z; scale 2^27) in Q4.27; int8: - 128.

    |q - z| >= the input radius saturates; below it this is clamp(rha(256 sigma(scale (q - z)))), unless
    within 3e-5 of a tie. From scale 2 on the radius is small enough to show: sigma(-6) becomes code 0, not 1.
    Raises ValueError for a scale of 2^-27 or less. Source: AOSP 13 `Activation.cpp`.
    """
    centered, raw, radius = _to_q4(scale, zero_point, dtype)
    level = np.minimum(rounding_divide_by_pot(logistic(raw, 4), 23), 255)
    level = np.where(centered <= -radius, 0, np.where(centered >= radius, 255, level))
    return (level + code_limits(dtype)[0]).astype(dtype)


def logistic_codes(codes: Codes, scale: float, zero_point: int) -> Codes:
    """LOGISTIC; see `logistic_table`."""
    return look_up(codes, logistic_table(scale, zero_point, codes.dtype))


def tanh_table(scale: float, zero_point: int, dtype: npt.DTypeLike) -> Codes:
    """TANH of every code: clamp(P(tanh(u), 24)) with u as for LOGISTIC; uint8: + 128.

    Below the radius, equals clamp(rha(128 tanh(scale (q - z)))) unless that is within 3e-5 of a tie.
    Raises ValueError for a scale of 2^-27 or less. Source: AOSP 13 `Activation.cpp`.
    """
    centered, raw, radius = _to_q4(scale, zero_point, dtype)
    level = np.minimum(rounding_divide_by_pot(tanh(raw, 4), 24), 127)
    level = np.where(centered <= -radius, -128, np.where(centered >= radius, 127, level))
    return (level + code_limits(dtype)[0] + 128).astype(dtype)


def tanh_codes(codes: Codes, scale: float, zero_point: int) -> Codes:
    """TANH; see `tanh_table`."""
    return look_up(codes, tanh_table(scale, zero_point, codes.dtype))


def hard_swish_table(quant: AffineLike, quant_out: AffineLike, dtype: npt.DTypeLike) -> Codes:
    """HARD_SWISH of every code, in 16-bit integers with all their saturations.

    v = 128 (q - z); a = H16(v, m16(s / (128 s_out))); r = v rescaled so that 3.0 is 32768, saturating;
    r = (r + 2^15) >> 1; y = clamp(z_out + P(trunc(r a / 2^15), -e)). Scales are combined in float32.
    Up to 22 of 256 codes are one off the ideal value. Raises ValueError when s >= 128 s_out.
    Source: AOSP 13 `Activation.cpp` and TFLite `reference_ops::HardSwish`.
    """
    hires_scale = np.float32(1 / 128) * np.float32(quant.scale)
    to_out = quantize_multiplier(float(hires_scale / np.float32(quant_out.scale)))
    if to_out.exponent > 0:
        raise ValueError(f"HARD_SWISH needs scale_in < 128 scale_out, not {quant.scale:g} and {quant_out.scale:g}")
    to_unit = quantize_multiplier(float(hires_scale / np.float32(3 / 32768)))
    hires = wrap((every_code(dtype) - quant.zero_point) << 7, 16)
    before_shift = saturating_rounding_doubling_high_mul(hires, downscale_multiplier_to_16(to_out), 16)
    gate = (_rescale_to_unit(hires, to_unit).astype(np.int64) + (1 << 15)) >> 1
    product = saturating_doubling_high_mul(gate, before_shift)
    out = rounding_divide_by_pot(product, -to_out.exponent, 16).astype(np.int64) + quant_out.zero_point
    return np.clip(wrap(out, 16), *code_limits(dtype)).astype(dtype)


def hard_swish_codes(codes: Codes, quant: AffineLike, quant_out: AffineLike) -> Codes:
    """HARD_SWISH; see `hard_swish_table`."""
    return look_up(codes, hard_swish_table(quant, quant_out, codes.dtype))


def rsqrt_codes(codes: Codes, quant: AffineLike, quant_out: AffineLike) -> Codes:
    """clamp(z_out + rha(1 / sqrt(s (q - z)) / s_out)) in float32; q <= z gives the largest code.

    Source: AOSP 13 `Elementwise.cpp`.
    """
    real = dequantize(every_code(codes.dtype), quant.scale, quant.zero_point)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.float32(1) / np.sqrt(real)
    return look_up(codes, quantize(inverse, quant_out.scale, quant_out.zero_point, codes.dtype))


def prelu_codes(codes: Codes, quant: AffineLike, alpha: Codes, quant_alpha: AffineLike, quant_out: AffineLike) -> Codes:
    """x >= 0: R(x; f32(s / s_out)); x < 0: R(x alpha; f32(s s_alpha) / s_out); + z_out, saturated.

    x and alpha are codes minus zero point and broadcast as NumPy does. The positive multiplier is a float32
    quotient, the negative one a double: that is how the reference spells them. Source: AOSP 13 `PRelu.cpp`.
    """
    positive = quantize_multiplier(float(np.float32(quant.scale) / np.float32(quant_out.scale)))
    negative = quantize_multiplier(product_multiplier(quant.scale, quant_alpha.scale, quant_out.scale))
    x = codes.astype(np.int64) - quant.zero_point
    x, slope = np.broadcast_arrays(x, alpha.astype(np.int64) - quant_alpha.zero_point)
    lo, hi = code_limits(codes.dtype)
    kept = requantize_accumulator(x, positive, quant_out.zero_point, lo, hi, codes.dtype)
    bent = requantize_accumulator(x * slope, negative, quant_out.zero_point, lo, hi, codes.dtype)
    return np.where(x >= 0, kept, bent)


def add_codes(
    a: Codes, quant_a: AffineLike, b: Codes, quant_b: AffineLike, quant_out: AffineLike, fuse: int = 0
) -> Codes:
    """ADD: clamp(z + R(u_a + u_b; t / (2^20 s_out))); u_k = R(2^20 (q_k - z_k); s_k / t), t = 2 max(s_k).

    Operands broadcast as NumPy does. Raises ValueError unless s_out > max(s_a, s_b) / 2^19.
    Source: AOSP 13 `Broadcast.cpp`.
    """
    return _sum_codes(a, quant_a, b, quant_b, quant_out, fuse, subtract=False)


def sub_codes(
    a: Codes, quant_a: AffineLike, b: Codes, quant_b: AffineLike, quant_out: AffineLike, fuse: int = 0
) -> Codes:
    """SUB: as ADD with b's multiplier negated, which is not the same as subtracting: H rounds ties upward.

    Source: AOSP 13 `Broadcast.cpp`.
    """
    return _sum_codes(a, quant_a, b, quant_b, quant_out, fuse, subtract=True)


def mul_codes(
    a: Codes, quant_a: AffineLike, b: Codes, quant_b: AffineLike, quant_out: AffineLike, fuse: int = 0
) -> Codes:
    """MUL: clamp(z + R((q_a - z_a)(q_b - z_b); f32(s_a s_b) / s_out)).

    Operands broadcast as NumPy does. Raises ValueError unless s_out > s_a s_b, at every feature level.
    Source: AOSP 13 `Broadcast.cpp`.
    """
    multiplier = quantize_multiplier_smaller_than_one(product_multiplier(quant_a.scale, quant_b.scale, quant_out.scale))
    product = (a.astype(np.int64) - quant_a.zero_point) * (b.astype(np.int64) - quant_b.zero_point)
    return _finish(product, multiplier, quant_out, fuse, a.dtype)


def _sum_codes(
    a: Codes,
    quant_a: AffineLike,
    b: Codes,
    quant_b: AffineLike,
    quant_out: AffineLike,
    fuse: int,
    *,
    subtract: bool,
) -> Codes:
    scale_a, scale_b, scale_out = (float(np.float32(q.scale)) for q in (quant_a, quant_b, quant_out))
    twice_max = 2 * max(scale_a, scale_b)
    to_common_a = quantize_multiplier_smaller_than_one(scale_a / twice_max)
    to_common_b = quantize_multiplier_smaller_than_one(scale_b / twice_max)
    to_out = quantize_multiplier_smaller_than_one(twice_max / (2**20 * scale_out))
    term_a = multiply_by_quantized_multiplier((a.astype(np.int64) - quant_a.zero_point) << 20, to_common_a)
    term_b = multiply_by_quantized_multiplier(
        (b.astype(np.int64) - quant_b.zero_point) << 20, -to_common_b if subtract else to_common_b
    )
    return _finish(term_a.astype(np.int64) + term_b, to_out, quant_out, fuse, a.dtype)


def _finish(acc: IntArray, multiplier: Multiplier, quant_out: AffineLike, fuse: int, dtype: np.dtype[Any]) -> Codes:
    lo, hi = quantized_range(fuse, quant_out.scale, quant_out.zero_point, *code_limits(dtype))
    return requantize_accumulator(acc, multiplier, quant_out.zero_point, lo, hi, dtype)


def _to_q4(scale: float, zero_point: int, dtype: npt.DTypeLike) -> tuple[IntArray, IntArray, int]:
    """(q - z, the same in Q4.27, radius from which on q - z does not fit); what does not fit becomes 0."""
    multiplier = quantize_multiplier_greater_than_one(float(np.float32(scale)) * 2**27)
    radius = input_radius(4, multiplier.exponent)
    centered = every_code(dtype) - zero_point
    inside = np.where(np.abs(centered) < radius, centered, 0)
    return centered, scale_up(inside, multiplier), radius


def _rescale_to_unit(hires: IntArray, multiplier: Multiplier) -> IntArray:
    """HARD_SWISH's 16-bit v M: shifts saturate, and the last bit of a left shift comes after the product."""
    shift = multiplier.exponent
    value = saturating_left_shift(hires, shift - 1, 16) if shift > 0 else hires
    value = saturating_rounding_doubling_high_mul(value, downscale_multiplier_to_16(multiplier), 16)
    if shift > 0:
        value = saturating_left_shift(value, 1, 16)
    return rounding_divide_by_pot(value, max(-shift, 0), 16)
