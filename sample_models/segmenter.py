"""A portrait segmenter in the shape of U-Net: 144×256 video frame in, probability of "person" per pixel out.

What it teaches
    A virtual background was what PyTorch's NNAPI work began with, and it needs what classifiers do not:
    bilinear upsampling (align_corners=False, i.e. half-pixel centres, which RESIZE_BILINEAR only knows
    since feature level 4), concatenation along channels, which is axis 1 in PyTorch and axis 3 in NNAPI,
    and values that live long, because a skip is read again far below where it was made. Height and width
    differ (144×256), so swapping them shows. Quantized, the concatenation's inputs arrive with different
    scales (feature level 3, or a requantization in front), and sigmoid's output scale is fixed at 1/256.

Weights are drawn from a seed, not trained; see sample_models.weights.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

from sample_models.photographs import crops, photograph
from sample_models.quantization import quantize
from sample_models.weights import draw, seeded, settle_batch_norm

SIZE = (144, 256)
SEED = 20201110
CHANNELS = (16, 24, 32, 48)


class DoubleConv(nn.Sequential):
    """Twice 3×3 convolution, batch norm, ReLU; the first may stride."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    """Double height and width, put the skip beside it, convolve."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.conv = DoubleConv(in_channels + skip_channels, out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        return self.conv(torch.cat([skip, x], dim=1))


class Segmenter(nn.Module):
    """[n, 3, 144, 256] normalised frame → [n, 1, 144, 256] probability, 0…1."""

    up_block: type[Up] = Up

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = CHANNELS
        self.inc = DoubleConv(3, half, stride=2)
        self.pool = nn.MaxPool2d(2)
        self.down1 = DoubleConv(half, quarter)
        self.down2 = DoubleConv(quarter, eighth)
        self.down3 = DoubleConv(eighth, sixteenth)
        self.up1 = self.up_block(sixteenth, eighth, eighth)
        self.up2 = self.up_block(eighth, quarter, quarter)
        self.up3 = self.up_block(quarter, half, half)
        self.outc = nn.Conv2d(half, 1, 1)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        x4 = self.down3(self.pool(x3))
        x = self.up1(x4, x3)
        x = self.up2(x, x2)
        x = self.up3(x, x1)
        x = self.upsample(self.outc(x))
        return torch.sigmoid(x)


class QuantizableUp(Up):
    """The concatenation as a module, so that eager-mode quantization can observe its range."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, skip_channels, out_channels)
        self.skip_cat = FloatFunctional()

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        return self.conv(self.skip_cat.cat([skip, x], dim=1))


class QuantizableSegmenter(Segmenter):
    """As Segmenter, with a stub at each end."""

    up_block = QuantizableUp

    def __init__(self) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.dequant = DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(super().forward(self.quant(x)))


def float32() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Float32: (module in eval mode, (frame [1, 3, 144, 256],))."""
    return _settled(Segmenter), (photograph(SIZE),)


def quantized() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8 with quantize and dequantize inside: float frame → float probability. Run under qnnpack."""
    return quantize(_settled(QuantizableSegmenter), crops(8, SIZE)), (photograph(SIZE),)


def _settled(architecture: type[Segmenter]) -> Segmenter:
    with seeded(SEED):
        model = architecture()
        draw(model)
        # One output channel makes fan-out tiny; a spread of about 2 keeps sigmoid between its two flat ends.
        nn.init.normal_(model.outc.weight, std=2 / model.outc.in_channels**0.5)
    settle_batch_norm(model, crops(8, SIZE))
    return model
