"""QUANTIZE, DEQUANTIZE and CAST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import Builder, broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
Q8Y, Q16, Q16Y = (
    OperandCode.TENSOR_QUANT8_SYMM,
    OperandCode.TENSOR_QUANT16_ASYMM,
    OperandCode.TENSOR_QUANT16_SYMM,
)
B8 = OperandCode.TENSOR_BOOL8
NAN, INF = float("nan"), float("inf")
LARGEST_INT, SMALLEST_INT = 2**31 - 1, -(2**31)


def real(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def half(*values: float) -> np.ndarray:
    return np.array(values, np.float16)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def u8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


def symmetric(*values: int, scale: float = 1.0) -> tuple[OperandType, np.ndarray]:
    return OperandType(Q8Y, (len(values),), Quant(scale)), np.array(values, np.int8)


def quantize(x: Any, scale: float, zp: int = 0, code: OperandCode | None = None) -> Call:
    return use("QUANTIZE", input=x, quant=Quant(scale, zp), code=code)


def cast(x: Any, code: OperandCode | None = None, quant: Quant | None = None) -> Call:
    return use("CAST", input=x, code=code, quant=quant)


PER_CHANNEL = np.array([[1, -2], [3, -4]], np.int8)

VALUES: dict[str, tuple[Callable[[], Call], Any]] = {
    "quantize": (lambda: quantize(real(0, 1, -1), 0.5, 10), [10, 12, 8]),
    "quantize_ties_go_away_from_zero": (lambda: quantize(real(0.5, 1.5, -0.5, -1.5), 1, 10), [11, 12, 9, 8]),
    "quantize_saturates": (lambda: quantize(real(1000, -1000, INF, -INF), 1, 10), [255, 0, 255, 0]),
    "quantize_nan": (lambda: quantize(real(NAN), 1, 10), [255]),
    "quantize_signed": (lambda: quantize(real(0.5, -1000, 1000), 1, -10, Q8S), [-9, -128, 127]),
    "quantize_half": (lambda: quantize(half(0.5, 3), 1), [1, 3]),
    "quantize_nothing": (lambda: quantize(np.zeros((0, 2), np.float32), 1), np.zeros((0, 2))),
    "dequantize": (lambda: use("DEQUANTIZE", input=u8(8, 10, 12, scale=0.5, zp=10)), [-1, 0, 1]),
    "dequantize_signed": (lambda: use("DEQUANTIZE", input=i8(-128, 5, scale=0.5, zp=5)), [-66.5, 0]),
    "dequantize_symmetric": (lambda: use("DEQUANTIZE", input=symmetric(-2, 3, scale=0.5)), [-1, 1.5]),
    "dequantize_rows": (
        lambda: use("DEQUANTIZE", input=(PER_CHANNEL, PerChannel((0.5, 2), 0))),
        [[0.5, -1], [6, -8]],
    ),
    "dequantize_columns": (
        lambda: use("DEQUANTIZE", input=(PER_CHANNEL, PerChannel((0.5, 2), 1))),
        [[0.5, -4], [1.5, -8]],
    ),
    # 9 steps of f32(0.1) = 0.100000001490116 round to the float above 0.9.
    "dequantize_in_float32": (
        lambda: use("DEQUANTIZE", input=u8(9, scale=0.1)),
        [np.nextafter(np.float32(0.9), np.float32(1))],
    ),
    # f32(0.1) rounded to 11 bits.
    "dequantize_to_half": (lambda: use("DEQUANTIZE", input=u8(1, scale=0.1), code=F16), [0.0999755859375]),
    "dequantize_beyond_half": (lambda: use("DEQUANTIZE", input=u8(255, scale=1e4), code=F16), [INF]),
    "cast_cuts_fractions_off": (lambda: cast(real(1.9, -1.9), I32), [1, -1]),
    "cast_to_codes_saturates": (lambda: cast(real(-1, 255.9, 256, 300, NAN, INF), Q8), [0, 255, 255, 255, 0, 255]),
    "cast_ints_to_codes_saturates": (lambda: cast(ints(-1, 7, 256), Q8), [0, 7, 255]),
    "cast_beyond_int32_saturates": (
        lambda: cast(real(3e9, -3e9, INF, NAN), I32),
        [LARGEST_INT, SMALLEST_INT, LARGEST_INT, 0],
    ),
    "cast_ignores_scales": (lambda: cast(u8(7, scale=0.5, zp=3), F32), [7]),
    "cast_ints": (lambda: cast(ints(2**24 + 1)), [2**24]),
    "cast_to_half": (lambda: cast(ints(2049, 70000), F16), [2048, INF]),
    "cast_from_half": (lambda: cast(half(1.5), F32), [1.5]),
    "cast_half_to_int": (lambda: cast(half(-2.75), I32), [-2]),
    "cast_codes_to_codes": (lambda: cast(u8(7, scale=0.5), Q8, Quant(2.0, 9)), [7]),
    "cast_bools": (lambda: cast(np.array([True, False])), [True, False]),
    "cast_signed": (lambda: cast(i8(-128, 127)), [-128, 127]),
    "cast_symmetric": (lambda: cast(symmetric(-128, 127)), [-128, 127]),
    "cast_16_bits": (lambda: cast((OperandType(Q16, (2,), Quant(1, 5)), [0, 65535])), [0, 65535]),
    "cast_16_bits_symmetric": (lambda: cast((OperandType(Q16Y, (1,), Quant(1)), [-32768])), [-32768]),
}  # fmt: skip


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    np.testing.assert_array_equal(run(make()), expected)


BROKEN: dict[str, Callable[[], Call]] = {
    "QUANTIZE.C1": lambda: use("QUANTIZE", input=real(1)),
    "QUANTIZE.C2": lambda: quantize(real(1), 1, 0, I32),
    "DEQUANTIZE.C1": lambda: use("DEQUANTIZE", input=u8(1), code=I32),
    "CAST.C1": lambda: cast(real(1), Q8S),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("make", [lambda: cast(i8(1), F32), lambda: cast(np.array([True]), I32)])
def test_some_types_are_cast_to_themselves_only(make: Callable[[], Call]) -> None:
    assert [finding.rule for finding in broken_rules(make(), "here")] == ["CAST.C1"]


def test_a_result_of_the_wrong_type_is_told_with_what_would_do() -> None:
    (finding,) = broken_rules(BROKEN["DEQUANTIZE.C1"](), "here")
    assert finding.message == (
        "the result is declared TENSOR_INT32; DEQUANTIZE of TENSOR_QUANT8_ASYMM gives TENSOR_FLOAT32 or TENSOR_FLOAT16"
    )


def test_dequantize_ends_at_rank_4_and_quantize_does_not() -> None:
    wide = use("DEQUANTIZE", input=OperandType(Q8, (1,) * 5, Quant(1)))
    assert [finding.rule for finding in broken_rules(wide, "here")] == ["DEQUANTIZE.RANK"]
    assert broken_rules(quantize(OperandType(F32, (1,) * 5), 1), "here") == []


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "quantize": (lambda: quantize(real(1), 1), 3),
    "quantize_signed": (lambda: quantize(real(1), 1, 0, Q8S), 4),
    "dequantize": (lambda: use("DEQUANTIZE", input=u8(1)), 1),
    "dequantize_to_half": (lambda: use("DEQUANTIZE", input=u8(1), code=F16), 3),
    "dequantize_symmetric": (lambda: use("DEQUANTIZE", input=symmetric(1)), 3),
    "dequantize_per_channel": (lambda: use("DEQUANTIZE", input=(PER_CHANNEL, PerChannel((1, 1), 0))), 3),
    "dequantize_signed": (lambda: use("DEQUANTIZE", input=i8(1)), 4),
    "cast": (lambda: cast(real(1), I32), 3),
    "cast_bools": (lambda: cast(np.array([True])), 4),
    "cast_signed": (lambda: cast(i8(1)), 4),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


N = Dim("n")
RESULTS: dict[str, tuple[Callable[[], Call], OperandType]] = {
    "quantize": (lambda: quantize(OperandType(F32, (N, 2)), 0.5, 3), OperandType(Q8, (N, 2), Quant(0.5, 3))),
    "quantize_signed": (lambda: quantize(real(1), 0.5, 3, Q8S), OperandType(Q8S, (1,), Quant(0.5, 3))),
    "dequantize": (lambda: use("DEQUANTIZE", input=u8(1)), OperandType(F32, (1,))),
    "dequantize_unknown": (
        lambda: use("DEQUANTIZE", input=OperandType(Q8, None, Quant(1)), code=F16),
        OperandType(F16, None),
    ),
    "cast_unless_told": (lambda: cast(ints(1)), OperandType(F32, (1,))),
    "cast_to_codes": (lambda: cast(ints(1), Q8, Quant(0.5, 3)), OperandType(Q8, (1,), Quant(0.5, 3))),
    "cast_bools": (lambda: cast(np.array([True])), OperandType(B8, (1,))),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.out == expected
    assert broken_rules(call, "here") == []


def test_the_builder_takes_the_type_of_a_result() -> None:
    builder = Builder("casting")
    x = builder.input("x", OperandType(F32, (2,)))
    assert builder.type_of(builder.add("CAST", input=x, code=I32)) == OperandType(I32, (2,))
    signed = builder.add("QUANTIZE", input=x, quant=Quant(0.5, -3), code=Q8S)
    assert builder.type_of(signed) == OperandType(Q8S, (2,), Quant(0.5, -3))
    assert builder.type_of(builder.add("QUANTIZE", input=x, quant=Quant(0.5, 3))).code == Q8


# --- laws ----------------------------------------------------------------------------------------------------

scales = st.builds(lambda power, factor: 2.0**power * factor, st.integers(-10, 4), st.sampled_from([1, 0.75, 1.1, 0.3]))
zero_points = st.integers(0, 255)


@given(scales, zero_points)
def test_quantize_undoes_dequantize(scale: float, zero_point: int) -> None:
    codes, quant = np.arange(256, dtype=np.uint8), Quant(scale, zero_point)
    numbers = run("DEQUANTIZE", input=(codes, quant))
    np.testing.assert_array_equal(run("QUANTIZE", input=numbers, quant=quant), codes)


@given(st.floats(-300, 300, width=32), scales, zero_points)
def test_a_number_is_at_most_half_a_step_away_inside_the_range(x: float, scale: float, zero_point: int) -> None:
    quant = Quant(scale, zero_point)
    low, high = -zero_point * quant.scale, (255 - zero_point) * quant.scale
    back = run("DEQUANTIZE", input=(run("QUANTIZE", input=real(x), quant=quant), quant)).item()
    # Half a step, and float32's rounding of the quotient (up to 256 steps) and of the product.
    assert abs(back - min(max(x, low), high)) <= quant.scale * (0.5 + 256 * 2**-22)
