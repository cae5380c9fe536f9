"""A perceptron over small colour pictures: flatten, three linear layers, one of them without a bias.

What it teaches
    Flatten meets real height, width and channels here (16×16×3). PyTorch unrolls them channel by channel, an
    NHWC picture unrolls pixel by pixel: either the picture is transposed first or the columns of the first
    weight are permuted, once, when the model is built. A linear without bias still needs one in
    FULLY_CONNECTED: a vector of zeros. The batch is 4, so flattening one axis too many shows.

Weights are drawn from a seed, not trained; see sample_models.weights.
"""

from __future__ import annotations

import torch
from torch import nn

from sample_models.photographs import crops
from sample_models.weights import draw, seeded

SIZE = 16
BATCH = 4
SEED = 1958


class Perceptron(nn.Module):
    """[n, 3, 16, 16] normalised picture → [n, 10] logits."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(3 * SIZE * SIZE, 128)
        self.fc2 = nn.Linear(128, 64, bias=False)
        self.relu = nn.ReLU()
        self.fc3 = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        return self.fc3(x)


def float32() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Float32: (module in eval mode, (pictures [4, 3, 16, 16],))."""
    with seeded(SEED):
        model = Perceptron()
        # √2 keeps the size of activations through ReLU, which halves the mean square.
        draw(model, linear_gain=2**0.5)
    return model.eval(), (crops(BATCH, SIZE),)
