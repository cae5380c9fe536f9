"""Where LiteRT does not compute what Android's reference computes, and exactly in which way.

Each test holds both sides to a formula: LiteRT to its own, nnapi_lab to Android's, and shows configurations in
which the two differ. So a difference of any other kind is noticed, and so is the day LiteRT changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from nnapi_lab.errors import UndefinedInReference
from nnapi_lab.ir.operand_types import PerChannel, Quant
from nnapi_lab.numerics.activation_range import quantized_range
from nnapi_lab.numerics.requantize import (
    Multiplier,
    product_multiplier,
    quantize_multiplier,
    requantize_accumulator,
)
from nnapi_lab.ops import use as by_hand
from nnapi_lab.ops.spec import Call
from tests.witness import draw
from tests.witness.draw import I8, U8, Draw, drawn
from tests.witness.litert import Aborted, Refused, Witness

CODES = pytest.mark.parametrize("dtype", [U8, I8], ids=str)
F32 = np.float32


@pytest.fixture(scope="module")
def witness() -> Iterator[Witness]:
    running = Witness()
    yield running
    running.close()


def range_of(call: Call) -> tuple[int, int]:
    out = call.out
    return quantized_range(call.get("fuse") or 0, out.scale, out.zero_point, *out.code.code_range)


def centered(call: Call, name: str) -> np.ndarray:
    return call.value(name).astype(np.int64) - call[name].zero_point


def requantized(call: Call, acc: np.ndarray, real: float) -> np.ndarray:
    """Accumulators to the call's output codes by R, clamped to its activation."""
    low, high = range_of(call)
    zero, dtype = call.out.zero_point, call.out.code.numpy
    return requantize_accumulator(acc, quantize_multiplier(real), zero, low, high, dtype)


def differing(calls: Sequence[Call], formula: Callable[[Call], np.ndarray], witness: Witness) -> list[int]:
    """How many codes differ between the two sides in each call; LiteRT must obey the formula in all of them."""
    counts = []
    for call in calls:
        theirs = witness.compute(call)
        np.testing.assert_array_equal(theirs, formula(call))
        ours = by_hand.run(call)
        assert np.abs(ours.astype(int) - theirs).max(initial=0) <= 1
        counts.append(int((ours != theirs).sum()))
    return counts


def many(make: Callable[[Draw], Call], dtype: np.dtype, seeds: int, ties: bool = True) -> list[Call]:
    return [drawn(make, dtype, ties, seed) for seed in range(seeds)]


# --- multipliers ---------------------------------------------------------------------------------------


def in_float32(*factors: float, over: float) -> float:
    """Scales multiplied and divided in float32, as LiteRT does for MUL and PRELU; Android divides in float64."""
    product = F32(1)
    for factor in factors:
        product = product * F32(factor)
    return float(product / F32(over))


def litert_mul(call: Call) -> np.ndarray:
    real = in_float32(call["input0"].scale, call["input1"].scale, over=call.out.scale)
    return requantized(call, centered(call, "input0") * centered(call, "input1"), real)


@CODES
def test_mul_divides_its_scales_in_float32(dtype: np.dtype, witness: Witness) -> None:
    counts = differing(many(partial(draw.pair, kind="MUL"), dtype, 40), litert_mul, witness)
    assert sum(counts) > 0
    assert np.count_nonzero(counts) < 10  # tie-prone scales only, and few of them


def litert_prelu(call: Call) -> np.ndarray:
    x, alpha = np.broadcast_arrays(centered(call, "input"), centered(call, "alpha"))
    positive = in_float32(call["input"].scale, over=call.out.scale)
    negative = in_float32(call["input"].scale, call["alpha"].scale, over=call.out.scale)
    return np.where(x >= 0, requantized(call, x, positive), requantized(call, x * alpha, negative))


@CODES
def test_prelu_divides_its_scales_in_float32(dtype: np.dtype, witness: Witness) -> None:
    counts = differing(many(draw.prelu, dtype, 60), litert_prelu, witness)
    assert sum(counts) > 0
    assert np.count_nonzero(counts) < 15


def at_a_tie(scale_in: float, scale_w: float, scale_out: float) -> Call:
    """A 1x1 convolution whose accumulator is its bias, which lies between the two multipliers' ties."""
    android = product_multiplier(scale_in, scale_w, scale_out)
    litert = per_channel_in_float64(scale_in, scale_w, scale_out)
    bias = np.array([round((k + 0.5) / 2 * (1 / android + 1 / litert)) for k in range(1, 101)], np.int32)
    weights = (np.ones((100, 1, 1, 1), np.int8), PerChannel((scale_w,) * 100, 0))
    return by_hand.use(
        "CONV_2D", quant=Quant(scale_out, 0), input=(np.zeros((1, 1, 1, 1), np.int8), Quant(scale_in, 0)),
        filter=weights, bias=(bias, Quant(0.0)), padding=2, stride_w=1, stride_h=1, fuse=0,
    )  # fmt: skip


