"""Twins give what the reference gives: integers to the bit, float32 within the rounding of another sum order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnapi_lab.build import Builder, broken_rules
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops import use as by_hand
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate import compile_model, simulate
from nnapi_lab.simulate.fast import TWINS, integer_sums, twin, twins
from nnapi_lab.simulate.fast.integer_sums import matrix_product_is_exact, quantized_convolution_is_exact
from tests.simulate.models import networks

Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
# Scales whose products and quotients often meet a tie exactly; random ones hide rounding mistakes.
TIE_PRONE = [2.0**e * f for e in (-7, -5, -3, -1) for f in (1.0, 0.75, 1.25, 0.625)]

scales = st.sampled_from(TIE_PRONE) | st.floats(2.0**-10, 1.0, width=32)
signedness = st.sampled_from([np.dtype(np.uint8), np.dtype(np.int8)])
fuses = st.sampled_from([0, 1, 2, 3])
seeds = st.integers(0, 2**32 - 1)


def codes(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Codes of all kinds, the ends of the range among them more often than chance has it."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, shape)
    kind = rng.random(shape)
    return np.where(kind < 0.2, info.max, np.where(kind < 0.4, info.min, values)).astype(dtype)


def zero_points(draw: st.DrawFn, dtype: np.dtype) -> int:
    info = np.iinfo(dtype)
    middle = (int(info.min) + int(info.max) + 1) // 2
    return draw(st.sampled_from([int(info.min), middle, int(info.max)]) | st.integers(int(info.min), int(info.max)))


@st.composite
def quants(draw: st.DrawFn, dtype: np.dtype) -> Quant:
    return Quant(draw(scales), zero_points(draw, dtype))


def assert_twin_equals_reference(call: Call) -> None:
    """Run both on the call's own contents; a float result may differ by its sums' rounding."""
    if broken_rules(call, "test"):
        return  # a drawn geometry that no device would take
    tensors = by_hand._kernel_tensors(call)
    wanted = by_hand.run(call)
    prepared = TWINS[call.spec.kind](call)
    assert prepared is not None
    (seen,) = prepared(*tensors)
    assert (seen.dtype, seen.shape) == (wanted.dtype, wanted.shape)
    if seen.dtype == np.float32:
        # Sums of at most 3*3*8 products of numbers below 4: 1e-5 is far above float32's own rounding.
        np.testing.assert_allclose(seen, wanted, rtol=1e-5, atol=1e-4)
    else:
        np.testing.assert_array_equal(seen, wanted)


# --- convolutions --------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Strides and either way of padding."""
    strides = {"stride_w": draw(st.integers(1, 3)), "stride_h": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        return {**strides, "padding": draw(st.sampled_from(["SAME", "VALID"]))}
    return {**strides, **{f"pad_{side}": draw(st.integers(0, 2)) for side in ("left", "right", "top", "bottom")}}


@st.composite
def convolutions(draw: st.DrawFn, kind: str, quantized: bool) -> Call:
    rng = np.random.default_rng(draw(seeds))
    size = st.integers(1, 7)
    n, h, w, c = draw(st.integers(1, 2)), draw(size), draw(size), draw(st.integers(1, 8))
    fh, fw = draw(st.integers(1, min(3, h))), draw(st.integers(1, min(3, w)))
    nchw, fuse = draw(st.booleans()), draw(fuses)
    scalars: dict[str, Any] = {**draw(windows()), "fuse": fuse, "nchw": nchw}
    groups, depth, outs = 1, c, draw(st.integers(1, 6))
    if kind == "GROUPED_CONV_2D":
        groups = draw(st.integers(1, 3))
        c, outs, scalars["num_groups"] = depth * groups, outs * groups, groups
    else:
        scalars |= {"dilation_w": draw(st.integers(1, 2)), "dilation_h": draw(st.integers(1, 2))}
    if kind == "DEPTHWISE_CONV_2D":
        scalars["depth_multiplier"] = draw(st.integers(1, 2))
        outs = c * scalars["depth_multiplier"]
    shape = (n, c, h, w) if nchw else (n, h, w, c)
    filter_shape = (1, fh, fw, outs) if kind == "DEPTHWISE_CONV_2D" else (outs, fh, fw, depth)
    if not quantized:
        arrays = (rng.normal(size=s).astype(np.float32) for s in (shape, filter_shape, (outs,)))
        return by_hand.use(kind, **dict(zip(("input", "filter", "bias"), arrays, strict=True)), **scalars)
    dtype = draw(signedness)
    quant_in, out = draw(quants(dtype)), draw(quants(dtype))
    bias = rng.integers(-(2**20), 2**20, outs, dtype=np.int32)
    if draw(st.booleans()):
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        per_channel = PerChannel(tuple(draw(scales) for _ in range(outs)), axis)
        weights = (codes(rng, filter_shape, np.dtype(np.int8)), per_channel)
        bias_quant = Quant(0.0)
    else:
        plain = draw(quants(dtype))
        weights = (codes(rng, filter_shape, dtype), plain)
        bias_quant = Quant(float(np.float32(quant_in.scale) * np.float32(plain.scale)))
    return by_hand.use(kind, quant=out, input=(codes(rng, shape, dtype), quant_in), filter=weights,
                       bias=(bias, bias_quant), **scalars)  # fmt: skip


CONVOLUTIONS = ["CONV_2D", "DEPTHWISE_CONV_2D", "GROUPED_CONV_2D"]


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@given(data=st.data())
def test_convolutions_of_codes_are_equal_to_the_bit(kind: str, data: st.DataObject) -> None:
    assert_twin_equals_reference(data.draw(convolutions(kind, quantized=True)))


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@given(data=st.data())
@settings(max_examples=40)
def test_convolutions_of_reals_agree(kind: str, data: st.DataObject) -> None:
    assert_twin_equals_reference(data.draw(convolutions(kind, quantized=False)))


def untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor on which torch's integer kernels fail their trial."""
    from nnapi_lab.simulate.fast import conv, linear

    for module in (conv, linear):
        monkeypatch.setattr(module, "matrix_product_is_exact", lambda: False)
    monkeypatch.setattr(integer_sums, "quantized_convolution_is_exact", lambda: False)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_without_trusted_integer_kernels_float_convolutions_serve(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    untrusted(monkeypatch)

    @given(data=st.data())
    @settings(max_examples=40)
    def check(data: st.DataObject) -> None:
        assert_twin_equals_reference(data.draw(convolutions(kind, quantized=True)))

    check()


def deep(size: int, depth: int, weight: int) -> Call:
    """One window of extreme codes over many channels: sums far beyond 2^24."""
    x = np.full((1, size, size, depth), 255, np.uint8)
    x[..., ::7] = 0
    w = np.full((4, size, size, depth), weight, np.int8)
    w[1, ..., ::2] = -128
    w[2, ..., ::3] = 127
    quant = PerChannel((0.5, 0.25, 0.125, 1.0), 0)
    bias = np.array([0, 2**31 - 1, -(2**31), 12345], np.int32)  # the sum of two of them leaves 32 bits
    return by_hand.use("CONV_2D", quant=Quant(2.0**20, 100), input=(x, Quant(0.5, 3)), filter=(w, quant),
                       bias=(bias, Quant(0.0)), padding="VALID", stride_w=1, stride_h=1, fuse=0)  # fmt: skip


DEEP = {
    "3x3x1024, split over input channels": (3, 1024, 127),
    "1x1x4096, a matrix product": (1, 4096, -128),
    "3x3x64, below 2^24": (3, 64, 127),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("trusted", [True, False])
def test_sums_beyond_float32_stay_exact(name: str, trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not trusted:
        untrusted(monkeypatch)
    assert_twin_equals_reference(deep(*DEEP[name]))


# (input, filter, stride_h, stride_w, pad, dilation): what made oneDNN's quantized convolution wrong, or crash
UNUSUAL = {
    "one input channel and several outputs a group": ((2, 3, 4, 4), (1, 2, 3, 8), 1, 2, 0, 1),
    "one channel, one column": ((2, 7, 4, 1), (1, 3, 3, 2), 1, 2, 0, 1),
    "the same, 24 outputs a group": ((1, 8, 9, 3), (1, 3, 2, 72), 3, 1, 1, 1),
    "a window that touches nothing but pads": ((2, 6, 1, 3), (1, 3, 1, 6), 1, 2, 1, 2),
    "a map smaller than the window": ((1, 2, 2, 4), (1, 3, 3, 4), 1, 1, 1, 1),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_unusual_depthwise_convolutions_are_equal_to_the_bit(name: str, dtype: str) -> None:
    """Small whole numbers: float32 sums are exact too."""
    shape, filter_shape, stride_h, stride_w, pad, dilation = UNUSUAL[name]
    rng = np.random.default_rng(3)
    scalars = {
        **{f"pad_{side}": pad for side in ("left", "right", "top", "bottom")}, "stride_w": stride_w,
        "stride_h": stride_h, "depth_multiplier": filter_shape[3] // shape[3], "fuse": 0, "nchw": False,
        "dilation_w": dilation, "dilation_h": dilation,
    }  # fmt: skip
    if dtype == "float32":
        arrays = (rng.integers(-99, 99, s).astype(np.float32) for s in (shape, filter_shape, filter_shape[3:]))
        named: dict[str, Any] = dict(zip(("input", "filter", "bias"), arrays, strict=True))
    else:
        named = {
            "input": (codes(rng, shape, np.dtype(dtype)), Quant(0.02, 7)),
            "filter": (codes(rng, filter_shape, np.dtype(dtype)), Quant(0.02, 0)),
            "bias": (rng.integers(-999, 999, filter_shape[3], dtype=np.int32), Quant(float(np.float32(0.02) ** 2))),
        }
    quant = None if dtype == "float32" else Quant(0.5, 3)
    call = by_hand.use("DEPTHWISE_CONV_2D", quant=quant, **named, **scalars)
    prepared = TWINS["DEPTHWISE_CONV_2D"](call)
    assert prepared is not None
    np.testing.assert_array_equal(prepared(*by_hand._kernel_tensors(call))[0], by_hand.run(call))


def test_computed_weights_are_taken_at_each_run() -> None:
    rng = np.random.default_rng(1)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((1, 4, 4, 2), (3, 1, 1, 2), (3,)))
    known = by_hand.use("CONV_2D", input=x, filter=w, bias=b, padding="SAME", stride_w=1, stride_h=1, fuse=0)
    open_ = by_hand.use("CONV_2D", input=known["input"], filter=known["filter"], bias=known["bias"],
                        padding="SAME", stride_w=1, stride_h=1, fuse=0)  # fmt: skip
    run = TWINS["CONV_2D"](open_)
    for weights in (w, -w):
        wanted = known.spec.kernel(x, weights, b, **known.resolved(), call=known)
        np.testing.assert_allclose(run(x, weights, b)[0], wanted, rtol=1e-5, atol=1e-5)


# --- products ------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=60)
def test_fully_connected_is_equal_to_the_bit(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(seeds))
    rows, depth, units = (data.draw(st.integers(1, limit)) for limit in (5, 70, 9))
    dtype = data.draw(signedness)
    quant_in, out = data.draw(quants(dtype)), data.draw(quants(dtype))
    # A weight zero point near the middle keeps weights within int8, which the twin needs.
    middle = 128 if dtype == np.uint8 else 0
    plain = Quant(data.draw(scales), middle)
    bias_quant = Quant(float(np.float32(quant_in.scale) * np.float32(plain.scale)))
    call = by_hand.use(
        "FULLY_CONNECTED", quant=out, input=(codes(rng, (rows, depth), dtype), quant_in),
        weights=(codes(rng, (units, depth), dtype), plain),
        bias=(rng.integers(-(2**20), 2**20, units, dtype=np.int32), bias_quant), fuse=data.draw(fuses),
    )  # fmt: skip
    if broken_rules(call, "test"):
        return
    prepared = TWINS["FULLY_CONNECTED"](call)
    if prepared is not None:  # None: a multiplier of 1 or more is the reference's
        assert_twin_equals_reference(call)


# --- tables --------------------------------------------------------------------------------------------

UNARY = ["RELU", "RELU1", "RELU6", "LOGISTIC", "TANH", "HARD_SWISH", "RSQRT", "DEQUANTIZE"]
EVERY = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


@pytest.mark.parametrize("kind", UNARY)
@given(data=st.data())
@settings(max_examples=20)
def test_unary_tables_are_equal_on_every_code(kind: str, data: st.DataObject) -> None:
    dtype = np.dtype(np.int8) if kind == "RSQRT" else data.draw(signedness)
    prescribed = {"LOGISTIC": Quant(1 / 256, 0 if dtype == np.uint8 else -128),
                  "TANH": Quant(1 / 128, 128 if dtype == np.uint8 else 0)}  # fmt: skip
    out = prescribed.get(kind) or data.draw(quants(dtype))
    input = (EVERY.view(dtype), data.draw(quants(dtype)))
    assert_twin_equals_reference(by_hand.use(kind, quant=out, input=input))


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"])
@given(data=st.data())
@settings(max_examples=15)
def test_pair_tables_are_equal_on_every_pair(kind: str, data: st.DataObject) -> None:
    dtype = data.draw(signedness)
    every = np.arange(256, dtype=np.uint8).view(dtype)
    scalars = {"fuse": data.draw(fuses)} if kind in ("ADD", "SUB", "MUL") else {}
    call = by_hand.use(
        kind, quant=data.draw(quants(dtype)), input0=(every.reshape(256, 1), data.draw(quants(dtype))),
        input1=(every, data.draw(quants(dtype))), **scalars,
    )  # fmt: skip
    assert_twin_equals_reference(call)


@given(data=st.data())
@settings(max_examples=60)
def test_quantize_is_equal_to_the_bit(data: st.DataObject) -> None:
    dtype = data.draw(signedness)
    out = data.draw(quants(dtype))
    special = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, 0.49999997])
    ties = st.integers(-600, 600).map(lambda k: (k + 0.5) * out.scale)
    values = data.draw(st.lists(special | ties | st.floats(width=32), min_size=1, max_size=20))
    with np.errstate(over="ignore"):
        x = np.array(values).astype(np.float32)
    type_ = OperandType(Q8 if dtype == np.uint8 else Q8S, x.shape, out)
    call = by_hand.use("QUANTIZE", quant=out, input=x)
    call = Call(call.spec, call.form, call.types, call.params, call.values, call.given, (type_,))
    assert_twin_equals_reference(call)


# --- pools, concatenation ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@given(data=st.data())
@settings(max_examples=60)
def test_pools_are_equal(kind: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(seeds))
    h, w, c = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7)), data.draw(st.integers(1, 5))
    scalars: dict[str, Any] = {
        **data.draw(windows()), "filter_w": data.draw(st.integers(1, 3)), "filter_h": data.draw(st.integers(1, 3)),
        "fuse": data.draw(fuses), "nchw": data.draw(st.booleans()),
    }  # fmt: skip
    shape = (2, c, h, w) if scalars["nchw"] else (2, h, w, c)
    if data.draw(st.booleans()):
        dtype = data.draw(signedness)
        quant = data.draw(quants(dtype))
        assert_twin_equals_reference(by_hand.use(kind, input=(codes(rng, shape, dtype), quant), **scalars))
    else:
        x = rng.normal(size=shape).astype(np.float32)
        x[rng.random(shape) < 0.1] = np.inf
        x[rng.random(shape) < 0.1] = -np.inf
        if kind == "MAX_POOL_2D":
            x[rng.random(shape) < 0.2] = np.nan
        with np.errstate(invalid="ignore"):
            assert_twin_equals_reference(by_hand.use(kind, input=x, **scalars))


