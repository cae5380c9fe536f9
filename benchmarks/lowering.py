"""Lowering a traced MobileNetV2: nnapi_lab against PyTorch's own converter, on the same ScriptModule.

PyTorch's `convert_model_to_nnapi` freezes, serializes and wraps the result in a module. nnapi_lab's side reads the
graph by running it once, lowers it with a Step for every rewrite, validates every operation, and encodes the
same format; writing the file is left out on both sides.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.backends._nnapi.prepare import convert_model_to_nnapi

import nnapi_lab as lab
from benchmarks.timing import Race, race
from nnapi_lab.encode.torch_nnapi import encode
from nnapi_lab.torchscript.capture import quiet
from sample_models import mobilenet_v2
from sample_models.quantization import engine


def run(rounds: int) -> list[Race]:
    """One race for float32 (`none`) and one for int8 (`full`)."""
    with engine("qnnpack"), quiet(), torch.no_grad():
        return [
            _race("float32", mobilenet_v2.none(inplace=False), rounds),
            _race("int8", mobilenet_v2.full(), rounds),
        ]


def _race(kind: str, made: tuple[torch.nn.Module, tuple[torch.Tensor]], rounds: int) -> Race:
    module, (image,) = made
    traced = torch.jit.trace(module, image)
    theirs = image.contiguous(memory_format=torch.channels_last)
    theirs.nnapi_nhwc = True  # type: ignore[attr-defined]  how PyTorch's converter is told of NHWC inputs

    def ours() -> Any:
        return encode(lab.lower(traced, image).model)

    return race(
        f"lowering MobileNetV2 {kind} 224×224",
        {
            "torch convert_model_to_nnapi": lambda: convert_model_to_nnapi(traced, theirs),
            "nnapi_lab lower": lambda: lab.lower(traced, image),
            "nnapi_lab lower + encode": ours,
        },
        rounds,
        "ratio: time over PyTorch's converter; ours also explains every rewrite and validates every operation",
    )
