"""Quantized kernels of both engines against LiteRT's reference kernels: not one code differs.

Rows are operations for which LiteRT computes what Android's reference computes; where it does not, see
test_divergences.py. Scales are random and, as many again, tie-prone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ops import use as by_hand
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast import TWINS
from tests.witness import draw
from tests.witness.draw import I8, U8, Draw, drawn
from tests.witness.litert import Witness

FEW, MANY = 16, 300

# name → (how to draw, codes, scales whose products are exact in float32)
ROWS: dict[str, tuple[Callable[[Draw], Call], np.dtype, bool]] = {
    "CONV_2D uint8": (draw.convolution, U8, False),
    "CONV_2D int8": (draw.convolution, I8, False),
    "CONV_2D int8, per channel": (partial(draw.convolution, per_channel=True), I8, True),
    "GROUPED_CONV_2D uint8": (partial(draw.convolution, groups=2), U8, False),
    "GROUPED_CONV_2D int8": (partial(draw.convolution, groups=3), I8, False),
    "GROUPED_CONV_2D int8, per channel": (partial(draw.convolution, groups=2, per_channel=True), I8, True),
    "DEPTHWISE_CONV_2D uint8": (draw.depthwise, U8, False),
    "DEPTHWISE_CONV_2D int8": (draw.depthwise, I8, False),
    "DEPTHWISE_CONV_2D int8, per channel": (partial(draw.depthwise, per_channel=True), I8, True),
    "TRANSPOSE_CONV_2D uint8": (draw.transposed, U8, False),
    "TRANSPOSE_CONV_2D int8": (draw.transposed, I8, False),
    "TRANSPOSE_CONV_2D int8, per channel": (partial(draw.transposed, per_channel=True), I8, True),
    "BATCH_MATMUL int8": (draw.matrices, I8, False),
    **{f"{kind} {dtype}": (partial(draw.pair, kind=kind), dtype, False)
       for kind in ("ADD", "SUB", "MAXIMUM", "MINIMUM") for dtype in (U8, I8)},
    **{f"{kind} {dtype}": (partial(draw.unary, kind=kind), dtype, False)
       for kind in ("HARD_SWISH", "RELU", "RELU1", "RELU6", "DEQUANTIZE") for dtype in (U8, I8)},
    **{f"{kind} {dtype}": (partial(draw.pool, kind=kind), dtype, False)
       for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D") for dtype in (U8, I8)},
    **{f"{kind} {dtype}": (partial(draw.resize, kind=kind), dtype, False)
       for kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR") for dtype in (U8, I8)},
    **{f"SOFTMAX {dtype}": (draw.softmax, dtype, False) for dtype in (U8, I8)},
    **{f"QUANTIZE to {dtype}": (draw.quantize, dtype, False) for dtype in (U8, I8)},
    "CONCATENATION uint8": (draw.concatenation, U8, False),
    **{f"CONCATENATION {dtype}, one scale": (partial(draw.concatenation, same=True), dtype, False)
       for dtype in (U8, I8)},
}  # fmt: skip


@pytest.fixture(scope="module")
def witness() -> Iterator[Witness]:
    running = Witness()
    yield running
    running.close()


def both_engines(call: Call) -> np.ndarray:
    """The reference kernel's result, after the twin, where there is one, gave the same."""
    wanted = by_hand.run(call)
    prepare = TWINS.get(call.spec.kind)
    run = None if prepare is None else prepare(call)
    if run is not None:
        np.testing.assert_array_equal(run(*by_hand._kernel_tensors(call))[0], wanted)
    return wanted


def agree(witness: Witness, name: str, seeds: int) -> None:
    make, dtype, snapped = ROWS[name]
    for ties in (False, True):
        for seed in range(seeds):
            call = drawn(make, dtype, ties, seed, snapped)
            theirs = witness.compute(call)
            np.testing.assert_array_equal(both_engines(call), theirs, err_msg=f"{name}, seed {seed}, ties {ties}")


