"""Averages of codes: AVERAGE_POOL_2D rounds, each signedness its own way, and MEAN truncates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnapi_lab.numerics.rounding import divide_truncating, wrap


def average_pool_codes(
    sums: npt.ArrayLike, counts: npt.ArrayLike, lo: int, hi: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """AVERAGE_POOL_2D from window sums of raw codes and each window's count of pixels inside the image.

    uint8: floor((S + floor(n/2)) / n), ties up. int8: the same for S > 0, else its mirror image, ties away
    from zero: the two types disagree on the same image. `lo`, `hi` from `quantized_range`.
    Raises ZeroDivisionError for an empty window. Source: AOSP 13 `Pooling.cpp`.
    """
    sums, counts = np.asarray(sums, np.int64), np.asarray(counts, np.int64)
    half = counts // 2
    nudged = sums + np.where(sums > 0, half, -half) if np.dtype(dtype).kind == "i" else sums + half
    return np.clip(divide_truncating(nudged, counts), lo, hi).astype(dtype)


def mean_codes(sums: npt.ArrayLike, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """MEAN: trunc(S / n) on raw codes, whatever the zero point; the bias is about half a step.

    S is an int32 and wraps. Today's TFLite rounds instead and is off on about half of all results.
    Source: AOSP 13 `SimpleMath.cpp`.
    """
    return divide_truncating(wrap(sums), count).astype(dtype)
