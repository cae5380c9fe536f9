"""Where values are kept: no TRANSPOSE where a constant, a size of 1 or another order can take its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import elements_transposed, lower_graph
from tests.lowering.against_torch import Written, kinds_of, same_numbers

SOURCE = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=SOURCE)


def conv(inp: int = 4, out: int = 4) -> nn.Module:
    return nn.Conv2d(inp, out, 3, padding=1)


MAP = (2, 4, 6, 8)

# Each has no TRANSPOSE in layout auto; formula(*modules, *inputs).
FREE: dict[str, tuple[Callable[..., Any], tuple[nn.Module, ...], tuple[tuple[int, ...], ...]]] = {
    "gate_expanded_as": (
        lambda c, x: c(x) * torch.sigmoid(c(x).mean((2, 3))).view(2, 4, 1, 1).expand_as(x), (conv(),), (MAP,)),
    "gate_expanded_in_place": (
        lambda c, x: c(x).mul_(c(x).mean((2, 3)).view(2, 4, 1, 1).expand(2, 4, 6, 8)), (conv(),), (MAP,)),
    "expanded_map_joined": (
        lambda c, x: torch.cat([c(x), c(x).mean((2, 3)).view(2, 4, 1, 1).expand_as(x).tanh()], 1), (conv(),), (MAP,)),
    "vector_to_map": (
        lambda f, c, x: c(f(x).view(-1, 4, 3, 5)), (nn.Linear(7, 60), conv()), ((2, 7),)),
    "vector_to_map_behind_relu": (
        lambda f, c, x: c(torch.relu_(f(x)).reshape(2, 4, 3, 5)), (nn.Linear(7, 60, bias=False), conv()), ((2, 7),)),
    "flattened_and_back": (
        lambda f, c, x: c(f(c(x).flatten(1)).view(2, 4, 6, 8)), (nn.Linear(192, 192), conv()), (MAP,)),
    "channels_taken_apart": (
        lambda c, x: c(torch.cat([x[:, i].unsqueeze(1) * (i + 0.5) - 0.1 for i in range(4)], 1)), (conv(),),
        ((1, 4, 6, 8),)),
    "norm_between_1d_convolutions": (
        lambda a, n, b, x: b(n(a(x)) + a(x)),
        (nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4).eval(), nn.Conv1d(4, 2, 3)), ((2, 4, 20),)),
}  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_no_transpose_inside(name: str) -> None:
    formula, modules, shapes = FREE[name]
    lowered = same_numbers(Written(formula, *modules), tuple(random(*shape) for shape in shapes))
    model = lowered.model
    inside = [
        operation for operation in model
        if operation.kind == "TRANSPOSE" and set(operation.reads).isdisjoint(model.inputs)
        and set(operation.outputs).isdisjoint(model.outputs)
    ]  # fmt: skip
    assert inside == []


# What looks alike and must not be taken for it: the numbers decide.
KEPT: dict[str, tuple[Callable[..., Any], tuple[nn.Module, ...], tuple[tuple[int, ...], ...]]] = {
    "expanded_is_returned": (
        lambda c, x: (c(x) * (s := c(x).mean((2, 3), keepdim=True).expand_as(x)), s), (conv(),), (MAP,)),
    "both_sides_expanded": (
        lambda x, y: x.expand(3, 5) * y.expand(3, 5), (), ((1, 5), (3, 1))),
    "vector_is_read_twice": (
        lambda f, c, x: (c((y := f(x)).view(-1, 4, 3, 5)), y), (nn.Linear(7, 60), conv()), ((2, 7),)),
    "vector_to_map_across_samples": (
        lambda f, c, x: c(f(x).view(1, 8, 3, 5)), (nn.Linear(7, 60), conv(8)), ((2, 7),)),
    "width_is_not_channels": (
        lambda c, x, w: c(x) * w, (conv(),), ((2, 4, 4, 4), (4,))),
    "permuted_with_a_vector": (
        lambda x, w: x.permute(0, 2, 1) * w + x.transpose(1, 2), (), ((2, 5, 5), (5,))),
    "two_orders_joined": (
        lambda c, x, y: torch.cat([c(x), y.permute(0, 3, 1, 2)], 1), (conv(),), ((2, 4, 6, 6), (2, 6, 6, 4))),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_the_numbers_are_right_all_the_same(name: str) -> None:
    formula, modules, shapes = KEPT[name]
    same_numbers(Written(formula, *modules), tuple(random(*shape) for shape in shapes))


def test_an_input_is_kept_the_way_that_costs_less() -> None:
    """`unsqueeze` speaks for logical order, the convolution behind for channels last: the count decides."""
    formula, modules, (shape,) = FREE["channels_taken_apart"]
    graph = capture(Written(formula, *modules).eval(), (random(*shape),)).graph
    lowered = {layout: lower_graph(graph, layout) for layout in ("auto", "nhwc", "nchw")}
    costs = {layout: elements_transposed(one) for layout, one in lowered.items()}
    assert costs["auto"] <= min(costs.values())
    assert "TRANSPOSE" not in kinds_of(lowered["auto"])
