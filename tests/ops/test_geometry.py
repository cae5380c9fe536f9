"""Windows over feature maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.ir.operand_types import Dim
from nnapi_lab.ops.geometry import (
    SAME,
    VALID,
    Window,
    effective_filter,
    implicit_out_size,
    implicit_pads,
    out_size,
)

# size, window, stride, padding → size of the result, (before, after)
IMPLICIT = {
    "valid": ((5, 3, 1, VALID), 3, (0, 0)),
    "valid_drops_the_rest": ((6, 3, 2, VALID), 2, (0, 0)),
    "same_odd": ((5, 3, 1, SAME), 5, (1, 1)),
    "same_even_pads_the_tail": ((6, 3, 2, SAME), 3, (0, 1)),
    "same_even_window": ((5, 2, 1, SAME), 5, (0, 1)),
    "same_stride_above_window": ((5, 1, 3, SAME), 2, (0, 0)),
    "too_small": ((2, 3, 1, VALID), 0, (0, 0)),
}


@pytest.mark.parametrize("name", IMPLICIT)
def test_implicit_padding(name: str) -> None:
    arguments, size, pads = IMPLICIT[name]
    assert implicit_out_size(*arguments) == size
    assert implicit_pads(*arguments) == pads


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 6), st.sampled_from([SAME, VALID]))
def test_implicit_padding_is_explicit_padding(size: int, window: int, stride: int, padding: int) -> None:
    before, after = implicit_pads(size, window, stride, padding)
    assert out_size(size, window, stride, before, after) == implicit_out_size(size, window, stride, padding)
    assert 0 <= before <= after <= before + 1
    assert after < window


def test_what_is_unknown_stays_unknown() -> None:
    unknown = [
        out_size(Dim("n"), 3, 1, 0, 0),
        out_size(5, Dim("k"), 1, 0, 0),
        out_size(5, 3, None, 0, 0),
        out_size(5, 3, 0, 0, 0),  # refused elsewhere; no division by zero here
        out_size(5, 3, 1, None, 0),
        implicit_out_size(5, 3, 1, None),
        implicit_out_size(5, 3, 0, SAME),
        implicit_out_size(Dim("n"), 3, 1, SAME),
        effective_filter(3, None),
        effective_filter(Dim("k"), 1),
    ]
    assert all(isinstance(size, Dim) for size in unknown)


def test_taps_see_the_padded_image() -> None:
    x = np.arange(1, 7, dtype=np.int32).reshape(1, 2, 3, 1)
    window = Window(2, 2, stride_h=1, stride_w=2, pad_top=1, pad_left=1, dilation_w=2)
    seen = {(i, j): tap[0, :, :, 0].tolist() for i, j, tap in window.taps(x, fill=-1)}
    # padded: -1 -1 -1 -1 / -1 1 2 3 / -1 4 5 6; columns 0 and 2 (one position: 4 - 3 + 1 = 2 wide, stride 2)
    assert seen == {
        (0, 0): [[-1], [-1]],
        (0, 1): [[-1], [2]],
        (1, 0): [[-1], [-1]],
        (1, 1): [[2], [5]],
    }
