"""A Placement reads back what it stored, whatever the order, shape and sign of the stored elements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.rewrites.placement import Layout, Placement


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
    lambda dims: st.tuples(st.just(tuple(dims)), st.permutations(range(len(dims))))))  # fmt: skip
def test_read_undoes_store(case: tuple[tuple[int, ...], list[int]]) -> None:
    dims, perm = case
    layout = Layout(dims, tuple(perm))
    logical = np.arange(int(np.prod(dims, dtype=int))).reshape(dims)
    stored = layout.store(logical)
    assert stored.shape == layout.stored_dims
    assert np.array_equal(layout.read(stored.reshape(-1), dims), logical)
    # Storage order is logical order exactly when the layout says it is.
    assert layout.is_plain == np.array_equal(stored.reshape(-1), logical.reshape(-1))


def test_nhwc_by_hand() -> None:
    """operand[n,h,w,c] = value[n,c,h,w]: the formula of layout.nchw_to_nhwc."""
    value = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    stored = Layout.nhwc(value.shape).store(value)
    assert stored.shape == (2, 4, 5, 3)
    assert stored[1, 2, 3, 1] == value[1, 1, 2, 3]


def test_flattened_nhwc_by_hand() -> None:
    """operand[n, (h·W + w)·C + c] = value[n, (c·H + h)·W + w]: the formula of layout.flatten_nhwc."""
    layout = Layout((2, 3, 4, 5), (0, 2, 3, 1))
    flat = np.arange(120).reshape(2, 60)
    placement = Placement("%f", "f", (2, 60), layout)
    stored = placement.store(flat, (2, 60))
    assert stored.shape == (2, 60)
    assert stored[1, (2 * 5 + 3) * 3 + 1] == flat[1, (1 * 4 + 2) * 5 + 3]
    assert np.array_equal(placement.read(stored), flat)


def test_signed_codes_are_shifted() -> None:
    placement = Placement("%q", "q", (3,), Layout.plain((3,)), code_shift=-128)
    codes = np.array([-128, 0, 127], np.int8)
    assert placement.store(codes, (3,)).tolist() == [0, 128, 255]
    assert placement.read(np.array([0, 128, 255], np.uint8)).tolist() == codes.tolist()


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (Layout.plain((1, 2, 3, 4)), "NCHW"),
        (Layout.nhwc((1, 2, 3, 4)), "NHWC"),
        (Layout.plain((2, 3)), "plain"),
        (Layout((2, 3, 4), (0, 2, 1)), "perm021"),
    ],
)
def test_name(layout: Layout, name: str) -> None:
    assert layout.name == name
