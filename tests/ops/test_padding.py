"""Frames of zeros, of a value, of mirror images."""

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

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32


def ramp(*shape: int) -> np.ndarray:
    """1, 2, 3, … as float32 of a shape."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def frame(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.int32)


def codes(values: list[int], zero_point: int, dtype: type = np.uint8) -> tuple[np.ndarray, Quant]:
    return np.array(values, dtype), Quant(0.5, zero_point)


VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "pad": (lambda: run("PAD", input=ramp(1, 2), paddings=frame((1, 0), (0, 1))), [[0, 0, 0], [1, 2, 0]]),
    "pad_codes": (lambda: run("PAD", input=codes([1], 9), paddings=frame((1, 1))), [9, 1, 9]),
    "pad_signed": (lambda: run("PAD", input=codes([1], -9, np.int8), paddings=frame((1, 1))), [-9, 1, -9]),
    "pad_value": (
        lambda: run("PAD_V2", input=ramp(1), paddings=frame((0, 2)), pad_value=-0.5),
        [1, -0.5, -0.5],
    ),
    "pad_value_is_a_code": (
        lambda: run("PAD_V2", input=codes([1], 9), paddings=frame((0, 1)), pad_value=3),
        [1, 3],
    ),
    "pad_value_low_bits": (
        lambda: run("PAD_V2", input=codes([1], 9), paddings=frame((0, 1)), pad_value=256 + 3),
        [1, 3],
    ),
    "reflect": (lambda: run("MIRROR_PAD", input=ramp(3), paddings=frame((2, 1)), mode=0), [3, 2, 1, 2, 3, 2]),
    "symmetric": (lambda: run("MIRROR_PAD", input=ramp(2), paddings=frame((2, 1)), mode=1), [2, 1, 1, 2, 2]),
    "reflect_corner": (
        lambda: run("MIRROR_PAD", input=ramp(2, 2), paddings=frame((1, 0), (0, 1)), mode=0),
        [[3, 4, 3], [1, 2, 1], [3, 4, 3]],
    ),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    assert make().tolist() == expected


def test_a_half_pad_value_is_a_half() -> None:
    out = run("PAD_V2", input=np.ones(1, np.float16), paddings=frame((0, 1)), pad_value=0.1)
    assert out.dtype == np.float16
    assert out[1] == np.float16(0.1)


SHAPES: dict[str, tuple[tuple[Any, ...], Any, tuple[Any, ...]]] = {
    "untouched_unknown": ((Dim("n"), 2), frame((0, 0), (1, 1)), (Dim("n"), 4)),
    "touched_unknown": ((Dim("n"), 2), frame((1, 0), (0, 0)), (Dim("?"), 2)),
    "paddings_unknown": ((1, 2), OperandType(I32, (2, 2)), (Dim("?"), Dim("?"))),
}


@pytest.mark.parametrize("row", SHAPES)
def test_result_shapes(row: str) -> None:
    shape, paddings, expected = SHAPES[row]
    call = use("PAD", input=OperandType(F32, shape), paddings=paddings)
    assert call.out.shape == expected
    assert broken_rules(call, "here") == []


BROKEN: dict[str, Callable[[], Call]] = {
    "PAD.C1": lambda: use("PAD", input=ramp(1, 2), paddings=frame((0, 0))),
    "PAD.C2": lambda: use("PAD", input=ramp(2), paddings=frame((0, -1))),
    "PAD_V2.C1": lambda: use("PAD_V2", input=ramp(1, 2), paddings=frame((0, 0)), pad_value=0.0),
    "PAD_V2.C2": lambda: use("PAD_V2", input=ramp(2), paddings=frame((-1, 0)), pad_value=0.0),
    "MIRROR_PAD.C1": lambda: use("MIRROR_PAD", input=ramp(1, 2), paddings=frame((0, 0)), mode=0),
    "MIRROR_PAD.C2": lambda: use("MIRROR_PAD", input=ramp(2), paddings=frame((-1, 0)), mode=0),
    "MIRROR_PAD.C3": lambda: use("MIRROR_PAD", input=ramp(2), paddings=frame((0, 0)), mode=2),
    "MIRROR_PAD.C4": lambda: use("MIRROR_PAD", input=ramp(2), paddings=frame((0, 2)), mode=0),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_symmetric_reaches_one_element_further_than_reflect() -> None:
    assert broken_rules(use("MIRROR_PAD", input=ramp(2), paddings=frame((0, 2)), mode=1), "here") == []


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "float": (lambda: use("PAD", input=ramp(1), paddings=frame((0, 0))), 2),
    "codes_with_zero_at_zero": (lambda: use("PAD", input=codes([1], 0), paddings=frame((0, 0))), 2),
    "codes_with_zero_elsewhere": (lambda: use("PAD", input=codes([1], 1), paddings=frame((0, 0))), 3),
    "signed": (lambda: use("PAD", input=codes([1], 0, np.int8), paddings=frame((0, 0))), 4),
    "value": (lambda: use("PAD_V2", input=ramp(1), paddings=frame((0, 0)), pad_value=0.0), 3),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


@given(st.integers(1, 5), st.data(), st.sampled_from([0, 1]))
def test_mirrors_bounce_at_both_ends(size: int, data: st.DataObject, mode: int) -> None:
    most = size - (mode == 0)
    before, after = data.draw(st.integers(0, most)), data.draw(st.integers(0, most))
    out = run("MIRROR_PAD", input=ramp(size), paddings=frame((before, after)), mode=mode)
    border = 1 if mode == 0 else 0
    for index, value in enumerate(out):
        at = index - before
        at = border - 1 - at if at < 0 else at  # before the start: -1 → border, -2 → border + 1, …
        at = 2 * size - 1 - border - at if at >= size else at
        assert value == ramp(size)[at]
