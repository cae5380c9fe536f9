"""Comparisons, logic and choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, B8 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_BOOL8
Q8 = OperandCode.TENSOR_QUANT8_ASYMM
NAN = float("nan")
T, F = True, False


def real(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def truth(*values: bool) -> np.ndarray:
    return np.array(values, np.bool_)


def u8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


def pair(kind: str, a: Any, b: Any) -> Call:
    return use(kind, input0=a, input1=b)


def select(condition: Any, a: Any, b: Any, quant: Quant | None = None) -> Call:
    return use("SELECT", condition=condition, input1=a, input2=b, quant=quant)


# What each comparison says of: less, equal, greater, NaN on the left, NaN on the right, two NaNs.
LEFT, RIGHT = (1, 2, 3, NAN, 2, NAN), (2, 2, 2, 2, NAN, NAN)
TRUTHS: dict[str, list[bool]] = {
    "EQUAL": [F, T, F, F, F, F],
    "NOT_EQUAL": [T, F, T, T, T, T],
    "LESS": [T, F, F, F, F, F],
    "LESS_EQUAL": [T, T, F, F, F, F],
    "GREATER": [F, F, T, F, F, F],
    "GREATER_EQUAL": [F, T, T, F, F, F],
}


@pytest.mark.parametrize("kind", TRUTHS)
def test_comparisons(kind: str) -> None:
    np.testing.assert_array_equal(run(pair(kind, real(*LEFT), real(*RIGHT))), TRUTHS[kind])
    np.testing.assert_array_equal(run(pair(kind, ints(1, 2, 3), ints(2))), TRUTHS[kind][:3])
    np.testing.assert_array_equal(run(pair(kind, truth(F, T, T), truth(T, T, F))), TRUTHS[kind][:3])


@pytest.mark.parametrize("kind", TRUTHS)
def test_codes_are_compared_as_the_numbers_they_stand_for(kind: str) -> None:
    # 1.0, 1.5, 2.0 against 1.5; the codes themselves would say greater, greater, greater.
    unsigned = pair(kind, u8(112, 113, 114, scale=0.5, zp=110), u8(6, scale=0.25))
    np.testing.assert_array_equal(run(unsigned), TRUTHS[kind][:3])
    signed = pair(kind, i8(-16, -15, -14, scale=0.5, zp=-18), i8(6, scale=0.25))
    np.testing.assert_array_equal(run(signed), TRUTHS[kind][:3])


VALUES: dict[str, tuple[Callable[[], Call], Any]] = {
    "less_broadcasts": (lambda: pair("LESS", np.array([[1], [3]], np.float32), real(2, 4)), [[T, T], [F, T]]),
    # 33 steps of f32(0.1) and 11 of f32(0.3), both 3.3, round to neighbours: 3.29999995 and 3.30000019.
    "equal_numbers_can_differ_in_float32": (lambda: pair("EQUAL", u8(33, scale=0.1), u8(11, scale=0.3)), [F]),
    "and": (lambda: pair("LOGICAL_AND", truth(T, T, F, F), truth(T, F, T, F)), [T, F, F, F]),
    "or": (lambda: pair("LOGICAL_OR", truth(T, T, F, F), truth(T, F, T, F)), [T, T, T, F]),
    "and_broadcasts": (lambda: pair("LOGICAL_AND", truth(T, F), np.array([[T], [F]])), [[T, F], [F, F]]),
    "not": (lambda: use("LOGICAL_NOT", input=truth(T, F)), [F, T]),
    "select": (lambda: select(truth(T, F), real(1, 2), real(3, 4)), [1, 4]),
    "select_ints": (lambda: select(truth(T, F), ints(1, 2), ints(3, 4)), [1, 4]),
    "select_leaves_nan_alone": (lambda: select(truth(T, F), real(1, NAN), real(NAN, 2)), [1, 2]),
    # 3 * 0.5 = 1.5 is 2 steps of 1 (ties away); 2 * 4 is 8 of them.
    "select_codes": (
        lambda: select(truth(T, F), u8(3, 9, scale=0.5), u8(9, 5, scale=4.0, zp=3), Quant(1, 10)),
        [12, 18],
    ),
    "select_codes_saturate": (lambda: select(truth(T), i8(127, scale=4.0), i8(0), Quant(1, 0)), [127]),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    np.testing.assert_array_equal(run(make()), expected)


BROKEN: dict[str, Callable[[], Call]] = {
    **{f"{kind}.C1": lambda kind=kind: pair(kind, real(1, 2), real(1, 2, 3)) for kind in TRUTHS},
    "LOGICAL_AND.C1": lambda: pair("LOGICAL_AND", truth(T, F), truth(T, F, T)),
    "LOGICAL_OR.C1": lambda: pair("LOGICAL_OR", truth(T, F), truth(T, F, T)),
    "SELECT.C1": lambda: select(truth(T), real(1, 2), real(1, 2)),
    "SELECT.C2": lambda: select(truth(T), u8(1), u8(1)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


SHAPES_APART: dict[str, tuple[OperandType, OperandType, OperandType]] = {
    "second_value": (OperandType(B8, (2,)), OperandType(F32, (2,)), OperandType(F32, (1,))),
    "rank": (OperandType(B8, (2,)), OperandType(F32, (1, 2)), OperandType(F32, (1, 2))),
    "past_an_unknown": (OperandType(B8, (2,)), OperandType(F32, None), OperandType(F32, (3,))),
}


@pytest.mark.parametrize("row", SHAPES_APART)
def test_select_does_not_broadcast(row: str) -> None:
    assert [finding.rule for finding in broken_rules(select(*SHAPES_APART[row]), "here")] == ["SELECT.C1"]


def test_logic_is_for_truth_values_only() -> None:
    with pytest.raises(InvalidModel, match=r"input0 is TENSOR_FLOAT32, not one of TENSOR_BOOL8"):
        pair("LOGICAL_AND", real(1), real(1))


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "equal": (lambda: pair("EQUAL", real(1), real(1)), 3),
    "equal_codes": (lambda: pair("EQUAL", u8(1), u8(1)), 3),
    "less_signed": (lambda: pair("LESS", i8(1), i8(1)), 4),
    "not": (lambda: use("LOGICAL_NOT", input=truth(T)), 3),
    "select_ints": (lambda: select(truth(T), ints(1), ints(1)), 3),
    "select_signed": (lambda: select(truth(T), i8(1), i8(1), Quant(1)), 4),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


N = Dim("n")
RESULTS: dict[str, tuple[Callable[[], Call], OperandType]] = {
    "truth_has_no_scale": (lambda: pair("EQUAL", u8(1), u8(1, 2)), OperandType(B8, (2,))),
    "unknown_rank": (lambda: pair("LESS", OperandType(F32, None), real(1)), OperandType(B8, None)),
    "not": (lambda: use("LOGICAL_NOT", input=OperandType(B8, (N, 2))), OperandType(B8, (N, 2))),
    "select_codes": (
        lambda: select(truth(T), u8(1), u8(1), Quant(0.5, 3)),
        OperandType(Q8, (1,), Quant(0.5, 3)),
    ),
    "select_learns_from_all_three": (
        lambda: select(OperandType(B8, (N, N)), OperandType(F32, None), OperandType(F32, (2, N))),
        OperandType(F32, (2, N)),
    ),
    "select_knows_nothing": (
        lambda: select(OperandType(B8, None), OperandType(F32, None), OperandType(F32, None)),
        OperandType(F32, None),
    ),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.out == expected
    assert broken_rules(call, "here") == []


OPPOSITES = [("EQUAL", "NOT_EQUAL"), ("LESS", "GREATER_EQUAL"), ("GREATER", "LESS_EQUAL")]
codes = st.lists(st.integers(0, 255), min_size=1, max_size=8)
quants = st.builds(Quant, st.sampled_from([0.1, 0.25, 0.3, 1.0]), st.integers(0, 255))


@pytest.mark.parametrize(("kind", "opposite"), OPPOSITES)
@given(a=codes, quant_a=quants, b=st.integers(0, 255), quant_b=quants)
def test_opposites_are_opposite(kind: str, opposite: str, a: list[int], quant_a: Quant, b: int, quant_b: Quant) -> None:
    operands = (np.array(a, np.uint8), quant_a), (np.array([b], np.uint8), quant_b)
    np.testing.assert_array_equal(run(pair(kind, *operands)), ~run(pair(opposite, *operands)))
