"""L2, local response and instance normalization."""

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


def real(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def u8(values: Any, zp: int = 0, scale: float = 1.0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(values: Any, zp: int = 0, scale: float = 1.0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


def l2(x: Any, **axis: int) -> Call:
    return use("L2_NORMALIZATION", input=x, **axis)


def local(x: Any, radius: Any = 1, bias: float = 1.0, alpha: float = 1.0, beta: float = 1.0, **axis: int) -> Call:
    return use("LOCAL_RESPONSE_NORMALIZATION", input=x, radius=radius, bias=bias, alpha=alpha, beta=beta, **axis)


def instance(x: Any, gamma: float = 1.0, beta: float = 0.0, epsilon: float = 0.0, nchw: Any = False) -> Call:
    return use("INSTANCE_NORMALIZATION", input=x, gamma=gamma, beta=beta, epsilon=epsilon, nchw=nchw)


# [1, 2, 1, 2] NHWC: channel 0 holds 1 and 3, channel 1 holds 5 and 5.
PIXELS = [[[[1, 5]], [[3, 5]]]]

# float32: a few roundings of square roots, powers and quotients, each 2^-24.
CLOSE: dict[str, tuple[Callable[[], Call], Any]] = {
    "l2": (lambda: l2(real([[3, 4], [0, 2]])), [[0.6, 0.8], [0, 1]]),
    "l2_along_rows": (lambda: l2(real([[3, 4], [4, 3]]), axis=0), [[0.6, 0.8], [0.8, 0.6]]),
    "l2_of_zeros": (lambda: l2(real([0, 0])), [0, 0]),
    "l2_of_tiny": (lambda: l2(real([5e-7, 0])), [0.5, 0]),
    # Sums of squares over neighbours: 1 + 4, 1 + 4 + 9, 4 + 9.
    "local": (lambda: local(real([1, 2, 3])), [1 / 6, 2 / 15, 3 / 14]),
    "local_alone": (lambda: local(real([1, 2, 3]), 0, 0.0), [1, 1 / 2, 1 / 3]),
    "local_wide": (lambda: local(real([1, 2]), 100, 3.0), [1 / 8, 2 / 8]),
    "local_root": (lambda: local(real([3]), 0, 7.0, 1.0, 0.5), [3 / 4]),
    "local_alpha": (lambda: local(real([2]), 0, 1.0, 0.25), [1]),
    "local_along_rows": (lambda: local(real([[1, 9], [2, 0]]), 1, axis=0), [[1 / 6, 9 / 82], [2 / 6, 0]]),
    "instance": (lambda: instance(real(PIXELS), epsilon=0.5), [[[[-1 / 1.5**0.5, 0]], [[1 / 1.5**0.5, 0]]]]),
    "instance_gamma_beta": (
        lambda: instance(real(PIXELS), 2.0, 10.0, 3.0),
        [[[[9, 10]], [[11, 10]]]],
    ),
    "instance_nchw": (
        lambda: instance(real([[[[1], [3]], [[5], [5]]]]), 2.0, 10.0, 3.0, True),
        [[[[9], [11]], [[10], [10]]]],
    ),
    "instance_each_image": (
        lambda: instance(real([[[[0], [2]]], [[[10], [20]]]])),
        [[[[-1], [1]]], [[[-1], [1]]]],
    ),
}

EXACT: dict[str, tuple[Callable[[], Call], Any]] = {
    # 128 * 0.6 = 76.8, 128 * 0.8 = 102.4.
    "l2_codes": (lambda: l2(u8([[13, 6]], 10)), [[205, 26]]),
    "l2_codes_whatever_the_scale": (lambda: l2(u8([[13, 6]], 10, 0.25)), [[205, 26]]),
    "l2_codes_along_rows": (lambda: l2(u8([[13], [6]], 10), axis=0), [[205], [26]]),
    "l2_codes_full_length_saturates": (lambda: l2(u8([20, 10], 10)), [255, 128]),
    "l2_codes_of_zeros": (lambda: l2(u8([7, 7], 7)), [128, 128]),
    "l2_signed": (lambda: l2(i8([[3, -4]])), [[77, -102]]),
    "l2_signed_along_rows": (lambda: l2(i8([[3], [-4]]), axis=0), [[77], [-102]]),
}


@pytest.mark.parametrize("row", CLOSE)
def test_close_values(row: str) -> None:
    make, expected = CLOSE[row]
    np.testing.assert_allclose(run(make()), expected, rtol=2**-21, atol=2**-23)


@pytest.mark.parametrize("row", EXACT)
def test_values(row: str) -> None:
    make, expected = EXACT[row]
    np.testing.assert_array_equal(run(make()), expected)


def test_instance_normalization_sums_in_float16_when_its_input_is() -> None:
    # 4096 ones: their sum stalls at 2048, so the mean is 0.5; the squares of 0.5 stall at 512, so the
    # deviation is sqrt(512 / 4096) and the result 0.5 / sqrt(0.125) = sqrt(2) instead of 0.
    got = run(instance(np.ones((1, 64, 64, 1), np.float16)))
    np.testing.assert_allclose(got.astype(float), 2**0.5, rtol=2**-10)


BROKEN: dict[str, Callable[[], Call]] = {
    "L2_NORMALIZATION.C1": lambda: l2(real([[1]]), axis=2),
    "LOCAL_RESPONSE_NORMALIZATION.C1": lambda: local(real([1]), -1),
    "LOCAL_RESPONSE_NORMALIZATION.C2": lambda: local(real([1]), axis=-2),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


RANKS: dict[str, Callable[[], Call]] = {
    "L2_NORMALIZATION": lambda: l2(OperandType(F32, (1,) * 5)),
    "LOCAL_RESPONSE_NORMALIZATION": lambda: local(OperandType(F32, (1,) * 5)),
    "INSTANCE_NORMALIZATION": lambda: instance(OperandType(F32, (1, 1, 1))),
}


@pytest.mark.parametrize("kind", RANKS)
def test_ranks(kind: str) -> None:
    assert [finding.rule for finding in broken_rules(RANKS[kind](), "here")] == [f"{kind}.RANK"]


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "l2": (lambda: l2(real([[[[1]]]])), 1),
    "l2_default_axis_counts_as_absent": (lambda: l2(real([[[[1]]]]), axis=-1), 1),
    "l2_axis": (lambda: l2(real([[[[1]]]]), axis=3), 3),
    "l2_rank_2": (lambda: l2(real([[1]])), 3),
    "l2_codes": (lambda: l2(u8([[[[1]]]])), 3),
    "l2_signed": (lambda: l2(i8([[[[1]]]])), 4),
    "local": (lambda: local(real([[[[1]]]])), 1),
    "local_axis": (lambda: local(real([[[[1]]]]), axis=0), 3),
    "local_rank_3": (lambda: local(real([[[1]]])), 3),
    "instance": (lambda: instance(real([[[[1]]]])), 3),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


UNKNOWN = OperandType(F32, (Dim("n"), 2, 2, Dim("c")))
RESULTS: dict[str, tuple[Callable[[], Call], OperandType]] = {
    "l2_codes": (lambda: l2(u8([1])), OperandType(Q8, (1,), Quant(1 / 128, 128))),
    "l2_signed": (lambda: l2(i8([1])), OperandType(Q8S, (1,), Quant(1 / 128, 0))),
    "l2_unknown": (lambda: l2(UNKNOWN), UNKNOWN),
    "local_unknown": (lambda: local(OperandType(F32, None), axis=9), OperandType(F32, None)),
    "local_unknown_radius": (lambda: local(UNKNOWN, OperandType(OperandCode.INT32)), UNKNOWN),
    "instance_unknown": (lambda: instance(UNKNOWN, nchw=OperandType(OperandCode.BOOL)), UNKNOWN),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.out == expected
    assert broken_rules(call, "here") == []


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(0, 255))
def test_l2_codes_are_the_rounded_real_result(values: list[int], zero_point: int) -> None:
    x = np.array(values, float) - zero_point
    norm = np.sqrt(np.sum(x * x))
    wanted = 128 + 128 * x / norm if norm else np.full(len(x), 128.0)
    got = run(l2(u8(values, zero_point))).astype(float)
    # R rounds twice: half a step, and before it half of at most half a step; the root's error is far smaller.
    assert np.all(np.abs(got - np.clip(wanted, 0, 255)) <= 0.75 + 2e-4)
