"""Elementwise arithmetic: NNAPI broadcasts stored dimensions from the right, torch logical ones (bcast-align)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.lowering.against_torch import FLOAT_TOLERANCE, Written, kinds_of, lowered_in, refusals, same_numbers

X = (2, 4, 6, 8)
# Constants of every broadcast form beside [N,C,H,W]; 4 channels of 4 wide maps would hide a misread axis.
SHAPES = {
    "scalar": (), "one": (1,), "width": (8,), "height": (6, 1), "map": (6, 8), "channel": (4, 1, 1),
    "channel_full": (1, 4, 1, 1), "batch": (2, 1, 1, 1), "last": (1, 1, 8), "full": X,
}  # fmt: skip
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "maximum": torch.maximum,
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_constant(operator: str, shape: str) -> None:
    """Constant right and left of a value stored channels last."""
    constant, apply = torch.randn(SHAPES[shape]), OPERATORS[operator]
    module = Written(lambda conv, x: apply(conv(x), constant) + apply(constant, x), nn.Conv2d(4, 4, 3, padding=1))
    same_numbers(module, (torch.randn(X),))


ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "number": lambda x: 2.5 + x,
    "whole_number": lambda x: x * 3,
    "number_first": lambda x: 1 - x,
    "divided": lambda x: x / 3,
    "number_with_alpha": lambda x: torch.add(x, 3.0, alpha=2),
    "minus_number_with_alpha": lambda x: torch.sub(x, 2.0, alpha=3),
    "traced_size": lambda x: x * x.size(2),
    "with_itself": lambda x: x + x,
    "gated": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "computed_per_channel": lambda x: x + x.mean((0, 2, 3)).reshape(4, 1, 1),
    "computed_map": lambda x: x + x.mean((0, 1)),
    "computed_width": lambda x: x * x[0, 0, 0],
    "computed_image": lambda x: x + x[0],
    "outer": lambda x: x[:, :, :1, :] * x[:, :1, :, :],
    "minimum": lambda x: torch.minimum(x, 1 - x),
    "exp": torch.exp,
    "sqrt": lambda x: x.abs().sqrt(),
    "log": lambda x: (x.abs() + 1.0).log(),
    "rsqrt": lambda x: (x.abs() + 1.0).rsqrt(),
    "neg_sin_floor": lambda x: -torch.sin(torch.floor(x)),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("behind", ["input", "convolution"])
def test_row(name: str, behind: str) -> None:
    before = nn.Conv2d(4, 4, 3, padding=1) if behind == "convolution" else nn.Identity()
    same_numbers(Written(lambda module, x: ROWS[name](module(x)), before), (torch.randn(X),))


def test_integers_stay_integers() -> None:
    x = torch.arange(-12, 12, dtype=torch.int32).reshape(2, 3, 4)
    lowered = same_numbers(Written(lambda x: (x + x * 2 - 1).abs()), (x,))
    assert kinds_of(lowered) == ["MUL", "ADD", "SUB", "ABS"]


def test_a_number_is_a_constant_of_one_element() -> None:
    lowered = same_numbers(Written(lambda x: x * 2.0), (torch.randn(X),))
    (constant,) = lowered.model.constants
    assert (constant.type.shape, constant.value.tolist()) == ((1,), [2.0])
    assert [step.rule.id for step in lowered.steps_for(constant.name)] == ["constant.scalar_to_tensor"]


def test_true_division_of_integers_is_never_integer_division() -> None:
    """Defect B16 of PyTorch's own converter: refused, or computed as float32."""
    module, x = Written(lambda x: x / 2), torch.tensor([[7, 9], [1, 2]], dtype=torch.int32)
    if not refusals(module, (x,)):
        same_numbers(module, (x,))


dims = st.integers(1, 3)


@settings(max_examples=40)
@given(
    left=st.lists(dims, min_size=1, max_size=4), right=st.lists(dims, min_size=1, max_size=4),
    last=st.booleans(), layout=st.sampled_from(["auto", "nhwc", "nchw"]),
)  # fmt: skip
def test_any_broadcast(left: list[int], right: list[int], last: bool, layout: str) -> None:
    """Two computed tensors of any shapes torch can broadcast, the first channels last when `last`."""
    try:
        torch.broadcast_shapes(left, right)
    except RuntimeError:
        return
    order = (0, 2, 3, 1) if last and len(left) == 4 else tuple(range(len(left)))
    stored = torch.randn([left[axis] for axis in order])
    back = [order.index(axis) for axis in range(len(left))]
    module = Written(lambda x, y: x.relu().permute(back) + y.relu()).eval()
    _, diff = lowered_in(module, (stored, torch.randn(right)), layout)
    assert all(row.relative <= FLOAT_TOLERANCE for row in diff.rows)
