"""Seeded weights and calibrated batch norm: untrained networks with activations like those of trained ones.

A network fresh from its constructor is a poor sample: every batch norm is the identity, every bias is zero,
and a rewrite that loses a bias or a scale goes unnoticed. Here every parameter that a conversion has to
carry is given a value of its own, and batch norm's running statistics are measured on real photographs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a generator of our own inside the block; the caller's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def draw(module: nn.Module, linear_gain: float = 1.0) -> None:
    """Fill every parameter in place: Kaiming for weights, values of their own for biases and batch norm.

    Convolutions: normal, variance 2 / fan-out, as torchvision does. Linear: normal, variance
    linear_gain² / fan-in. Biases: normal, standard deviation 0.1. Batch norm: weight uniform in 0.5…1.5, bias
    normal with standard deviation 0.2, so that folding one away visibly moves both. Call inside seeded().
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=linear_gain / part.in_features**0.5)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
            continue
        else:
            continue
        if part.bias is not None:
            nn.init.normal_(part.bias, std=0.1)


@torch.no_grad()
def settle_batch_norm(module: nn.Module, images: torch.Tensor) -> None:
    """Measure every batch norm's running statistics on one batch, in place; the module ends in eval mode.

    images: float32 [n, c, h, w]. Only batch norm sees training mode, so dropout stays off. One batch with
    cumulative averaging (momentum None) stores exactly that batch's statistics.
    """
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    module(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
