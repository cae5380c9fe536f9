"""Layer, group, instance, root mean square and local response norm, vector norms, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from tests.lowering.against_torch import Written, kinds_of, lowered_in, refusals, rules_of, same_numbers

X = (2, 4, 6, 8)
Norm = tuple[nn.Module, tuple[int, ...]]


def drawn(module: nn.Module) -> nn.Module:
    """The module with weights and statistics that are not ones and zeros."""
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
    return module.eval()


MODULES: dict[str, Callable[[], Norm]] = {
    "layer_1": lambda: (nn.LayerNorm(8), X), "layer_2": lambda: (nn.LayerNorm((6, 8)), X),
    "layer_3": lambda: (nn.LayerNorm((4, 6, 8), eps=1e-3), X),
    "layer_no_bias": lambda: (nn.LayerNorm(8, bias=False), X),
    "layer_bare": lambda: (nn.LayerNorm(8, elementwise_affine=False), X),
    "layer_tokens": lambda: (nn.LayerNorm(5), (2, 3, 5)),
    "layer_row": lambda: (nn.LayerNorm(5), (3, 5)), "layer_vector": lambda: (nn.LayerNorm(5), (5,)),
    "group": lambda: (nn.GroupNorm(2, 4), X), "group_1": lambda: (nn.GroupNorm(1, 4), X),
    "group_all": lambda: (nn.GroupNorm(4, 4), X), "group_bare": lambda: (nn.GroupNorm(2, 4, affine=False), X),
    "group_sequence": lambda: (nn.GroupNorm(2, 4), (2, 4, 5)), "group_row": lambda: (nn.GroupNorm(2, 4), (2, 4)),
    "instance": lambda: (nn.InstanceNorm2d(4), X), "instance_affine": lambda: (nn.InstanceNorm2d(4, affine=True), X),
    "instance_running": lambda: (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), X),
    "instance_sequence": lambda: (nn.InstanceNorm1d(3, affine=True), (2, 3, 5)),
    "rms": lambda: (nn.RMSNorm(8), X), "rms_3": lambda: (nn.RMSNorm((4, 6, 8), eps=1e-5), X),
    "rms_tokens": lambda: (nn.RMSNorm(5), (2, 3, 5)), "response": lambda: (nn.LocalResponseNorm(5, 0.01, 0.75, 2.0), X),
    "response_3": lambda: (nn.LocalResponseNorm(3), X),
}  # fmt: skip


@pytest.mark.parametrize("behind", ["input", "convolution"])
@pytest.mark.parametrize("name", MODULES)
def test_module(name: str, behind: str) -> None:
    norm, shape = MODULES[name]()
    if behind == "convolution" and len(shape) != 4:
        return
    before = nn.Conv2d(4, 4, 1) if behind == "convolution" else nn.Identity()
    same_numbers(Written(lambda first, norm, x: norm(first(x)), before, drawn(norm)), (torch.randn(shape),))


def test_a_layer_norm_over_channels_last_moves_nothing() -> None:
    """ConvNeXt: permute, layer norm, permute back."""
    module = Written(lambda conv, norm, x: norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                     nn.Conv2d(4, 4, 1), drawn(nn.LayerNorm(4)))  # fmt: skip
    lowered = same_numbers(module, (torch.randn(X),))
    assert "TRANSPOSE" not in kinds_of(lowered)


@pytest.mark.parametrize("name", ["layer_1", "layer_3", "group", "group_1", "instance_affine", "response"])
def test_no_transpose_behind_a_convolution(name: str) -> None:
    norm, _ = MODULES[name]()
    module = Written(lambda conv, norm, x: norm(conv(x)), nn.Conv2d(4, 4, 1), drawn(norm))
    assert "TRANSPOSE" not in kinds_of(same_numbers(module, (torch.randn(X),)))


def test_local_response_norm_is_one_operation() -> None:
    lowered = same_numbers(nn.LocalResponseNorm(5, 0.01, 0.75, 2.0), (torch.randn(X),), ("nhwc",))
    assert kinds_of(lowered) == ["LOCAL_RESPONSE_NORMALIZATION"]


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), order=st.randoms(use_true_random=False),
    data=st.data(),
)  # fmt: skip
def test_layer_norm_of_any_layout(shape: list[int], order: Any, data: st.DataObject) -> None:
    """Stored in any permutation, normalized over any number of last dimensions."""
    axes = list(range(len(shape)))
    order.shuffle(axes)
    back = [axes.index(axis) for axis in range(len(shape))]
    count = data.draw(st.integers(1, len(shape)))
    norm = drawn(nn.LayerNorm(shape[-count:]))
    module = Written(lambda norm, x: norm(x.relu().permute(back)), norm).eval()
    _, diff = lowered_in(module, (torch.randn([shape[axis] for axis in axes]),), "auto")
    assert all(row.relative <= 1e-5 or row.max_abs <= 1e-5 for row in diff.rows)


# --- lengths -------------------------------------------------------------------------------------------------

LENGTHS: dict[str, Callable[[Tensor], Tensor]] = {
    "normalize": lambda x: F.normalize(x, dim=1), "normalize_last": lambda x: F.normalize(x, dim=-1),
    "normalize_tiny": lambda x: F.normalize(x * 1e-7, dim=1),
    "norm": lambda x: x.norm(dim=1, keepdim=True), "norm_all": lambda x: x.norm(),
    "norm_1": lambda x: torch.norm(x, 1, (2, 3)), "norm_3": lambda x: torch.linalg.vector_norm(x, 3, dim=1),
    "norm_inf": lambda x: torch.linalg.vector_norm(x, torch.inf, dim=1),
    "norm_minus_inf": lambda x: torch.linalg.vector_norm(x, -torch.inf, dim=2),
    "linalg": lambda x: torch.linalg.norm(x, dim=1), "frobenius": lambda x: torch.linalg.norm(x, dim=(2, 3)),
    "cosine": lambda x: F.cosine_similarity(x, x.abs(), dim=1),
    "cosine_width": lambda x: F.cosine_similarity(x, x.abs(), 3),
    "distance": lambda x: F.pairwise_distance(x, x.abs()), "distance_1": lambda x: F.pairwise_distance(x, x.abs(), 1.0),
    "distance_kept": lambda x: F.pairwise_distance(x, x.abs(), keepdim=True),
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
def test_length(name: str) -> None:
    same_numbers(Written(lambda conv, x: LENGTHS[name](conv(x)), nn.Conv2d(4, 4, 1)), (torch.randn(X),))


# --- quantized -----------------------------------------------------------------------------------------------

q = torch.ops.quantized
QUANTIZED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "layer": lambda x, zero: q.layer_norm(x, [8], torch.ones(8), torch.zeros(8), 1e-5, 0.03, zero),
    "group": lambda x, zero: q.group_norm(x, 2, torch.ones(4), torch.zeros(4), 1e-5, 0.03, zero),
    "instance": lambda x, zero: q.instance_norm(x, torch.ones(4), torch.zeros(4), 1e-5, 0.03, zero),
}


@pytest.mark.parametrize(("dtype", "zero_point"), [(torch.quint8, 120), (torch.qint8, -3)])
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized(name: str, dtype: torch.dtype, zero_point: int) -> None:
    """Through float: at most one step from PyTorch's own kernel, where a tie is rounded the other way."""

    def formula(x: Tensor) -> Tensor:
        return QUANTIZED[name](torch.quantize_per_tensor(x, 0.03, zero_point, dtype), zero_point).dequantize()

    _, diff = lowered_in(Written(formula).eval(), (torch.randn(X),), "auto")
    quantized = [row for row in diff.rows if row.max_steps is not None]
    assert len(quantized) == 2
    assert all(row.max_steps <= 1 for row in quantized)


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "order_0": (lambda x: torch.linalg.vector_norm(x, 0, dim=1), "NORM_ORDER"),
    "matrix_norm": (lambda x: torch.linalg.norm(x, "nuc", dim=(2, 3)), "MATRIX_NORM"),
    "half": (lambda x: F.layer_norm(x.half(), (8,)), "NORM_HALF"),
    "shapes": (lambda x: F.cosine_similarity(x, x[:1], dim=1), "VECTORS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, rule = REFUSED[name]
    assert rules_of(refusals(Written(formula), (torch.randn(X),))) == [rule]
