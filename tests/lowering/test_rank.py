"""Values of rank above 4: held folded, moved by TRANSPOSEs of rank 4, and equal to PyTorch all the same."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnapi_lab.rewrites.placement import folded
from nnapi_lab.torchscript.lowerings.shape import factors
from nnapi_lab.torchscript.permuting import moves
from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers


def shuffled(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Channel shuffle as ShuffleNet writes it."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def windows(x: torch.Tensor, size: int) -> torch.Tensor:
    """Window partition as Swin writes it."""
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, c)


def unwindowed(x: torch.Tensor, size: int, shape: tuple[int, ...]) -> torch.Tensor:
    b, h, w, c = shape
    x = x.view(b, h // size, w // size, size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)


def three(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """ViT's q, k and v in one linear layer."""
    b, n, c = x.shape
    return linear(x).reshape(b, n, 3, 2, c // 6).permute(2, 0, 3, 1, 4)


def pixels(x: torch.Tensor, r: int) -> torch.Tensor:
    """Pixel shuffle written by hand."""
    n, c, h, w = x.shape
    return x.view(n, c // r // r, r, r, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // r // r, h * r, w * r)


def q_k_v(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
    q, k, v = three(linear, x).unbind(0)
    return (q * k + v).transpose(1, 2).reshape(2, 5, 4)


def q_k_v_selected(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
    t = three(linear, x)
    return (t[0] * t[1] + t[2]).transpose(1, 2).reshape(2, 5, 4)


def masked(x: torch.Tensor) -> torch.Tensor:
    """The mask of shifted windows: [B, windows, heads, T, T] + [1, windows, 1, T, T]."""
    mask = torch.arange(12.0).view(3, 1, 2, 2)
    return (x.view(2, 3, 5, 2, 2) + mask.unsqueeze(0)).view(6, 5, 2, 2)


MAP, CONV = (2, 4, 6, 8), lambda: (nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 3, 1))
# name → modules, formula, input shape, TRANSPOSEs inside with the layout that suits the input
IDIOMS: dict[str, tuple[tuple[nn.Module, ...], Any, tuple[int, ...], int]] = {
    "channel shuffle": (CONV(), lambda a, b, x: b(shuffled(a(x), 2)), MAP, 0),
    "channel shuffle, 4 groups": (CONV(), lambda a, b, x: b(shuffled(a(x), 4)), MAP, 0),
    "q k v": ((nn.Linear(12, 12),), q_k_v, (2, 5, 12), 1),
    "q k v selected": ((nn.Linear(12, 12),), q_k_v_selected, (2, 5, 12), 1),
    "patches": (CONV(), lambda a, b, x: a(x).flatten(2).transpose(1, 2) * 2, MAP, 0),
    "unpatched": ((nn.Conv2d(4, 8, 2, 2),), lambda a, x: a(x.transpose(1, 2).reshape(2, 4, 3, 5)), (2, 15, 4), 0),
    "pixel shuffle by hand": ((nn.Conv2d(4, 8, 1), nn.Conv2d(2, 3, 1)), lambda a, b, x: b(pixels(a(x), 2)), MAP, 2),
    "mask of windows": ((), masked, (6, 5, 2, 2), 2),
}


@pytest.mark.parametrize("name", IDIOMS)
def test_idiom(name: str) -> None:
    modules, formula, shape, most = IDIOMS[name]
    module = Written(formula, *modules)
    same_numbers(module, (torch.randn(shape),))
    layout = "nhwc" if len(shape) == 4 else "auto"
    inside = kinds_of(same_numbers(module, (torch.randn(shape),), (layout,)))
    assert inside.count("TRANSPOSE") <= most, inside


def test_channel_shuffle_is_one_operation() -> None:
    inside = kinds_of(same_numbers(Written(lambda x: shuffled(x, 2)), (torch.randn(MAP),), ("nhwc",)))
    assert inside.count("CHANNEL_SHUFFLE") == 1


def test_windows_are_one_transpose_each_way() -> None:
    def formula(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return unwindowed(linear(windows(x, 2)), 2, tuple(x.shape)) + x

    module = Written(formula, nn.Linear(5, 5))
    same_numbers(module, (torch.randn(2, 4, 6, 5),))
    assert kinds_of(same_numbers(module, (torch.randn(2, 4, 6, 5),), ("nchw",))).count("TRANSPOSE") == 2


ANY_RANK = {
    "softmax": lambda x: x.softmax(2),
    "cat": lambda x: torch.cat([x, x * 2], 3),
    "slice": lambda x: x[:, :, 1:, :, ::2],
    "split": lambda x: x.split(1, 3)[1],
    "uneven split": lambda x: x.split([1, 2], 4)[1],
    "sum": lambda x: x.sum(-1),
    "argmax": lambda x: x.argmax(4),
    "flip": lambda x: x.flip(0, 4),
    "roll": lambda x: torch.roll(x, 1, 4),
    "reversed": lambda x: x.permute(5, 4, 3, 2, 1, 0).reshape(8, -1),
    "jumbled": lambda x: x.permute(5, 1, 4, 0, 3, 2).reshape(8, 2, -1),
    "output": lambda x: x.permute(1, 0, 2, 4, 3, 5) * 2,
    "stack": lambda x: torch.stack([x.flatten(4), x.flatten(4) + 1], 2).flatten(),
}


@pytest.mark.parametrize("name", ANY_RANK)
def test_operations_along_one_dimension_of_rank_6(name: str) -> None:
    same_numbers(Written(lambda x: ANY_RANK[name](x.view(2, 2, 2, 2, 3, 8))), (torch.randn(MAP),))


def test_what_takes_no_folded_operand_is_refused() -> None:
    found = refusals(Written(lambda x: nn.functional.pad(x.view(2, 2, 2, 6, 8), (1, 1))), (torch.randn(MAP),))
    assert rules_of(found) == ["PAD_RANK"]


# --- laws --------------------------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=7).map(tuple)


@given(st.data())
def test_moves_do_what_one_transpose_of_any_rank_does(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    array = np.arange(math.prod(shape)).reshape(shape)
    made = array.reshape(-1)
    for move in moves(shape, order):
        assert len(move.shape) <= 4
        made = made.reshape(move.shape).transpose(move.perm).reshape(-1)
    np.testing.assert_array_equal(made, array.transpose(order).reshape(-1))


@pytest.mark.parametrize(("rank", "most"), [(5, 2), (6, 3)])
def test_how_many_moves_the_worst_permutation_needs(rank: int, most: int) -> None:
    longest = max(len(moves((2,) * rank, order)) for order in itertools.permutations(range(rank)))
    assert longest == most


@given(SHAPES)
def test_folding_keeps_the_elements(shape: tuple[int, ...]) -> None:
    assert len(folded(shape)) <= 4
    assert math.prod(folded(shape)) == math.prod(shape)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_factors_make_up_both_shapes(sizes: list[int], data: st.DataObject) -> None:
    """Any two ways to cut one list of factors into dimensions are brought together again."""

    def cut() -> list[int]:
        places = sorted(data.draw(st.sets(st.integers(1, len(sizes)), max_size=3)) | {len(sizes)})
        return [math.prod(sizes[first:last]) for first, last in itertools.pairwise([0, *places])]

    old, new = cut(), cut()
    found = factors(old, new)
    if found is None:
        return
    pieces, olds, news = found
    for shape, groups in ((old, olds), (new, news)):
        assert [math.prod(pieces[index] for index in group) for group in groups] == shape
        assert sorted(itertools.chain(*groups)) == list(range(len(pieces)))


def test_factors_that_do_not_nest() -> None:
    assert factors([2, 3], [3, 2]) is None


@settings(max_examples=25)
@given(st.data())
def test_random_chains_of_views(data: st.DataObject) -> None:
    """view, permute, view over a channels-last map, as models mix them."""
    order = tuple(data.draw(st.permutations(range(5))))
    target = data.draw(st.sampled_from([(2, -1), (4, -1, 3), (-1,), (2, 3, 2, -1)]))
    split = data.draw(st.sampled_from([(2, 2, 2, 6, 4), (2, 4, 3, 2, 4), (2, 4, 6, 2, 2)]))

    def formula(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return conv(x).view(split).permute(order).reshape(target) * 2

    same_numbers(Written(formula, nn.Conv2d(4, 4, 1)), (torch.randn(2, 4, 6, 4),), ("nhwc",))
