"""One build of each sample per test process: building takes a second, reading it many times nothing."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import pytest
import torch

Sample = tuple[torch.nn.Module, tuple[torch.Tensor, ...]]


def build(name: str) -> Sample:
    """Call the entry point "module:function"."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)()


@pytest.fixture(scope="session")
def fresh() -> Callable[[str], Sample]:
    """Build a sample anew."""
    return build


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Sample]:
    """Build a sample, or hand back the build made before."""
    return functools.cache(build)