@pytest.mark.parametrize("name", ROWS)
def test_no_code_differs(name: str, witness: Witness) -> None:
    agree(witness, name, FEW)


@pytest.mark.sweep
@pytest.mark.parametrize("name", ROWS)
def test_no_code_differs_in_hundreds_of_configurations(name: str, witness: Witness) -> None:
    agree(witness, name, MANY)


# --- what LiteRT takes only in another form ------------------------------------------------------------


def as_signed(call: Call) -> Call:
    """Unsigned activations 128 lower: with per-channel weights LiteRT takes signed ones only."""

    def moved(quant: Quant) -> Quant:
        return Quant(quant.scale, quant.zero_point - 128)

    codes = (call.value("input").astype(np.int16) - 128).astype(np.int8)
    scalars = {name: call[name] for name in call.given if name in call.params}
    tensors = {name: (call[name], call.value(name)) for name in ("filter", "bias")}
    return by_hand.use(call.spec.kind, quant=moved(call.out.quant), input=(codes, moved(call["input"].quant)),
                       **tensors, **scalars)  # fmt: skip


@pytest.mark.parametrize("make", [draw.convolution, draw.depthwise])
def test_unsigned_codes_with_per_channel_weights_are_signed_ones_shifted(
    make: Callable[..., Call], witness: Witness
) -> None:
    for ties in (False, True):
        for seed in range(2 * FEW):
            call = drawn(partial(make, per_channel=True), U8, ties, seed, snapped=True)
            theirs = witness.compute(as_signed(call)).astype(np.int16) + 128
            np.testing.assert_array_equal(both_engines(call), theirs)


def as_convolution(call: Call) -> Call:
    """A fully connected layer as a 1x1 convolution, whose rounding in LiteRT is Android's."""
    rows, units = call.value("input"), call.value("weights")
    return by_hand.use(
        "CONV_2D", quant=call.out.quant, input=(rows[:, None, None, :], call["input"].quant),
        filter=(units[:, None, None, :], call["weights"].quant), bias=(call["bias"], call.value("bias")),
        padding=2, stride_w=1, stride_h=1, fuse=call["fuse"],
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [U8, I8])
def test_fully_connected_is_a_1x1_convolution(dtype: np.dtype, witness: Witness) -> None:
    for ties in (False, True):
        for seed in range(4 * FEW):
            call = drawn(draw.fully_connected, dtype, ties, seed)
            theirs = witness.compute(as_convolution(call))
            np.testing.assert_array_equal(both_engines(call), theirs[:, 0, 0])


def as_unsigned(call: Call) -> Call:
    """Signed codes 128 higher, weights too: LiteRT takes a weight zero point on unsigned codes only."""

    def moved(name: str) -> tuple[np.ndarray, Quant]:
        quant = call[name].quant
        return (call.value(name).astype(np.int16) + 128).astype(np.uint8), Quant(quant.scale, quant.zero_point + 128)

    scalars = {name: call[name] for name in call.given if name in call.params}
    out = Quant(call.out.scale, call.out.zero_point + 128)
    return by_hand.use(call.spec.kind, quant=out, input=moved("input"), filter=moved("filter"),
                       bias=(call["bias"], call.value("bias")), **scalars)  # fmt: skip


def with_weight_zero_point(d: Draw) -> Call:
    call = draw.convolution(d)
    quant = Quant(call["filter"].scale, d.size(-128, 127))
    scalars = {name: call[name] for name in call.given if name in call.params}
    tensors = {name: (call[name], call.value(name)) for name in ("input", "bias")}
    return by_hand.use("CONV_2D", quant=call.out.quant, filter=(call.value("filter"), quant), **tensors, **scalars)


def test_signed_weights_with_a_zero_point_are_unsigned_ones_shifted(witness: Witness) -> None:
    for ties in (False, True):
        for seed in range(2 * FEW):
            call = drawn(with_weight_zero_point, I8, ties, seed)
            theirs = witness.compute(as_unsigned(call)).astype(np.int16) - 128
            np.testing.assert_array_equal(both_engines(call), theirs)
