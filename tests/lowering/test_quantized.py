"""Quantized layers under both engines: int32 bias, unsigned or per-channel weights, one step of rounding at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao import quantization as ao

from nnapi_lab.ir.model import Model, Operand
from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.rewrites.lowered import Lowered
from sample_models.quantization import engine, quantize
from tests.lowering.against_torch import Written, kinds_of, same_numbers

X = (2, 4, 6, 8)
# Rows that do not join anything leave the FloatFunctional unused.
pytestmark = pytest.mark.filterwarnings("ignore:must run observer")
# qnnpack: one weight scale; x86: one per output channel (PyTorch's own converter refuses those).
ENGINES = ("qnnpack", "x86")


class Stubbed(nn.Module):
    """Layers between quantize and dequantize; `formula(functional, *layers, x)` joins them."""

    def __init__(self, formula: Callable[..., Any], *layers: nn.Module, joins: bool = True) -> None:
        super().__init__()
        self.enter, self.leave = ao.QuantStub(), ao.DeQuantStub()
        self.layers = nn.ModuleList(layers)
        self.formula = formula
        self.functional = nn.quantized.FloatFunctional() if joins else None

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.formula(self.functional, *self.layers, self.enter(x)))


def chain(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Stubbed(lambda _, body, x: body(x), nn.Sequential(*layers), joins=False)


def after_conv(formula: Callable[..., Any], *layers: nn.Module) -> Callable[[], nn.Module]:
    """`formula(functional, y, x, *layers)` with y the result of a convolution."""
    return lambda: Stubbed(lambda f, conv, *rest: formula(f, conv(rest[-1]), rest[-1], *rest[:-1]),
                           nn.Conv2d(4, 4, 3, padding=1), *layers)  # fmt: skip


ROWS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (chain(nn.Conv2d(4, 5, 3)), X),
    "conv_relu": (chain(nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU()), X),
    "conv_norm_relu": (chain(nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU()), X),
    "depthwise": (chain(nn.Conv2d(4, 8, 3, padding=1, groups=4)), X),
    "grouped": (chain(nn.Conv2d(4, 8, 3, padding=1, groups=2)), X),
    "dilated": (chain(nn.Conv2d(4, 8, 3, dilation=2)), X),
    "pad_as_wide_as_filter": (chain(nn.Conv2d(4, 8, 1, padding=1)), X),
    "linear": (chain(nn.Linear(8, 5)), (3, 8)),
    "linear_relu": (chain(nn.Linear(8, 5), nn.ReLU()), (3, 8)),
    "linear_no_bias": (chain(nn.Linear(8, 5, bias=False)), (3, 8)),
    "linear_rank_4": (chain(nn.Linear(8, 5)), X),
    "flatten_linear": (chain(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(120, 7)), X),
    "classifier": (chain(nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7)), X),
    "max_pool": (chain(nn.Conv2d(4, 5, 3), nn.MaxPool2d(2)), X),
    "max_pool_ceil": (chain(nn.MaxPool2d(3, 2, 1, ceil_mode=True)), X),
    "average_pool": (chain(nn.AvgPool2d(2)), X),
    "average_pool_padded": (chain(nn.AvgPool2d(3, 2, 1)), X),
    "bilinear": (chain(nn.Upsample(scale_factor=2, mode="bilinear")), X),
    "nearest": (chain(nn.Upsample(scale_factor=2)), X),
    "relu": (chain(nn.ReLU()), X),
    "hardtanh": (chain(nn.Hardtanh()), X),
    "sigmoid": (chain(nn.Sigmoid()), X),
    "tanh": (chain(nn.Tanh()), X),
    "hardswish": (chain(nn.Hardswish()), X),
    "dropout": (chain(nn.Dropout()), X),
    "add": (after_conv(lambda f, y, x: f.add(y, x)), X),
    "add_relu": (after_conv(lambda f, y, x: f.add_relu(y, x)), X),
    "mul": (after_conv(lambda f, y, x: f.mul(y, x)), X),
    "gate": (after_conv(lambda f, y, x: f.mul(y, y.mean((2, 3), keepdim=True))), X),
    "cat": (after_conv(lambda f, y, x: f.cat([y, x], 1)), X),
    "cat_negative": (after_conv(lambda f, y, x: f.cat([y, x], -1)), X),
    "mean": (after_conv(lambda f, y, x: y.mean((2, 3))), X),
    "mean_over_channels": (after_conv(lambda f, y, x: y.mean(1)), X),
    "mean_linear": (after_conv(lambda f, y, x, fc: fc(y.mean((2, 3))), nn.Linear(4, 3)), X),
    "slice": (after_conv(lambda f, y, x: y[:, 1:3, ::2]), X),
    "permute": (after_conv(lambda f, y, x: y.permute(0, 2, 3, 1)), X),
    "reshape": (after_conv(lambda f, y, x: y.reshape(2, -1)), X),
    "pad": (after_conv(lambda f, y, x: F.pad(y, (1, 1))), X),
    "adaptive": (after_conv(lambda f, y, x: F.adaptive_avg_pool2d(y, (3, 4))), X),
}


def calibrated(make: Callable[[], nn.Module], shape: tuple[int, ...], name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(shape)
    return quantize(make().eval(), x, name), x


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_row(name: str, engine_name: str) -> None:
    with engine(engine_name):
        module, x = calibrated(*ROWS[name], engine_name)
        same_numbers(module, (x,))


def test_transposed() -> None:
    """torch has no per-channel transposed convolution, so x86's default observer does not apply."""
    module, x = calibrated(chain(nn.ConvTranspose2d(4, 5, 3, 2, 1, 1)), X, "qnnpack")
    assert "TRANSPOSE_CONV_2D" in kinds_of(same_numbers(module, (x,)))


