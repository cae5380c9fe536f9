"""ARGMAX, ARGMIN and TOPK_V2."""

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

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8 = OperandCode.TENSOR_QUANT8_ASYMM
NAN, INF = float("nan"), float("inf")


def real(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def u8(values: Any) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(0.5, 10)


def arg(kind: str, x: Any, axis: Any) -> Call:
    return use(kind, input=x, axis=axis)


def top(x: Any, k: Any) -> Call:
    return use("TOPK_V2", input=x, k=k)


GRID = [[1, 5, 3], [7, 2, 9]]

INDICES: dict[str, tuple[Callable[[], Call], Any]] = {
    "max_of_rows": (lambda: arg("ARGMAX", real(GRID), 1), [1, 2]),
    "max_of_columns": (lambda: arg("ARGMAX", real(GRID), 0), [1, 0, 1]),
    "max_negative_axis": (lambda: arg("ARGMAX", real(GRID), -2), [1, 0, 1]),
    "max_of_a_vector": (lambda: arg("ARGMAX", real([1, 3, 2]), 0), [1]),
    "max_first_of_equals": (lambda: arg("ARGMAX", real([1, 3, 3]), 0), [1]),
    "max_later_nan_never_wins": (lambda: arg("ARGMAX", real([1, NAN, 2]), 0), [2]),
    "max_first_nan_stays": (lambda: arg("ARGMAX", real([NAN, 1, 2]), 0), [0]),
    "max_of_nothing_but_minus_infinity": (lambda: arg("ARGMAX", real([-INF, NAN, -INF]), 0), [0]),
    "max_nan_in_one_row": (lambda: arg("ARGMAX", real([[NAN, 1], [1, 2]]), 1), [0, 1]),
    "max_ints": (lambda: arg("ARGMAX", np.array([-5, -2**31, 7], np.int32), 0), [2]),
    "max_codes": (lambda: arg("ARGMAX", u8([3, 255, 4]), 0), [1]),
    "min_of_rows": (lambda: arg("ARGMIN", real(GRID), 1), [0, 1]),
    "min_first_of_equals": (lambda: arg("ARGMIN", real([4, 3, 3]), 0), [1]),
    "min_later_nan_never_wins": (lambda: arg("ARGMIN", real([2, NAN, 1]), 0), [2]),
    "min_first_nan_stays": (lambda: arg("ARGMIN", real([NAN, 1]), 0), [0]),
    "min_half": (lambda: arg("ARGMIN", np.array([2, 1], np.float16), 0), [1]),
}  # fmt: skip


@pytest.mark.parametrize("row", INDICES)
def test_indices(row: str) -> None:
    make, expected = INDICES[row]
    got = run(make())
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.int32


TOP: dict[str, tuple[Callable[[], Call], Any, Any]] = {
    "each_row": (lambda: top(real(GRID), 2), [[5, 3], [9, 7]], [[1, 2], [2, 0]]),
    "all": (lambda: top(real([2, 1, 3]), 3), [3, 2, 1], [2, 0, 1]),
    "larger_index_of_equals_first": (lambda: top(real([3, 1, 3, 3]), 2), [3, 3], [3, 2]),
    "ints": (lambda: top(np.array([-(2**31), 5, 2**31 - 1], np.int32), 3), [2**31 - 1, 5, -(2**31)], [2, 1, 0]),
    "codes": (lambda: top(u8([0, 255, 128]), 2), [255, 128], [1, 2]),
    "infinities": (lambda: top(real([-INF, INF, 0]), 2), [INF, 0], [1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("row", TOP)
def test_top(row: str) -> None:
    make, values, indices = TOP[row]
    got_values, got_indices = run(make())
    np.testing.assert_array_equal(got_values, values)
    np.testing.assert_array_equal(got_indices, indices)


BROKEN: dict[str, Callable[[], Call]] = {
    "ARGMAX.C1": lambda: arg("ARGMAX", real([1]), 1),
    "ARGMIN.C1": lambda: arg("ARGMIN", real([1]), -2),
    "TOPK_V2.C1": lambda: top(real([1, 2]), 3),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_k_is_at_least_1() -> None:
    (finding,) = broken_rules(top(OperandType(F32, None), 0), "here")
    assert finding.message == "k=0 is below 1"


def test_levels() -> None:
    assert required_level(arg("ARGMAX", real([1]), 0))[0] == 3
    assert required_level(arg("ARGMIN", (np.array([1], np.int8), Quant(1)), 0))[0] == 4
    assert required_level(top(u8([1]), 1))[0] == 3


N, WHICH = Dim("n"), Dim("?")
UNKNOWN = OperandType(OperandCode.INT32)
RESULTS: dict[str, tuple[Callable[[], Call], tuple[OperandType, ...]]] = {
    "arg": (lambda: arg("ARGMAX", OperandType(F32, (N, 3, 4)), 1), (OperandType(I32, (N, 4)),)),
    "arg_of_a_vector": (lambda: arg("ARGMAX", OperandType(F32, (N,)), 0), (OperandType(I32, (1,)),)),
    "arg_of_unknown_rank": (lambda: arg("ARGMAX", OperandType(F32, None), 3), (OperandType(I32, None),)),
    "arg_of_unknown_axis": (lambda: arg("ARGMIN", real(GRID), UNKNOWN), (OperandType(I32, (WHICH,)),)),
    "top": (
        lambda: top(OperandType(Q8, (N, 5), Quant(0.5, 3)), 2),
        (OperandType(Q8, (N, 2), Quant(0.5, 3)), OperandType(I32, (N, 2))),
    ),
    "top_of_unknown_k": (
        lambda: top(OperandType(F32, (2, N)), UNKNOWN),
        (OperandType(F32, (2, WHICH)), OperandType(I32, (2, WHICH))),
    ),
    "top_of_unknown_rank": (
        lambda: top(OperandType(F32, None), 2),
        (OperandType(F32, None), OperandType(I32, None)),
    ),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.results == expected
    assert broken_rules(call, "here") == []


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_top_is_the_head_of_the_sorted_pairs(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    got_values, got_indices = run(top(np.array(values, np.int32), k))
    expected = sorted(((value, index) for index, value in enumerate(values)), reverse=True)[:k]
    assert list(zip(got_values.tolist(), got_indices.tolist(), strict=True)) == expected


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_arg_is_the_first_extreme(values: list[int]) -> None:
    x = np.array(values, np.float32)
    assert run(arg("ARGMAX", x, 0)).item() == values.index(max(values))
    assert run(arg("ARGMIN", x, 0)).item() == values.index(min(values))
