"""The saved module's wrapper: every layout and type it brings to NNAPI and back.

Without Android the module's own forward cannot run, so its source is run as Python with the simulator in the place
of PyTorch's loader; what comes out must be what the original model gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnapi_lab.encode import torch_module
from nnapi_lab.encode.interface import DTYPES, Interface, interface_of
from nnapi_lab.encode.torch_module import forward_source
from nnapi_lab.errors import LoweringError
from nnapi_lab.ir.model import Model, replace_model
from nnapi_lab.ir.operand_types import Dim
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.simulate import simulate

TORCH = {number: getattr(torch, name) for name, number in DTYPES.items()}


class StandIn:
    """What the wrapper calls `self`: the loader and its permutations, by the simulator."""

    def __init__(self, model: Model, face: Interface) -> None:
        self.model = model
        self.face = face

    def expected(self, x: Tensor, name: str, shape: list[int], dtype: int, type: str) -> Tensor:
        assert x.dtype == TORCH[dtype]
        assert list(x.shape) == shape
        return x

    def shifted(self, x: Tensor, shift: int, storage: int) -> Tensor:
        codes = (x.int_repr().to(torch.int16) + shift).to(TORCH[storage])
        return torch._make_per_tensor_quantized_tensor(codes, x.q_scale(), x.q_zero_point() + shift)

    def mod(self, args: Sequence[Tensor]) -> list[Tensor]:
        arrays = []
        for tensor, row in zip(args, self.face.arguments, strict=True):
            held = tensor.permute(0, 2, 3, 1) if row.memory_format == 1 else tensor
            assert tuple(held.shape) == row.stored
            assert held.dtype == TORCH[row.stored_dtype]
            arrays.append((held.int_repr() if held.is_quantized else held).contiguous().numpy())
        results = []
        for array, row in zip(simulate(self.model, arrays), self.face.results, strict=True):
            assert array.shape == row.stored
            tensor = torch.from_numpy(np.array(array))
            if row.scale:
                tensor = torch._make_per_tensor_quantized_tensor(tensor, row.scale, row.zero_point)
            assert tensor.dtype == TORCH[row.stored_dtype]
            results.append(tensor.permute(0, 3, 1, 2) if row.memory_format == 1 else tensor)
        return results


def run_saved(lowered: Lowered, *inputs: Tensor) -> Any:
    """The saved module's answer, by the simulator."""
    face, refusals = interface_of(lowered)
    assert refusals == []
    names: dict[str, Any] = {"torch": torch, "Tensor": Tensor}
    exec(forward_source(face), names)
    return names["forward"](StandIn(lowered.model, face), *inputs)


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, *args: Tensor) -> Any:
        return self.function(self, *args)


IMAGE = torch.linspace(-1, 1, 108).reshape(1, 3, 6, 6)
ROW = torch.linspace(-2, 2, 6).reshape(2, 3)


def quantized(x: Tensor, dtype: torch.dtype, zero_point: int) -> Tensor:
    with warnings.catch_warnings():  # PyTorch retires quantized tensors
        warnings.simplefilter("ignore", UserWarning)
        return torch.quantize_per_tensor(x, 0.02, zero_point, dtype)