@given(data=st.data())
@settings(max_examples=60)
def test_resize_bilinear_is_equal_to_the_bit(data: st.DataObject) -> None:
    """Also on float32: the twin adds in the reference's order, so 1e-5 would be slack; it is compared exactly."""
    rng = np.random.default_rng(data.draw(seeds))
    sizes = [data.draw(st.integers(1, 9)) for _ in range(4)]
    flags = data.draw(st.sampled_from([{}, {"align_corners": True}, {"half_pixel_centers": True}]))
    nchw = data.draw(st.booleans())
    scalars = {"out_width": sizes[0], "out_height": sizes[1], "nchw": nchw, **flags}
    shape = (2, 3, *sizes[2:]) if nchw else (2, *sizes[2:], 3)
    if data.draw(st.booleans()):
        stored = codes(rng, shape, np.dtype(np.uint8))
        call = by_hand.use("RESIZE_BILINEAR", input=(stored, Quant(0.5, 3)), **scalars)
    else:
        call = by_hand.use("RESIZE_BILINEAR", input=rng.normal(size=shape).astype(np.float32), **scalars)
    assert not broken_rules(call, "test")
    np.testing.assert_array_equal(TWINS["RESIZE_BILINEAR"](call)(call.value("input"))[0], by_hand.run(call))


