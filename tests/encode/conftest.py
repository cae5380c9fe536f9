"""Small models lowered once, for the tests of the files they are saved to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnapi_lab.encode import save_torch
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph


def lowered(module: torch.nn.Module, *inputs: torch.Tensor, **options: Any) -> Lowered:
    """A module lowered without refusals."""
    result = lower_graph(capture(module.eval(), inputs).graph, **options)
    assert result.refusals == ()
    return result


def small_network() -> torch.nn.Module:
    """A convolution and a classifier."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5))


@pytest.fixture(scope="session")
def lower() -> Callable[..., Lowered]:
    return lowered


@pytest.fixture(scope="session")
def network() -> Lowered:
    return lowered(small_network(), torch.ones(1, 3, 6, 6))


@pytest.fixture(scope="session")
def saved(network: Lowered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's `.pt`; not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "network.pt"
    save_torch(network, path)
    os.chmod(path, 0o444)
    return path
