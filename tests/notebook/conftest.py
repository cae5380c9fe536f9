"""A model small enough to count by hand, for everything the notebook package shows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnapi_lab.lab import LoweredModel, lower

pytest.importorskip("anywidget", reason="the notebook libraries are not installed")


class TinyNet(nn.Module):
    """Convolution, batch norm, ReLU: three nodes, one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


@pytest.fixture(scope="session")
def picture() -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)


@pytest.fixture(scope="session")
def tiny(picture: torch.Tensor) -> LoweredModel:
    torch.manual_seed(3)
    return lower(TinyNet().eval(), picture)
