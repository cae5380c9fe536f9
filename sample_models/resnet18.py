"""ResNet-18, 224×224, written as torchvision writes it: ReLU(inplace=True) and `out += identity`.

What it teaches
    TorchScript records relu_ and add_, which change a tensor that other nodes may still read; an NNAPI
    operand is written once. Each block reads its input twice (main path and shortcut), so mistaking an
    in-place operation for a new value, or the other way round, changes the numbers. Besides: MAX_POOL_2D
    with padding (PyTorch pads with −∞, NNAPI leaves the padding out: the same), a shortcut that is itself a
    strided 1×1 convolution, and one ReLU module called twice in each block, so that a module's name alone
    does not tell its two values apart.

Ways to meet NNAPI
    float32   float32 throughout, with in-place operations.
    full      int8 with a quantized interface, one weight scale for each convolution. Run under qnnpack.
    core_x86  int8 between a quantizer and a dequantizer that stay in PyTorch, one weight scale per output channel.
              Run under x86. Sums of 512 channels of 3×3 products exceed what float32 holds exactly.

Weights are drawn from a seed, not trained; see sample_models.weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

from sample_models.photographs import crops, photograph
from sample_models.quantization import quantize
from sample_models.weights import draw, seeded, settle_batch_norm

SIZE = 224
SEED = 20151210


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; child names are torchvision's."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x

        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)

        out = self.conv2(out)
        out = self.bn2(out)

        if self.downsample is not None:
            identity = self.downsample(x)

        out += identity
        out = self.relu(out)
        return out


class ResNet18(nn.Module):
    """[n, 3, 224, 224] normalised image → [n, 1000] logits."""

    block: type[BasicBlock] = BasicBlock

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        block = self.block
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(block(64, 64), block(64, 64))
        self.layer2 = nn.Sequential(block(64, 128, stride=2), block(128, 128))
        self.layer3 = nn.Sequential(block(128, 256, stride=2), block(256, 256))
        self.layer4 = nn.Sequential(block(256, 512, stride=2), block(512, 512))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)

        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)

        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)


def float32() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Float32: (module in eval mode, (image [1, 3, 224, 224],))."""
    with seeded(SEED):
        model = ResNet18()
        draw(model)
    settle_batch_norm(model, crops(8, SIZE))
    return model, (photograph(SIZE),)


class QuantizableBlock(BasicBlock):
    """As BasicBlock; the sum and its ReLU are one module, so that eager-mode quantization can observe its range."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, channels, stride)
        self.add_relu = FloatFunctional()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.add_relu.add_relu(self.bn2(self.conv2(out)), identity)


class QuantizableResNet18(ResNet18):
    """As ResNet18, with a stub at each end."""

    block = QuantizableBlock

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(num_classes)
        self.quant = QuantStub()
        self.dequant = DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(super().forward(self.quant(x)))


def full() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8 with a quantized interface: quint8 image [1, 3, 224, 224] → quint8 logits. Run under qnnpack."""
    quantizer, network, _ = _opened("qnnpack")
    return network, (quantizer(photograph(SIZE)),)


def core_x86() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8 core between `quant` and `dequant`, one weight scale per output channel: float → float. Run under x86."""
    quantizer, network, dequantizer = _opened("x86")
    whole = nn.Sequential(OrderedDict(quant=quantizer, core=network, dequant=dequantizer)).eval()
    # Read by nnapi_lab.lower: quantizing and dequantizing stay in PyTorch.
    whole.nnapi_quantize_at = "outside"
    return whole, (photograph(SIZE),)


def _opened(engine_name: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """(quantizer, network between quint8 tensors, dequantizer)."""
    with seeded(SEED):
        model = QuantizableResNet18()
        draw(model)
    settle_batch_norm(model, crops(8, SIZE))
    ao.fuse_modules(model.eval(), _groups(model), inplace=True)
    network = quantize(model, crops(8, SIZE), engine_name)
    quantizer, dequantizer = network.quant, network.dequant
    network.quant = nn.Identity()
    network.dequant = nn.Identity()
    return quantizer, network.eval(), dequantizer


def _groups(model: nn.Module) -> list[list[str]]:
    """The neighbours outside of nn.Sequential that become one quantized module."""
    groups = [["conv1", "bn1", "relu"]]
    for name, part in model.named_modules():
        if isinstance(part, BasicBlock):
            groups += [[f"{name}.conv1", f"{name}.bn1", f"{name}.relu"], [f"{name}.conv2", f"{name}.bn2"]]
    return groups
