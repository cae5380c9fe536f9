"""FULLY_CONNECTED and BATCH_MATMUL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
FC, BMM = "FULLY_CONNECTED", "BATCH_MATMUL"


def f32(*values: float, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return np.array(values, np.float32).reshape(shape or (-1,))


def ramp(*shape: int) -> np.ndarray:
    """0, 1, 2, … as float32 of a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def codes(steps: Any, quant: Quant, dtype: type = np.uint8) -> tuple[np.ndarray, Quant]:
    """Codes that many steps away from the zero point."""
    return (np.asarray(steps) + quant.zero_point).astype(dtype), quant


def connected(
    steps: Any, weights: Any, bias: int = 0, dtype: type = np.uint8, s_out: float = 0.5, fuse: int = 0
) -> Any:
    """Codes of scale 0.5 times weights of scale 0.25; output zero point 10 (or -118)."""
    shift = 0 if dtype == np.uint8 else 128
    return run(
        FC,
        input=codes(steps, Quant(0.5, 128 - shift), dtype),
        weights=codes(weights, Quant(0.25, 100 - shift), dtype),
        bias=(np.full(len(weights), bias, np.int32), Quant(0.125)),
        fuse=fuse,
        quant=Quant(s_out, 10 - shift),
    )


def product(left: np.ndarray, right: np.ndarray, adj_x: bool = False, adj_y: bool = False) -> Any:
    return run(BMM, input0=left, input1=right, adj_x=adj_x, adj_y=adj_y)


