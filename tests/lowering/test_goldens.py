"""Small lowered models as text, reviewed by reading: tests/goldens/<case>.nn.

Each holds the model and, as comments, the Steps that made it. A new Rule needs a case here (CONTRIBUTING.md).
`pytest tests/lowering/test_goldens.py --write-goldens` writes them anew; read the difference before committing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.text import parse, show
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph
from tests.lowering.against_torch import Written

MAP = (1, 2, 3, 4)
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning")


def readable(shape: tuple[int, ...]) -> Tensor:
    """-0.75, -0.5 … 0.75 over and over: numbers a reader can follow, and a binary fraction holds exactly."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) % 7 - 3) / 4).reshape(shape).float()


def with_readable_weights(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.data = readable(tuple(parameter.shape))
    return module.eval()


def normed() -> nn.Module:
    """Variance 3 and eps 1: the gain is 1/2 exactly."""
    norm = nn.BatchNorm2d(3, eps=1.0, affine=False)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 0.0, -1.0]), torch.full((3,), 3.0)
    return norm


def quantized(x: Tensor, scale: float = 0.25, zero_point: int = 128, dtype: torch.dtype = torch.quint8) -> Tensor:
    return torch.quantize_per_tensor(x, scale, zero_point, dtype)


class QuantizedConvolution(nn.Module):
    """torch.ops.quantized.conv2d with packed weights; per channel when `scales` has several."""

    def __init__(self, scales: list[float], bias: list[float] | None = None) -> None:
        super().__init__()
        self.conv = torch.ao.nn.quantized.Conv2d(2, 2, 1, bias=bias is not None)
        weight = readable((2, 2, 1, 1))
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        packed = (
            torch.quantize_per_tensor(weight, scales[0], 0, torch.qint8) if len(scales) == 1
            else torch.quantize_per_channel(weight, torch.tensor(scales).double(), zeros, 0, torch.qint8)
        )  # fmt: skip
        self.conv.set_weight_bias(packed, None if bias is None else torch.tensor(bias))
        self.conv.scale, self.conv.zero_point = 0.5, 10

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(quantized(x)).dequantize()


class QuantizedLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.ao.nn.quantized.Linear(3, 2)
        weight = torch.quantize_per_channel(
            readable((2, 3)), torch.tensor([0.25, 0.5]).double(), torch.zeros(2).long(), 0, torch.qint8
        )
        self.linear.set_weight_bias(weight, torch.tensor([0.5, -0.25]))
        self.linear.scale, self.linear.zero_point = 0.5, 10

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(quantized(x)).dequantize()


Case = tuple[Callable[[], nn.Module], tuple[int, ...] | Tensor]


