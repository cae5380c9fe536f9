"""Operations that give the same elements another shape."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.model import Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8 = OperandCode.TENSOR_QUANT8_ASYMM


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def ramp(*shape: int) -> np.ndarray:
    """0, 1, 2, … as float32 of a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def f32(*shape: int | Dim) -> OperandType:
    return OperandType(F32, shape)


RANKLESS = OperandType(F32, None)
N = Dim("n")

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "reshape": (lambda: run("RESHAPE", input=ramp(2, 3), shape=ints(3, 2)), [[0, 1], [2, 3], [4, 5]]),
    "reshape_rest": (lambda: run("RESHAPE", input=ramp(2, 2), shape=ints(1, -1)), [[0, 1, 2, 3]]),
    "squeeze_all": (lambda: run("SQUEEZE", input=ramp(1, 2, 1), dims=None), [0, 1]),
    "squeeze_one": (lambda: run("SQUEEZE", input=ramp(1, 2, 1), dims=ints(2)), [[0, 1]]),
    "squeeze_from_end": (lambda: run("SQUEEZE", input=ramp(1, 2, 1), dims=ints(-1, 2)), [[0, 1]]),
    "squeeze_to_nothing": (lambda: run("SQUEEZE", input=ramp(1, 1), dims=ints(0, 1)), [0]),
    "expand_first": (lambda: run("EXPAND_DIMS", input=ramp(2), axis=0), [[0, 1]]),
    "expand_last": (lambda: run("EXPAND_DIMS", input=ramp(2), axis=-1), [[0], [1]]),
    "transpose": (
        lambda: run("TRANSPOSE", input=ramp(1, 2, 3), perm=ints(2, 0, 1)),
        [[[0, 3]], [[1, 4]], [[2, 5]]],
    ),
    "transpose_matrix": (lambda: run("TRANSPOSE", input=ramp(2, 3), perm=None), [[0, 3], [1, 4], [2, 5]]),
    "tile": (lambda: run("TILE", input=ramp(1, 2), multiples=ints(2, 2)), [[0, 1, 0, 1], [0, 1, 0, 1]]),
    "tile_to_nothing": (lambda: run("TILE", input=ramp(2), multiples=ints(0)), []),
    "reverse": (lambda: run("REVERSE", input=ramp(2, 2), axis=ints(1)), [[1, 0], [3, 2]]),
    "pack_first": (lambda: run("PACK", axis=0, inputs=[ramp(2), ramp(2) + 5]), [[0, 1], [5, 6]]),
    "pack_last": (lambda: run("PACK", axis=1, inputs=[ramp(2), ramp(2) + 5]), [[0, 5], [1, 6]]),
    "fill_float": (lambda: run("FILL", dims=ints(1, 2), value=0.5), [[0.5, 0.5]]),
    "fill_int": (
        lambda: run("FILL", dims=ints(2), value=Scalar(OperandCode.INT32, -(2**31))),
        [-(2**31), -(2**31)],
    ),
    "fill_half": (
        lambda: run("FILL", dims=ints(1), value=Scalar(OperandCode.FLOAT16, 0.1)),
        [0.0999755859375],
    ),
    "rank": (lambda: run("RANK", input=ramp(2, 1, 1)), 3),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(row: str) -> None:
    make, expected = VALUES[row]
    out = make()
    assert out.tolist() == expected


def test_an_int32_survives_fill_exactly() -> None:
    """The value does not pass through a float: 2^24 + 1 has no float32."""
    out = run("FILL", dims=ints(1), value=Scalar(OperandCode.INT32, 2**24 + 1))
    assert out.dtype == np.int32
    assert out[0] == 2**24 + 1


