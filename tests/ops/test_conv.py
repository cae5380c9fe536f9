"""Convolutions: values by hand, rules, levels, and the sums they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
Q8PC = OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
UNKNOWN = OperandType(OperandCode.INT32)
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "GROUPED_CONV_2D")
SIDES = ("left", "right", "top", "bottom")


def ramp(*shape: int) -> np.ndarray:
    """0, 1, 2, … as float32 of a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def f32(*values: float, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return np.array(values, np.float32).reshape(shape or (-1,))


def explicit(kind: str = "CONV_2D", **changes: Any) -> dict[str, Any]:
    """Scalars of an explicitly padded use with stride 1 and no pads."""
    scalars: dict[str, Any] = {f"pad_{side}": 0 for side in SIDES} | {"stride_w": 1, "stride_h": 1, "fuse": 0}
    if kind == "DEPTHWISE_CONV_2D":
        scalars["depth_multiplier"] = 1
    if kind == "GROUPED_CONV_2D":
        scalars |= {"num_groups": 1, "nchw": False}
    return scalars | changes


def implicit(padding: str, kind: str = "CONV_2D", **changes: Any) -> dict[str, Any]:
    scalars = {name: value for name, value in explicit(kind).items() if not name.startswith("pad_")}
    return scalars | {"padding": padding} | changes


def conv(input: Any, filter: Any, bias: Any, scalars: dict[str, Any], kind: str = "CONV_2D") -> Any:
    return run(kind, input=input, filter=filter, bias=bias, **scalars)


def q8(
    input: list[int], weights: list[int], bias: int, *, s_in: float = 0.5, s_w: float = 0.25, s_out: float = 0.5,
    signed: bool = False, **changes: Any,
) -> Any:  # fmt: skip
    """A 1x1 convolution of one pixel: zero points 128 (or 0), 120 (or -8), 10 (or -118)."""
    dtype, shift = (np.int8, 128) if signed else (np.uint8, 0)
    x = np.array(input, np.int64).reshape(1, 1, 1, -1) + 128 - shift
    w = np.array(weights, np.int64).reshape(1, 1, 1, -1) + 120 - shift
    return run(
        "CONV_2D",
        input=(x.astype(dtype), Quant(s_in, 128 - shift)),
        filter=(w.astype(dtype), Quant(s_w, 120 - shift)),
        bias=(np.array([bias], np.int32), Quant(s_in * s_w)),
        quant=Quant(s_out, 10 - shift),
        **explicit(**changes),
    )  # fmt: skip


def per_channel(dtype: type, zero_point: int) -> Any:
    """One pixel holding 6 steps, two filters holding 1: 6 * 0.25 = 1.5 and 6 * 0.5 = 3 output steps."""
    return run(
        "CONV_2D",
        input=(np.full((1, 1, 1, 1), zero_point + 6).astype(dtype), Quant(0.5, zero_point)),
        filter=(np.ones((2, 1, 1, 1), np.int8), PerChannel((0.25, 0.5), 0)),
        bias=(np.zeros(2, np.int32), Quant(0)),
        quant=Quant(0.5, zero_point + 10),
        **explicit(),
    )


def padded_codes() -> Any:
    """Codes at the zero point are nothing, so a padded sum of 3 x 1 taps over one pixel is the middle tap."""
    return run(
        "CONV_2D",
        input=(np.full((1, 1, 1, 1), 105, np.uint8), Quant(1, 100)),
        filter=(np.array([9, 2, 7], np.uint8).reshape(1, 3, 1, 1), Quant(1, 0)),
        bias=(np.zeros(1, np.int32), Quant(1)),
        quant=Quant(1, 20),
        **explicit(pad_top=1, pad_bottom=1),
    )


GROUPED = {"kind": "GROUPED_CONV_2D"}
DEPTHWISE = {"kind": "DEPTHWISE_CONV_2D"}
X33 = ramp(1, 3, 3, 1)  # 0 1 2 / 3 4 5 / 6 7 8

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "two_by_two": (lambda: conv(X33, ones(1, 2, 2, 1), f32(0.5), explicit()), [8.5, 12.5, 20.5, 24.5]),
    "not_flipped": (
        lambda: conv(f32(1, 2, 3, shape=(1, 1, 3, 1)), f32(1, 10, shape=(1, 1, 2, 1)), f32(0), explicit()),
        [21, 32],
    ),
    "valid": (lambda: conv(X33, ones(1, 2, 2, 1), f32(0), implicit("VALID")), [8, 12, 20, 24]),
    "same_pads_the_tail": (
        lambda: conv(X33, ones(1, 2, 2, 1), f32(0), implicit("SAME")),
        [8, 12, 7, 20, 24, 13, 13, 15, 8],
    ),
    "one_sided_pad": (
        lambda: conv(f32(1, 2, shape=(1, 1, 2, 1)), f32(1, 10, shape=(1, 1, 2, 1)), f32(0),
                     explicit(pad_left=1)),
        [10, 21],
    ),
    "stride_across": (
        lambda: conv(ramp(1, 2, 3, 1), ones(1, 1, 1, 1), f32(0), explicit(stride_w=2)),
        [0, 2, 3, 5],
    ),
    "dilation": (
        lambda: conv(X33, ones(1, 2, 2, 1), f32(0), explicit(nchw=False, dilation_w=2, dilation_h=2)),
        [16],  # 0 + 2 + 6 + 8
    ),
    "dilation_down_only": (
        lambda: conv(X33, ones(1, 2, 1, 1), f32(0), explicit(nchw=False, dilation_w=1, dilation_h=2)),
        [6, 8, 10],
    ),
    "same_dilated": (
        lambda: conv(X33, ones(1, 2, 1, 1), f32(0), implicit("SAME", nchw=False, dilation_w=1, dilation_h=2)),
        [3, 4, 5, 6, 8, 10, 3, 4, 5],  # one row above, one below
    ),
    "ohwi": (
        lambda: conv(f32(1, 2, shape=(1, 1, 1, 2)), f32(1, 10, 100, 1000, shape=(2, 1, 1, 2)), f32(0, 5),
                     explicit()),
        [21, 2105],
    ),
    "nchw_moves_the_channels_of_the_image_only": (
        lambda: conv(ramp(1, 2, 1, 2), f32(1, 10, shape=(1, 1, 1, 2)), f32(0), explicit(nchw=True)),
        [20, 31],
    ),
    "relu": (lambda: conv(f32(-3, shape=(1, 1, 1, 1)), ones(1, 1, 1, 1), f32(1), explicit(fuse=1)), [0]),
    "relu1": (lambda: conv(f32(-3, shape=(1, 1, 1, 1)), ones(1, 1, 1, 1), f32(1), explicit(fuse=2)), [-1]),
    "relu6": (lambda: conv(f32(7, shape=(1, 1, 1, 1)), ones(1, 1, 1, 1), f32(1), explicit(fuse=3)), [6]),
    "infinity_is_clamped": (
        lambda: conv(f32(np.inf, shape=(1, 1, 1, 1)), ones(1, 1, 1, 1), f32(1), explicit()),
        [np.finfo(np.float32).max],
    ),
    "tie_goes_away_from_zero": (lambda: q8([1, 2, 3], [1, 1, 1], 0), [12]),  # 6 / 4 = 1.5 steps above 10
    "negative_tie_goes_away_from_zero": (lambda: q8([1, 2, 3], [-1, -1, -1], 0), [8]),
    "bias_in_steps_of_the_product": (lambda: q8([0], [0], 8), [12]),
    "signed_codes": (lambda: q8([1, 2, 3], [1, 1, 1], 0, signed=True), [12 - 128]),
    "codes_clamp": (lambda: q8([100], [100], 0), [255]),
    "codes_relu": (lambda: q8([100], [-100], 0, fuse=1), [10]),
    "codes_relu1": (lambda: q8([100], [100], 0, fuse=2), [12]),
    "output_scale_below_the_product": (lambda: q8([3], [2], 1, s_out=0.0625), [24]),  # 7 * 2 steps above 10
    "the_sum_wraps": (lambda: q8([1], [1], 2**31 - 1), [0]),  # 2^31 becomes -2^31
    "per_channel": (lambda: per_channel(np.uint8, 100), [112, 113]),
    "per_channel_signed": (lambda: per_channel(np.int8, -100), [-88, -87]),
    "padding_is_the_zero_point": (padded_codes, [30]),
    "depthwise": (
        lambda: conv(ramp(1, 1, 1, 2) + 1, f32(10, 100, shape=(1, 1, 1, 2)), f32(1, 2),
                     explicit(**DEPTHWISE), **DEPTHWISE),
        [11, 202],
    ),
    "depthwise_multiplier": (  # channels 0 0 1 1
        lambda: conv(ramp(1, 1, 1, 2) + 1, f32(1, 10, 100, 1000, shape=(1, 1, 1, 4)), f32(0, 0, 0, 0),
                     explicit(**DEPTHWISE, depth_multiplier=2), **DEPTHWISE),
        [1, 10, 200, 2000],
    ),
    "depthwise_same_dilated": (
        lambda: conv(X33, ones(1, 2, 1, 1), f32(0),
                     implicit("SAME", **DEPTHWISE, nchw=False, dilation_w=1, dilation_h=2), **DEPTHWISE),
        [3, 4, 5, 6, 8, 10, 3, 4, 5],
    ),
    "grouped": (
        lambda: conv(ramp(1, 1, 1, 4), f32(1, 10, 1, 10, shape=(2, 1, 1, 2)), f32(0, 0),
                     explicit(**GROUPED, num_groups=2), **GROUPED),
        [10, 32],  # 0 + 10 * 1, 2 + 10 * 3
    ),
    "grouped_same": (
        lambda: conv(f32(1, 2, shape=(1, 1, 2, 1)), ones(1, 1, 2, 1), f32(0), implicit("SAME", **GROUPED),
                     **GROUPED),
        [3, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    # Small integers and their halves: float32 is exact.
    np.testing.assert_array_equal(make().ravel(), np.array(expected, np.float32))


# --- rules -------------------------------------------------------------------------------------------------


def parts(kind: str, code: OperandCode = F32, **changes: Any) -> dict[str, Any]:
    """A use that breaks no rule: 2 channels to 2 channels, 3 x 3 filter."""
    quantized = code != F32
    filters = (1, 3, 3, 2) if kind == "DEPTHWISE_CONV_2D" else (2, 3, 3, 2)
    whole = {
        "input": OperandType(code, (1, 5, 5, 2), Quant(0.5, 3) if quantized else None),
        "filter": OperandType(code, filters, Quant(0.25, 3) if quantized else None),
        "bias": OperandType(I32, (2,), Quant(0.125)) if quantized else OperandType(F32, (2,)),
        "quant": Quant(1, 3) if quantized else None,
    }
    return whole | explicit(kind) | changes


def with_scales(kind: str, scales: tuple[float, ...], axis: int) -> dict[str, Any]:
    """A per-channel filter, otherwise in order."""
    whole = parts(kind, Q8)
    return whole | {
        "filter": OperandType(Q8PC, whole["filter"].shape, PerChannel(scales, axis)),
        "bias": OperandType(I32, (2,), Quant(0)),
    }


def channel_axis(kind: str) -> int:
    return 3 if kind == "DEPTHWISE_CONV_2D" else 0


def _broken(kind: str) -> dict[str, Callable[[], Call]]:
    wrong_axis = 3 - channel_axis(kind)
    return {
        f"{kind}.C1": lambda: use(kind, **parts(kind, pad_left=-1)),
        f"{kind}.C2": lambda: use(kind, **parts(kind, pad_bottom=3)),
        f"{kind}.C3": lambda: use(kind, **parts(kind, input=OperandType(F32, (1, 2, 5, 2)))),
        f"{kind}.C4": lambda: use(kind, **parts(kind, fuse=7)),
        f"{kind}.C5": lambda: use(kind, **parts(kind, input=OperandType(F32, (1, 5, 5, 3)))),
        f"{kind}.C6": lambda: use(kind, **parts(kind, bias=OperandType(F32, (3,)))),
        f"{kind}.C7": lambda: use(kind, **parts(kind, Q8, bias=OperandType(I32, (2,), Quant(0.1251)))),
        f"{kind}.C8": lambda: use(kind, **parts(kind, Q8, quant=None)),
        f"{kind}.C9": lambda: use(kind, **with_scales(kind, (0.5, 0.5), wrong_axis)),
        f"{kind}.C10": lambda: use(kind, **parts(kind, nchw=False, dilation_w=1)),
    }


BROKEN: dict[str, Callable[[], Call]] = {
    rule: make
    for kind in KINDS
    for rule, make in _broken(kind).items()
    if rule != "GROUPED_CONV_2D.C10"  # it has no dilation
}


def also(kind: str, **changes: Any) -> Callable[[], Call]:
    return lambda: use(kind, **parts(kind, **changes))


def also_q8(**changes: Any) -> Callable[[], Call]:
    return lambda: use("CONV_2D", **parts("CONV_2D", Q8, **changes))


ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "stride": ("CONV_2D.C1", also("CONV_2D", stride_h=0)),
    "dilation": ("CONV_2D.C1", also("CONV_2D", nchw=False, dilation_w=0, dilation_h=1)),
    "dilated_pad": ("CONV_2D.C2", also("CONV_2D", pad_left=5, nchw=False, dilation_w=2, dilation_h=2)),
    "no_channels": (
        "CONV_2D.C3",
        also("CONV_2D", input=OperandType(F32, (1, 5, 5, 0)), filter=OperandType(F32, (2, 3, 3, 0))),
    ),
    "no_output_channels": (
        "CONV_2D.C3",
        also("CONV_2D", filter=OperandType(F32, (0, 3, 3, 2)), bias=OperandType(F32, (0,))),
    ),
    "multiplier": ("DEPTHWISE_CONV_2D.C5", also("DEPTHWISE_CONV_2D", depth_multiplier=2)),
    "multiplier_zero": ("DEPTHWISE_CONV_2D.C5", also("DEPTHWISE_CONV_2D", depth_multiplier=0)),
    "depthwise_first_axis": (
        "DEPTHWISE_CONV_2D.C5",
        also("DEPTHWISE_CONV_2D", filter=OperandType(F32, (2, 3, 3, 2))),
    ),
    "groups": ("GROUPED_CONV_2D.C5", also("GROUPED_CONV_2D", num_groups=2)),
    "groups_zero": ("GROUPED_CONV_2D.C5", also("GROUPED_CONV_2D", num_groups=0)),
    "groups_divide_outputs": (
        "GROUPED_CONV_2D.C5",
        also("GROUPED_CONV_2D", num_groups=3, input=OperandType(F32, (1, 5, 5, 6))),
    ),
    "bias_zero_point": ("CONV_2D.C7", also_q8(bias=OperandType(I32, (2,), Quant(0.125, 1)))),
    "bias_without_scale": ("CONV_2D.C7", also_q8(bias=OperandType(I32, (2,)))),
    "bias_just_outside": ("CONV_2D.C7", also_q8(bias=OperandType(I32, (2,), Quant(0.125 * (1 + 1.2e-6))))),
    "per_channel_bias_scale": (
        "CONV_2D.C7",
        lambda: use(
            "CONV_2D",
            **with_scales("CONV_2D", (1, 1), 0) | {"bias": OperandType(I32, (2,), Quant(0.5))},
        ),
    ),
    "tiny_output_scale": ("CONV_2D.C8", also_q8(quant=Quant(1e-20))),
    "too_few_scales": ("CONV_2D.C9", lambda: use("CONV_2D", **with_scales("CONV_2D", (0.5,), 0))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [F32, Q8, Q8S])
def test_uses_in_order_break_no_rule(kind: str, code: OperandCode) -> None:
    assert broken_rules(use(kind, **parts(kind, code)), "here") == []
    assert broken_rules(use(kind, **with_scales(kind, (0.5, 0.25), channel_axis(kind))), "here") == []


def test_the_bias_scale_may_be_off_by_a_millionth() -> None:
    near = OperandType(I32, (2,), Quant(0.125 * (1 + 0.9e-6)))
    assert broken_rules(use("CONV_2D", **parts("CONV_2D", Q8, bias=near)), "here") == []


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_sizes_stay_unknown(kind: str) -> None:
    def with_shapes(**shapes: Any) -> Call:
        return use(kind, **parts(kind, **{name: OperandType(F32, shape) for name, shape in shapes.items()}))

    some = with_shapes(input=(Dim("n"), 5, Dim("w"), 2))
    no_input = with_shapes(input=None)
    nothing = with_shapes(input=None, filter=None, bias=None)
    unread = use(kind, **parts(kind, stride_w=UNKNOWN, pad_top=UNKNOWN))
    assert some.out.shape == (Dim("n"), 3, Dim("?"), 2)
    assert no_input.out.shape == (Dim("?"), Dim("?"), Dim("?"), 2)
    assert nothing.out.shape == (Dim("?"),) * 4
    assert unread.out.shape == (1, Dim("?"), Dim("?"), 2)
    assert [broken_rules(call, "here") for call in (some, no_input, nothing, unread)] == [[]] * 4


def test_the_batch_may_be_empty() -> None:
    out = conv(np.zeros((0, 3, 3, 1), np.float32), ones(2, 2, 2, 1), f32(0, 0), explicit())
    assert out.shape == (0, 2, 2, 2)


def test_ten_inputs_are_told_apart_by_type() -> None:
    arguments = {name: value for name, value in parts("CONV_2D").items() if name != "quant"}
    assert use("CONV_2D", **arguments).form.name == "explicit_padding"
    dilated = {name: value for name, value in arguments.items() if not name.startswith("pad_")}
    call = use("CONV_2D", **dilated, padding="SAME", nchw=False, dilation_w=1, dilation_h=1)
    assert (len(call.given), call.form.name) == (10, "implicit_padding")


# --- levels ------------------------------------------------------------------------------------------------

HIGH_FILTER = {
    "filter": OperandType(Q8, (2, 3, 3, 2), Quant(1.5, 3)),
    "bias": OperandType(I32, (2,), Quant(0.75)),
}
LEVELS: dict[str, tuple[int, Callable[[], Call]]] = {
    "float": (1, also("CONV_2D")),
    "codes": (1, also_q8()),
    "layout": (3, also("CONV_2D", nchw=True)),
    "trailing_defaults": (1, also("CONV_2D", nchw=False, dilation_w=1, dilation_h=1)),
    "dilation": (3, also("CONV_2D", nchw=False, dilation_w=2, dilation_h=1)),
    "low_output_scale": (3, also_q8(quant=Quant(0.125))),
    "output_scale_above": (1, also_q8(quant=Quant(0.126))),
    "high_filter_scale": (3, also_q8(**HIGH_FILTER)),
    "per_channel": (3, lambda: use("CONV_2D", **with_scales("CONV_2D", (1, 1), 0))),
    "signed": (4, lambda: use("CONV_2D", **parts("CONV_2D", Q8S))),
    "depthwise": (1, lambda: use("DEPTHWISE_CONV_2D", **parts("DEPTHWISE_CONV_2D", Q8))),
    "depthwise_low": (
        3,
        lambda: use("DEPTHWISE_CONV_2D", **parts("DEPTHWISE_CONV_2D", Q8, quant=Quant(0.1))),
    ),
    "grouped": (3, lambda: use("GROUPED_CONV_2D", **parts("GROUPED_CONV_2D"))),
    "grouped_signed": (4, lambda: use("GROUPED_CONV_2D", **parts("GROUPED_CONV_2D", Q8S))),
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels(name: str) -> None:
    level, make = LEVELS[name]
    assert required_level(make())[0] == level


def test_the_level_says_why() -> None:
    because = {name: required_level(LEVELS[name][1]())[1] for name in LEVELS}
    assert "output scale must be above" in because["low_output_scale"]
    assert "validator compares the input's scale" in because["high_filter_scale"]


# --- laws --------------------------------------------------------------------------------------------------

geometries = st.fixed_dictionaries(
    {f"pad_{side}": st.integers(0, 2) for side in SIDES}
    | {"stride_w": st.integers(1, 3), "stride_h": st.integers(1, 3)}
    | {"dilation_w": st.integers(1, 2), "dilation_h": st.integers(1, 2)}
)
seeds = st.integers(0, 2**32 - 1)


def summed(x: np.ndarray, w: np.ndarray, **g: int) -> np.ndarray:
    """The definition, position by position: x [n, h, w, c], w [o, fh, fw, c], integers."""
    x = np.pad(x, ((0, 0), (g["pad_top"], g["pad_bottom"]), (g["pad_left"], g["pad_right"]), (0, 0)))
    extent_h, extent_w = (w.shape[1] - 1) * g["dilation_h"] + 1, (w.shape[2] - 1) * g["dilation_w"] + 1
    rows = (x.shape[1] - extent_h) // g["stride_h"] + 1
    columns = (x.shape[2] - extent_w) // g["stride_w"] + 1
    out = np.zeros((x.shape[0], rows, columns, w.shape[0]), np.int64)
    for i in range(rows):
        for j in range(columns):
            top, left = i * g["stride_h"], j * g["stride_w"]
            seen = x[:, top : top + extent_h : g["dilation_h"], left : left + extent_w : g["dilation_w"]]
            out[:, i, j] = np.einsum("nhwc,ohwc->no", seen, w)
    return out


@given(geometries, seeds, st.booleans())
def test_conv_is_its_sum(geometry: dict[str, int], seed: int, nchw: bool) -> None:
    rng = np.random.default_rng(seed)
    x, w, b = (rng.integers(-9, 10, shape) for shape in [(2, 5, 6, 3), (4, 3, 3, 3), (4,)])
    expected = summed(x, w, **geometry) + b  # below 2^24: exact in float32
    images = [np.moveaxis(a, 3, 1) if nchw else a for a in (x, expected)]
    out = conv(images[0].astype(np.float32), w.astype(np.float32), b.astype(np.float32),
               explicit(nchw=nchw) | geometry)  # fmt: skip
    np.testing.assert_array_equal(out, images[1])


@given(geometries, seeds, st.booleans(), st.integers(1, 2))
def test_depthwise_and_grouped_are_block_diagonal_convs(
    geometry: dict[str, int], seed: int, nchw: bool, multiplier: int
) -> None:
    """Depthwise has as many groups as channels; both equal a CONV_2D with zeros between groups."""
    rng = np.random.default_rng(seed)
    channels, outputs = 3, 3 * multiplier
    x = rng.integers(-9, 10, (1, channels, 5, 6) if nchw else (1, 5, 6, channels)).astype(np.float32)
    w = rng.integers(-9, 10, (outputs, 3, 3, 1)).astype(np.float32)
    b = rng.integers(-9, 10, outputs).astype(np.float32)
    own = np.arange(outputs)[:, None] // multiplier == np.arange(channels)
    scalars = explicit(nchw=nchw) | geometry
    depthwise = conv(x, w.transpose(3, 1, 2, 0), b, scalars | {"depth_multiplier": multiplier}, "DEPTHWISE_CONV_2D")
    np.testing.assert_array_equal(depthwise, conv(x, w * own[:, None, None, :], b, scalars))
    undilated = {name: value for name, value in scalars.items() if not name.startswith("dilation")}
    grouped = conv(x, w, b, undilated | {"num_groups": channels}, "GROUPED_CONV_2D")
    np.testing.assert_array_equal(grouped, conv(x, w * own[:, None, None, :], b, undilated))


scales = st.sampled_from([0.5, 0.25, 0.375, 0.3125, 0.01, 0.017])  # powers of two times {1, 3/4, 5/4}: ties


@given(seeds, scales, scales, st.sampled_from([2.0, 1.5, 0.37]), st.booleans(), st.booleans())
def test_codes_stay_near_the_real_result(
    seed: int, s_in: float, s_w: float, s_out: float, signed: bool, per_channel: bool
) -> None:
    """Two roundings: H to half of 2^e steps (e <= -1 here), P to half a step; the mantissa adds 2^-31 of it."""
    rng = np.random.default_rng(seed)
    dtype, qmin = (np.int8, -128) if signed else (np.uint8, 0)
    x = rng.integers(0, 256, (1, 4, 4, 3)) + qmin
    w = rng.integers(-127, 128, (2, 2, 2, 3)) if per_channel else rng.integers(0, 256, (2, 2, 2, 3)) + qmin
    b = rng.integers(-500, 500, 2)
    w_scales = np.float32([s_w, s_w * 0.7]) if per_channel else np.float32([s_w, s_w])
    filter_quant = PerChannel(tuple(w_scales), 0) if per_channel else Quant(s_w, qmin + 131)
    product = np.float32(s_in) * w_scales
    out = run(
        "CONV_2D",
        input=(x.astype(dtype), Quant(s_in, qmin + 97)),
        filter=(w.astype(np.int8 if per_channel else dtype), filter_quant),
        bias=(b.astype(np.int32), Quant(0 if per_channel else product[0])),
        quant=Quant(s_out, qmin + 40),
        **explicit(),
    )
    w_zero = 0 if per_channel else qmin + 131
    none = {f"pad_{side}": 0 for side in SIDES} | {"stride_w": 1, "stride_h": 1}
    acc = summed(x - (qmin + 97), w - w_zero, **none, dilation_w=1, dilation_h=1) + b
    steps = acc * (product.astype(np.float64) / np.float32(s_out)) + qmin + 40
    inside = np.clip(steps, qmin, qmin + 255)
    assert np.max(np.abs(out - inside)) <= 0.75 + 1e-3