def parts(lowered: Lowered, kind: str) -> tuple[Operand, Operand, Operand]:
    """Input, weight and bias of the one operation of this kind."""
    model: Model = lowered.model
    (operation,) = [operation for operation in model if operation.kind == kind]
    return tuple(model[str(arg)] for arg in operation.inputs[:3])  # type: ignore[return-value]


def test_per_tensor_weights_are_shifted_and_the_bias_has_the_product_of_the_scales() -> None:
    module, x = calibrated(chain(nn.Conv2d(4, 5, 3)), X, "qnnpack")
    conv = module.layers[0][0]
    source, weight, bias = parts(same_numbers(module, (x,)), "CONV_2D")
    assert weight.type.code == OperandCode.TENSOR_QUANT8_ASYMM
    codes = conv.weight().int_repr().numpy().astype(int).transpose(0, 2, 3, 1) + 128
    assert np.array_equal(weight.value, codes)
    assert weight.type.quant.zero_point == conv.weight().q_zero_point() + 128
    scale = np.float32(source.type.quant.scale) * np.float32(weight.type.quant.scale)
    assert np.float32(bias.type.quant.scale) == scale
    wanted = np.rint(conv.bias().detach().numpy().astype(np.float64) / float(scale))
    assert np.abs(bias.value - wanted).max() == 0


def test_per_channel_weights_stay_signed() -> None:
    module, x = calibrated(chain(nn.Conv2d(4, 8, 3, groups=4)), X, "x86")
    with engine("x86"):
        _, weight, bias = parts(same_numbers(module, (x,)), "DEPTHWISE_CONV_2D")
    assert weight.type.code == OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
    assert (weight.type.quant.axis, len(weight.type.quant.scales)) == (3, 8)
    assert bias.type.quant is None or bias.type.quant.scale == 0


def test_bias_of_a_dead_channel_fits() -> None:
    """A filter of zeros gets the scale 1.2e-7; its bias of 30 would need 34 bits (qbias-overflow)."""
    conv = nn.Conv2d(4, 3, 1)
    nn.init.zeros_(conv.weight[1])
    nn.init.constant_(conv.bias, 30.0)
    module, x = calibrated(chain(conv), X, "x86")
    with engine("x86"):
        lowered = same_numbers(module, (x,))
    (step,) = [step for step in lowered.steps if step.rule.id == "quantization.bias_rescaled"]
    assert step.facts["channels"] == [1]


def test_a_product_scale_too_small_is_computed_in_float() -> None:
    """MUL wants s_out > s_1·s_2 at every level; torch does not (defect B18 of PyTorch's own converter)."""

    def formula(x: Tensor) -> Tensor:
        q = torch.quantize_per_tensor(x, 0.05, 128, torch.quint8)
        return torch.ops.quantized.mul(q, q, 0.002, 0).dequantize()

    kinds = kinds_of(same_numbers(Written(formula), (torch.rand(2, 3),)))
    assert kinds[1:-1] == ["DEQUANTIZE", "DEQUANTIZE", "MUL", "QUANTIZE"] or kinds[1:-1] == [
        "DEQUANTIZE",
        "MUL",
        "QUANTIZE",
    ]


def test_signed_activations_are_shifted() -> None:
    def formula(x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(x, 0.05, 3, torch.qint8).relu().dequantize()

    lowered = same_numbers(Written(formula), (torch.randn(2, 3),))
    assert "quantization.activation_shift" in {step.rule.id for step in lowered.steps}
    codes = {operand.type.code for operand in lowered.model.operands.values() if operand.type.quant is not None}
    assert codes == {OperandCode.TENSOR_QUANT8_ASYMM}