MATRIX = ramp(2, 3) + 1  # 1 2 3 / 4 5 6
COLUMN = f32(1, 10, 100, shape=(3, 1))

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "rows": (
        lambda: run(FC, input=MATRIX, weights=f32(1, 10, 100, shape=(1, 3)), bias=f32(0.5), fuse=0),
        [[321.5], [654.5]],
    ),
    "two_units": (
        lambda: run(FC, input=f32(1, 2, shape=(1, 2)), weights=ramp(2, 2), bias=f32(0, 1), fuse=0),
        [[2, 9]],  # 0 + 2, 2 + 6 + 1
    ),
    "higher_rank_is_flattened": (
        lambda: run(FC, input=ramp(1, 2, 1, 2), weights=f32(1, 10, shape=(1, 2)), bias=f32(0), fuse=0),
        [[10], [32]],
    ),
    "rows_may_cross_dimensions": (
        lambda: run(FC, input=ramp(2, 2), weights=f32(1, 1, 1, 1, shape=(1, 4)), bias=f32(0), fuse=0),
        [[6]],
    ),
    "relu1": (lambda: run(FC, input=MATRIX, weights=f32(1, 1, 1, shape=(1, 3)), bias=f32(0), fuse=2), [[1], [1]]),
    "no_rows": (
        lambda: run(FC, input=np.zeros((0, 3), np.float32), weights=MATRIX, bias=f32(0, 0), fuse=0),
        np.zeros((0, 2)),
    ),
    "ties_go_away_from_zero": (lambda: connected([[6], [-6]], [[1]]), [[12], [8]]),  # 6 / 4 = 1.5 steps
    "bias_in_steps_of_the_product": (lambda: connected([[0]], [[0]], bias=8), [[12]]),
    "signed": (lambda: connected([[6], [-6]], [[1]], dtype=np.int8), [[12 - 128], [8 - 128]]),
    "codes_relu": (lambda: connected([[6]], [[-9]], fuse=1), [[10]]),
    "low_output_scale": (lambda: connected([[3]], [[2]], s_out=0.0625), [[22]]),
    "the_sum_wraps": (lambda: connected([[1]], [[1]], bias=2**31 - 1), [[0]]),
    "matmul": (lambda: product(MATRIX, COLUMN), [[321], [654]]),
    "adjoint_left": (lambda: product(MATRIX.T, COLUMN, adj_x=True), [[321], [654]]),
    "adjoint_right": (lambda: product(MATRIX, COLUMN.T, adj_y=True), [[321], [654]]),
    "adjoint_both": (lambda: product(MATRIX.T, COLUMN.T, True, True), [[321], [654]]),
    "batches": (
        lambda: product(ramp(2, 1, 2), f32(1, 10, 100, 1000, shape=(2, 2, 1))),
        [[[10]], [[3200]]],  # 0 + 10, 200 + 3000
    ),
    "int32_wraps": (
        lambda: product(np.array([[2**30, 1]], np.int32), np.array([[4], [3]], np.int32)),
        [[3]],
    ),
    "float16_stalls": (  # 2048 + 1 is a tie in float16, and even wins
        lambda: product(np.ones((1, 2100), np.float16), np.ones((2100, 1), np.float16)),
        [[2048]],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    # Small integers and halves: exact in every type.
    np.testing.assert_array_equal(make(), np.asarray(expected))


def test_signed_matmul_rounds_ties_away() -> None:
    out = run(
        BMM,
        input0=codes([[6], [-6]], Quant(0.5, -7), np.int8),
        input1=codes([[1]], Quant(0.25, 5), np.int8),
        adj_x=False,
        adj_y=False,
        quant=Quant(0.5, 10),
    )
    assert out.tolist() == [[12], [8]]


# --- rules -------------------------------------------------------------------------------------------------


def layer(code: OperandCode = F32, **changes: Any) -> dict[str, Any]:
    quantized = code != F32
    whole = {
        "input": OperandType(code, (2, 3), Quant(0.5, 3) if quantized else None),
        "weights": OperandType(code, (4, 3), Quant(0.25, 3) if quantized else None),
        "bias": OperandType(I32, (4,), Quant(0.125)) if quantized else OperandType(F32, (4,)),
        "quant": Quant(1, 3) if quantized else None,
        "fuse": 0,
    }
    return whole | changes


def pair(left: tuple[Any, ...] | None, right: tuple[Any, ...] | None, code: OperandCode = F32, **changes: Any) -> Call:
    quant = Quant(0.5) if code == Q8S else None
    types = {"input0": OperandType(code, left, quant), "input1": OperandType(code, right, quant)}
    return use(BMM, **{**types, "adj_x": False, "adj_y": False, **changes})


BROKEN: dict[str, Callable[[], Call]] = {
    "FULLY_CONNECTED.C1": lambda: use(FC, **layer(input=OperandType(F32, (2, 5)))),
    "FULLY_CONNECTED.C2": lambda: use(FC, **layer(fuse=9)),
    "FULLY_CONNECTED.C3": lambda: use(FC, **layer(bias=OperandType(F32, (3,)))),
    "FULLY_CONNECTED.C4": lambda: use(FC, **layer(Q8, bias=OperandType(I32, (4,), Quant(0.13)))),
    "FULLY_CONNECTED.C5": lambda: use(FC, **layer(Q8S, quant=None)),
    "BATCH_MATMUL.C1": lambda: pair((2, 3), (2, 3)),
    "BATCH_MATMUL.C2": lambda: pair((0, 3), (3, 2)),
    "BATCH_MATMUL.C3": lambda: pair((2, 3), (3, 2), Q8S),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "no_units": (
        "FULLY_CONNECTED.C1",
        lambda: use(FC, **layer(weights=OperandType(F32, (0, 3)), bias=OperandType(F32, (0,)))),
    ),
    "rank_1": ("FULLY_CONNECTED.RANK", lambda: use(FC, **layer(input=OperandType(F32, (3,))))),
    "ranks_differ": ("BATCH_MATMUL.C1", lambda: pair((1, 2, 3), (3, 2))),
    "batches_differ": ("BATCH_MATMUL.C1", lambda: pair((2, 2, 3), (1, 3, 2))),
    "adjoint_does_not_fit": ("BATCH_MATMUL.C1", lambda: pair((2, 3), (3, 2), adj_x=True)),
    "tiny_scale": ("BATCH_MATMUL.C3", lambda: pair((2, 3), (3, 2), Q8S, quant=Quant(1e-20))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


@pytest.mark.parametrize("code", [F32, Q8, Q8S])
def test_uses_in_order_break_no_rule(code: OperandCode) -> None:
    assert broken_rules(use(FC, **layer(code)), "here") == []
    if code != Q8:
        assert broken_rules(pair((5, 2, 3), (5, 3, 4), code, quant=Quant(1)), "here") == []


def test_there_are_no_per_channel_weights() -> None:
    weights = OperandType(OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL, (4, 3), PerChannel((1, 1, 1, 1), 0))
    with pytest.raises(InvalidModel, match=r"weights is TENSOR_QUANT8_SYMM_PER_CHANNEL"):
        use(FC, **layer(Q8, weights=weights))


def test_unsigned_codes_have_no_matmul() -> None:
    with pytest.raises(InvalidModel, match=r"input0 is TENSOR_QUANT8_ASYMM, not one of"):
        pair((2, 3), (3, 2), Q8)


def test_unknown_sizes_stay_unknown() -> None:
    n = Dim("n")
    connected = {
        "batch": (layer(input=OperandType(F32, (n, 3))), (Dim("?"), 4)),
        "rank": (layer(input=OperandType(F32, None)), (Dim("?"), 4)),
        "weights": (layer(weights=OperandType(F32, None)), (Dim("?"), Dim("?"))),
        "units": (layer(weights=OperandType(F32, (n, 3))), (2, n)),
    }
    for name, (call, shape) in connected.items():
        assert use(FC, **call).out.shape == shape, name
        assert broken_rules(use(FC, **call), "here") == [], name
    multiplied = {
        "rows": (pair((n, 3), (3, 2)), (n, 2)),
        "rank": (pair(None, (3, 2)), None),
        "right_rank": (pair((2, 3), None), (2, Dim("?"))),
        "adjoint": (pair((2, 3), (3, 2), adj_x=OperandType(OperandCode.BOOL)), (Dim("?"), 2)),
    }
    for name, (bound, shape) in multiplied.items():
        assert bound.out.shape == shape, name
        assert broken_rules(bound, "here") == [], name


def test_levels() -> None:
    half = {"input": OperandType(F16, (2, 3)), "weights": OperandType(F16, (4, 3)), "bias": OperandType(F16, (4,))}
    levels = {
        "float": (use(FC, **layer()), 1),
        "half": (use(FC, **layer(**half)), 3),
        "codes": (use(FC, **layer(Q8)), 1),
        "scale_equal": (use(FC, **layer(Q8, quant=Quant(0.125))), 3),
        "signed": (use(FC, **layer(Q8S, quant=Quant(0.125))), 4),
        "high_weights_scale": (  # unlike CONV_2D, the validator reads the right operand here
            use(FC, **layer(Q8, weights=OperandType(Q8, (4, 3), Quant(1.5)), bias=OperandType(I32, (4,), Quant(0.75)))),
            1,
        ),
        "matmul": (pair((2, 3), (3, 2)), 6),
    }
    for name, (call, level) in levels.items():
        assert required_level(call)[0] == level, name


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.375, 0.01]), st.sampled_from([2.0, 1.25, 0.37]))
def test_fully_connected_is_a_1x1_convolution(seed: int, s_in: float, s_out: float) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, 256, (4, 6)).astype(np.uint8), rng.integers(0, 256, (3, 6)).astype(np.uint8)
    bias = (rng.integers(-999, 999, 3).astype(np.int32), Quant(np.float32(s_in) * np.float32(0.25)))
    quants = {"quant": Quant(s_out, 77), "fuse": 3}
    dense = run(FC, input=(x, Quant(s_in, 90)), weights=(w, Quant(0.25, 120)), bias=bias, **quants)
    window = {f"pad_{side}": 0 for side in ("left", "right", "top", "bottom")} | {"stride_w": 1, "stride_h": 1}
    conv = run("CONV_2D", input=(x[:, None, None], Quant(s_in, 90)),
               filter=(w[:, None, None], Quant(0.25, 120)), bias=bias, **window, **quants)  # fmt: skip
    np.testing.assert_array_equal(dense, conv[:, 0, 0])