SHAPES: dict[str, tuple[Callable[[], Call], tuple[Any, ...] | None]] = {
    "reshape_unknown_input": (lambda: use("RESHAPE", input=f32(N, 2), shape=ints(4, -1)), (4, Dim("?"))),
    "reshape_unknown_shape": (
        lambda: use("RESHAPE", input=f32(4), shape=OperandType(I32, (2,))),
        (Dim("?"), Dim("?")),
    ),
    "reshape_nothing_known": (lambda: use("RESHAPE", input=RANKLESS, shape=OperandType(I32, (N,))), None),
    "reshape_load": (
        lambda: use("RESHAPE", input=f32(Dim("n", "load"), 2), shape=ints(-1)),
        (Dim("?", "load"),),
    ),
    "squeeze_maybe_one": (lambda: use("SQUEEZE", input=f32(N, 1), dims=None), None),
    "squeeze_said": (lambda: use("SQUEEZE", input=f32(N, 1), dims=ints(1)), (N,)),
    "squeeze_trusted": (lambda: use("SQUEEZE", input=f32(N, 3), dims=ints(0)), (3,)),
    "expand_unknown_axis": (
        lambda: use("EXPAND_DIMS", input=f32(2), axis=OperandType(OperandCode.INT32)),
        (Dim("?"), Dim("?")),
    ),
    "transpose_unknown": (lambda: use("TRANSPOSE", input=f32(N, 3), perm=ints(1, 0)), (3, N)),
    "transpose_unknown_perm": (
        lambda: use("TRANSPOSE", input=f32(2, 3), perm=OperandType(I32, (2,))),
        (Dim("?"), Dim("?")),
    ),
    "tile_unknown": (lambda: use("TILE", input=f32(N, 3), multiples=ints(1, 2)), (N, 6)),
    "tile_of_unknown_rank": (
        lambda: use("TILE", input=RANKLESS, multiples=ints(1, 2)),
        (Dim("?"), Dim("?")),
    ),
    "pack_unknown": (lambda: use("PACK", axis=1, inputs=[f32(N), f32(2)]), (N, 2)),
    "fill_unknown": (lambda: use("FILL", dims=OperandType(I32, (2,)), value=1.0), (Dim("?"), Dim("?"))),
    "rank_is_a_scalar": (lambda: use("RANK", input=RANKLESS), ()),
}


@pytest.mark.parametrize("row", SHAPES)
def test_result_shapes(row: str) -> None:
    make, expected = SHAPES[row]
    call = make()
    assert call.out.shape == expected
    assert broken_rules(call, "here") == []


BROKEN: dict[str, Callable[[], Call]] = {
    "RESHAPE.C1": lambda: use("RESHAPE", input=f32(N), shape=ints(-1, -1)),
    "RESHAPE.C2": lambda: use("RESHAPE", input=ramp(2, 3), shape=ints(4, -1)),
    "SQUEEZE.C1": lambda: use("SQUEEZE", input=ramp(1, 2), dims=ints(2)),
    "SQUEEZE.C2": lambda: use("SQUEEZE", input=ramp(1, 2), dims=ints(1)),
    "EXPAND_DIMS.C1": lambda: use("EXPAND_DIMS", input=ramp(2), axis=2),
    "TRANSPOSE.C1": lambda: use("TRANSPOSE", input=ramp(1, 2, 3), perm=None),
    "TRANSPOSE.C2": lambda: use("TRANSPOSE", input=ramp(1, 2), perm=ints(0, 0)),
    "TILE.C1": lambda: use("TILE", input=ramp(1, 2), multiples=ints(2)),
    "TILE.C2": lambda: use("TILE", input=ramp(1, 2), multiples=ints(1, -1)),
    "REVERSE.C1": lambda: use("REVERSE", input=ramp(1, 2), axis=ints(0, 1)),
    "REVERSE.C2": lambda: use("REVERSE", input=ramp(1, 2), axis=ints(-1)),
    "PACK.C1": lambda: use("PACK", axis=-1, inputs=[ramp(2)]),
    "PACK.C2": lambda: use("PACK", axis=0, inputs=[ramp(2), ramp(3)]),
    "PACK.C3": lambda: use("PACK", axis=0, inputs=[q8(0.5, 0), q8(0.5, 1)]),
    "FILL.C1": lambda: use("FILL", dims=ints(-1), value=1.0),
}

ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "reshape_negative": ("RESHAPE.C1", lambda: use("RESHAPE", input=ramp(6), shape=ints(-2, -3))),
    "reshape_count": ("RESHAPE.C2", lambda: use("RESHAPE", input=ramp(6), shape=ints(5))),
    "reshape_to_zero": ("RESHAPE.C2", lambda: use("RESHAPE", input=ramp(6), shape=ints(0, -1))),
    "reshape_rank": ("RESHAPE.RANK", lambda: use("RESHAPE", input=ramp(1, 1, 1, 1, 1), shape=ints(1))),
    "transpose_short": ("TRANSPOSE.C1", lambda: use("TRANSPOSE", input=ramp(1, 2), perm=ints(0))),
    "transpose_negative": ("TRANSPOSE.C2", lambda: use("TRANSPOSE", input=ramp(1, 2), perm=ints(0, -1))),
    "pack_ranks": ("PACK.C2", lambda: use("PACK", axis=0, inputs=[ramp(2), ramp(2, 1)])),
    "reverse_rank": ("REVERSE.RANK", lambda: use("REVERSE", input=ramp(*[1] * 9), axis=ints(0))),
}


