"""Running MobileNetV2: the simulator's fast engine against PyTorch eager, one thread each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

import nnapi_lab as lab
from benchmarks.timing import Race, race
from nnapi_lab.simulate import compile_model
from nnapi_lab.torchscript.capture import quiet
from sample_models import mobilenet_v2
from sample_models.quantization import engine

NOTE = "ratio: time over the first; one thread"
Eager = Callable[[], torch.Tensor]


def run(rounds: int) -> list[Race]:
    """One race for float32 (`none`) and one for int8 (`full`), the latter also against PyTorch's desktop engine."""
    with quiet(), torch.no_grad():
        return [_float_race(rounds), _int8_race(rounds)]


def _float_race(rounds: int) -> Race:
    module, (image,) = mobilenet_v2.none()
    channels_last = image.contiguous(memory_format=torch.channels_last)
    rivals = {
        "PyTorch eager": lambda: module(image),
        "PyTorch eager, channels last": lambda: module(channels_last),
        "nnapi_lab fast": _simulation(module, image),
    }
    return race("running MobileNetV2 float32 224×224", rivals, rounds, NOTE)


def _int8_race(rounds: int) -> Race:
    module, (image,) = mobilenet_v2.full()
    desktop = mobilenet_v2.core_x86()[0]
    desktop_image = desktop.quant(mobilenet_v2.none()[1][0])
    rivals = {
        "PyTorch eager, qnnpack": _under("qnnpack", module, image),
        "PyTorch eager, x86 (per-channel weights)": _under("x86", desktop.core, desktop_image),
        "nnapi_lab fast": _simulation(module, image),
    }
    return race("running MobileNetV2 int8 224×224", rivals, rounds, NOTE)


def _under(engine_name: str, module: torch.nn.Module, image: torch.Tensor) -> Eager:
    def run() -> torch.Tensor:
        with engine(engine_name):
            return module(image)

    return run


def _simulation(module: torch.nn.Module, image: torch.Tensor) -> Callable[[], object]:
    """One run of the lowered model on the stored elements of the image, weights prepared beforehand."""
    stored = image.int_repr() if image.is_quantized else image
    array = np.ascontiguousarray(stored.permute(0, 2, 3, 1).numpy())
    executable = compile_model(lab.lower(module, image).model, "fast")
    return lambda: executable.run([array])
