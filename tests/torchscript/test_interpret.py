"""Operators run as TorchScript would run them, and give what they say where torch's engine does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnapi_lab.compare import compare
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.interpret import evaluate
from nnapi_lab.torchscript.lower import lower_graph
from sample_models.quantization import engine

CLAMPS = {
    "hardtanh": ("aten::hardtanh", "", [0.0, 6.0]),
    "relu6": ("aten::relu6", "", []),
    "clamp": ("aten::clamp", "", [-1.0, 3.0]),
}


def quantized_map() -> Tensor:
    values = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 4
    return torch.quantize_per_tensor(values, 0.05, 100, torch.quint8)


@pytest.mark.parametrize("name", CLAMPS)
@pytest.mark.parametrize("engine_name", ["qnnpack", "x86"])
def test_a_clamp_leaves_every_element_in_its_place(name: str, engine_name: str) -> None:
    """torch 2.13's qnnpack clamp does not, when the tensor lies channels last."""
    kind, overload, bounds = CLAMPS[name]
    rows = quantized_map()
    lasts = rows.contiguous(memory_format=torch.channels_last)
    with engine(engine_name):
        (expected,) = evaluate(kind, overload, [rows, *bounds], 1)
        (given,) = evaluate(kind, overload, [lasts, *bounds], 1)
    assert torch.equal(given.int_repr(), expected.int_repr())


class Clamped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = torch.quantize_per_tensor(x, 0.05, 100, torch.quint8).contiguous(memory_format=torch.channels_last)
        return nn.functional.hardtanh(x, 0.0, 6.0).dequantize()


def test_the_user_is_told_and_the_lowering_compared_with_what_is_meant() -> None:
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 4
    with engine("qnnpack"):
        captured = capture(Clamped().eval(), x)
        (warning,) = [text for text in captured.warnings if "scrambles" in text]
        assert "test_interpret.py" in warning
        diff = compare(lower_graph(captured.graph), captured, (x,), "reference")
    assert max(row.max_abs for row in diff.outputs) <= 0.05  # one step
    with engine("x86"):
        assert not [text for text in capture(Clamped().eval(), x).warnings if "scrambles" in text]
