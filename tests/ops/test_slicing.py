"""Joining and cutting tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel, SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8 = OperandCode.TENSOR_QUANT8_ASYMM
N = Dim("n")


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def ramp(*shape: int) -> np.ndarray:
    """0, 1, 2, … as float32 of a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def f32(*shape: int | Dim) -> OperandType:
    return OperandType(F32, shape)


def codes(values: list[Any], scale: float, zero_point: int, dtype: type = np.uint8) -> tuple[np.ndarray, Quant]:
    return np.array(values, dtype), Quant(scale, zero_point)


def strided(
    x: Any, begin: Any, end: Any, strides: Any, begin_mask: Any = 0, end_mask: int = 0, shrink: int = 0
) -> Call:
    return use(
        "STRIDED_SLICE", input=x, begin=begin, end=end, strides=strides, begin_mask=begin_mask,
        end_mask=end_mask, shrink_axis_mask=shrink,
    )  # fmt: skip


VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "concat_rows": (lambda: run("CONCATENATION", inputs=[ramp(1, 2), ramp(1, 2)], axis=0), [[0, 1], [0, 1]]),
    "concat_columns": (lambda: run("CONCATENATION", inputs=[ramp(1, 2), ramp(1, 1)], axis=1), [[0, 1, 0]]),
    "concat_one": (lambda: run("CONCATENATION", inputs=[ramp(2)], axis=0), [0, 1]),
    "concat_nothing_and_some": (lambda: run("CONCATENATION", inputs=[ramp(0), ramp(2)], axis=0), [0, 1]),
    # 2.5 and -2.5 steps of 1.0: ties go away from zero before the zero point is added.
    "concat_requantized_ties": (
        lambda: run(
            "CONCATENATION",
            inputs=[codes([15, 5], 0.5, 10), codes([1], 1.0, 100)],
            axis=0,
            quant=Quant(1.0, 100),
        ),
        [103, 97, 1],
    ),
    "concat_saturates": (
        lambda: run("CONCATENATION", inputs=[codes([0, 255], 2.0, 128)], axis=0, quant=Quant(1.0, 128)),
        [0, 255],
    ),
    "concat_signed": (
        lambda: run("CONCATENATION", inputs=[codes([4, -128], 0.5, 0, np.int8)], axis=0, quant=Quant(1.0, -1)),
        [1, -65],
    ),
    "slice": (lambda: run("SLICE", input=ramp(3, 3), begin=ints(1, 0), size=ints(1, 2)), [[3, 4]]),
    "slice_rest": (lambda: run("SLICE", input=ramp(3), begin=ints(1), size=ints(-1)), [1, 2]),
    "slice_nothing": (lambda: run("SLICE", input=ramp(3), begin=ints(3), size=ints(-1)), []),
    "strided": (lambda: run(strided(ramp(5), ints(0), ints(5), ints(2))), [0, 2, 4]),
    "strided_backwards": (lambda: run(strided(ramp(5), ints(4), ints(-6), ints(-2))), [4, 2, 0]),
    "strided_reversed": (lambda: run(strided(ramp(3), ints(0), ints(0), ints(-1), 1, 1)), [2, 1, 0]),
    "strided_clamped": (lambda: run(strided(ramp(3), ints(-9), ints(9), ints(1))), [0, 1, 2]),
    "strided_clamped_backwards": (lambda: run(strided(ramp(3), ints(9), ints(-9), ints(-1))), [2, 1, 0]),
    "strided_empty": (lambda: run(strided(ramp(3), ints(2), ints(1), ints(1))), []),
    "strided_empty_backwards": (lambda: run(strided(ramp(3), ints(-4), ints(2), ints(-1))), []),
    "strided_mask_of_one_axis": (
        lambda: run(strided(ramp(2, 3), ints(1, 1), ints(1, 2), ints(1, 1), 0b10, 0b11)),
        [[3, 4, 5]],
    ),
    "strided_shrunk": (
        lambda: run(strided(ramp(2, 3), ints(1, 0), ints(2, 3), ints(1, 2), shrink=1)),
        [3, 5],
    ),
    "strided_shrunk_to_one": (lambda: run(strided(ramp(3), ints(-1), ints(0), ints(1), 0, 1, 1)), [2]),
    "gather": (lambda: run("GATHER", input=ramp(2, 2), axis=0, indices=ints(1, 1)), [[2, 3], [2, 3]]),
    "gather_from_end": (lambda: run("GATHER", input=ramp(2, 2), axis=-1, indices=ints(1)), [[1], [3]]),
    "gather_matrix": (
        lambda: run("GATHER", input=ramp(3), axis=0, indices=np.array([[2, 0]], np.int32)),
        [[2, 0]],
    ),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    assert make().tolist() == expected


