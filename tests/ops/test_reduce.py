"""Reductions over axes."""

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

F32, I32, B8 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32, OperandCode.TENSOR_BOOL8
Q8 = OperandCode.TENSOR_QUANT8_ASYMM
NAN, INF = float("nan"), float("inf")
LARGEST = float(np.finfo(np.float32).max)
T, F = True, False


def real(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def half(values: Any) -> np.ndarray:
    return np.array(values, np.float16)


def u8(values: Any, zp: int = 0, scale: float = 1.0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(values: Any, zp: int = 0, scale: float = 1.0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


def reduced(kind: str, x: Any, *axes: int, keep: Any = False) -> Call:
    return use(kind, input=x, axes=np.array(axes, np.int32), keep_dims=keep)


def mean(x: Any, *axes: int, keep: Any = 0) -> Call:
    return reduced("MEAN", x, *axes, keep=keep)


GRID = [[1, 2, 3], [4, 5, 6]]

VALUES: dict[str, tuple[Callable[[], Call], Any]] = {
    "mean_of_rows": (lambda: mean(real(GRID), 1), [2, 5]),
    "mean_of_columns": (lambda: mean(real(GRID), 0), [2.5, 3.5, 4.5]),
    "mean_kept": (lambda: mean(real(GRID), 1, keep=1), [[2], [5]]),
    "mean_kept_by_any_positive": (lambda: mean(real(GRID), 1, keep=7), [[2], [5]]),
    "mean_not_kept_by_negative": (lambda: mean(real(GRID), 1, keep=-1), [2, 5]),
    "mean_of_all": (lambda: mean(real(GRID), 0, 1), [3.5]),
    "mean_negative_and_repeated_axes": (lambda: mean(real(GRID), -1, 1, -1), [2, 5]),
    "mean_of_outer_axes": (lambda: mean(real([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), 0, 2), [3.5, 5.5]),
    # 5 / 2 is cut to 2, whatever the zero point makes of it.
    "mean_codes_truncate": (lambda: mean(u8([[2, 3], [255, 254]], 128), 1), [2, 254]),
    "mean_signed_truncate_toward_zero": (lambda: mean(i8([[-2, -3], [2, 3]]), 1), [-2, 2]),
    "mean_half_sums_in_float32": (lambda: mean(np.ones(4096, np.float16), 0), [1]),
    "sum": (lambda: reduced("REDUCE_SUM", real(GRID), 0), [5, 7, 9]),
    "sum_kept": (lambda: reduced("REDUCE_SUM", real(GRID), 0, 1, keep=True), [[21]]),
    "sum_half_stalls": (lambda: reduced("REDUCE_SUM", np.ones(3000, np.float16), 0), [2048]),
    # One after the other: 1e8 swallows each 1 in turn; pairs would have kept some.
    "sum_in_order": (lambda: reduced("REDUCE_SUM", real([1e8] + [1] * 8), 0), [1e8]),
    "prod": (lambda: reduced("REDUCE_PROD", real(GRID), 1), [6, 120]),
    "prod_zero_beats_all": (lambda: reduced("REDUCE_PROD", real([INF, NAN, 0]), 0), [0]),
    "prod_underflow_beats_all": (lambda: reduced("REDUCE_PROD", real([1e-30, 1e-30, INF]), 0), [0]),
    "prod_nan": (lambda: reduced("REDUCE_PROD", real([2, NAN]), 0), [NAN]),
    "prod_half_overflows": (lambda: reduced("REDUCE_PROD", half([256, 256, 0.5]), 0), [INF]),
    "max": (lambda: reduced("REDUCE_MAX", real(GRID), 0), [4, 5, 6]),
    "max_passes_over_nan": (lambda: reduced("REDUCE_MAX", real([NAN, 1, NAN]), 0), [1]),
    "max_of_nan": (lambda: reduced("REDUCE_MAX", real([NAN, -INF]), 0), [-LARGEST]),
    "max_of_infinity": (lambda: reduced("REDUCE_MAX", real([1, INF]), 0), [INF]),
    "max_half": (lambda: reduced("REDUCE_MAX", half([NAN]), 0), [-65504]),
    "max_codes": (lambda: reduced("REDUCE_MAX", u8([[1, 200], [3, 4]], 5), 1), [200, 4]),
    "max_signed": (lambda: reduced("REDUCE_MAX", i8([-128, -3]), 0), [-3]),
    "min": (lambda: reduced("REDUCE_MIN", real(GRID), 1), [1, 4]),
    "min_passes_over_nan": (lambda: reduced("REDUCE_MIN", real([NAN, 1, NAN]), 0), [1]),
    "min_of_infinity": (lambda: reduced("REDUCE_MIN", real([INF]), 0), [LARGEST]),
    "min_codes": (lambda: reduced("REDUCE_MIN", u8([[1, 200], [3, 4]], 5), 0), [1, 4]),
    "all": (lambda: reduced("REDUCE_ALL", np.array([[T, T], [T, F]]), 1), [T, F]),
    "any": (lambda: reduced("REDUCE_ANY", np.array([[F, F], [T, F]]), 1), [F, T]),
    "any_kept": (lambda: reduced("REDUCE_ANY", np.array([[F, F], [T, F]]), 0, keep=True), [[T, F]]),
}  # fmt: skip


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    got = run(make())
    np.testing.assert_array_equal(got, expected)
    assert got.shape == np.shape(expected)


KINDS = ("MEAN", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_SUM")


def ones(kind: str, *shape: int) -> np.ndarray:
    return np.ones(shape, np.bool_ if kind in ("REDUCE_ALL", "REDUCE_ANY") else np.float32)


BROKEN: dict[str, Callable[[], Call]] = {
    f"{kind}.C1": lambda kind=kind: reduced(kind, ones(kind, 2, 2), 0, 2) for kind in KINDS
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    (finding,) = broken_rules(BROKEN[rule](), "here")
    assert (finding.rule, finding.message) == (rule, "an axis in axes=2 is not in [-2, 1]")


@pytest.mark.parametrize("kind", KINDS)
def test_rank_ends_at_4(kind: str) -> None:
    call = reduced(kind, ones(kind, 1, 1, 1, 1, 1), 0)
    assert [finding.rule for finding in broken_rules(call, "here")] == [f"{kind}.RANK"]


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "mean": (lambda: mean(real([1]), 0), 2),
    "mean_codes": (lambda: mean(u8([1]), 0), 2),
    "mean_half": (lambda: mean(half([1]), 0), 3),
    "mean_signed": (lambda: mean(i8([1]), 0), 4),
    "max_codes": (lambda: reduced("REDUCE_MAX", u8([1]), 0), 3),
    "min_signed": (lambda: reduced("REDUCE_MIN", i8([1]), 0), 4),
    "sum": (lambda: reduced("REDUCE_SUM", real([1]), 0), 3),
    "any": (lambda: reduced("REDUCE_ANY", np.array([T]), 0), 3),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


N, WHICH = Dim("n"), Dim("?")
AXES = OperandType(I32, (2,))
RESULTS: dict[str, tuple[Callable[[], Call], OperandType]] = {
    "keeps_the_scale": (lambda: mean(u8([[1]], 3, 0.5), 0), OperandType(Q8, (1,), Quant(0.5, 3))),
    "unknown_sizes": (lambda: mean(OperandType(F32, (N, 2, 3)), 1), OperandType(F32, (N, 3))),
    "unknown_sizes_kept": (lambda: mean(OperandType(F32, (N, 2)), 0, keep=1), OperandType(F32, (1, 2))),
    "unknown_rank": (lambda: mean(OperandType(F32, None), 5), OperandType(F32, None)),
    "unknown_axes": (
        lambda: use("MEAN", input=real(GRID), axes=AXES, keep_dims=0),
        OperandType(F32, None),
    ),
    "unknown_axes_kept": (
        lambda: use("REDUCE_SUM", input=OperandType(F32, (2, 1)), axes=AXES, keep_dims=True),
        OperandType(F32, (WHICH, 1)),
    ),
    "unknown_keep": (
        lambda: reduced("REDUCE_SUM", real(GRID), 0, keep=OperandType(OperandCode.BOOL)),
        OperandType(F32, None),
    ),
    "no_axes": (
        lambda: use("REDUCE_ANY", input=np.array([T]), axes=np.zeros(0, np.int32), keep_dims=False),
        OperandType(B8, (1,)),
    ),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.out == expected
    assert broken_rules(call, "here") == []


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.lists(st.integers(-4, 3), min_size=1, max_size=5),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_integer_sums_agree_with_numpy(shape: list[int], axes: list[int], keep: bool, seed: int) -> None:
    inside = [axis % len(shape) for axis in axes]
    x = np.random.default_rng(seed).integers(-50, 50, shape).astype(np.float32)
    expected = np.sum(x, axis=tuple(set(inside)), keepdims=keep)
    got = run(reduced("REDUCE_SUM", x, *inside, keep=keep))
    np.testing.assert_array_equal(got, expected.reshape(1) if expected.ndim == 0 else expected)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.integers(0, 255))
def test_mean_of_codes_is_the_exact_mean_cut_off(values: list[int], zero_point: int) -> None:
    assert run(mean(u8(values, zero_point), 0)).item() == sum(values) // len(values)
    signed = [value - 128 for value in values]
    assert run(mean(i8(signed), 0)).item() == int(sum(signed) / len(signed))
