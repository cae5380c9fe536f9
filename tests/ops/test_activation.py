"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32 = OperandCode.TENSOR_FLOAT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
NAN, INF = float("nan"), float("inf")
LARGEST = float(np.finfo(np.float32).max)


def real(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def half(*values: float) -> np.ndarray:
    return np.array(values, np.float16)


def u8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


EVERY_CODE = np.arange(256, dtype=np.uint8)
EVERY_SIGNED = np.arange(-128, 128).astype(np.int8)

EXACT: dict[str, tuple[Callable[[], Call], Any]] = {
    "relu": (lambda: use("RELU", input=real(-2, 0.5, 7)), [0, 0.5, 7]),
    "relu_nan_is_zero": (lambda: use("RELU", input=real(NAN, INF)), [0, LARGEST]),
    "relu1": (lambda: use("RELU1", input=real(-2, 0.5, 7)), [-1, 0.5, 1]),
    "relu1_nan_is_lower_bound": (lambda: use("RELU1", input=real(NAN)), [-1]),
    "relu6": (lambda: use("RELU6", input=real(-2, 0.5, 7)), [0, 0.5, 6]),
    "relu_half": (lambda: use("RELU", input=half(-2, 65504)), [0, 65504]),
    "relu_codes": (lambda: use("RELU", input=u8(0, 99, 100, 255, zp=100)), [100, 100, 100, 255]),
    "relu1_codes": (lambda: use("RELU1", input=u8(0, 100, 255, scale=0.25, zp=100)), [96, 100, 104]),
    # 6 / 0.096 = 62.5: away from zero to 63.
    "relu6_codes": (lambda: use("RELU6", input=u8(0, 63, 64, 255, scale=0.096)), [0, 63, 63, 63]),
    "relu6_signed": (lambda: use("RELU6", input=i8(-128, 0, 127, scale=0.1, zp=-28)), [-28, 0, 32]),
    "relu_of_nothing": (lambda: use("RELU", input=np.zeros((0, 3), np.float32)), np.zeros((0, 3))),
    "logistic": (lambda: use("LOGISTIC", input=real(0, -INF, INF, NAN)), [0.5, 0, 1, NAN]),
    # 256 sigmoid(x): 128 at 0; sigmoid(1) = 0.731059 is 187.15; the largest code stands for 255/256.
    "logistic_codes": (lambda: use("LOGISTIC", input=u8(128, 144, 112, 255, scale=1 / 16, zp=128)),
                       [128, 187, 69, 255]),
    "logistic_signed": (lambda: use("LOGISTIC", input=i8(0, 16, -16, scale=1 / 16)), [0, 59, -59]),
    "tanh": (lambda: use("TANH", input=real(0, INF)), [0, 1]),
    # 128 tanh(1) = 97.48.
    "tanh_codes": (lambda: use("TANH", input=u8(128, 144, 112, 255, 0, scale=1 / 16, zp=128)),
                   [128, 225, 31, 255, 0]),
    "tanh_signed": (lambda: use("TANH", input=i8(0, 16, -16, scale=1 / 16)), [0, 97, -97]),
    "hard_swish": (lambda: use("HARD_SWISH", input=real(-4, -3, 0, 1.5, 3, 4)), [0, 0, 0, 1.125, 3, 4]),
    "hard_swish_nan": (lambda: use("HARD_SWISH", input=real(NAN, -INF)), [NAN, NAN]),
    # -4, 0, 1.5, 4 in steps of 1/8 to steps of 1/16.
    "hard_swish_codes": (
        lambda: use("HARD_SWISH", input=u8(96, 128, 140, 160, scale=1 / 8, zp=128), quant=Quant(1 / 16, 10)),
        [10, 10, 28, 74],
    ),
    "elu": (lambda: use("ELU", input=real(2, 0, -INF), alpha=0.5), [2, 0, -0.5]),
    "elu_nan_is_zero": (lambda: use("ELU", input=real(NAN), alpha=1.0), [0]),
    "prelu": (
        lambda: use("PRELU", input=np.array([[-2, 4], [6, -8]], np.float32), alpha=real(0.5, 0.25)),
        [[-1, 4], [6, -2]],
    ),
    "prelu_nan_stays": (lambda: use("PRELU", input=real(NAN), alpha=real(0.5)), [NAN]),
    "prelu_stretches_to_alpha": (lambda: use("PRELU", input=real(-2), alpha=real(0.5, 2)), [-1, -4]),
    # -4 * 0.5 = -2 is -4 steps of 0.5; 4 is 8 of them.
    "prelu_codes": (
        lambda: use("PRELU", input=u8(96, 104, scale=1.0, zp=100), alpha=u8(2, scale=0.25),
                    quant=Quant(0.5, 50)),
        [46, 58],
    ),
    "prelu_signed_saturates": (
        lambda: use("PRELU", input=i8(-100, 100), alpha=i8(4), quant=Quant(1, 0)),
        [-128, 100],
    ),
}  # fmt: skip

# Within a few units in the last place: exp, tanh and one or two roundings.
CLOSE: dict[str, tuple[Callable[[], Call], Any]] = {
    "logistic_of_one": (lambda: use("LOGISTIC", input=real(1, -1)), [0.731058579, 0.268941421]),
    "tanh_of_one": (lambda: use("TANH", input=real(1, -1)), [0.761594156, -0.761594156]),
    "elu_of_minus_one": (lambda: use("ELU", input=real(-1), alpha=2.0), [-1.264241118]),
    "hard_swish_of_two": (lambda: use("HARD_SWISH", input=real(2)), [10 / 6]),
}


@pytest.mark.parametrize("row", EXACT)
def test_values(row: str) -> None:
    make, expected = EXACT[row]
    np.testing.assert_array_equal(run(make()), expected)


@pytest.mark.parametrize("row", CLOSE)
def test_close_values(row: str) -> None:
    make, expected = CLOSE[row]
    np.testing.assert_allclose(run(make()), expected, rtol=2**-21)


BROKEN: dict[str, Callable[[], Call]] = {
    "LOGISTIC.C1": lambda: use("LOGISTIC", input=u8(1, scale=2**-27)),
    "TANH.C1": lambda: use("TANH", input=i8(1, scale=2**-28)),
    "HARD_SWISH.C1": lambda: use("HARD_SWISH", input=u8(1)),
    "HARD_SWISH.C2": lambda: use("HARD_SWISH", input=u8(1, scale=128.0), quant=Quant(1.0)),
    "PRELU.C1": lambda: use("PRELU", input=real(1, 2), alpha=real(1, 2, 3)),
    "PRELU.C2": lambda: use("PRELU", input=u8(1), alpha=u8(1)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("kind", ["RELU", "RELU1", "RELU6", "LOGISTIC", "TANH"])
def test_rank_ends_at_4(kind: str) -> None:
    call = use(kind, input=OperandType(F32, (1,) * 5))
    assert [finding.rule for finding in broken_rules(call, "here")] == [f"{kind}.RANK"]


@pytest.mark.parametrize("kind", ["HARD_SWISH", "PRELU", "ELU"])
def test_rank_is_open(kind: str) -> None:
    more = {"PRELU": {"alpha": real(1)}, "ELU": {"alpha": 1.0}}.get(kind, {})
    call = use(kind, input=OperandType(F32, (1,) * 5), **more)
    assert broken_rules(call, "here") == []


def in_range(scale: float) -> list[Any]:
    return broken_rules(use("HARD_SWISH", input=u8(1, scale=scale), quant=Quant(1.0)), "here")


def test_hard_swish_takes_the_scale_just_below_its_limit() -> None:
    assert in_range(float(np.nextafter(np.float32(128), np.float32(0)))) == []


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "relu": (lambda: use("RELU", input=real(1)), 1),
    "relu_half": (lambda: use("RELU", input=half(1)), 3),
    "relu6_codes": (lambda: use("RELU6", input=u8(1)), 1),
    "relu1_signed": (lambda: use("RELU1", input=i8(1)), 4),
    "logistic_codes": (lambda: use("LOGISTIC", input=u8(1)), 1),
    "tanh": (lambda: use("TANH", input=real(1)), 1),
    "tanh_codes": (lambda: use("TANH", input=u8(1)), 3),
    "hard_swish": (lambda: use("HARD_SWISH", input=real(1)), 4),
    "elu": (lambda: use("ELU", input=real(1), alpha=1.0), 4),
    "prelu": (lambda: use("PRELU", input=real(1), alpha=real(1)), 3),
    "prelu_signed": (lambda: use("PRELU", input=i8(1), alpha=i8(1), quant=Quant(1)), 4),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


RESULTS: dict[str, tuple[Callable[[], Call], OperandType]] = {
    "relu_keeps_the_scale": (
        lambda: use("RELU6", input=u8(1, scale=0.5, zp=3), quant=Quant(0.25)),
        OperandType(Q8, (1,), Quant(0.5, 3)),
    ),
    "logistic": (lambda: use("LOGISTIC", input=u8(1, scale=0.5)), OperandType(Q8, (1,), Quant(1 / 256, 0))),
    "logistic_signed": (
        lambda: use("LOGISTIC", input=i8(1, scale=0.5)),
        OperandType(Q8S, (1,), Quant(1 / 256, -128)),
    ),
    "tanh": (lambda: use("TANH", input=u8(1)), OperandType(Q8, (1,), Quant(1 / 128, 128))),
    "tanh_signed": (lambda: use("TANH", input=i8(1)), OperandType(Q8S, (1,), Quant(1 / 128, 0))),
    "hard_swish": (
        lambda: use("HARD_SWISH", input=u8(1), quant=Quant(0.5, 7)),
        OperandType(Q8, (1,), Quant(0.5, 7)),
    ),
    "unknown_rank": (lambda: use("TANH", input=OperandType(F32, None)), OperandType(F32, None)),
    "prelu_unknown": (
        lambda: use("PRELU", input=OperandType(F32, (Dim("n"), 1, 4)), alpha=real(1, 2, 3, 4)),
        OperandType(F32, (Dim("n"), 1, 4)),
    ),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.out == expected
    assert broken_rules(call, "here") == []


# --- laws ----------------------------------------------------------------------------------------------------

tie_prone = st.builds(
    lambda power, factor: 2.0**power * factor, st.integers(-8, 1), st.sampled_from([1, 0.75, 1.25, 0.625])
)
zero_points = st.integers(0, 255)

IDEAL: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Quant]] = {
    "LOGISTIC": (lambda x: 1 / (1 + np.exp(-x)), Quant(1 / 256, 0)),
    "TANH": (np.tanh, Quant(1 / 128, 128)),
}


@pytest.mark.parametrize("kind", IDEAL)
@given(scale=tie_prone, zero_point=zero_points)
def test_fixed_point_is_the_rounded_function(kind: str, scale: float, zero_point: int) -> None:
    function, out = IDEAL[kind]
    wanted = function(scale * (EVERY_CODE.astype(float) - zero_point)) / out.scale + out.zero_point
    got = run(kind, input=(EVERY_CODE, Quant(scale, zero_point))).astype(float)
    # Half a step, 3e-5 of fixed-point error, and from scale 2 on the input radius cuts half a step more.
    slack = 0.5 + 3e-5 if scale < 2 else 1.0
    assert np.all(np.abs(got - np.clip(wanted, 0, 255)) <= slack)


@pytest.mark.parametrize("kind", ["RELU", "RELU1", "RELU6", "LOGISTIC", "TANH"])
@given(scale=tie_prone, zero_point=zero_points)
def test_signed_codes_are_unsigned_codes_less_128(kind: str, scale: float, zero_point: int) -> None:
    unsigned = run(kind, input=(EVERY_CODE, Quant(scale, zero_point)))
    signed = run(kind, input=(EVERY_SIGNED, Quant(scale, zero_point - 128)))
    np.testing.assert_array_equal(signed.astype(int) + 128, unsigned)


@given(scale=tie_prone, zero_point=zero_points, scale_out=tie_prone, zero_point_out=zero_points)
def test_hard_swish_stays_near_the_real_function(
    scale: float, zero_point: int, scale_out: float, zero_point_out: int
) -> None:
    call = use("HARD_SWISH", input=(EVERY_CODE, Quant(scale, zero_point)),
               quant=Quant(scale_out, zero_point_out))  # fmt: skip
    if broken_rules(call, "here"):
        return  # C2
    x = scale * (EVERY_CODE.astype(float) - zero_point)
    wanted = x * np.clip(x + 3, 0, 6) / 6 / scale_out + zero_point_out
    error = np.abs(run(call).astype(float) - np.clip(wanted, 0, 255))
    # A step: a 16-bit shift by 16 or more gives 1 or -1 instead of 0. Beyond it, three 16-bit roundings of up to
    # 2^-16 each of a result that is at most 256 scale / scale_out steps.
    assert np.all(error <= 1.0 + 3 * 2**-8 * scale / scale_out)
