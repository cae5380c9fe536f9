"""Quantized networks: eager ones written with stubs and FloatFunctional, and every CNN family by FX graph mode.

qnnpack has one weight scale per layer, x86 one per output channel. Which engine a network was quantized for is in
its name; torch's own numbers are those of that engine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from sample_models.quantization import engine, quantize
from tests.zoo import classic, mobile, pixels  # noqa: F401  they fill MEMBERS
from tests.zoo.members import MEMBERS, Member, add, image
from tests.zoo.mobile import ConvBNReLU, channel_shuffle

ENGINES = ("qnnpack", "x86")


class Stubbed(nn.Module):
    """QuantStub, body, DeQuantStub: torch's QuantWrapper, written out."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.quant, self.body, self.dequant = ao.QuantStub(), body, ao.DeQuantStub()

    def forward(self, x: Tensor) -> Tensor:
        return self.dequant(self.body(self.quant(x)))


class ConvNormReLU(ConvBNReLU):
    """Eager mode folds nn.ReLU into the convolution; ReLU6 it does not."""

    def __init__(self, inp: int, oup: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inp, oup, kernel, stride, groups, act=nn.ReLU)


class QuantizableInverted(nn.Module):
    def __init__(self, inp: int, oup: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inp * expand
        self.use_res_connect = stride == 1 and inp == oup
        self.conv = nn.Sequential(ConvNormReLU(inp, hidden, 1), ConvNormReLU(hidden, hidden, 3, stride, hidden),
                                  nn.Conv2d(hidden, oup, 1, bias=False), nn.BatchNorm2d(oup))  # fmt: skip
        self.skip_add = nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        if self.use_res_connect:
            return self.skip_add.add(x, self.conv(x))
        return self.conv(x)


class QuantizableMobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvNormReLU(3, 8, 3, 2), QuantizableInverted(8, 8, 1, 2),
                                      QuantizableInverted(8, 12, 2, 6), QuantizableInverted(12, 12, 1, 6),
                                      ConvNormReLU(12, 32, 1))  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class QuantizableBasicBlock(nn.Module):
    def __init__(self, inp: int, oup: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNormReLU(inp, oup, 3, stride), nn.Conv2d(oup, oup, 3, 1, 1, bias=False),
                                  nn.BatchNorm2d(oup))  # fmt: skip
        self.downsample = None
        if stride != 1 or inp != oup:
            self.downsample = nn.Sequential(nn.Conv2d(inp, oup, 1, stride, bias=False), nn.BatchNorm2d(oup))
        self.add_relu = nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.add_relu.add_relu(self.body(x), identity)


def quantizable_resnet() -> nn.Module:
    return nn.Sequential(ConvNormReLU(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), QuantizableBasicBlock(8, 8),
                         QuantizableBasicBlock(8, 16, 2), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
                         nn.Linear(16, 10))  # fmt: skip


class QuantizableShuffle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch2 = nn.Sequential(ConvNormReLU(half, half, 1),
                                     nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False),
                                     nn.BatchNorm2d(half), ConvNormReLU(half, half, 1))  # fmt: skip
        self.cat = nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        return channel_shuffle(self.cat.cat([x1, self.branch2(x2)], dim=1), 2)


def quantizable_shufflenet() -> nn.Module:
    return nn.Sequential(ConvNormReLU(3, 12, 3, 2), QuantizableShuffle(12), QuantizableShuffle(12), nn.AvgPool2d(16),
                         nn.Flatten(), nn.Linear(12, 10))  # fmt: skip


class QuantizableSE(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.avgpool, self.fc1, self.activation = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU()
        self.fc2, self.gate = nn.Conv2d(4, width, 1), nn.Hardsigmoid()
        self.skip_mul = nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return self.skip_mul.mul(scale, x)


def quantizable_mobilenet_v3() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
                         ConvNormReLU(8, 8, 5, 2, 8), QuantizableSE(8), nn.Conv2d(8, 16, 1), nn.Hardswish(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12), nn.Hardswish(),
                         nn.Linear(12, 10))  # fmt: skip


class QuantizableBranches(nn.Module):
    """An Inception block: four branches whose scales differ, joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1 = ConvNormReLU(width, 8, 1)
        self.branch2 = nn.Sequential(ConvNormReLU(width, 6, 1), ConvNormReLU(6, 12, 3))
        self.pool, self.branch3 = nn.AvgPool2d(3, 1, 1), ConvNormReLU(width, 4, 1)
        self.branch4 = nn.MaxPool2d(3, 1, 1)
        self.joined = nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        return self.joined.cat([self.branch1(x), self.branch2(x), self.branch3(self.pool(x)), self.branch4(x)], 1)


def quantizable_inception() -> nn.Module:
    return nn.Sequential(ConvNormReLU(3, 8, 3, 2), QuantizableBranches(8), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(32 * 64, 10))  # fmt: skip


class QuantizableUNet(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.enter, self.down = ConvNormReLU(3, 8), nn.Sequential(nn.MaxPool2d(2), ConvNormReLU(8, 12))
        self.up = nn.Upsample(scale_factor=2, mode=mode)
        self.out = nn.Sequential(ConvNormReLU(20, 8), nn.Conv2d(8, 2, 1))
        self.join = nn.quantized.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.out(self.join.cat([x, self.up(self.down(x))], dim=1))


EAGER: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "mobilenet_v2": ("MobileNetV2", QuantizableMobileNetV2),
    "mobilenet_v3": ("MobileNetV3", quantizable_mobilenet_v3),
    "resnet": ("ResNet", quantizable_resnet),
    "shufflenet": ("ShuffleNetV2", quantizable_shufflenet),
    "inception": ("Inception", quantizable_inception),
    "unet_nearest": ("U-Net", lambda: QuantizableUNet("nearest")),
    "unet_bilinear": ("U-Net", lambda: QuantizableUNet("bilinear")),
}


def eager(engine_name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], nn.Module]:
    return lambda module, inputs: quantize(module, inputs[0], engine_name)


def graph_mode(engine_name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], nn.Module]:
    """FX graph mode with the engine's default mapping."""

    def finish(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
        with engine(engine_name), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepared = prepare_fx(module, ao.get_default_qconfig_mapping(engine_name), inputs)
            prepared(*inputs)
            return convert_fx(prepared).eval()

    return finish


for _name, (_family, _build) in EAGER.items():
    for _engine in ENGINES:
        add(Member(f"{_name}[eager {_engine}]", f"{_family}, quantized",
                   lambda build=_build: Stubbed(build()), image(32), 0, False, eager(_engine)))  # fmt: skip
for _member in list(MEMBERS.values()):
    if _member.quantizable:
        for _engine in ENGINES:
            add(Member(f"{_member.name}[fx {_engine}]", f"{_member.family}, quantized", _member.build, _member.inputs,
                       _member.inside, False, graph_mode(_engine)))  # fmt: skip