def q8(scale: float, zero_point: int) -> OperandType:
    return OperandType(Q8, (2,), Quant(scale, zero_point))


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("row", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(row: str) -> None:
    rule, make = ALSO_BROKEN[row]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


def test_fill_refuses_a_value_type_without_a_tensor() -> None:
    with pytest.raises(InvalidModel, match=r"FILL\.FORM.*BOOL"):
        use("FILL", dims=ints(1), value=OperandType(OperandCode.BOOL))


def test_codes_keep_their_quantization() -> None:
    held = OperandType(Q8, (1, 2), Quant(0.5, 3))
    for call in (
        use("RESHAPE", input=held, shape=ints(2)),
        use("SQUEEZE", input=held, dims=None),
        use("EXPAND_DIMS", input=held, axis=0),
        use("TRANSPOSE", input=held, perm=None),
        use("TILE", input=held, multiples=ints(1, 1)),
        use("REVERSE", input=held, axis=ints(0)),
        use("PACK", axis=0, inputs=[held, held]),
    ):
        assert call.out.quant == Quant(0.5, 3), call.spec.kind


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "reshape": (lambda: use("RESHAPE", input=ramp(2), shape=ints(2)), 1),
    "reshape_int32": (lambda: use("RESHAPE", input=ints(1, 2), shape=ints(2)), 6),
    "transpose": (lambda: use("TRANSPOSE", input=ramp(1, 2), perm=None), 2),
    "squeeze_half": (lambda: use("SQUEEZE", input=np.zeros((1, 2), np.float16), dims=None), 3),
    "tile_signed": (
        lambda: use("TILE", input=(np.zeros(2, np.int8), Quant(1.0)), multiples=ints(1)),
        4,
    ),
    "fill": (lambda: use("FILL", dims=ints(1), value=1.0), 4),
    "pack": (lambda: use("PACK", axis=0, inputs=[ramp(1)]), 6),
    "reverse": (lambda: use("REVERSE", input=ramp(1), axis=ints(0)), 7),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


@given(st.permutations(range(4)))
def test_a_transpose_is_undone_by_the_inverse_permutation(perm: list[int]) -> None:
    x = ramp(2, 3, 4, 5)
    there = run("TRANSPOSE", input=x, perm=ints(*perm))
    back = run("TRANSPOSE", input=there, perm=ints(*np.argsort(perm)))
    assert np.array_equal(back, x)


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
def test_transpose_moves_each_element_where_perm_says(perm: tuple[int, ...]) -> None:
    x = ramp(2, 3, 4)
    out = run("TRANSPOSE", input=x, perm=ints(*perm))
    for index in np.ndindex(*out.shape):
        source = [0, 0, 0]
        for place, axis in enumerate(perm):
            source[axis] = index[place]
        assert out[index] == x[tuple(source)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.data())
def test_tile_repeats_by_remainder(multiples: list[int], data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=len(multiples), max_size=len(multiples)))
    x = ramp(*shape)
    out = run("TILE", input=x, multiples=ints(*multiples))
    assert out.shape == tuple(size * n for size, n in zip(shape, multiples, strict=True))
    for index in np.ndindex(*out.shape):
        assert out[index] == x[tuple(at % size for at, size in zip(index, shape, strict=True))]