def test_split_gives_its_parts_in_order() -> None:
    left, right = run("SPLIT", input=ramp(2, 4), axis=-1, num_splits=2)
    assert left.tolist() == [[0, 1], [4, 5]]
    assert right.tolist() == [[2, 3], [6, 7]]


SHAPES: dict[str, tuple[Callable[[], Call], tuple[Any, ...] | None]] = {
    "concat_unknown": (lambda: use("CONCATENATION", inputs=[f32(N, 2), f32(3, 2)], axis=0), (Dim("?"), 2)),
    "concat_learns": (lambda: use("CONCATENATION", inputs=[f32(N, 2), f32(3, 2)], axis=1), (3, 4)),
    "concat_rankless": (
        lambda: use("CONCATENATION", inputs=[OperandType(F32, None), f32(3, 2)], axis=1),
        (3, Dim("?")),
    ),
    "concat_axis_unknown": (
        lambda: use("CONCATENATION", inputs=[f32(3, 2)], axis=OperandType(OperandCode.INT32)),
        (Dim("?"), Dim("?")),
    ),
    "split_unknown": (lambda: use("SPLIT", input=f32(N, 2), axis=0, num_splits=2), (Dim("?"), 2)),
    "slice_said": (lambda: use("SLICE", input=f32(N, 5), begin=ints(0, 1), size=ints(2, -1)), (2, 4)),
    "slice_rest_unknown": (lambda: use("SLICE", input=f32(N), begin=ints(0), size=ints(-1)), (Dim("?"),)),
    "slice_begin_unknown": (
        lambda: use("SLICE", input=f32(5, 5), begin=OperandType(I32, (2,)), size=ints(2, -1)),
        (2, Dim("?")),
    ),
    "strided_end_unknown": (lambda: strided(f32(5), ints(0), OperandType(I32, (1,)), ints(1)), (Dim("?"),)),
    "strided_shrinks_unknown": (
        lambda: strided(f32(N, 5), ints(0, 0), ints(1, 3), ints(1, 1), shrink=1),
        (3,),
    ),
    "gather_unknown": (
        lambda: use("GATHER", input=f32(N, 2), axis=1, indices=OperandType(I32, (3, Dim("m")))),
        (N, 3, Dim("m")),
    ),
}


@pytest.mark.parametrize("row", SHAPES)
def test_result_shapes(row: str) -> None:
    make, expected = SHAPES[row]
    call = make()
    assert call.out.shape == expected
    assert broken_rules(call, "here") == []


def test_split_has_as_many_results_as_it_says() -> None:
    assert len(use("SPLIT", input=f32(6), axis=0, num_splits=3).results) == 3


