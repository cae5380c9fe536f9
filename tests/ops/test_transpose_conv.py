"""TRANSPOSE_CONV_2D: stamps, sizes, and the convolution it is the transpose of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.geometry import SAME, VALID
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.transpose_conv import implicit_transpose_pads
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
Q8PC = OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
KIND = "TRANSPOSE_CONV_2D"
SIDES = ("left", "right", "top", "bottom")


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def explicit(**changes: Any) -> dict[str, Any]:
    pads = {f"pad_{side}": 0 for side in SIDES}
    return pads | {"stride_w": 1, "stride_h": 1, "fuse": 0, "nchw": False} | changes


def implicit(padding: str, output_shape: Any, **changes: Any) -> dict[str, Any]:
    scalars = {name: value for name, value in explicit().items() if not name.startswith("pad_")}
    return scalars | {"padding": padding, "output_shape": output_shape} | changes


def shape(*sizes: int) -> np.ndarray:
    return np.array(sizes, np.int32)


def stamp(x: np.ndarray, w: np.ndarray, scalars: dict[str, Any], bias: float = 0) -> np.ndarray:
    return run(KIND, input=x, filter=w, bias=np.full(w.shape[0], bias, np.float32), **scalars)


def codes(filter_quant: Quant | PerChannel, dtype: type = np.uint8) -> np.ndarray:
    """One pixel of 6 steps stamped by a filter of two outputs, 1 and -1 steps, output zero point 10."""
    shift = 0 if dtype == np.uint8 else 128
    steps = np.array([1, -1]).reshape(2, 1, 1, 1)
    if isinstance(filter_quant, PerChannel):
        weights, bias = steps.astype(np.int8), Quant(0)
    else:
        weights, bias = (steps + filter_quant.zero_point).astype(dtype), Quant(0.5 * filter_quant.scale)
    return run(
        KIND,
        input=(np.full((1, 1, 1, 1), 106 - shift).astype(dtype), Quant(0.5, 100 - shift)),
        filter=(weights, filter_quant),
        bias=(np.zeros(2, np.int32), bias),
        quant=Quant(0.5, 10 - shift),
        **explicit(),
    )


ONE_TEN = np.array([1, 10], np.float32).reshape(1, 1, 2, 1)
THREE = np.array([1, 10, 100], np.float32).reshape(1, 1, 3, 1)

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "stamps_add_up": (lambda: stamp(row(1, 2), ONE_TEN, explicit()), [1, 12, 20]),
    "stride_spreads": (lambda: stamp(row(1, 2), ONE_TEN, explicit(stride_w=2)), [1, 10, 2, 20]),
    "gaps_hold_the_bias": (lambda: stamp(row(1, 2), ONE_TEN, explicit(stride_w=3), 5), [6, 15, 5, 7, 25]),
    "pads_cut": (lambda: stamp(row(1, 2), ONE_TEN, explicit(pad_left=1, pad_right=1)), [12]),
    "negative_pad_extends": (lambda: stamp(row(1, 2), ONE_TEN, explicit(pad_right=-2), 5), [6, 17, 25, 5, 5]),
    "negative_pad_below": (lambda: stamp(row(1), ONE_TEN, explicit(pad_bottom=-1)), [1, 10, 0, 0]),
    "same": (  # 4 = 2 strides of 2, the third tap's surplus is cut at the tail
        lambda: stamp(row(1, 2), THREE, implicit("SAME", shape(1, 1, 4, 1), stride_w=2)),
        [1, 10, 102, 20],
    ),
    "same_cuts_the_head_too": (
        lambda: stamp(row(1, 2, 3), THREE, implicit("SAME", shape(1, 1, 3, 1))),
        [12, 123, 230],
    ),
    "same_extends": (  # 5 = 2 strides of 3 would be 6; the last stamp ends at 1 * 3 + 1 = 4
        lambda: stamp(row(1, 2), row(7), implicit("SAME", shape(1, 1, 5, 1), stride_w=3)),
        [7, 0, 0, 14, 0],
    ),
    "valid": (lambda: stamp(row(1, 2), ONE_TEN, implicit("VALID", shape(1, 1, 3, 1))), [1, 12, 20]),
    "relu6": (lambda: stamp(row(-1, 2), ONE_TEN, explicit(fuse=3)), [0, 0, 6]),
    "ohwi": (
        lambda: stamp(
            np.array([1, 2], np.float32).reshape(1, 1, 1, 2),
            np.array([1, 10, 100, 1000], np.float32).reshape(2, 1, 1, 2),
            explicit(),
        ),
        [21, 2100],
    ),
    "nchw": (  # output_shape is in the layout in use
        lambda: stamp(
            np.array([1, 2], np.float32).reshape(1, 2, 1, 1),
            np.array([1, 10, 100, 1000], np.float32).reshape(2, 1, 1, 2),
            implicit("VALID", shape(1, 2, 1, 1), nchw=True),
        ),
        [21, 2100],
    ),
    "ties_go_away_from_zero": (lambda: codes(Quant(0.25, 100)), [12, 8]),  # 6 / 4 = 1.5 steps
    "signed_codes": (lambda: codes(Quant(0.25, 0), np.int8), [12 - 128, 8 - 128]),
    "per_channel": (lambda: codes(PerChannel((0.25, 0.5), 0)), [12, 7]),
    "per_channel_signed": (lambda: codes(PerChannel((0.25, 0.5), 0), np.int8), [12 - 128, 7 - 128]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    # Small integers: float32 is exact.
    np.testing.assert_array_equal(make().ravel(), np.array(expected, np.float32))


# wanted size, filter, stride, padding → (before, after)
PADS = {
    "valid": ((4, 3, 2, VALID), (0, 0)),
    "same": ((4, 3, 2, SAME), (0, 1)),
    "same_even": ((3, 3, 1, SAME), (1, 1)),
    "same_negative": ((5, 1, 3, SAME), (0, -1)),
}


@pytest.mark.parametrize("name", PADS)
def test_implicit_pads(name: str) -> None:
    arguments, pads = PADS[name]
    assert implicit_transpose_pads(*arguments) == pads


# --- rules -------------------------------------------------------------------------------------------------


def parts(code: OperandCode = F32, **changes: Any) -> dict[str, Any]:
    quantized = code != F32
    whole = {
        "input": OperandType(code, (1, 4, 4, 2), Quant(0.5, 3) if quantized else None),
        "filter": OperandType(code, (2, 3, 3, 2), Quant(0.25, 3) if quantized else None),
        "bias": OperandType(I32, (2,), Quant(0.125)) if quantized else OperandType(F32, (2,)),
        "quant": Quant(1, 3) if quantized else None,
    }
    return whole | explicit() | changes


def wanting(output_shape: Any, **changes: Any) -> dict[str, Any]:
    """`parts` with implicit padding."""
    whole = {name: value for name, value in parts(**changes).items() if not name.startswith("pad_")}
    return whole | {"padding": "SAME", "output_shape": output_shape}


def per_channel(axis: int) -> dict[str, Any]:
    filter = OperandType(Q8PC, (2, 3, 3, 2), PerChannel((0.5, 0.25), axis))
    return parts(Q8) | {"filter": filter, "bias": OperandType(I32, (2,))}


BROKEN: dict[str, Callable[[], Call]] = {
    f"{KIND}.C1": lambda: use(KIND, **parts(pad_top=-1)),
    f"{KIND}.C2": lambda: use(KIND, **wanting(shape(4, 4))),
    f"{KIND}.C3": lambda: use(KIND, **parts(pad_left=3, pad_right=3)),
    f"{KIND}.C4": lambda: use(KIND, **parts(fuse=4)),
    f"{KIND}.C5": lambda: use(KIND, **parts(input=OperandType(F32, (1, 4, 4, 3)))),
    f"{KIND}.C6": lambda: use(KIND, **parts(bias=OperandType(F32, (1,)))),
    f"{KIND}.C7": lambda: use(KIND, **parts(Q8, bias=OperandType(I32, (2,), Quant(0.5)))),
    f"{KIND}.C8": lambda: use(KIND, **parts(Q8, quant=None)),
    f"{KIND}.C9": lambda: use(KIND, **per_channel(axis=3)),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "stride": (f"{KIND}.C1", lambda: use(KIND, **parts(stride_w=0))),
    "output_shape_type": (f"{KIND}.C2", lambda: use(KIND, **wanting(OperandType(I32, (3,))))),
    "output_shape_negative": (f"{KIND}.C2", lambda: use(KIND, **wanting(shape(1, -4, 4, 2)))),
    "output_shape_rank": (f"{KIND}.RANK", lambda: use(KIND, **wanting(OperandType(I32, (2, 2))))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


def test_uses_in_order_break_no_rule() -> None:
    calls = [parts(), parts(Q8), parts(Q8S), per_channel(axis=0), wanting(shape(1, 4, 4, 2))]
    assert [broken_rules(use(KIND, **call), "here") for call in calls] == [[]] * len(calls)


def test_unknown_sizes_stay_unknown() -> None:
    rankless = OperandType(F32, None)
    shapes = {
        "some": (parts(input=OperandType(F32, (Dim("n"), 4, Dim("w"), 2))), (Dim("n"), 6, Dim("?"), 2)),
        "no_input": (parts(input=rankless), (Dim("?"), Dim("?"), Dim("?"), 2)),
        "no_filter": (parts(filter=rankless), (1, Dim("?"), Dim("?"), Dim("?"))),
        "wanted_later": (wanting(OperandType(I32, (4,))), (1, Dim("?"), Dim("?"), 2)),
        "unread": (parts(stride_w=OperandType(OperandCode.INT32)), (1, Dim("?"), Dim("?"), 2)),
    }
    for name, (call, expected) in shapes.items():
        bound = use(KIND, **call)
        assert bound.out.shape == expected, name
        assert broken_rules(bound, "here") == [], name


def test_levels() -> None:
    levels = [required_level(use(KIND, **call))[0] for call in (parts(), parts(Q8), per_channel(0), parts(Q8S))]
    assert levels == [3, 3, 3, 4]


# --- law ---------------------------------------------------------------------------------------------------


@given(
    st.fixed_dictionaries(
        {"stride_w": st.integers(1, 3), "stride_h": st.integers(1, 3), "pad_left": st.integers(0, 1),
         "pad_top": st.integers(0, 1)}
    ),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)  # fmt: skip
def test_it_is_the_transpose_of_conv(geometry: dict[str, int], seed: int, nchw: bool) -> None:
    """<conv(x), y> = <x, transpose_conv(y)>, the filter's channels swapped; tail pads restore x's size."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, (1, 6, 7, 2)).astype(np.float32)
    w = rng.integers(-4, 5, (3, 2, 3, 2)).astype(np.float32)
    image = np.moveaxis(x, 3, 1) if nchw else x
    scalars = explicit(nchw=nchw) | geometry
    forward = run("CONV_2D", input=image, filter=w, bias=np.zeros(3, np.float32), **scalars)
    y = rng.integers(-4, 5, forward.shape).astype(np.float32)
    height, width = y.shape[2:] if nchw else y.shape[1:3]
    tails = {
        "pad_bottom": (height - 1) * geometry["stride_h"] + 2 - geometry["pad_top"] - 6,
        "pad_right": (width - 1) * geometry["stride_w"] + 3 - geometry["pad_left"] - 7,
    }
    back = stamp(y, np.swapaxes(w, 0, 3), scalars | tails)
    assert back.shape == image.shape
    assert np.sum(forward * y) == np.sum(image * back)  # integers below 2^24: exact
