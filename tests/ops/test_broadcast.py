"""How operands of different shapes meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.ir.operand_types import Dim, Shape
from nnapi_lab.ops.broadcast import broadcast_seen, broadcast_shape

N, M, LOAD = Dim("n"), Dim("m"), Dim("h", "load")

SHAPES: dict[str, tuple[Shape | None, Shape | None, Shape | None]] = {
    "equal": ((2, 3), (2, 3), (2, 3)),
    "one_stretches": ((2, 1), (1, 3), (2, 3)),
    "missing_axes_are_one": ((3,), (4, 2, 3), (4, 2, 3)),
    "one_stretches_to_nothing": ((1,), (0,), (0,)),
    "unknown_beside_one": ((N, 1), (1, 3), (N, 3)),
    "unknown_beside_five_is_five": ((N,), (5,), (5,)),
    "five_beside_unknown_is_five": ((5,), (N,), (5,)),
    "the_same_unknown": ((N, 2), (N, 1), (N, 2)),
    "two_unknowns": ((N,), (M,), (Dim("?"),)),
    "known_when_loaded": ((LOAD,), (Dim("w", "load"),), (Dim("?", "load"),)),
    "unknown_rank": (None, (2,), None),
}


@pytest.mark.parametrize("row", SHAPES)
def test_shapes(row: str) -> None:
    left, right, expected = SHAPES[row]
    assert broadcast_shape(left, right) == expected
    assert broadcast_seen(left, right, ("a", "b")) is None


def test_what_differs_is_told_with_axis_and_sizes() -> None:
    seen = broadcast_seen((2, 3), (5, 2, 4), ("base", "exponent"))
    assert seen == "base [2,3] and exponent [5,2,4] differ at axis -1 from the end (3 and 4), and neither is 1"


@pytest.mark.parametrize("sizes", [((0,), (2,)), ((2,), (0,)), ((3, 1), (2, 1))])
def test_sizes_that_do_not_fit(sizes: tuple[Shape, Shape]) -> None:
    assert broadcast_seen(*sizes, ("a", "b")) is not None


shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(shapes, shapes)
def test_known_shapes_broadcast_as_in_numpy(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    try:
        expected = np.broadcast_shapes(left, right)
    except ValueError:
        assert broadcast_seen(left, right, ("a", "b")) is not None
        return
    assert broadcast_shape(left, right) == expected
    assert broadcast_seen(left, right, ("a", "b")) is None
