"""Fused activations as clamping ranges, in real numbers and in codes.

A fuse code is NNAPI's integer: 0 NONE, 1 RELU, 2 RELU1, 3 RELU6.
Source: AOSP 13 `OperationsExecutionUtils.cpp` (CalculateActivationRangeFloat, -Uint8, -Int8).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.rounding import INT32_MAX, INT32_MIN, round_half_away

NONE, RELU, RELU1, RELU6 = range(4)

# None stands for "no bound of its own": the largest float, or the end of the code range.
_BOUNDS: dict[int, tuple[float | None, float | None]] = {
    NONE: (None, None),
    RELU: (0.0, None),
    RELU1: (-1.0, 1.0),
    RELU6: (0.0, 6.0),
}


def float_range(fuse: int) -> tuple[np.float32, np.float32]:
    """Real (lo, hi) of a fuse code. NONE still clamps, to ±FLT_MAX: infinities do not survive it.

    Raises ValueError for an unknown fuse code.
    """
    lo, hi = _bounds(fuse)
    limits = np.finfo(np.float32)
    return (limits.min if lo is None else np.float32(lo)), (limits.max if hi is None else np.float32(hi))


def clamp_float(values: npt.ArrayLike, fuse: int) -> npt.NDArray[np.float32]:
    """min(max(x, lo), hi) of a fuse code in float32; NONE turns ±infinity into ±FLT_MAX, NaN passes.

    Source: `ActivationFunctionWithMinMax` of the TFLite kernels AOSP 13 calls. The operations RELU, RELU1 and
    RELU6 compare the other way round and turn NaN into their lower bound (AOSP 13 `Activation.cpp`).
    """
    lo, hi = float_range(fuse)
    return np.minimum(np.maximum(np.asarray(values, np.float32), lo), hi)


def quantized_range(fuse: int, scale: float, zero_point: int, qmin: int = 0, qmax: int = 255) -> tuple[int, int]:
    """Clamping range of a fuse code for codes of the given scale and zero point, within [qmin, qmax].

    A bound v becomes zero_point + rha(f32(v / scale)), with a float32 division. RELU6 at scale 0.096 clamps
    at zp + 63, where ties-to-even elsewhere gives 62. A quotient beyond int32 saturates (undefined in C++).
    Raises ValueError for an unknown fuse code or a scale that is not positive.
    """
    lo, hi = _bounds(fuse)
    if fuse != NONE and not scale > 0:
        raise ValueError(f"a fused activation on codes needs a positive scale, not {scale}")
    code_lo = qmin if lo is None else max(qmin, _quantize_bound(lo, scale, zero_point))
    code_hi = qmax if hi is None else min(qmax, _quantize_bound(hi, scale, zero_point))
    return code_lo, code_hi


def _bounds(fuse: int) -> tuple[float | None, float | None]:
    if fuse not in _BOUNDS:
        raise ValueError(f"fuse code {fuse} is not 0 NONE, 1 RELU, 2 RELU1 or 3 RELU6")
    return _BOUNDS[fuse]


def _quantize_bound(value: float, scale: float, zero_point: int) -> int:
    with np.errstate(over="ignore"):
        quotient = float(round_half_away(np.float32(value) / np.float32(scale)))
    return zero_point + int(min(max(quotient, INT32_MIN), INT32_MAX))
