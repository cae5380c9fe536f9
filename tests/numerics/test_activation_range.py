"""Fuse codes as ranges: every code, each signedness, and the rounding of the bounds."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.numerics.activation_range import (
    NONE,
    RELU,
    RELU1,
    RELU6,
    clamp_float,
    float_range,
    quantized_range,
)

FLT_MAX = np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("fuse", "expected"),
    [(NONE, (-FLT_MAX, FLT_MAX)), (RELU, (0, FLT_MAX)), (RELU1, (-1, 1)), (RELU6, (0, 6))],
)
def test_float_ranges(fuse: int, expected: tuple[float, float]) -> None:
    assert float_range(fuse) == expected


@pytest.mark.parametrize(
    ("fuse", "scale", "zero_point", "limits", "expected"),
    {
        "none": (NONE, 0.1, 7, (0, 255), (0, 255)),
        "relu": (RELU, 0.1, 100, (0, 255), (100, 255)),
        "relu_int8": (RELU, 0.1, -20, (-128, 127), (-20, 127)),
        "relu1": (RELU1, 0.125, 100, (0, 255), (92, 108)),
        "relu6_inside": (RELU6, 0.125, 100, (0, 255), (100, 148)),
        "relu6_beyond_the_type": (RELU6, 0.01, 100, (0, 255), (100, 255)),
        "relu1_below_the_type": (RELU1, 0.01, 50, (0, 255), (0, 150)),
        "tie_goes_away_from_zero": (RELU6, 0.096, 0, (0, 255), (0, 63)),
        "tie_of_relu1_on_both_sides": (RELU1, 0.4, 100, (0, 255), (97, 103)),
        "quotient_beyond_float32": (RELU6, 1e-39, 100, (0, 255), (100, 255)),
        "tiny_scale_saturates": (RELU1, 1e-30, 100, (0, 255), (0, 255)),
    }.values(),
)
def test_quantized_ranges(
    fuse: int, scale: float, zero_point: int, limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert quantized_range(fuse, scale, zero_point, *limits) == expected


def test_bounds_divide_in_float32() -> None:
    """6 / f32(0.096) is 62.4999995 in double; the float32 quotient is 62.5, a tie, and goes up."""
    assert 6 / float(np.float32(0.096)) < 62.5
    assert np.float32(6) / np.float32(0.096) == np.float32(62.5)


def test_clamp_float_turns_infinities_into_the_largest_float_and_lets_nan_pass() -> None:
    values = np.array([-np.inf, -2, 0.5, 7, np.inf], np.float32)
    np.testing.assert_array_equal(clamp_float(values, NONE), np.float32([-FLT_MAX, -2, 0.5, 7, FLT_MAX]))
    np.testing.assert_array_equal(clamp_float(values, RELU6), np.float32([0, 0, 0.5, 6, 6]))
    assert np.isnan(clamp_float(np.nan, RELU))


@pytest.mark.parametrize("fuse", [-1, 4])
def test_unknown_fuse_codes_are_refused(fuse: int) -> None:
    with pytest.raises(ValueError, match=f"fuse code {fuse}"):
        float_range(fuse)
    with pytest.raises(ValueError, match=f"fuse code {fuse}"):
        quantized_range(fuse, 1.0, 0)


def test_a_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive scale"):
        quantized_range(RELU, 0.0, 0)
