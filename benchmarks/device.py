"""What PyTorch's loader and the device library cost for each call and each load, the kernels left out.

One file, three ways to run it: an empty simulator behind the library (only loader, library and callbacks are left), the
simulator itself, and the simulator called without any of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import nnapi_lab as lab
from benchmarks.timing import Race, race
from nnapi_lab.device import compilations
from nnapi_lab.simulate import compile_model
from nnapi_lab.torchscript.capture import quiet
from sample_models import digits, mobilenet_v2

CALLS = 200


class Nothing:
    """An executable that answers with what it was told to."""

    def __init__(self, *results: np.ndarray) -> None:
        self.results = results

    def run(self, arrays: object) -> tuple[np.ndarray, ...]:
        return self.results


def run(rounds: int) -> list[Race]:
    """A race for calls of a small network, and one for loading MobileNetV2."""
    lab.device.install()
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        return [_calls(rounds, Path(folder) / "calls.pt"), _loads(rounds, Path(folder) / "loads.pt")]


def _leaving_out(results: tuple[np.ndarray, ...]) -> AbstractContextManager[object]:
    """Compilations made inside have nothing behind them."""
    return mock.patch.object(compilations, "Executable", return_value=Nothing(*results))


def _calls(rounds: int, path: Path) -> Race:
    module, (image,) = digits.float32()
    lowered = lab.lower(module, image)
    lowered.save(path)
    array = np.ascontiguousarray(image.permute(0, 2, 3, 1).numpy())
    executable = compile_model(lowered.model, "fast")
    results = executable.run([array])
    with _leaving_out(results):
        empty = torch.jit.load(str(path))
        inner = empty.mod
        for _ in range(3):
            empty(image)
    full = torch.jit.load(str(path))
    rivals = {
        "the simulator alone": lambda: executable.run([array]),
        "torch.jit.load(…)(x), kernels left out": lambda: empty(image),
        "the same without the wrapper's checks and permutations": lambda: inner([image]),
        "torch.jit.load(…)(x)": lambda: full(image),
    }
    return race(f"{CALLS} calls of the digits network", {k: _often(v) for k, v in rivals.items()}, rounds,
                f"a call is a {CALLS}th of it")  # fmt: skip


def _often(call: Callable[[], object]) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(CALLS):
            call()

    return calls


def _loads(rounds: int, path: Path) -> Race:
    module, (image,) = mobilenet_v2.full()
    lowered = lab.lower(module, image)
    lowered.save(path)

    def loaded() -> torch.jit.ScriptModule:
        return torch.jit.load(str(path))

    def compiled() -> None:
        held = loaded()
        with _leaving_out((np.zeros((1, 1000), np.uint8),)):
            held(image)

    rivals = {
        "torch.jit.load": loaded,
        "and its first call, kernels left out": compiled,
        "and its first call": lambda: loaded()(image),
    }
    count = lowered.model.operand_count
    title = f"loading int8 MobileNetV2 ({count} operands, {len(lowered.model.operations)} operations)"
    return race(
        title, rivals, rounds, "the first call hands the model over, call by call, and holds it against the standard"
    )