def per_channel_in_float64(scale_in: float, scale_w: float, scale_out: float) -> float:
    return float(F32(scale_in)) * float(F32(scale_w)) / float(F32(scale_out))


def test_per_channel_convolutions_multiply_their_scales_in_float64(witness: Witness) -> None:
    """Android rounds input scale × filter scale to float32 first. Scales of few bits (see Draw) show nothing."""

    def litert(call: Call) -> np.ndarray:
        real = per_channel_in_float64(call["input"].scale, call["filter"].quant.scales[0], call.out.scale)
        return requantized(call, call.value("bias").astype(np.int64), real).reshape(1, 1, 1, -1)

    rng = np.random.default_rng(5)
    scales = rng.uniform(0.001, 0.01, (20, 2)).astype(F32)
    calls = [at_a_tie(float(a), float(b), float(F32(a * b * 2**24))) for a, b in scales]
    assert sum(differing(calls, litert, witness)) > 100


def litert_fully_connected(call: Call) -> np.ndarray:
    """rha(double(acc) × double(multiplier)): rounded once, where Android's R rounds twice."""
    acc = centered(call, "input") @ centered(call, "weights").T + call.value("bias")
    real = product_multiplier(call["input"].scale, call["weights"].scale, call.out.scale)
    product = acc.astype(np.float64) * real
    rounded = np.sign(product) * np.floor(np.abs(product) + 0.5)
    return np.clip(rounded + call.out.zero_point, *range_of(call)).astype(call.out.code.numpy)


@CODES
@pytest.mark.parametrize("ties", [False, True])
def test_fully_connected_rounds_once(dtype: np.dtype, ties: bool, witness: Witness) -> None:
    counts = differing(many(draw.fully_connected, dtype, 300, ties), litert_fully_connected, witness)
    assert 0 < np.count_nonzero(counts) < 15


# --- other arithmetic ----------------------------------------------------------------------------------


def litert_mean(call: Call) -> np.ndarray:
    """The sum times a multiplier that contains 1 / count, cut to 31 bits, by R: rounded, twice."""
    x, (_, height, width, _) = centered(call, "input"), call["input"].shape
    count = height * width
    shift = min(count.bit_length() - 1, 32)
    mantissa = (2**30 << shift) // count  # of 1, with exponent 1
    multiplier = Multiplier(mantissa, 1 - shift)
    zero, dtype = call.out.zero_point, call.out.code.numpy
    return requantize_accumulator(x.sum(axis=(1, 2), keepdims=True), multiplier, zero, *range_of(call), dtype)


@CODES
def test_mean_rounds(dtype: np.dtype, witness: Witness) -> None:
    """Android cuts the quotient of stored codes off, toward zero."""
    calls = many(draw.mean, dtype, 60)
    assert np.count_nonzero(differing(calls, litert_mean, witness)) > 40
    for call in calls:
        exact = call.value("input").astype(np.int64).mean(axis=(1, 2), keepdims=True)
        np.testing.assert_array_equal(by_hand.run(call), np.trunc(exact))


CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "LOGISTIC": lambda x: 256 / (1 + np.exp(-x)),
    "TANH": lambda x: 128 * np.tanh(x),
}


LEVELS = {"LOGISTIC": (0, 255), "TANH": (-128, 127)}


@CODES
@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("ties", [False, True])
def test_sigmoid_and_tanh_are_a_table_of_floats(kind: str, ties: bool, dtype: np.dtype, witness: Witness) -> None:
    """Android computes in fixed point, wrong only where the exact value is within 3e-5 of a tie."""
    off_ties, off = 0, 0
    for call in many(partial(draw.unary, kind=kind), dtype, 150, ties):
        level = CURVES[kind](call["input"].scale * centered(call, "input")).astype(np.float64)
        ours, theirs = by_hand.run(call), witness.compute(call)
        distance = np.abs(level - np.floor(level) - 0.5)  # of the exact value from a tie
        off += int((ours != theirs).sum())
        off_ties += int((distance[ours != theirs] > 3e-5).sum())
        table = np.clip(np.floor(level + 0.5), *LEVELS[kind]) + call.out.zero_point
        np.testing.assert_array_equal(theirs, table)
    assert off_ties == 0
    assert (off > 0) == ties