CASES = {
    # name: (function, inputs, layout of the NNAPI model)
    "channels last": (lambda m, x: m.conv(x), (IMAGE,), "auto"),
    "channels last inside only": (lambda m, x: m.conv(x), (IMAGE,), "nchw"),
    "channels last outside": (lambda m, x: x.relu(), (IMAGE,), "nhwc"),
    "a vector from an image": (lambda m, x: m.conv(x).flatten(1), (IMAGE,), "auto"),
    "a matrix": (lambda m, x: x.relu(), (ROW,), "auto"),
    "a number": (lambda m, x: x.relu() + 1, (torch.tensor(3.0),), "auto"),
    "a row": (lambda m, x: x.relu(), (torch.tensor([-1.0, 2.0]),), "auto"),
    "two inputs, a tuple": (lambda m, x, y: (x + y, x.relu()), (ROW, ROW * 2), "auto"),
    "a list": (lambda m, x: [x.relu(), x + 1], (ROW,), "auto"),
    "a dict": (lambda m, x: {"a": x.relu(), "b": x + 1}, (ROW,), "auto"),
    "a tuple of one": (lambda m, x: (x.relu(),), (ROW,), "auto"),
    "nested": (lambda m, x: (x.relu(), (x + 1, x + 2)), (ROW,), "auto"),
    "the input itself": (lambda m, x: (x, m.conv(x)), (IMAGE,), "auto"),
    "the same twice": (lambda m, x: (y := m.conv(x), y), (IMAGE,), "auto"),
    "whole numbers": (lambda m, x: x + 1, (torch.arange(6, dtype=torch.int32),), "auto"),
    "long numbers": (lambda m, x: x + 1, (torch.arange(6),), "auto"),
    "quint8": (lambda m, x: x.relu(), (quantized(ROW, torch.quint8, 100),), "auto"),
    "quint8 channels last": (lambda m, x: x.relu(), (quantized(IMAGE, torch.quint8, 128),), "nhwc"),
    "qint8": (lambda m, x: x.relu(), (quantized(ROW, torch.qint8, -28),), "auto"),
    "qint8 channels last": (lambda m, x: x.relu(), (quantized(IMAGE, torch.qint8, 3),), "nhwc"),
    "quantized inside": (
        lambda m, x: torch.quantize_per_tensor(x, 0.02, 100, torch.quint8).relu().dequantize(), (ROW,), "auto",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_the_wrapper_gives_what_the_model_gives(name: str, lower: Callable[..., Lowered]) -> None:
    function, inputs, layout = CASES[name]
    module = Lambda(function).eval()
    lowered = lower(module, *inputs, layout=layout)
    torch_module(lowered)  # TorchScript takes it, too
    with torch.no_grad():
        wanted = module(*inputs)
    assert_alike(run_saved(lowered, *inputs), wanted)


def assert_alike(seen: Any, wanted: Any) -> None:
    """The same structure, shapes, types and numbers; sums of a convolution may differ in the last bits."""
    assert type(seen) is type(wanted)
    if isinstance(wanted, dict):
        assert seen.keys() == wanted.keys()
        seen, wanted = list(seen.values()), list(wanted.values())
    if not isinstance(wanted, Tensor):
        assert len(seen) == len(wanted)
        for one, other in zip(seen, wanted, strict=True):
            assert_alike(one, other)
        return
    assert (seen.dtype, seen.shape) == (wanted.dtype, wanted.shape)
    if wanted.is_quantized:
        # NNAPI keeps scales as float32, PyTorch as float64.
        assert np.float32(seen.q_scale()) == np.float32(wanted.q_scale())
        assert seen.q_zero_point() == wanted.q_zero_point()
        assert torch.equal(seen.int_repr(), wanted.int_repr())
    else:
        torch.testing.assert_close(seen, wanted, rtol=1e-6, atol=1e-6)


def test_arguments_keep_their_names(lower: Callable[..., Lowered]) -> None:
    class Named(nn.Module):
        def forward(self, lambda_: Tensor, torch: Tensor, results: Tensor) -> Tensor:
            return lambda_ + torch + results

    face, _ = interface_of(lower(Named(), ROW, ROW, ROW))
    assert [row.name for row in face.arguments] == ["lambda_", "arg_torch", "arg_results"]


# --- what PyTorch's loader does not pass ---------------------------------------------------------------------


def with_input(lowered: Lowered, **changes: Any) -> Lowered:
    """The lowering with another type of its first input operand."""
    name = lowered.model.inputs[0]
    operand = replace(lowered.model[name], type=replace(lowered.model[name].type, **changes))
    model = replace_model(lowered.model, operands={**lowered.model.operands, name: operand})
    return replace(lowered, model=model)


def test_half_precision_inputs_are_refused(lower: Callable[..., Lowered]) -> None:
    with pytest.raises(LoweringError, match=r"TORCH_FORMAT\.INPUT .* TENSOR_FLOAT16, which PyTorch's loader does not"):
        torch_module(lower(Lambda(lambda m, x: x.relu()), ROW.half()))


def test_sizes_that_are_not_known_are_refused(lower: Callable[..., Lowered]) -> None:
    lowered = with_input(lower(Lambda(lambda m, x: x.relu()), ROW), shape=(Dim("N"), 3))
    with pytest.raises(LoweringError, match="files of known sizes only"):
        torch_module(lowered)


def test_results_that_torchscript_cannot_type_are_refused(lower: Callable[..., Lowered]) -> None:
    lowered = lower(Lambda(lambda m, x: x.relu()), ROW)
    graph = replace(lowered.graph, structure=("dict", (((1, 2), 0),)))
    lowered = replace(lowered, graph=graph)
    with pytest.raises(LoweringError, match=r"TORCH_FORMAT\.STRUCTURE at the model's outputs: TorchScript cannot type"):
        torch_module(lowered)
