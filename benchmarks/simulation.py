"""Running networks: the simulator's fast engine against PyTorch eager and LiteRT's reference kernels, one thread each.

The int8 networks have one weight scale per output channel, as PyTorch's x86 engine makes them; LiteRT computes the
same network with the same arithmetic, and its codes are compared before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch

import nnapi_lab as lab
from benchmarks.litert import reference_kernels
from benchmarks.timing import Goal, Race, race
from nnapi_lab.ir.model import Model
from nnapi_lab.simulate import compile_model
from nnapi_lab.torchscript.capture import quiet
from sample_models import mobilenet_v2, resnet18
from sample_models.quantization import engine

OURS, EAGER = "nnapi_lab fast", "PyTorch float32 eager"
QUANTIZED, LITERT = "PyTorch quantized eager, x86", "LiteRT reference kernels"
NOTE = "ratio: time over the first; one thread"
Made = tuple[torch.nn.Module, tuple[torch.Tensor]]


def run(rounds: int) -> list[Race]:
    """float32 MobileNetV2, int8 MobileNetV2 and ResNet18, and MobileNetV2 as phones have it (one weight scale)."""
    with quiet(), torch.no_grad():
        return [
            _float_race(rounds),
            _int8_race("MobileNetV2", mobilenet_v2, mobilenet_v2.none(), rounds, (0.6, 1.6, 15)),
            _int8_race("ResNet18", resnet18, resnet18.float32(), rounds, (0.3, 1.3, 25)),
            _per_tensor_race(rounds),
        ]


def _float_race(rounds: int) -> Race:
    module, (image,) = mobilenet_v2.none()
    channels_last = image.contiguous(memory_format=torch.channels_last)
    rivals = {
        EAGER: lambda: module(image),
        f"{EAGER}, channels last": lambda: module(channels_last),
        OURS: simulation(module, image)[0],
    }
    return race("running MobileNetV2 float32 224×224", rivals, rounds, NOTE, [Goal(OURS, EAGER, most=1.0)])


def _int8_race(name: str, source: ModuleType, plain: Made, rounds: int, goals: tuple[float, float, float]) -> Race:
    eager, (image,) = plain
    whole = source.core_x86()[0]
    codes = whole.quant(image)
    with engine("x86"):
        ours, model, stored = simulation(whole.core, codes)
    theirs = reference_kernels(model)
    rivals = {
        EAGER: lambda: eager(image),
        QUANTIZED: _under("x86", whole.core, codes),
        LITERT: lambda: theirs(stored),
        OURS: ours,
    }
    differing = int(np.count_nonzero(ours()[0].reshape(-1) != theirs(stored).reshape(-1)))
    most, most_quantized, least = goals
    return race(
        f"running {name} int8 224×224",
        rivals,
        rounds,
        f"{NOTE}; {differing} of 1000 output codes differ from LiteRT's",
        [
            Goal(OURS, EAGER, most=most),
            Goal(OURS, QUANTIZED, most=most_quantized),
            Goal(OURS, LITERT, least=least),
        ],
    )


def _per_tensor_race(rounds: int) -> Race:
    module, (codes,) = mobilenet_v2.full()
    eager, (image,) = mobilenet_v2.none()
    with engine("qnnpack"):
        ours = simulation(module, codes)[0]
    rivals = {
        EAGER: lambda: eager(image),
        "PyTorch quantized eager, qnnpack": _under("qnnpack", module, codes),
        OURS: ours,
    }
    title = "running MobileNetV2 int8 224×224, one weight scale for each convolution"
    return race(title, rivals, rounds, NOTE, [Goal(OURS, EAGER, most=0.6)])


def _under(engine_name: str, module: torch.nn.Module, image: torch.Tensor) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        with engine(engine_name):
            return module(image)

    return run


def simulation(
    module: torch.nn.Module, image: torch.Tensor
) -> tuple[Callable[[], tuple[np.ndarray, ...]], Model, np.ndarray]:
    """(one run, the lowered model, the stored elements of the image); weights are prepared beforehand."""
    stored = image.int_repr() if image.is_quantized else image
    array = np.ascontiguousarray(stored.permute(0, 2, 3, 1).numpy())
    model = lab.lower(module, image).model
    executable = compile_model(model, "fast")
    return lambda: executable.run([array]), model, array
