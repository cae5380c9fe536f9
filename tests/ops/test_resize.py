"""Resizing: where a pixel comes from, how codes round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.resize import nearest, scaled_size
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
BILINEAR, NEAREST = "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"
KINDS = (BILINEAR, NEAREST)
ALIGN, HALF = {"align_corners": True}, {"half_pixel_centers": True}


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def codes(*values: int, signed: bool = False) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8 if signed else np.uint8).reshape(1, 1, -1, 1), Quant(1)


def resize(kind: str, input: Any, width: int, height: int = 1, **flags: bool) -> Any:
    flags = {"nchw": False, "align_corners": False, "half_pixel_centers": False} | flags
    return run(kind, input=input, out_width=width, out_height=height, **flags)


PIXELS = row(0, 3)

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "legacy": (lambda: resize(BILINEAR, PIXELS, 3), [0, 2, 3]),  # at 0, 2/3, 4/3
    "align_corners": (lambda: resize(BILINEAR, PIXELS, 3, **ALIGN), [0, 1.5, 3]),  # at 0, 1/2, 1
    "half_pixel": (lambda: resize(BILINEAR, PIXELS, 3, **HALF), [0, 1.5, 3]),  # at -1/6, 1/2, 7/6
    "half_pixel_twice": (lambda: resize(BILINEAR, row(0, 4), 4, **HALF), [0, 1, 3, 4]),
    "legacy_twice": (lambda: resize(BILINEAR, row(0, 4), 4), [0, 2, 4, 4]),
    "align_one_pixel": (lambda: resize(BILINEAR, row(5, 9), 1, **ALIGN), [5]),  # ratio 2, position 0
    "down": (lambda: resize(BILINEAR, row(0, 1, 2, 3), 2), [0, 2]),
    "down_half_pixel": (lambda: resize(BILINEAR, row(0, 1, 2, 3), 2, **HALF), [0.5, 2.5]),
    "both_axes": (
        lambda: resize(BILINEAR, np.array([0, 2, 4, 6], np.float32).reshape(1, 2, 2, 1), 4, 2, **ALIGN).round(5),
        [0, 0.66667, 1.33333, 2, 4, 4.66667, 5.33333, 6],
    ),
    "width_comes_first": (
        lambda: np.array(resize(BILINEAR, np.zeros((1, 2, 2, 1), np.float32), width=5, height=3).shape),
        [1, 3, 5, 1],
    ),
    "nchw": (lambda: resize(BILINEAR, PIXELS.reshape(1, 1, 1, 2), 3, nchw=True), [0, 2, 3]),
    "codes_round_half_up": (lambda: resize(BILINEAR, codes(0, 1, 4), 5, **ALIGN), [0, 1, 1, 3, 4]),
    "signed_codes_round_half_away": (
        lambda: resize(BILINEAR, codes(0, -1, -4, signed=True), 5, **ALIGN),
        [0, -1, -1, -3, -4],  # 0, -1/2, -1, -5/2, -4
    ),
    "signed_codes_half_pixel": (lambda: resize(BILINEAR, codes(-8, 8, signed=True), 4, **HALF), [-8, -4, 4, 8]),
    "signed_codes_stay_on_the_last_pixel": (  # step 35 / 1024 leads beyond 1024 * 99 from pixel 2897 on
        lambda: resize(BILINEAR, codes(*range(100), signed=True), 2960)[0, 0, -1, 0],
        [99],
    ),
    "nearest": (lambda: resize(NEAREST, PIXELS, 3), [0, 0, 3]),
    "nearest_align": (lambda: resize(NEAREST, PIXELS, 3, **ALIGN), [0, 3, 3]),  # 1/2 rounds away
    "nearest_half_pixel": (lambda: resize(NEAREST, PIXELS, 3, **HALF), [0, 3, 3]),  # floor of 1/3, 1, 5/3
    "nearest_down": (lambda: resize(NEAREST, row(0, 1, 2, 3), 2), [0, 2]),
    "nearest_down_half_pixel": (lambda: resize(NEAREST, row(0, 1, 2, 3), 2, **HALF), [1, 3]),
    "nearest_codes": (lambda: resize(NEAREST, codes(7, 9), 4), [7, 7, 9, 9]),
    "nearest_rows": (
        lambda: resize(NEAREST, np.array([1, 2], np.float32).reshape(1, 2, 1, 1), 1, 3),
        [1, 1, 2],
    ),
    "by_scale": (lambda: run(BILINEAR, input=PIXELS, width_scale=1.9, height_scale=1.0), [0, 2, 3]),
    "nearest_by_scale": (
        lambda: run(NEAREST, input=PIXELS, width_scale=1.9, height_scale=1.0, nchw=False),
        [0, 0, 3],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    # Thirds in float32: two roundings of the weight, one of the product.
    np.testing.assert_allclose(np.ravel(make()), expected, rtol=4 * 2**-23, atol=4 * 2**-23)


def test_scales_are_float32() -> None:
    """90 * 1.3 is 117; 90 * f32(1.3) is a little less, also after rounding to float32."""
    assert scaled_size(90, 1.3) == 116
    assert scaled_size(90, 1.5) == 135
    assert scaled_size(3, 0.1) == 0
    assert isinstance(scaled_size(Dim("n"), 2.0), Dim)
    assert isinstance(scaled_size(3, None), Dim)


def test_positions_are_float32() -> None:
    """11 * 26 / 22 is 13, but 11 * f32(26 / 22) is a little less, and the floor is 12."""
    assert nearest(26, 22, False, False)[11] == 12


# --- rules -------------------------------------------------------------------------------------------------

IMAGE = OperandType(F32, (1, 4, 4, 2))


def sized(kind: str, input: OperandType = IMAGE, **changes: Any) -> Call:
    return use(kind, **{"input": input, "out_width": 8, "out_height": 8, "nchw": False, **changes})


def scaled(kind: str, input: OperandType = IMAGE, **changes: Any) -> Call:
    return use(kind, **{"input": input, "width_scale": 2.0, "height_scale": 2.0, "nchw": False, **changes})


def _broken(kind: str) -> dict[str, Callable[[], Call]]:
    return {
        f"{kind}.C1": lambda: sized(kind, out_width=-1),
        f"{kind}.C2": lambda: scaled(kind, width_scale=0.1),
        f"{kind}.C3": lambda: sized(kind, align_corners=True, half_pixel_centers=True),
    }


BROKEN: dict[str, Callable[[], Call]] = {rule: make for kind in KINDS for rule, make in _broken(kind).items()}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "nan_scale": (f"{BILINEAR}.C1", lambda: scaled(BILINEAR, height_scale=float("nan"))),
    "infinite_scale": (f"{BILINEAR}.C1", lambda: scaled(BILINEAR, height_scale=float("inf"))),
    "no_channels": (f"{BILINEAR}.C2", lambda: sized(BILINEAR, OperandType(F32, (1, 4, 4, 0)))),
    "rank": (f"{NEAREST}.RANK", lambda: sized(NEAREST, OperandType(F32, (4, 4, 2)))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_sizes_stay_unknown(kind: str) -> None:
    flexible = OperandType(F32, (Dim("n"), 4, Dim("w"), 2))
    unread = OperandType(OperandCode.INT32)
    shapes = {
        "sized": (sized(kind, flexible), (Dim("n"), 8, 8, 2)),
        "scaled": (scaled(kind, flexible), (Dim("n"), 8, Dim("?"), 2)),
        "rank": (sized(kind, OperandType(F32, None)), (Dim("?"), 8, 8, Dim("?"))),
        "later": (sized(kind, out_width=unread), (1, 8, Dim("?"), 2)),
        "layout": (sized(kind, nchw=OperandType(OperandCode.BOOL)), (Dim("?"),) * 4),
    }
    for name, (call, shape) in shapes.items():
        assert call.out.shape == shape, name
        assert broken_rules(call, "here") == [], name


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_may_be_empty(kind: str) -> None:
    assert resize(kind, np.zeros((0, 2, 2, 3), np.float32), 4, 5).shape == (0, 5, 4, 3)


def test_levels() -> None:
    size = {"out_width": 8, "out_height": 8}
    levels = {
        "plain": (use(BILINEAR, input=IMAGE, **size), 1),
        "defaults": (use(BILINEAR, input=IMAGE, **size, nchw=False, align_corners=False), 1),
        "layout": (use(BILINEAR, input=IMAGE, **size, nchw=True), 3),
        "scale": (use(BILINEAR, input=IMAGE, width_scale=2.0, height_scale=2.0), 3),
        "align": (sized(BILINEAR, align_corners=True), 4),
        "half_pixel": (sized(BILINEAR, align_corners=False, half_pixel_centers=True), 4),
        "half": (use(BILINEAR, input=OperandType(F16, (1, 4, 4, 2)), **size), 3),
        "codes": (use(BILINEAR, input=OperandType(Q8, (1, 4, 4, 2), Quant(1)), **size), 3),
        "signed": (use(BILINEAR, input=OperandType(Q8S, (1, 4, 4, 2), Quant(1)), **size), 4),
        "nearest": (sized(NEAREST), 3),
        "nearest_half_pixel": (sized(NEAREST, align_corners=False, half_pixel_centers=True), 4),
    }
    for name, (call, level) in levels.items():
        assert required_level(call)[0] == level, name


# --- laws --------------------------------------------------------------------------------------------------

sizes = st.tuples(*[st.integers(1, 9)] * 4)
flags = st.sampled_from([{}, ALIGN, HALF])


@given(sizes, flags, st.integers(0, 2**32 - 1))
def test_codes_are_the_rounded_float_result(shape: tuple[int, int, int, int], flag: dict[str, bool], seed: int) -> None:
    """uint8: the float formula, rounded. int8: positions in 1/1024, so up to 8 / 1024 of a step of 255 off,
    on either axis, and half a step of rounding."""
    height, width, out_h, out_w = shape
    x = np.random.default_rng(seed).integers(0, 256, (1, height, width, 2))
    real = resize(BILINEAR, x.astype(np.float32), out_w, out_h, **flag)
    plain = resize(BILINEAR, (x.astype(np.uint8), Quant(1)), out_w, out_h, **flag)
    np.testing.assert_array_equal(plain, np.floor(real + np.float32(0.5)).astype(np.uint8))
    signed = resize(BILINEAR, ((x - 128).astype(np.int8), Quant(1)), out_w, out_h, **flag)
    off = 2 * 255 * (max(out_h, out_w) / 2 + 1) / 1024
    assert np.max(np.abs(signed.astype(float) + 128 - real)) <= 0.5 + off


@given(sizes, flags)
def test_a_constant_image_stays_constant(shape: tuple[int, int, int, int], flag: dict[str, bool]) -> None:
    height, width, out_h, out_w = shape
    for kind in KINDS:
        out = resize(kind, np.full((1, height, width, 1), 3, np.float32), out_w, out_h, **flag)
        np.testing.assert_allclose(out, 3, rtol=1e-6)  # four weights that sum to 1 within float32 rounding


@pytest.mark.parametrize(("mode", "kind", "flag"), [
    ("bilinear", BILINEAR, HALF), ("align", BILINEAR, ALIGN), ("nearest", NEAREST, {}),
    ("nearest-exact", NEAREST, HALF),
])  # fmt: skip
@pytest.mark.parametrize("size", [(4, 6), (13, 20), (7, 3), (1, 1)])
def test_torch_resizes_alike(mode: str, kind: str, flag: dict[str, bool], size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 8)).astype(np.float32)
    extra = {"align_corners": mode == "align"} if kind == BILINEAR else {}
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(x), size, mode="bilinear" if kind == BILINEAR else mode, **extra
    )
    ours = resize(kind, x, size[1], size[0], nchw=True, **flag)
    # Positions up to 8 carry a float32 error of 1e-6, and pixels differ by less than 5.
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5 if kind == BILINEAR else 0)
