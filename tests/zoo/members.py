"""The zoo's members: what a family is called, how a small faithful one is built, and what it is fed.

Every network is written the way people write it, at 32 to 64 pixels with few channels. Weights are seeded, every
parameter that a conversion has to carry has a value of its own, and batch norm is calibrated on one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sample_models.weights import seeded

Inputs = Callable[[], tuple[Tensor, ...]]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
AFFINE = (*NORMS, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a family.

    `inside`: TRANSPOSEs it may keep between its inputs and outputs in layout auto; None where nothing is promised.
    `quantizable`: FX quantization of it is part of the zoo. `finish`: scripting or quantization, applied at last.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    inputs: Inputs
    inside: int | None = None
    quantizable: bool = False
    finish: Callable[[nn.Module, tuple[Tensor, ...]], nn.Module] | None = None


MEMBERS: dict[str, Member] = {}


def add(member: Member) -> None:
    if member.name in MEMBERS:
        raise ValueError(f"two members are called {member.name}")
    MEMBERS[member.name] = member


def member(
    family: str, inputs: Inputs, inside: int | None = None, quantizable: bool = False, script: bool = False
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Registers a function (or class) of no arguments that builds a network."""

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        finish = (lambda module, _: torch.jit.script(module)) if script else None
        add(Member(build.__name__, family, build, inputs, inside, quantizable, finish))
        return build

    return register


def image(size: int = 32, channels: int = 3, batch: int = 1) -> Inputs:
    """A batch of square images, float32 [batch, channels, size, size], N(0, 1)."""
    return lambda: (torch.randn(batch, channels, size, size),)


def tensors(*shapes: tuple[int, ...]) -> Inputs:
    """One float32 tensor per shape, N(0, 1)."""
    return lambda: tuple(torch.randn(shape) for shape in shapes)


def realise(chosen: Member, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network in eval mode with its weights drawn, and inputs it has not been calibrated on."""
    with seeded(seed), torch.no_grad():
        module = chosen.build()
        draw(module)
        calibrate(module, chosen.inputs)
        module.eval()
        inputs = chosen.inputs()
        if chosen.finish is not None:
            module = chosen.finish(module, chosen.inputs())
        return module, inputs


def draw(module: nn.Module) -> None:
    """Values of their own for every bias and every norm's scale and shift; Kaiming (fan in) for convolutions."""
    for part in module.modules():
        if isinstance(part, CONVOLUTIONS):
            across = part.weight[0].numel() if not part.transposed else part.weight.shape[0] * 2
            nn.init.normal_(part.weight, std=math.sqrt(2 / across))
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
        elif isinstance(part, AFFINE) and part.weight is not None:
            nn.init.uniform_(part.weight, 0.5, 1.5)
        if isinstance(part, (*CONVOLUTIONS, *AFFINE, nn.Linear)) and part.bias is not None:
            nn.init.normal_(part.bias, std=0.1)


def calibrate(module: nn.Module, inputs: Inputs) -> None:
    """Running statistics of one batch of 8, accumulated exactly (momentum None)."""
    norms = [part for part in module.modules() if isinstance(part, NORMS)]
    if not norms:
        return
    module.eval()
    for norm in norms:
        norm.momentum = None
        norm.train()
    module(*(torch.cat(parts) for parts in zip(*(inputs() for _ in range(8)), strict=True)))