BROKEN: dict[str, Callable[[], Call]] = {
    "CONCATENATION.C1": lambda: use("CONCATENATION", inputs=[ramp(1, 2)], axis=-1),
    "CONCATENATION.C2": lambda: use("CONCATENATION", inputs=[ramp(2, 2), ramp(3, 2)], axis=1),
    "CONCATENATION.C3": lambda: use("CONCATENATION", inputs=[codes([1], 0.5, 0), codes([1], 1, 0)], axis=0),
    "SPLIT.C1": lambda: use("SPLIT", input=ramp(2), axis=1, num_splits=1),
    "SPLIT.C2": lambda: use("SPLIT", input=ramp(2), axis=0, num_splits=0),
    "SPLIT.C3": lambda: use("SPLIT", input=ramp(3), axis=0, num_splits=2),
    "SLICE.C1": lambda: use("SLICE", input=ramp(2, 2), begin=ints(0), size=ints(1, 1)),
    "SLICE.C2": lambda: use("SLICE", input=ramp(2), begin=ints(1), size=ints(2)),
    "STRIDED_SLICE.C1": lambda: strided(ramp(2, 2), ints(0, 0), ints(1, 1), ints(1)),
    "STRIDED_SLICE.C2": lambda: strided(ramp(2), ints(0), ints(1), ints(0)),
    "STRIDED_SLICE.C3": lambda: strided(ramp(3), ints(-1), ints(0), ints(1), shrink=1),
    "GATHER.C1": lambda: use("GATHER", input=ramp(2), axis=1, indices=ints(0)),
    "GATHER.C2": lambda: use("GATHER", input=ramp(2), axis=0, indices=ints(2)),
}

ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "concat_ranks": ("CONCATENATION.C2", lambda: use("CONCATENATION", inputs=[ramp(2), ramp(2, 1)], axis=0)),
    "concat_rank_5": ("CONCATENATION.RANK", lambda: use("CONCATENATION", inputs=[ramp(*[1] * 5)], axis=0)),
    "concat_second_rank_5": (
        "CONCATENATION.RANK",
        lambda: use("CONCATENATION", inputs=[ramp(1), ramp(*[1] * 5)], axis=0),
    ),
    "slice_before": ("SLICE.C2", lambda: use("SLICE", input=ramp(2), begin=ints(-1), size=ints(1))),
    "slice_size": ("SLICE.C2", lambda: use("SLICE", input=ramp(2), begin=ints(0), size=ints(-2))),
    "slice_begin_after_end": ("SLICE.C2", lambda: use("SLICE", input=ramp(2), begin=ints(3), size=ints(-1))),
    "shrunk_backwards": ("STRIDED_SLICE.C3", lambda: strided(ramp(3), ints(1), ints(0), ints(-1), shrink=1)),
    "shrunk_two": ("STRIDED_SLICE.C3", lambda: strided(ramp(3), ints(0), ints(2), ints(1), shrink=1)),
    "gather_negative": ("GATHER.C2", lambda: use("GATHER", input=ramp(2), axis=0, indices=ints(-1))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("row", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(row: str) -> None:
    rule, make = ALSO_BROKEN[row]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


def test_concatenation_refuses_inputs_of_two_types() -> None:
    with pytest.raises(InvalidModel, match=r"CONCATENATION\.FORM.*TENSOR_FLOAT16, expected TENSOR_FLOAT32"):
        use("CONCATENATION", inputs=[ramp(2), np.zeros(2, np.float16)], axis=0)


def test_gather_stops_at_an_index_it_only_sees_at_execution() -> None:
    with pytest.raises(SimulationError, match=r"index 2 is not in \[0, 1\]"):
        run("GATHER", input=ramp(2), axis=0, indices=ints(0, 2))


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "concat": (lambda: use("CONCATENATION", inputs=[ramp(1)], axis=0), 1),
    "concat_same_scales": (lambda: use("CONCATENATION", inputs=[codes([1], 0.5, 1)], axis=0), 1),
    "concat_other_scale": (
        lambda: use("CONCATENATION", inputs=[codes([1], 0.5, 1)], axis=0, quant=Quant(1.0, 1)),
        3,
    ),
    "concat_other_zero_point": (
        lambda: use("CONCATENATION", inputs=[codes([1], 0.5, 1)], axis=0, quant=Quant(0.5, 2)),
        3,
    ),
    "concat_signed": (lambda: use("CONCATENATION", inputs=[codes([1], 0.5, 1, np.int8)], axis=0), 4),
    "strided": (lambda: strided(ramp(1), ints(0), ints(1), ints(1)), 2),
    "split": (lambda: use("SPLIT", input=ints(1, 2), axis=0, num_splits=1), 3),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


indices = st.integers(-7, 7)


@given(st.integers(1, 5), indices, indices, indices.filter(bool), st.booleans(), st.booleans())
def test_strided_slice_is_pythons_slice(
    size: int, begin: int, end: int, stride: int, begin_masked: bool, end_masked: bool
) -> None:
    call = strided(ramp(size), ints(begin), ints(end), ints(stride), int(begin_masked), int(end_masked))
    wanted = slice(None if begin_masked else begin, None if end_masked else end, stride)
    assert run(call).tolist() == ramp(size)[wanted].tolist()


SCALES = st.sampled_from([0.5, 0.25, 1.0, 2.0, 0.1, 0.3, 0.007])
CODES = st.lists(st.integers(0, 255), min_size=1, max_size=8)


@given(CODES, SCALES, st.integers(0, 255), SCALES, st.integers(0, 255))
def test_requantized_codes_stay_within_half_a_step(
    values: list[int], scale: float, zero_point: int, scale_out: float, zero_point_out: int
) -> None:
    out = run(
        "CONCATENATION",
        inputs=[codes(values, scale, zero_point)],
        axis=0,
        quant=Quant(scale_out, zero_point_out),
    )
    real = np.float64(np.float32(scale)) * (np.array(values) - zero_point)
    exact = real / np.float64(np.float32(scale_out)) + zero_point_out
    # Half a step, and what three float32 operations on numbers below 255 scale / scale_out can add.
    slack = 0.5 + 4 * np.finfo(np.float32).eps * 255 * scale / scale_out
    assert np.all(np.abs(out - np.clip(exact, 0, 255)) <= slack)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 1))
def test_split_undoes_concatenation(widths: list[int], axis: int) -> None:
    parts = [ramp(2, 2) + 10 * index for index in range(len(widths))]
    joined = run("CONCATENATION", inputs=parts, axis=axis)
    again = run("SPLIT", input=joined, axis=axis, num_splits=len(parts))
    for part, held in zip(again, parts, strict=True):
        assert np.array_equal(part, held)
