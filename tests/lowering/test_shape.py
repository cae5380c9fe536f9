"""Shapes on values stored plainly and channels last: the same elements, wherever they lie (A1, A7; defects B1–B6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.lowering.against_torch import FLOAT_TOLERANCE, Written, kinds_of, lowered_in, refusals, same_numbers

X = (2, 4, 6, 8)
ROWS: dict[str, Callable[[Tensor], Any]] = {
    "flatten": lambda x: x.flatten(1),
    "flatten_all": lambda x: x.flatten(),
    "flatten_map": lambda x: x.flatten(2, 3),
    "flatten_batch": lambda x: x.flatten(0, 1),
    "one_row": lambda x: x.reshape(1, -1),
    "sizes": lambda x: x.reshape(x.size(0), x.size(1), -1),
    "unflatten": lambda x: x.flatten(1).unflatten(1, (4, 48)),
    "unsqueeze": lambda x: x[0].unsqueeze(0),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "squeeze_nothing": lambda x: x.squeeze(1) + 1.0,
    "squeeze_all": lambda x: x[:1, :1].squeeze(),
    "to_channels_last": lambda x: x.permute(0, 2, 3, 1),
    "from_channels_last": lambda x: x.permute(0, 3, 1, 2),
    "permute_negative": lambda x: x.permute(0, -1, 1, -2),
    "permute_relu": lambda x: F.relu(x.permute(0, 2, 3, 1)),
    "permute_add": lambda x: x.permute(0, 1, 3, 2) + 1.0,
    "permute_both": lambda x: x.permute(0, 2, 3, 1) + x.permute(0, 2, 3, 1),
    "permute_one_of_two": lambda x: x[:, :, :4, :4] + x[:, :, :4, :4].permute(0, 2, 3, 1),
    "permute_flatten": lambda x: x.permute(0, 2, 3, 1).flatten(1),
    "permute_reshape": lambda x: x.permute(0, 2, 3, 1).reshape(2, -1, 4),
    "permute_and_back": lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    "permute_softmax": lambda x: x.permute(0, 2, 3, 1).softmax(-1),
    "permute_mean": lambda x: x.permute(0, 2, 3, 1).mean(1),
    "permute_slice": lambda x: x.permute(0, 2, 3, 1)[:, 1:3],
    "permute_cat": lambda x: torch.cat([x.permute(0, 1, 3, 2), x.permute(0, 1, 3, 2)], 1),
    "permute_broadcast": lambda x: x.permute(0, 2, 3, 1) + torch.arange(4.0),
    "view_permute": lambda x: x.reshape(2, 4, 48).permute(0, 2, 1),
    "view_transpose_view": lambda x: x.reshape(2, 4, 48).transpose(1, 2).reshape(2, 48, 2, 2),
    "transpose": lambda x: x.transpose(1, -1),
    "t": lambda x: x[0, 0].t(),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad_channels": lambda x: F.pad(x, (1, 2, 0, 1, 1, 0)),
    "pad_every_dimension": lambda x: F.pad(x, (1, 2, 0, 1, 1, 0, 0, 1)),
    "pad_number": lambda x: F.pad(x, (1, 2), value=1.5),
    "slice_channels": lambda x: x[:, 1:3],
    "slice_step": lambda x: x[:, :, ::2],
    "slice_odd_step": lambda x: x[:, :, 0:5:2],
    "slice_beyond": lambda x: x[:, 0:99] + 1.0,
    "slice_far_below": lambda x: x[:, :, -99:3],
    "slice_negative_dimension": lambda x: x[..., 1:3],
    "slice_from_the_end": lambda x: x[:, :, -2:],
    "slice_everything": lambda x: x[:, :],
    "slice_several": lambda x: x[1:, 2:3, ::3, :-1],
    "select_channel": lambda x: x[:, 1],
    "select_image": lambda x: x[0],
    "select_last": lambda x: x[..., -1],
    "select_element": lambda x: x[0, 1, 2, 3],
    "chunk": lambda x: x.chunk(2, 1),
    "chunk_uneven": lambda x: x.chunk(4, 2)[2] * 2.0,
    "split": lambda x: torch.split(x, [1, 3], 1),
    "unbind": lambda x: x.unbind(1)[2],
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("behind", ["input", "convolution"])
def test_row(name: str, behind: str) -> None:
    before = nn.Conv2d(4, 4, 3, padding=1) if behind == "convolution" else nn.Identity()
    same_numbers(Written(lambda module, x: ROWS[name](module(x)), before), (torch.randn(X),))


def test_channels_last_user_pays_nothing() -> None:
    """A model that takes NHWC images and permutes them first: no TRANSPOSE is left."""
    module = Written(lambda conv, x: conv(x.permute(0, 3, 1, 2)), nn.Conv2d(4, 4, 3))
    assert kinds_of(same_numbers(module, (torch.randn(2, 6, 8, 4),))) == ["CONV_2D"]


def test_memory_format_of_the_input_does_not_matter() -> None:
    x = torch.randn(X).to(memory_format=torch.channels_last)
    same_numbers(Written(lambda conv, x: conv(x).flatten(1), nn.Conv2d(4, 4, 3)), (x,))
    same_numbers(Written(lambda x: x.relu()), (torch.randn(4, 3).t(),))


def test_inputs_of_any_rank_up_to_4() -> None:
    for rank in range(5):
        same_numbers(Written(lambda x: x + 1.0), (torch.randn((2, 3, 4, 5)[:rank]),))


def test_mirrored_padding_is_never_zero_padding() -> None:
    """Reflection is refused, or right."""
    module = Written(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"))
    if not refusals(module, (torch.randn(X),)):
        same_numbers(module, (torch.randn(X),))


@settings(max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 4), order=st.permutations(range(4)), parts=st.integers(1, 4),
    layout=st.sampled_from(["auto", "nhwc", "nchw"]), data=st.data(),
)  # fmt: skip
def test_permute_then_reshape(shape, order, parts, layout, data) -> None:
    """Any order followed by any shape of as many elements, from a channels-last value."""
    elements = shape[0] * shape[1] * shape[2] * shape[3]
    target = []
    for _ in range(parts - 1):
        target.append(data.draw(st.sampled_from([n for n in range(1, elements + 1) if elements % n == 0])))
        elements //= target[-1]
    target.append(elements)
    conv = nn.Conv2d(shape[1], shape[1], 1)
    module = Written(lambda conv, x: conv(x).permute(order).reshape(target) * 2.0, conv).eval()
    _, diff = lowered_in(module, (torch.randn(shape),), layout)
    assert all(row.relative <= FLOAT_TOLERANCE for row in diff.rows)


@settings(max_examples=30)
@given(
    dim=st.integers(-4, 3), start=st.integers(-9, 9), end=st.integers(-9, 9), step=st.integers(1, 3),
    behind=st.booleans(),
)  # fmt: skip
def test_any_slice(dim: int, start: int, end: int, step: int, behind: bool) -> None:
    x = torch.randn(2, 3, 4, 5)
    index = tuple(slice(start, end, step) if d == dim % 4 else slice(None) for d in range(4))
    if x[index].numel() == 0:
        return
    conv = nn.Conv2d(3, 3, 1) if behind else nn.Identity()
    _, diff = lowered_in(Written(lambda conv, x: conv(x)[index] * 2.0, conv).eval(), (x,), "auto")
    assert all(row.relative <= FLOAT_TOLERANCE for row in diff.rows)