# --- special numbers -----------------------------------------------------------------------------------

SPECIAL = np.array([np.nan, np.inf, 1e30, -np.inf, -1e30], np.float32)


@CODES
def test_quantize_of_what_is_beyond_an_int32(dtype: np.dtype, witness: Witness) -> None:
    """Android gives the largest code for NaN and +infinity; LiteRT's cast goes through INT_MIN or saturates."""
    info = np.iinfo(dtype)
    type_ = by_hand.tensor_argument((np.zeros(5, dtype), Quant(0.5, 3)))[0]
    call = by_hand.use("QUANTIZE", quant=Quant(0.5, 3), input=SPECIAL)
    call = Call(call.spec, call.form, call.types, call.params, call.values, call.given, (type_,))
    assert by_hand.run(call).tolist() == [info.max, info.max, info.max, info.min, info.min]
    assert witness.compute(call).tolist() == [info.min] * 5


def real(kind: str, *arrays: Sequence[float], **scalars: Any) -> Call:
    names = ("input",) if len(arrays) == 1 else ("input0", "input1")
    held = [np.array(one, np.float32) for one in arrays]
    return by_hand.use(kind, **dict(zip(names, held, strict=True)), **scalars)


HUGE = float(np.finfo(np.float32).max)
REALS = {
    "RELU": (lambda: real("RELU", [np.nan, np.inf, -np.inf]), [0, HUGE, 0], [np.nan, np.inf, 0]),
    "MAXIMUM": (lambda: real("MAXIMUM", [np.nan, 1], [1, np.nan]), [np.nan, 1], [1, np.nan]),
    "MINIMUM": (lambda: real("MINIMUM", [np.nan, 1], [1, np.nan]), [np.nan, 1], [1, np.nan]),
}


@pytest.mark.parametrize("kind", REALS)
def test_nan_and_infinity(kind: str, witness: Witness) -> None:
    """std::min and std::max keep one or the other operand when they meet NaN: which one differs."""
    call, ours, theirs = REALS[kind][0](), REALS[kind][1], REALS[kind][2]
    np.testing.assert_array_equal(by_hand.run(call), np.array(ours, np.float32))
    np.testing.assert_array_equal(witness.compute(call), np.array(theirs, np.float32))


# --- what LiteRT refuses, or does not survive ----------------------------------------------------------


def unsigned_per_channel(d: Draw) -> Call:
    return draw.convolution(d, per_channel=True)


def signed_concatenation(d: Draw) -> Call:
    parts = [(d.codes(2, 3), Quant(0.5, 3)), (d.codes(2, 3), Quant(0.25, 3))]
    return by_hand.use("CONCATENATION", quant=Quant(0.5, 3), inputs=parts, axis=1)


def weight_zero_point(d: Draw) -> Call:
    return by_hand.use(
        "CONV_2D", quant=Quant(1.0, 0), input=(d.codes(1, 2, 2, 1), Quant(0.5, 0)),
        filter=(d.codes(1, 1, 1, 1), Quant(0.5, 7)), bias=(np.zeros(1, np.int32), Quant(0.25)), padding=2, stride_w=1,
        stride_h=1, fuse=0,
    )  # fmt: skip


REFUSED = {
    "signed CONCATENATION of several scales": (signed_concatenation, I8),
    "signed CONV_2D weights with a zero point": (weight_zero_point, I8),
    "unsigned activations with per-channel weights": (unsigned_per_channel, U8),
}


@pytest.mark.parametrize("name", REFUSED)
def test_litert_refuses_what_android_runs(name: str, witness: Witness) -> None:
    make, dtype = REFUSED[name]
    call = drawn(make, dtype, ties=False, seed=1)
    with pytest.raises(Refused):
        witness.compute(call)
    by_hand.run(call)


@CODES
def test_a_softmax_sum_beyond_its_fixed_point(dtype: np.dtype, witness: Witness) -> None:
    """1,000 equal logits: LiteRT's process aborts; Android shifts an int32 by 32 bits, undefined in C++."""
    quant = Quant(1 / 256, -128 if dtype == I8 else 0)
    call = by_hand.use("SOFTMAX", quant=quant, input=(np.full((1, 1000), 7, dtype), Quant(0.005, 0)), beta=1.0)
    with pytest.raises(Aborted):
        witness.compute(call)
    with pytest.warns(UndefinedInReference, match="512"):
        by_hand.run(call)
    small = by_hand.use("SOFTMAX", quant=quant, input=(np.full((1, 400), 7, dtype), Quant(0.005, 0)), beta=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(by_hand.run(small), witness.compute(small))  # a new process serves
