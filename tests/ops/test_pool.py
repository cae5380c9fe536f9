"""Pools: what counts as a window's element, how codes round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32 = OperandCode.TENSOR_FLOAT32
KINDS = ("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D")
INF, NAN, BIG = np.inf, np.nan, float(np.finfo(np.float32).max)


def ramp(*shape: int) -> np.ndarray:
    """1, 2, 3, … as float32 of a shape."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def codes(*values: int, signed: bool = False, quant: Quant = Quant(1)) -> tuple[np.ndarray, Quant]:  # noqa: B008
    return np.array(values, np.int8 if signed else np.uint8).reshape(1, 1, -1, 1), quant


def window(filter_h: int, filter_w: int, **changes: Any) -> dict[str, Any]:
    """Arguments of an explicitly padded pool; `pad=1` pads all sides."""
    pad = changes.pop("pad", 0)
    pads = {f"pad_{side}": pad for side in ("left", "right", "top", "bottom")}
    plain = {"stride_w": 1, "stride_h": 1, "filter_w": filter_w, "filter_h": filter_h, "fuse": 0}
    return {**pads, **plain, **changes}


def same(filter_h: int, filter_w: int, **changes: Any) -> dict[str, Any]:
    arguments = {"stride_w": 1, "stride_h": 1, "filter_w": filter_w, "filter_h": filter_h, "fuse": 0}
    return {"padding": "SAME", **arguments, **changes}


def pool(kind: str, input: Any, **arguments: Any) -> Any:
    return run(kind, input=input, **arguments)


VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "mean": (lambda: pool("AVERAGE_POOL_2D", ramp(1, 2, 2, 1), **window(2, 2)), [2.5]),
    "mean_per_channel": (lambda: pool("AVERAGE_POOL_2D", ramp(1, 2, 1, 2), **window(2, 1)), [2, 3]),
    "padding_is_not_counted": (
        lambda: pool("AVERAGE_POOL_2D", ramp(1, 2, 2, 1), **window(2, 2, pad=1)),
        [1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4],
    ),
    "one_sided_pad": (lambda: pool("AVERAGE_POOL_2D", row(1, 5), **window(1, 2, pad_left=1)), [1, 3]),
    "same_pads_the_tail": (lambda: pool("AVERAGE_POOL_2D", row(1, 3), **same(1, 2)), [2, 3]),
    "strides": (
        lambda: pool("MAX_POOL_2D", ramp(1, 3, 4, 1), **window(1, 1, stride_w=3, stride_h=2)),
        [1, 4, 9, 12],
    ),
    "mean_relu1": (lambda: pool("AVERAGE_POOL_2D", row(3, 4), **window(1, 2, fuse=2)), [1]),
    "max": (lambda: pool("MAX_POOL_2D", ramp(1, 2, 3, 1), **window(2, 2)), [5, 6]),
    "max_padding_never_wins": (
        lambda: pool("MAX_POOL_2D", row(-4, -2), **window(1, 2, pad_left=1, pad_right=1)),
        [-4, -2, -2],
    ),
    "max_relu6": (lambda: pool("MAX_POOL_2D", row(-1, -2, 9), **window(1, 2, fuse=3)), [0, 6]),
    "max_nan_loses": (lambda: pool("MAX_POOL_2D", row(NAN, 1, NAN), **window(1, 2)), [1, 1]),
    "max_of_nothing_else": (lambda: pool("MAX_POOL_2D", row(NAN, -INF), **window(1, 1)), [-BIG, -BIG]),
    "max_clamps_infinity": (lambda: pool("MAX_POOL_2D", row(INF), **window(1, 1)), [BIG]),
    "l2": (lambda: pool("L2_POOL_2D", row(1, 7), **window(1, 2)), [5]),
    "l2_padding_is_not_counted": (
        lambda: pool("L2_POOL_2D", row(-3), **window(1, 2, pad_left=1, pad_right=1)),
        [3, 3],
    ),
    "l2_relu6": (lambda: pool("L2_POOL_2D", row(-9), **window(1, 1, fuse=3)), [6]),
    "uint8_ties_up": (lambda: pool("AVERAGE_POOL_2D", codes(1, 2, 2), **window(1, 2)), [2, 2]),
    "uint8_three": (lambda: pool("AVERAGE_POOL_2D", codes(1, 1, 2), **window(1, 3)), [1]),  # 4 / 3
    "int8_ties_away": (
        lambda: pool("AVERAGE_POOL_2D", codes(-1, -2, -1, 2, 1, signed=True), **window(1, 2)),
        [-2, -2, 1, 2],
    ),
    "uint8_relu_at_zero_point": (
        lambda: pool("AVERAGE_POOL_2D", codes(3, 9, quant=Quant(1, 7)), **window(1, 1, fuse=1)),
        [7, 9],
    ),
    "uint8_relu6_bound_rounds_away": (  # 6 / 0.096 = 62.5
        lambda: pool("MAX_POOL_2D", codes(200, quant=Quant(0.096)), **window(1, 1, fuse=3)),
        [63],
    ),
    "uint8_max_padding": (lambda: pool("MAX_POOL_2D", codes(0, 3), **same(1, 2)), [3, 3]),
    "int8_max_padding": (
        lambda: pool("MAX_POOL_2D", codes(-128, -100, signed=True), **window(1, 2, pad_left=1)),
        [-128, -100],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    # Every expectation is a float32 number that the few steps behind it reach without rounding.
    np.testing.assert_array_equal(make().ravel(), np.array(expected, np.float32))


IMAGE = OperandType(F32, (1, 4, 4, 2))


def _broken(kind: str) -> dict[str, Callable[[], Call]]:
    return {
        f"{kind}.C1": lambda: use(kind, input=IMAGE, **window(2, 2, pad_top=-1)),
        f"{kind}.C2": lambda: use(kind, input=IMAGE, **window(2, 2, pad_right=2)),
        f"{kind}.C3": lambda: use(kind, input=IMAGE, **window(5, 2)),
        f"{kind}.C4": lambda: use(kind, input=IMAGE, **window(2, 2, fuse=4)),
    }


BROKEN: dict[str, Callable[[], Call]] = {rule: make for kind in KINDS for rule, make in _broken(kind).items()}

ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "stride_zero": ("MAX_POOL_2D.C1", lambda: use("MAX_POOL_2D", input=IMAGE, **window(2, 2, stride_h=0))),
    "filter_zero": ("MAX_POOL_2D.C1", lambda: use("MAX_POOL_2D", input=IMAGE, **same(0, 2))),
    "pad_bottom": ("MAX_POOL_2D.C2", lambda: use("MAX_POOL_2D", input=IMAGE, **window(1, 2, pad_bottom=1))),
    "no_channels": (
        "MAX_POOL_2D.C3",
        lambda: use("MAX_POOL_2D", input=OperandType(F32, (1, 4, 4, 0)), **same(2, 2)),
    ),
    "padding_code": ("MAX_POOL_2D.C4", lambda: use("MAX_POOL_2D", input=IMAGE, **same(2, 2, padding=0))),
    "rank": (
        "MAX_POOL_2D.RANK",
        lambda: use("MAX_POOL_2D", input=OperandType(F32, (4, 4, 2)), **window(2, 2)),
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_may_be_empty(kind: str) -> None:
    empty = np.zeros((0, 4, 4, 2), np.float32)
    call = use(kind, input=empty, **window(2, 2))
    assert broken_rules(call, "here") == []
    assert run(call).shape == (0, 3, 3, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_sizes_stay_unknown(kind: str) -> None:
    partly = use(kind, input=OperandType(F32, (Dim("n"), 4, Dim("w"), 2)), **window(2, 2))
    assert partly.out.shape == (Dim("n"), 3, Dim("?"), 2)
    rankless = use(kind, input=OperandType(F32, None), **same(2, 2))
    assert rankless.out.shape == (Dim("?"),) * 4
    unread = use(kind, input=IMAGE, **window(2, 2, stride_w=OperandType(OperandCode.INT32)))
    assert unread.out.shape == (1, 3, Dim("?"), 2)
    assert [broken_rules(call, "here") for call in (partly, rankless, unread)] == [[], [], []]


def test_levels() -> None:
    q8s = OperandType(OperandCode.TENSOR_QUANT8_ASYMM_SIGNED, (1, 4, 4, 2), Quant(1))
    f16 = OperandType(OperandCode.TENSOR_FLOAT16, (1, 4, 4, 2))
    levels = {
        "plain": use("AVERAGE_POOL_2D", input=IMAGE, **window(2, 2)),
        "layout_default": use("AVERAGE_POOL_2D", input=IMAGE, **window(2, 2, nchw=False)),
        "layout": use("AVERAGE_POOL_2D", input=IMAGE, **window(2, 2, nchw=True)),
        "half": use("AVERAGE_POOL_2D", input=f16, **window(2, 2)),
        "signed": use("AVERAGE_POOL_2D", input=q8s, **window(2, 2)),
    }
    assert [required_level(call)[0] for call in levels.values()] == [1, 1, 3, 3, 4]


def test_l2_pool_takes_no_codes() -> None:
    assert not any(code.is_quantized for code in OPS["L2_POOL_2D"].types)


geometries = st.fixed_dictionaries(
    {
        "stride_w": st.integers(1, 3),
        "stride_h": st.integers(1, 3),
        "pad_left": st.integers(0, 1),
        "pad_right": st.integers(0, 1),
        "pad_top": st.integers(0, 1),
        "pad_bottom": st.integers(0, 1),
    }
)


def windows_of(x: np.ndarray, filter_h: int, filter_w: int, **g: int) -> np.ndarray:
    """The real elements of each window, window by window: an object array of [k] arrays, [rows, columns]."""
    height, width = x.shape
    rows = (height + g["pad_top"] + g["pad_bottom"] - filter_h) // g["stride_h"] + 1
    columns = (width + g["pad_left"] + g["pad_right"] - filter_w) // g["stride_w"] + 1
    out = np.empty((rows, columns), object)
    for i in range(rows):
        for j in range(columns):
            top, left = i * g["stride_h"] - g["pad_top"], j * g["stride_w"] - g["pad_left"]
            out[i, j] = x[max(0, top) : top + filter_h, max(0, left) : left + filter_w].ravel()
    return out


@given(geometries, st.integers(0, 2**32 - 1), st.booleans())
def test_pools_equal_their_windows(geometry: dict[str, int], seed: int, nchw: bool) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (5, 6)).astype(np.int8)
    cells = windows_of(x, 2, 3, **geometry)
    image = x[None, None] if nchw else x[None, :, :, None]
    arguments = {**window(2, 3), **geometry, "nchw": nchw}
    tolerance = 1e-5  # up to 6 float32 additions of numbers below 128²
    for kind, of in {
        "AVERAGE_POOL_2D": np.mean,
        "MAX_POOL_2D": np.max,
        "L2_POOL_2D": lambda cell: np.sqrt(np.mean(cell.astype(np.float64) ** 2)),
    }.items():
        expected = np.vectorize(of, otypes=[np.float64])(cells)
        np.testing.assert_allclose(
            run(kind, input=image.astype(np.float32), **arguments).squeeze((0, 1) if nchw else (0, 3)),
            expected, rtol=tolerance, atol=tolerance,
        )  # fmt: skip


@given(geometries, st.integers(0, 2**32 - 1))
def test_codes_are_averaged_to_the_nearest(geometry: dict[str, int], seed: int) -> None:
    """Both signednesses are within half a step of the mean, and differ only in how a tie falls."""
    x = np.random.default_rng(seed).integers(0, 256, (5, 6))
    means = np.vectorize(np.mean, otypes=[np.float64])(windows_of(x, 2, 3, **geometry))
    arguments = {**window(2, 3), **geometry}
    image = x[None, :, :, None]
    plain = run("AVERAGE_POOL_2D", input=(image.astype(np.uint8), Quant(1)), **arguments)[0, :, :, 0]
    signed = run("AVERAGE_POOL_2D", input=((image - 128).astype(np.int8), Quant(1)), **arguments)[0, :, :, 0]
    # A mean of n <= 6 codes is on a tie or at least 1 / 12 away from it.
    assert np.all(plain == np.floor(means + 0.5 + 1e-9))
    away = np.where(means > 128, np.floor(means + 0.5 + 1e-9), np.ceil(means - 0.5 - 1e-9))
    assert np.all(signed.astype(int) + 128 == away)
