"""DENSIFY writes sparse tensors out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.densify import EXPERIMENTAL
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

DENSE, COMPRESSED = 0, 1


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def sparse(data: Any, order: Any, formats: list[int], sizes: list[int], levels: list[Any], blocks: Any = None) -> Call:
    metadata = [one for pair in levels for one in pair]
    return use(
        "DENSIFY", data=data, traversal_order=order, block_map=blocks, dim_format=ints(*formats),
        dimensions=ints(*sizes), segments_and_indices=metadata,
    )  # fmt: skip


NOTHING = (None, None)
ROWS = (ints(0, 2, 2, 3), ints(1, 3, 0))  # row 0: columns 1 and 3, row 1: none, row 2: column 0
DATA = np.array([1, 2, 3], np.float32)


def test_compressed_rows() -> None:
    out = run(sparse(DATA, ints(0, 1), [DENSE, COMPRESSED], [3, 4], [NOTHING, ROWS]))
    assert out.tolist() == [[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0]]


def test_compressed_columns_by_traversing_them_first() -> None:
    out = run(sparse(DATA, ints(1, 0), [DENSE, COMPRESSED], [3, 4], [NOTHING, ROWS]))
    assert out.tolist() == [[0, 0, 3], [1, 0, 0], [0, 0, 0], [2, 0, 0]]


def test_blocks_of_two_rows() -> None:
    """4 × 2 in blocks of 2 × 1: the second block row, its first column."""
    call = sparse(
        np.array([5, 6], np.float32), ints(0, 1, 2), [COMPRESSED, COMPRESSED, DENSE], [2, 2, 2],
        [(ints(0, 1), ints(1)), (ints(0, 1), ints(0)), NOTHING], ints(0),
    )  # fmt: skip
    assert call.out.shape == (4, 2)
    assert run(call).tolist() == [[0, 0], [0, 0], [5, 0], [6, 0]]


def test_what_is_missing_is_the_code_of_zero() -> None:
    data = (np.array([1], np.uint8), Quant(0.5, 7))
    out = run(sparse(data, ints(0), [COMPRESSED], [3], [(ints(0, 1), ints(1))]))
    assert out.tolist() == [7, 1, 7]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_what_was_compressed_comes_back(mask: list[list[bool]]) -> None:
    held = np.array(mask)
    full = np.where(held, np.arange(1, held.size + 1).reshape(held.shape), 0).astype(np.int32)
    segments = np.concatenate([[0], np.cumsum(held.sum(axis=1))]).astype(np.int32)
    rows = (segments, np.nonzero(held)[1].astype(np.int32))
    call = sparse(full[held], ints(0, 1), [DENSE, COMPRESSED], list(held.shape), [NOTHING, rows])
    assert np.array_equal(run(call), full)


def test_result_shapes() -> None:
    unknown = OperandType(OperandCode.TENSOR_INT32, (2,))
    call = sparse(DATA, unknown, [DENSE, COMPRESSED], [3, 4], [NOTHING, ROWS])
    assert call.out.shape == (Dim("?"), Dim("?"))
    assert required_level(call)[0] == EXPERIMENTAL


BROKEN: dict[str, Callable[[], Call]] = {
    "DENSIFY.C1": lambda: sparse(DATA, ints(0, 1), [DENSE, COMPRESSED], [3, 4], [NOTHING]),
    "DENSIFY.C2": lambda: sparse(DATA, ints(0, 0), [DENSE, COMPRESSED], [3, 4], [NOTHING, ROWS]),
    "DENSIFY.C3": lambda: sparse(DATA, ints(0, 1), [DENSE, 2], [3, 4], [NOTHING, ROWS]),
    "DENSIFY.C4": lambda: sparse(
        DATA, ints(0, 1), [DENSE, COMPRESSED], [3, 4], [NOTHING, (ints(0, 2, 1, 3), ints(1, 3, 0))]
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]
