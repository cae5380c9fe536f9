"""The TorchScript module around a serialized model: what PyTorch's own NNAPI loader expects to find in a `.pt`.

`NnapiModel` holds the words and the weights and hands them to `torch.classes._nnapi.Compilation` on its first
forward, so the file can be loaded, kept and saved again on any machine until then. Its attributes and methods are
those of PyTorch's converter's module. `interface` wraps it: takes and returns what the original model does.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from nnapi_lab.encode.interface import Interface
from nnapi_lab.encode.words import EncodedModel

SUSTAINED_SPEED = 2  # ANEURALNETWORKS_PREFER_SUSTAINED_SPEED, what PyTorch's converter asks for


class ResultTemplates(torch.nn.Module):
    """Empty results of the right type and size, one list entry a result: the loader writes into their like."""

    def __init__(self, shapes: list[list[int]], dtypes: list[int], scales: list[float], zero_points: list[int]):
        super().__init__()
        self.shapes = torch.jit.Attribute(shapes, list[list[int]])
        self.dtypes = torch.jit.Attribute(dtypes, list[int])
        self.scales = torch.jit.Attribute(scales, list[float])
        self.zero_points = torch.jit.Attribute(zero_points, list[int])

    @torch.jit.export
    def prepare(self, ser_model: Tensor, args: list[Tensor]) -> list[Tensor]:
        """The templates. The serialized model needs no filling in: all sizes are known."""
        found: list[Tensor] = []
        for i in range(len(self.shapes)):
            dtype = self.dtypes[i]
            if dtype == 12 or dtype == 13:  # qint8, quint8
                zeros = torch.zeros(self.shapes[i])
                found.append(torch.quantize_per_tensor(zeros, self.scales[i], self.zero_points[i], dtype))
            else:
                found.append(torch.zeros(self.shapes[i], dtype=dtype))
        return found


class NnapiModel(torch.nn.Module):
    """A list of tensors in, a list of tensors out, through PyTorch's loader; compiled on the first forward."""

    def __init__(self, encoded: EncodedModel, relaxed: bool, face: Interface):
        super().__init__()
        rows = face.results
        self.shape_compute_module = ResultTemplates(
            [list(row.stored) for row in rows], [row.stored_dtype for row in rows],
            [row.scale for row in rows], [row.zero_point for row in rows],
        )  # fmt: skip
        self.ser_model = torch.from_numpy(encoded.words.copy())
        self.weights = torch.jit.Attribute([weight_tensor(array) for array in encoded.weights], list[Tensor])
        self.inp_mem_fmts = torch.jit.Attribute([row.memory_format for row in face.arguments], list[int])
        self.out_mem_fmts = torch.jit.Attribute([row.memory_format for row in rows], list[int])
        self.out_templates = torch.jit.Attribute([], list[Tensor])
        # Without Optional spelled out TorchScript does not know the class.
        self.comp = torch.jit.Attribute(None, Optional[torch.classes._nnapi.Compilation])  # noqa: UP045
        self.compilation_preference = SUSTAINED_SPEED
        self.relax_f32_to_f16 = relaxed

    @torch.jit.export
    def init(self, args: list[Tensor]) -> None:
        """Compile. The weights stay attributes: NNAPI borrows their memory."""
        if self.comp is not None:
            raise RuntimeError("this NNAPI model is compiled already")
        self.out_templates = self.shape_compute_module.prepare(self.ser_model, args)
        self.weights = [weight.contiguous() for weight in self.weights]
        comp = torch.classes._nnapi.Compilation()
        comp.init2(self.ser_model, self.weights, self.compilation_preference, self.relax_f32_to_f16)
        self.comp = comp

    def forward(self, args: list[Tensor]) -> list[Tensor]:
        if len(args) != len(self.inp_mem_fmts):
            raise RuntimeError(f"the NNAPI model takes {len(self.inp_mem_fmts)} inputs, {len(args)} are given")
        if self.comp is None:
            self.init(args)
        comp = self.comp
        if comp is None:
            raise RuntimeError("the NNAPI model is not compiled")
        given: list[Tensor] = []
        for i in range(len(args)):
            # NNAPI reads plain memory: a view with other strides would be read in the wrong order.
            held = args[i].permute(0, 2, 3, 1) if self.inp_mem_fmts[i] == 1 else args[i]
            given.append(held.contiguous())
        results = [torch.empty_like(template) for template in self.out_templates]
        comp.run(given, results)
        for i in range(len(results)):
            if self.out_mem_fmts[i] == 1:
                results[i] = results[i].permute(0, 3, 1, 2)
        return results


def weight_tensor(array: np.ndarray) -> Tensor:
    """The bytes of an array as a tensor of a type that every loader knows."""
    if array.dtype == np.uint16:
        array = array.view(np.int16)
    return torch.from_numpy(np.array(array, order="C"))


def interface(encoded: EncodedModel, relaxed: bool, face: Interface) -> torch.jit.ScriptModule:
    """The module to save. Raises RuntimeError when TorchScript cannot type the structure of the results."""

    # A class of its own each time: `define` adds the method to the class.
    class NnapiInterface(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mod = NnapiModel(encoded, relaxed, face)

        @torch.jit.export
        def expected(self, x: Tensor, name: str, shape: list[int], dtype: int, type: str) -> Tensor:
            """The argument itself. NNAPI would answer one of another shape or type with a bare error number."""
            if x.dtype != dtype or x.size() != shape:
                raise ValueError(f"input {name} is not {type}, which the model was lowered for (shape {x.size()})")
            return x

        @torch.jit.export
        def shifted(self, x: Tensor, shift: int, storage: int) -> Tensor:
            """The same real values with codes and zero point moved by `shift`: qint8 to quint8 or back."""
            codes = (x.int_repr().to(torch.int16) + shift).to(storage)
            return torch._make_per_tensor_quantized_tensor(codes, x.q_scale(), x.q_zero_point() + shift)

    module = torch.jit.script(NnapiInterface().eval())
    module.define(forward_source(face))
    return module


def forward_source(face: Interface) -> str:
    """The wrapper's forward in TorchScript: each argument checked and stored, each result read back."""
    arguments = ", ".join(f"{row.name}: Tensor" for row in face.arguments)
    stored = ", ".join(row.expression for row in face.arguments)
    lines = [f"def forward(self, {arguments}):", f"    results = self.mod([{stored}])"]
    lines += [f"    r{index} = {row.expression}" for index, row in enumerate(face.results)]
    return "\n".join([*lines, f"    return {_returned(face.structure)}", ""])


def _returned(structure: Any) -> str:
    """The results in the shape the model returns them."""
    if isinstance(structure, int):
        return f"r{structure}"
    kind, parts = structure
    if kind == "dict":
        return "{" + ", ".join(f"{key!r}: {_returned(part)}" for key, part in parts) + "}"
    items = [_returned(part) for part in parts]
    return f"[{', '.join(items)}]" if kind == "list" else f"({''.join(f'{item}, ' for item in items)})"
