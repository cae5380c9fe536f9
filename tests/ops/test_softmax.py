"""SOFTMAX and LOG_SOFTMAX."""

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
INF = float("inf")


def real(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def u8(values: Any, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(values: Any, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


def softmax(x: Any, beta: float = 1.0, **more: Any) -> Call:
    return use("SOFTMAX", input=x, beta=beta, **more)


def log_softmax(x: Any, beta: float = 1.0, axis: int = -1) -> Call:
    return use("LOG_SOFTMAX", input=x, beta=beta, axis=axis)


LN2, LN3 = float(np.log(2)), float(np.log(3))

# float32: exp, a sum and a division are each right to 2^-23 or so.
CLOSE: dict[str, tuple[Callable[[], Call], Any]] = {
    "shares": (lambda: softmax(real([[0, LN2], [LN3, 0]])), [[1 / 3, 2 / 3], [3 / 4, 1 / 4]]),
    "along_rows": (lambda: softmax(real([[0, LN3], [LN2, 0]]), axis=0), [[1 / 3, 3 / 4], [2 / 3, 1 / 4]]),
    "beta": (lambda: softmax(real([[0, LN3]]), 2.0), [[0.1, 0.9]]),
    "large_differences": (lambda: softmax(real([[1000, 0]])), [[1, 0]]),
    "masked": (lambda: softmax(real([[-INF, 0, 0]])), [[0, 0.5, 0.5]]),
    "rank_1": (lambda: softmax(real([5, 5])), [0.5, 0.5]),
    "log_shares": (lambda: log_softmax(real([[0, LN2]])), [[-LN3, LN2 - LN3]]),
    "log_along_rows": (lambda: log_softmax(real([[0], [LN2]]), axis=0), [[-LN3], [LN2 - LN3]]),
    "log_beta": (lambda: log_softmax(real([0, LN3]), 2.0, 0), [-np.log(10), np.log(0.9)]),
    "log_large_differences": (lambda: log_softmax(real([1000, 0])), [0, -1000]),
}

EXACT: dict[str, tuple[Callable[[], Call], Any]] = {
    "nothing_but_minus_infinity": (lambda: softmax(real([-INF, -INF])), [np.nan, np.nan]),
    "codes": (lambda: softmax(u8([[7, 7]])), [[128, 128]]),
    # Three equal shares: 256 / 3 = 85.3 each.
    "codes_three": (lambda: softmax(u8([[9], [9], [9]]), axis=0), [[85], [85], [85]]),
    "codes_one_wins": (lambda: softmax(u8([255, 0])), [255, 0]),
    # exp(1) / (1 + exp(1)) = 0.7311: 187.15 and 68.85.
    "codes_apart": (lambda: softmax(u8([20, 10], 0.1)), [187, 69]),
    "codes_beta": (lambda: softmax(u8([2, 1], 0.25), 4.0), [187, 69]),
    "signed": (lambda: softmax(i8([[20, 10]], 0.1, 5)), [[59, -59]]),
}


@pytest.mark.parametrize("row", CLOSE)
def test_close_values(row: str) -> None:
    make, expected = CLOSE[row]
    np.testing.assert_allclose(run(make()), expected, rtol=2**-21, atol=2**-23)


@pytest.mark.parametrize("row", EXACT)
def test_values(row: str) -> None:
    make, expected = EXACT[row]
    np.testing.assert_array_equal(run(make()), expected)


def test_log_softmax_sums_in_float16_when_its_input_is() -> None:
    # 4096 ones: the sum stalls at 2048, so the result is -log 2048 and not -log 4096.
    got = run(log_softmax(np.zeros(4096, np.float16)))
    np.testing.assert_array_equal(got, np.float16(-np.log(2048)))


BROKEN: dict[str, Callable[[], Call]] = {
    "SOFTMAX.C1": lambda: softmax(real([[1]]), 0.0),
    "SOFTMAX.C2": lambda: softmax(real([[1]]), axis=2),
    "SOFTMAX.C3": lambda: softmax(u8([[1]]), quant=Quant(1 / 128, 0)),
    "SOFTMAX.C4": lambda: softmax(u8([[1]], 2**-26)),
    "LOG_SOFTMAX.C1": lambda: log_softmax(real([[1]]), axis=-3),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_rank_ends_at_4_for_softmax_only() -> None:
    wide = OperandType(F32, (1,) * 5)
    assert [finding.rule for finding in broken_rules(softmax(wide), "here")] == ["SOFTMAX.RANK"]
    assert broken_rules(log_softmax(wide), "here") == []


def test_nothing_is_said_of_what_is_not_known() -> None:
    unknown = use("SOFTMAX", input=OperandType(F32, None), beta=OperandType(OperandCode.FLOAT32), axis=7)
    assert broken_rules(unknown, "here") == []
    assert unknown.out == OperandType(F32, None)


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "rank_2": (lambda: softmax(real([[1]])), 1),
    "rank_4_codes": (lambda: softmax(u8([[[[1]]]])), 1),
    "rank_3": (lambda: softmax(real([[[1]]])), 3),
    "rank_1": (lambda: softmax(real([1])), 3),
    "axis": (lambda: softmax(real([[1]]), axis=0), 3),
    "default_axis_counts_as_absent": (lambda: softmax(real([[1]]), axis=-1), 1),
    "half": (lambda: softmax(np.zeros((1, 1), np.float16)), 3),
    "signed": (lambda: softmax(i8([[1]])), 4),
    "log": (lambda: log_softmax(real([[1]])), 3),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (softmax(u8([[1]])), OperandType(Q8, (1, 1), Quant(1 / 256, 0))),
        (softmax(i8([[1]])), OperandType(Q8S, (1, 1), Quant(1 / 256, -128))),
        (softmax(OperandType(F32, (Dim("n"), 3))), OperandType(F32, (Dim("n"), 3))),
    ],
)
def test_result_types(call: Call, expected: OperandType) -> None:
    assert call.out == expected


rows = st.lists(st.integers(0, 255), min_size=1, max_size=30)
tie_prone = st.builds(
    lambda power, factor: 2.0**power * factor, st.integers(-8, 0), st.sampled_from([1, 0.75, 1.25, 0.625])
)


@given(rows, tie_prone)
def test_codes_are_the_rounded_shares(values: list[int], scale: float) -> None:
    x = scale * np.array(values, float)
    shares = np.exp(x - x.max()) / np.sum(np.exp(x - x.max()))
    # Half a step and the error of a fixed-point exponential with 26 bits.
    error = np.abs(run(softmax(u8(values, scale))).astype(float) - np.clip(256 * shares, 0, 255))
    assert np.all(error <= 0.5 + 1e-3)


@given(rows, tie_prone)
def test_signed_codes_are_unsigned_codes_less_128(values: list[int], scale: float) -> None:
    signed = run(softmax(i8(np.array(values) - 128, scale)))
    np.testing.assert_array_equal(signed.astype(int) + 128, run(softmax(u8(values, scale))))
