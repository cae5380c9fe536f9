"""A small network really trained, on scikit-learn's 8×8 handwritten digits: differences read as accuracy.

What it teaches
    On random weights a difference is only a number. Here it is an answer: how many of 450 digits does
    float32 get right, how many PyTorch's int8, how many NNAPI's int8, and on which pictures do they part?
    The network is small enough to print whole, and its flatten meets 4×4 pixels of 24 channels, so the
    columns of the first linear weight have to be permuted; a mistake there costs most of the accuracy.

The weights are digits.npz, made by `python -m sample_models.train_digits`, which tells how.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

from sample_models.quantization import quantize
from sample_models.weights import seeded

WEIGHTS = Path(__file__).with_name("digits.npz")
TEST_PICTURES = 450  # of 1797 pictures
SPLIT_SEED = 1998


class DigitsNet(nn.Module):
    """[n, 1, 8, 8] grey picture in 0…1 → [n, 10] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(24 * 4 * 4, 48),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(48, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class QuantizableDigitsNet(DigitsNet):
    """As DigitsNet, with a stub at each end."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.dequant = DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(super().forward(self.quant(x)))


def train_set() -> tuple[torch.Tensor, torch.Tensor]:
    """The 1347 pictures that were trained on: (images float32 [1347, 1, 8, 8] in 0…1, labels int64)."""
    images, _, labels, _ = _split()
    return images, labels


def test_set() -> tuple[torch.Tensor, torch.Tensor]:
    """The 450 pictures training never saw: (images float32 [450, 1, 8, 8] in 0…1, labels int64 [450])."""
    _, images, _, labels = _split()
    return images, labels


def float32() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Float32: (module in eval mode, (first test picture [1, 1, 8, 8],))."""
    return _trained(DigitsNet), (_first_picture(),)


def quantized() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Int8 calibrated on 256 training pictures, quantize and dequantize inside. Run under qnnpack."""
    images, _ = train_set()
    return quantize(_trained(QuantizableDigitsNet), images[:256]), (_first_picture(),)


def _first_picture() -> torch.Tensor:
    images, _ = test_set()
    return images[:1].clone()


def _split() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Train images, test images, train labels, test labels; each digit equally frequent in both parts."""
    images, labels = load_digits(return_X_y=True)
    # Ink is counted 0…16 in each pixel.
    images = torch.from_numpy(images).float().div(16.0).reshape(-1, 1, 8, 8)
    parts = train_test_split(
        images.numpy(),
        labels.astype(np.int64),
        test_size=TEST_PICTURES,
        random_state=SPLIT_SEED,
        stratify=labels,
    )
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return train_images, test_images, train_labels, test_labels


def _trained(architecture: type[DigitsNet]) -> DigitsNet:
    with seeded(0):  # the constructor draws weights too, all overwritten below
        model = architecture()
    with np.load(WEIGHTS) as stored:
        state = {name: torch.from_numpy(stored[name]) for name in stored.files}
    model.load_state_dict(state)
    return model.eval()
