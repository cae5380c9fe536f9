"""Saving a lowering as the TorchScript file that PyTorch's own NNAPI loader reads."""

from __future__ import annotations

import io
import os
import warnings

import torch

from nnapi_lab.encode.interface import interface_of, located
from nnapi_lab.encode.names import NAMES_FILE, names_to_json
from nnapi_lab.encode.torch_module import interface
from nnapi_lab.encode.torch_nnapi import SOURCE, encode, unsayable
from nnapi_lab.errors import LoweringError
from nnapi_lab.files import write_bytes
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.rewrites.lowered import Lowered


def save_torch(lowered: Lowered, path: str | os.PathLike[str]) -> None:
    """Write a `.pt` that PyTorch's loader reads and `load` reads back to an equal model; whole or not at all.

    Raises LoweringError with everything the format or the loader cannot say, OutputError when it cannot be written.
    """
    data = io.BytesIO()
    torch.jit.save(torch_module(lowered), data, _extra_files={NAMES_FILE: names_to_json(encode(lowered.model).names)})
    write_bytes(path, data.getvalue())


def torch_module(lowered: Lowered) -> torch.jit.ScriptModule:
    """The TorchScript module that `save_torch` writes: called like the original, computed by NNAPI.

    Loading, moving and saving it needs no Android; its first forward does, or the simulated device.
    Raises LoweringError with everything the format or the loader cannot say.
    """
    refusals = [located(refusal, lowered, operand) for operand, refusal in unsayable(lowered.model).items()]
    face, unpassable = interface_of(lowered)
    if refusals or unpassable:
        raise LoweringError([*refusals, *unpassable])
    encoded = encode(lowered.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return interface(encoded, lowered.model.relaxed, face)
        except RuntimeError as error:
            raise LoweringError([_structure(error)]) from error


def _structure(error: RuntimeError) -> Refusal:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Refusal(
        "FORBIDDEN",
        "TORCH_FORMAT.STRUCTURE",
        "the model's outputs",
        f"TorchScript cannot type them ({lines[0] if lines else 'no reason given'})",
        "return a tensor, a tuple, or a list or dict whose entries are of one type",
        SOURCE,
    )