def formula(written: Callable[..., Any], *modules: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Written(written, *[with_readable_weights(module) for module in modules])


CASES: dict[str, Case] = {
    "conv_norm_relu": (
        lambda: nn.Sequential(with_readable_weights(nn.Conv2d(2, 3, 2, bias=False)), normed(), nn.ReLU6()).eval(), MAP,
    ),
    "depthwise": (formula(lambda conv, x: conv(x), nn.Conv2d(2, 4, 2, groups=2)), MAP),
    "transposed_conv": (formula(lambda conv, x: conv(x), nn.ConvTranspose2d(2, 1, 2, 2)), MAP),
    "pad_as_wide_as_filter": (formula(lambda conv, x: conv(x), nn.Conv2d(2, 1, 1, padding=1)), MAP),
    "flatten_linear": (
        formula(lambda pool, fc, x: fc(pool(x).flatten(1)), nn.AvgPool2d(2), nn.Linear(4, 2, bias=False)), MAP,
    ),
    "linear_of_rank_3": (formula(lambda fc, x: fc(x), nn.Linear(3, 2)), (1, 2, 3)),
    "pools": (
        formula(
            lambda padded, ceil, x: ceil(padded(x)).mean((2, 3)),
            nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(2, ceil_mode=True),
        ), MAP,
    ),
    "global_pool": (formula(lambda pool, x: pool(x), nn.AdaptiveAvgPool2d(1)), MAP),
    "channels_first_and_last": (
        formula(lambda pool, x: torch.cat([pool(x) + readable((2, 1, 2)), pool(x).flatten(2)[..., None]
                                           .reshape(1, 2, 1, 2)], 1).softmax(1), nn.MaxPool2d(2)), MAP,
    ),
    "numbers": (formula(lambda x: F.dropout(x, 0.5, False) * 2.0 + torch.ones(3)), (2, 3)),
    "returned_input": (formula(lambda x: (x, F.hardsigmoid(x))), (2, 3)),
    "upsample": (formula(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")), MAP),
    "quantized_conv": (lambda: QuantizedConvolution([0.25], [0.5, -0.25]).eval(), (1, 2, 1, 2)),
    "quantized_conv_per_channel": (lambda: QuantizedConvolution([0.25, 1e-7], [0.5, 40.0]).eval(), (1, 2, 1, 2)),
    "quantized_linear_per_channel": (lambda: QuantizedLinear().eval(), (1, 3)),
    "quantized_fixed": (formula(lambda x: quantized(x).sigmoid().dequantize()), (2, 3)),
    "quantized_signed": (formula(lambda x: quantized(x, 0.25, 3, torch.qint8).relu().dequantize()), (2, 3)),
    "quantized_number": (formula(lambda x: torch.ops.quantized.mul_scalar(quantized(x), -1.5).dequantize()), (2, 3)),
    "quantized_norm": (
        formula(lambda x: torch.ops.quantized.batch_norm2d(
            quantized(x), torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.0]), torch.zeros(2), torch.ones(2), 0.0, 0.5,
            100).dequantize()), (1, 2, 1, 2),
    ),
    "gelu_cosine": (formula(lambda x: F.gelu(x) + torch.cos(x)), (2, 3)),
    "remainder": (formula(lambda x: torch.remainder(x, 0.5)), (2, 3)),
    "running_sum": (formula(lambda x: x.cumsum(1)), (2, 3)),
    "gather": (formula(lambda x: x.gather(1, torch.tensor([[2, 0], [1, 1]]))), (2, 3)),
    "sorted": (formula(lambda x: x.sort(1, descending=True)[0]), (2, 3)),
    "negative_index": (formula(lambda x: x[torch.tensor([-1, 0])]), (2, 3)),
    "matmul": (formula(lambda x: x @ x.transpose(1, 2)), (2, 2, 3)),
    "attention": (formula(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), (1, 2, 2, 2)),
    "attention_mask": (
        formula(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.eye(2).bool())), (1, 2, 2, 2),
    ),
    "triangle": (formula(lambda x: x.tril()), (2, 3)),
    "channel_shuffle": (
        formula(lambda x: x.view(1, 2, 2, 2, 2).transpose(1, 2).reshape(1, 4, 2, 2).relu()), (1, 4, 2, 2),
    ),
    "pixel_shuffle": (formula(lambda x: F.pixel_shuffle(x, 2)), (1, 8, 1, 2)),
    "window_partition": (formula(lambda x: x.reshape(1, 2, 2, 2, 2, 1).permute(0, 1, 3, 2, 4, 5) + 1.0), (1, 4, 4, 1)),
    "expanded": (formula(lambda x: x.expand(2, 3)), (1, 3)),
    "replicated_border": (formula(lambda x: F.pad(x, (1, 1, 0, 1), mode="replicate")), MAP),
    "int32_transposed": (formula(lambda x: x.t() * 2), torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.int32)),
    "comparison": (formula(lambda x: (x > 0.25).float() + x.int().float()), (2, 3)),
    "int64": (formula(lambda x: x.long() * 2), torch.tensor([[1, 2, 3]], dtype=torch.int32)),
    "float_island": (formula(lambda x: quantized(x).clamp(-0.25, 0.3).dequantize()), (2, 3)),
    "adaptive_uneven": (formula(lambda x: F.adaptive_avg_pool2d(x, (2, 3))), (1, 1, 3, 4)),
    "grouped_dilated": (
        formula(lambda conv, x: conv(x), nn.Conv2d(4, 2, (1, 2), groups=2, dilation=2)), (1, 4, 1, 4),
    ),
    "transposed_dilated": (
        formula(lambda conv, x: conv(x), nn.ConvTranspose2d(1, 1, (1, 2), dilation=2)), (1, 1, 1, 3),
    ),
    "max_dilated": (formula(lambda x: F.max_pool2d(x, (1, 2), 1, 0, 2)), (1, 1, 1, 4)),
    "divisor": (formula(lambda x: F.avg_pool2d(x, 2, divisor_override=3)), MAP),
    "conv1d": (formula(lambda conv, x: conv(x), nn.Conv1d(2, 1, 2)), (1, 2, 3)),
    "layer_norm": (formula(lambda norm, x: norm(x), nn.LayerNorm(3)), (1, 2, 3)),
    "instance_norm": (formula(lambda x: F.instance_norm(x)), (1, 1, 2, 2)),
    "response_norm": (formula(lambda x: F.local_response_norm(x, 3)), (1, 3, 1, 1)),
    "group_norm": (
        formula(lambda conv, norm, x: norm(conv(x)), nn.Conv2d(2, 4, 1, bias=False), nn.GroupNorm(2, 4)), (1, 2, 1, 2),
    ),
    "bilinear_by_factor": (formula(lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear")), (1, 1, 1, 4)),
    "nearest_by_factor": (formula(lambda x: F.interpolate(x, scale_factor=(1.0, 1.3))), (1, 1, 1, 4)),
    "expand_left_to_reader": (formula(lambda x: x.expand(2, 3) * readable((2, 3))), (1, 3)),
    "linear_rows": (
        formula(lambda fc, conv, x: conv(fc(x).view(1, 2, 2, 1)), nn.Linear(3, 4), nn.Conv2d(2, 1, 1)), (1, 3),
    ),
    "lstm": (formula(lambda lstm, x: lstm(x)[0], nn.LSTM(2, 1)), (2, 1, 2)),
    "gru": (formula(lambda gru, x: gru(x)[0], nn.GRU(1, 1)), (2, 1, 1)),
}  # fmt: skip


def lowered_case(name: str, **how: Any) -> Lowered:
    make, shape = CASES[name]
    x = shape if isinstance(shape, Tensor) else readable(shape)
    return lower_graph(capture(make().eval(), x, name).graph, **how)


def text_of(lowered: Lowered) -> str:
    return show(lowered.model) + "".join(f"// {step}\n" for step in lowered.steps)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    lowered = lowered_case(name)
    assert not lowered.refusals, lowered.refusals
    text = text_of(lowered)
    golden(name, text)
    assert parse(text) == lowered.model


# golden → (case, how it is lowered)
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "channels_first": ("conv_norm_relu", {"layout": "nchw"}),
    "quantized_int8": ("quantized_fixed", {"quant": "int8"}),
    "quantize_outside": ("quantized_fixed", {"quantize_at": "outside"}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_golden_of_an_option(name: str, golden: Callable[[str, str], None]) -> None:
    case, how = OPTIONS[name]
    golden(name, text_of(lowered_case(case, **how)))
