"""MobileNetV2: the network of PyTorch's NNAPI tutorial, 224×224, width 1.0, in every way it can meet NNAPI.

What it teaches
    Inverted residuals put the whole dictionary of rewrites into one network: NCHW → NHWC, OIHW → OHWI,
    depthwise weights as [1, h, w, c], batch norm folded into the convolution before it, ReLU6 as a fused
    activation, ADD for the shortcut, a global average pool, and flatten, which only costs nothing because
    it meets 1×1 pixels. Quantized, it adds bias as int32 with scale s_input · s_weight, qint8 → quint8
    weights and requantization.

The modes, named by PyTorch's tutorial "(Beta) Convert MobileNetV2 to NNAPI"
    none      float32 throughout.
    core      the core is quantized and only the core goes to NNAPI; a quantizer before it and a dequantizer
              after it stay in PyTorch, so the interface is float. The tutorial builds Sequential(quantizer,
              core, dequantizer); so do we, and name the three `quant`, `core`, `dequant`.
    full      the core alone: the application hands over a quint8 tensor and gets one back. The tutorial
              gives NNAPI the very same core as in `core`; `core().core` and `full()` compute the same bits.
    inside    the tutorial's "fourth option", which its script leaves out: quantize and dequantize are
              operations of the network itself, so they become NNAPI QUANTIZE and DEQUANTIZE. The same
              numbers as `core`; what differs is who computes the two ends.
    core_x86  as `core`, quantized the way PyTorch does it for desktop processors: one weight scale per
              output channel (x86 engine). PyTorch's own converter refuses it; NNAPI can say it since
              feature level 3.

How it differs from torchvision's file, and why
    `none` keeps batch norm and dropout apart and ReLU6 in place, as torchvision writes them. The tutorial
    fuses and takes dropout out first; PyTorch's converter refuses in-place ReLU6 but takes
    none(inplace=False). The quantized modes use ReLU instead of ReLU6, as torchvision's quantizable version
    does: torch fuses ReLU into a quantized convolution, but not ReLU6. Weights are drawn from a seed, not
    trained; see sample_models.weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

from sample_models.photographs import crops, photograph
from sample_models.quantization import quantize
from sample_models.weights import draw, seeded, settle_batch_norm

SIZE = 224
SEED = 20180113

# expansion, channels out, repeats, stride of the first. Sandler et al. 2018, table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvBNActivation(nn.Sequential):
    """Convolution without bias, batch norm, activation; padding keeps the size at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        activation: type[nn.Module],
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        padding = (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            activation(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Widen with 1×1, filter each channel with 3×3, narrow with 1×1; add the input when the shapes agree."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvBNActivation(in_channels, hidden, 1, activation))
        layers += [
            ConvBNActivation(hidden, hidden, 3, activation, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    """[n, 3, 224, 224] normalised image → [n, 1000] logits. Child names are torchvision's."""

    block: type[InvertedResidual] = InvertedResidual
    activation: type[nn.Module] = nn.ReLU6

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        channels, last_channels = 32, 1280
        features: list[nn.Module] = [ConvBNActivation(3, channels, 3, self.activation, stride=2)]
        for expansion, out_channels, repeats, first_stride in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                features.append(self.block(channels, out_channels, stride, expansion, self.activation))
                channels = out_channels
        features.append(ConvBNActivation(channels, last_channels, 1, self.activation))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last_channels, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        return self.classifier(x)


class QuantizableInvertedResidual(InvertedResidual):
    """The shortcut's sum as a module, so that eager-mode quantization can observe its range."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, activation: type[nn.Module]
    ) -> None:
        super().__init__(in_channels, out_channels, stride, expansion, activation)
        if self.use_res_connect:
            self.skip_add = FloatFunctional()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.use_res_connect:
            return self.skip_add.add(x, self.conv(x))
        return self.conv(x)


class QuantizableMobileNetV2(MobileNetV2):
    """As MobileNetV2, with ReLU in place of ReLU6 and a stub at each end."""

    block = QuantizableInvertedResidual
    activation = nn.ReLU

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(num_classes)
        self.quant = QuantStub()
        self.dequant = DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(super().forward(self.quant(x)))


def none(inplace: bool = True) -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Float32: (module in eval mode, (image [1, 3, 224, 224],)).

    inplace=False writes the same network without in-place ReLU6, which PyTorch's own converter insists on.
    """
    model = _settled(MobileNetV2)
    for part in model.modules():
        if isinstance(part, nn.ReLU6):
            part.inplace = inplace
    return model, (photograph(SIZE),)


def inside() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8, quantize and dequantize inside: float image [1, 3, 224, 224] → float logits. Run on qnnpack."""
    return _quantized("qnnpack"), (photograph(SIZE),)


def full() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8 with a quantized interface: quint8 image [1, 3, 224, 224] → quint8 logits. Run under qnnpack."""
    quantizer, network, _ = _opened("qnnpack")
    return network, (quantizer(photograph(SIZE)),)


def core() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8 core between a quantizer and a dequantizer that stay in PyTorch: float → float. Run under qnnpack.

    The module is a Sequential of `quant`, `core` and `dequant`; `core` is what the tutorial converts.
    """
    return _wrapped("qnnpack"), (photograph(SIZE),)


def core_x86() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """As core(), with one weight scale per output channel and activations in 0…127. Run under x86."""
    return _wrapped("x86"), (photograph(SIZE),)


def _settled(architecture: type[MobileNetV2]) -> MobileNetV2:
    with seeded(SEED):
        model = architecture()
        draw(model, linear_gain=3.0)
        _calm(model)
    settle_batch_norm(model, crops(8, SIZE))
    return model


def _calm(model: MobileNetV2) -> None:
    """Give the random network what training gives a real one: it dampens small errors instead of growing them.

    Residual branches add a quarter of their strength, and activations lie mostly above zero. Without this a
    rounding step in the first layer grows to 217 of 255 steps at the fiftieth, which no trained network does.
    """
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.bias.data += 0.5
    for block in model.modules():
        if isinstance(block, InvertedResidual) and block.use_res_connect:
            block.conv[-1].weight.data *= 0.25


def _quantized(engine_name: str) -> nn.Module:
    return quantize(_settled(QuantizableMobileNetV2), crops(8, SIZE), engine_name)


def _opened(engine_name: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Take the stubs off, as the tutorial does: (quantizer, network between quint8 tensors, dequantizer)."""
    network = _quantized(engine_name)
    quantizer, dequantizer = network.quant, network.dequant
    network.quant = nn.Identity()
    network.dequant = nn.Identity()
    return quantizer, network.eval(), dequantizer


def _wrapped(engine_name: str) -> nn.Module:
    quantizer, network, dequantizer = _opened(engine_name)
    whole = nn.Sequential(OrderedDict(quant=quantizer, core=network, dequant=dequantizer)).eval()
    # Read by nnapi_lab.lower: quantizing and dequantizing stay in PyTorch, as the tutorial's core mode has it.
    whole.nnapi_quantize_at = "outside"
    return whole