@given(data=st.data())
@settings(max_examples=40)
def test_concatenation_is_equal_to_the_bit(data: st.DataObject) -> None:
    dtype = data.draw(signedness)
    out = data.draw(quants(dtype))
    parts = [(EVERY.view(dtype), data.draw(quants(dtype) | st.just(out))) for _ in range(3)]
    call = by_hand.use("CONCATENATION", quant=out, inputs=parts, axis=data.draw(st.integers(0, 3)))
    if TWINS["CONCATENATION"](call) is not None:
        assert_twin_equals_reference(call)


# --- trust and registration ----------------------------------------------------------------------------


def test_the_trials_see_a_kernel_that_saturates(monkeypatch: pytest.MonkeyPatch) -> None:
    """What vpmaddubsw does without VNNI: products are added in pairs in 16 bits, saturating."""
    import torch

    def saturating(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        products = a.numpy().astype(np.int64)[:, :, None] * b.numpy().astype(np.int64)[None]
        if products.shape[1] % 2:
            products = np.pad(products, ((0, 0), (0, 1), (0, 0)))
        pairs = np.clip(products[:, ::2] + products[:, 1::2], -(2**15), 2**15 - 1)
        return torch.from_numpy(pairs.sum(axis=1).astype(np.int32))

    monkeypatch.setattr(torch, "_int_mm", saturating)
    assert not matrix_product_is_exact.__wrapped__()

    def refusing(*args: Any) -> None:
        raise RuntimeError("not on this machine")

    monkeypatch.setattr(integer_sums, "_quantized_sums", refusing)
    assert not quantized_convolution_is_exact.__wrapped__()


def test_a_twin_belongs_to_one_declared_operation() -> None:
    with pytest.raises(TypeError, match="FROB is not a declared operation"):
        twin("FROB")(lambda call: None)
    with pytest.raises(TypeError, match="RELU has two twins"):
        twin("RELU")(lambda call: None)


def test_what_a_twin_cannot_prepare_is_left_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(call: Call) -> None:
        raise ValueError("this operation needs another multiplier")

    monkeypatch.setitem(twins._TWINS, "RESIZE_BILINEAR", refusing)
    b = Builder("resize")
    x = b.input("x", OperandType(OperandCode.TENSOR_FLOAT32, (1, 1, 1, 1)))
    b.output(b.add("RESIZE_BILINEAR", input=x, out_width=2, out_height=1))
    (y,) = simulate(b.build(), [np.full((1, 1, 1, 1), 3, np.float32)], "fast")
    assert y.reshape(-1).tolist() == [3, 3]


# --- whole networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", networks())
def test_a_network_is_equal_on_both_engines(name: str) -> None:
    model, inputs = networks()[name]()
    (wanted,), (seen,) = (simulate(model, inputs, engine) for engine in ("reference", "fast"))
    np.testing.assert_array_equal(seen, wanted)
    again = compile_model(model, "fast").run(inputs)[0]  # shared scratch memory must not leak between runs
    np.testing.assert_array_equal(again, wanted)
    assert len(np.unique(seen)) > 10
