"""SVDF: the memory, ranks summed into units, its rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
NONE, RELU6, TANH = 0, 3, 4


def svdf(**changes: Any) -> dict[str, Any]:
    """One feature, one unit of two filters, a memory of two steps whose newest column nobody reads."""
    plain = {
        "input": np.array([[1]], np.float32),
        "weights_feature": np.array([[2], [3]], np.float32),
        "weights_time": np.array([[1, 10], [2, 20]], np.float32),
        "bias": np.array([1], np.float32),
        "state_in": np.array([[5, 99, 7, 99]], np.float32),
        "rank": 2,
        "activation": NONE,
    }
    return {**plain, **changes}


# Memory [[5, 2], [7, 3]]: filter 0 gives 5 + 20, filter 1 gives 14 + 60.
VALUES: dict[str, tuple[Callable[[], dict[str, Any]], list[float], list[float]]] = {
    "one_unit": (svdf, [100], [2, 0, 3, 0]),
    "no_bias": (lambda: svdf(bias=None), [99], [2, 0, 3, 0]),
    "relu6": (lambda: svdf(activation=RELU6), [6], [2, 0, 3, 0]),
    "rank_1": (lambda: svdf(rank=1, bias=np.array([0, 1], np.float32)), [25, 75], [2, 0, 3, 0]),
    "batch": (
        lambda: svdf(
            input=np.array([[1], [2]], np.float32), bias=None, state_in=np.array([[5, 0, 7, 0], [0] * 4], np.float32)
        ),
        [99, 160],
        [2, 0, 3, 0, 4, 0, 6, 0],
    ),
    "memory_of_three": (
        lambda: svdf(
            weights_time=np.array([[1, 10, 100], [2, 20, 200]], np.float32),
            bias=None,
            state_in=np.array([[5, 6, 0, 7, 8, 0]], np.float32),
        ),
        [5 + 60 + 200 + 14 + 160 + 600],
        [6, 2, 0, 8, 3, 0],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected, state = VALUES[name]
    arguments = make()
    assert broken_rules(use("SVDF", **arguments), "here") == []
    state_out, output = run("SVDF", **arguments)
    # Small integers: float32 sums them exactly in any order.
    np.testing.assert_array_equal(output.ravel(), np.array(expected, np.float32))
    np.testing.assert_array_equal(state_out.ravel(), np.array(state, np.float32))


def test_units_sum_neighbouring_filters() -> None:
    """With 4 filters and rank 2, unit 0 has filters 0 and 1."""
    arguments = svdf(
        weights_feature=np.array([[1], [2], [4], [8]], np.float32), weights_time=np.ones((4, 1), np.float32),
        bias=None, state_in=np.zeros((1, 4), np.float32),
    )  # fmt: skip
    np.testing.assert_array_equal(run("SVDF", **arguments)[1], [[3, 12]])


def test_steps_convolve_in_time() -> None:
    """A chain of steps is a convolution of the feature products with weights_time, newest last."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(6, 3)).astype(np.float32)
    feature, time = generator.normal(size=(2, 3)).astype(np.float32), generator.normal(size=(2, 4)).astype(np.float32)
    state = np.zeros((1, 8), np.float32)
    for t in range(6):
        arguments = svdf(input=x[t : t + 1], weights_feature=feature, weights_time=time, bias=None, state_in=state,
                         activation=TANH)  # fmt: skip
        state, output = run("SVDF", **arguments)
        padded = np.concatenate([np.zeros((4, 2)), x @ feature.T])[t + 1 : t + 5]
        # Some twenty float32 products of about 1.
        np.testing.assert_allclose(output, [[np.tanh((padded.T * time).sum())]], atol=2e-6)


def test_float16_is_rounded_once_at_the_end() -> None:
    wide = svdf(input=np.array([[0.3]], np.float32), weights_feature=np.array([[0.7], [1.1]], np.float32))
    half = {name: v.astype(np.float16) if isinstance(v, np.ndarray) else v for name, v in wide.items()}
    widened = {name: v.astype(np.float32) if isinstance(v, np.ndarray) else v for name, v in half.items()}
    for mine, other in zip(run("SVDF", **half), run("SVDF", **widened), strict=True):
        np.testing.assert_array_equal(mine, other.astype(np.float16))


BROKEN: dict[str, Callable[[], Call]] = {
    "SVDF.C1": lambda: use("SVDF", **svdf(input=np.ones((1, 2), np.float32))),
    "SVDF.C2": lambda: use("SVDF", **svdf(rank=0)),
    "SVDF.C3": lambda: use("SVDF", **svdf(state_in=np.ones((1, 2), np.float32))),
    "SVDF.C4": lambda: use("SVDF", **svdf(activation=5)),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "rank_does_not_divide": ("SVDF.C2", lambda: use("SVDF", **svdf(rank=3))),
    "bias": ("SVDF.C3", lambda: use("SVDF", **svdf(bias=np.ones(2, np.float32)))),
    "batch": ("SVDF.C1", lambda: use("SVDF", **svdf(state_in=np.ones((2, 4), np.float32)))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


@pytest.mark.parametrize(("code", "level"), [(F32, 1), (F16, 3)])
def test_levels_and_unknown_sizes(code: OperandCode, level: int) -> None:
    n = Dim("n")
    arguments = {k: OperandType(code, v.shape) if isinstance(v, np.ndarray) else v for k, v in svdf().items()}
    call = use("SVDF", **{**arguments, "input": OperandType(code, (n, 1)), "state_in": OperandType(code, (n, 4))})
    assert required_level(call)[0] == level
    assert call.results == (OperandType(code, (n, 4)), OperandType(code, (n, 1)))
    later = use("SVDF", **{**arguments, "rank": OperandType(OperandCode.INT32)})
    assert [type_.shape for type_ in later.results] == [(1, 4), (1, Dim("?"))]
