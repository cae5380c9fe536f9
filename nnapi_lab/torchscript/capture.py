"""From whatever the user holds to a flat TorchGraph: inlined, shapes known, in-place operations functionalised.

The graph is read by running it once, node by node, on the example inputs. Everything that does not depend on
the inputs' values (attributes, shape arithmetic, constant branches and loops) is folded on the way, so
`torch.jit.freeze`, which grows worse than quadratically, is never called.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from nnapi_lab.errors import CaptureError, FormatError
from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ir.torch_graph import TorchGraph
from nnapi_lab.torchscript.collector import collector_paused
from nnapi_lab.torchscript.exported import ExportedRecorder, load_exported
from nnapi_lab.torchscript.recorder import Recorder
from nnapi_lab.torchscript.sources import OUR_HOME, TORCH_HOME
from nnapi_lab.torchscript.tensors import packed_params

Progress = Callable[[str, int, int], None]

INPUT_DTYPES = (
    torch.float32, torch.float16, torch.float64, torch.int32, torch.int64, torch.bool, torch.uint8, torch.int8,
    torch.quint8, torch.qint8, torch.qint32,
)  # fmt: skip
# What a user's forward raises when it cannot take the inputs, or has a mistake of its own.
RUNNING_FAILS = (
    RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Captured:
    """A TorchGraph together with the torch objects that its constants came from.

    `bindings`: constant value name → torch object (tensor, packed parameters, number), for execution;
    `engine`: the quantized engine to execute under; `example_inputs`: as given, flattened to a tuple;
    `warnings`: what tracing turned into constants although Python computed it from the inputs,
    and where PyTorch's own result is not what the operator says.
    """

    graph: TorchGraph
    bindings: Mapping[str, Any]
    engine: str
    example_inputs: tuple[torch.Tensor, ...]
    scripted: Any
    warnings: tuple[str, ...] = ()


def capture(model: Any, example_inputs: Any, name: str = "", progress: Progress | None = None) -> Captured:
    """Read `model` (nn.Module, ScriptModule, ExportedProgram or path of a .pt or .pt2) into a TorchGraph.

    `example_inputs`: a tensor or a tuple of tensors, as the model's forward takes them.
    Raises CaptureError with one sentence for a model in training mode or on another device, and for inputs it
    cannot take; FormatError for a file that is not TorchScript.
    """
    if isinstance(model, str | os.PathLike):
        name = name or os.path.splitext(os.path.basename(model))[0]
        model = load_exported(model) if os.fspath(model).endswith(".pt2") else load_script(model)
    if isinstance(model, torch.export.ExportedProgram):
        return _capture_exported(model, example_inputs, name or "exported", progress)
    inputs = checked_inputs(example_inputs)
    check_module(model)
    name = name or getattr(model, "original_name", "") or type(model).__name__
    with quiet(), torch.no_grad(), collector_paused():
        engine = quantized_engine(model)
        with using_engine(engine):
            warned: list[str] = []
            scripted = model if isinstance(model, torch.jit.ScriptModule) else trace(model, inputs, warned)
            recorder = Recorder(scripted, name, progress)
            graph = recorder.record(inputs)
    return Captured(graph, recorder.bindings, engine, inputs, scripted, (*warned, *dict.fromkeys(recorder.warnings)))


def _capture_exported(
    program: torch.export.ExportedProgram, example_inputs: Any, name: str, progress: Progress | None
) -> Captured:
    """Without example inputs, those the program was exported with."""
    if example_inputs is None and program.example_inputs is not None:
        example_inputs = program.example_inputs[0]
    inputs = checked_inputs(example_inputs)
    engine = torch.backends.quantized.engine
    with quiet(), torch.no_grad(), collector_paused():
        recorder = ExportedRecorder(program, name, progress)
        graph = recorder.record_exported(program, inputs)
    return Captured(graph, recorder.bindings, engine, inputs, None, tuple(dict.fromkeys(recorder.warnings)))


def load_script(path: str | os.PathLike[str]) -> torch.jit.ScriptModule:
    """A saved TorchScript module. Loading runs code of the archive: load only files you trust.

    Raises FormatError for a missing, truncated or foreign file.
    """
    if not os.path.isfile(path):
        raise FormatError(f"{path}: there is no such file; give a TorchScript file written by torch.jit.save")
    if not zipfile.is_zipfile(path):
        raise FormatError(
            f"{path}: not a TorchScript archive (a .pt of torch.jit.save is a zip file), or it is cut off"
        )
    try:
        with quiet():
            return torch.jit.load(os.fspath(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(f"{path}: torch.jit.load cannot read it ({first})") from error


def checked_inputs(example_inputs: Any) -> tuple[torch.Tensor, ...]:
    """Example inputs as a tuple of tensors. Raises CaptureError naming the position that is not one we take."""
    if isinstance(example_inputs, torch.Tensor):
        example_inputs = (example_inputs,)
    if not isinstance(example_inputs, Sequence) or isinstance(example_inputs, str):
        raise CaptureError(f"example_inputs is a {type(example_inputs).__name__}; give a tensor or a tuple of tensors")
    for position, value in enumerate(example_inputs):
        if not isinstance(value, torch.Tensor):
            raise CaptureError(
                f"example input {position} is a {type(value).__name__}; every input must be a torch.Tensor"
            )
        if value.dtype not in INPUT_DTYPES or value.is_sparse or value.is_complex():
            kind = "a sparse tensor" if value.is_sparse else f"of type {value.dtype}"
            raise CaptureError(f"example input {position} is {kind}, which no NNAPI operand can hold")
        if value.device.type != "cpu":
            raise CaptureError(f"example input {position} is on {value.device}; move it to the CPU with .cpu()")
    return tuple(value.detach() for value in example_inputs)


def check_module(model: Any) -> None:
    """Raises CaptureError unless `model` is an eval-mode module on the CPU."""
    if not isinstance(model, torch.nn.Module):
        raise CaptureError(
            f"a {type(model).__name__} cannot be lowered; give an nn.Module, a ScriptModule, an "
            "ExportedProgram or the path of a .pt or .pt2"
        )
    if model.training or any(module.training for module in model.modules() if not _is_quantized_layer(module)):
        raise CaptureError("the model is in training mode; call model.eval() before lowering it")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type != "cpu":
            raise CaptureError(f"{name} is on {tensor.device}; move the model to the CPU with model.cpu()")


def _is_quantized_layer(module: torch.nn.Module) -> bool:
    """A layer of torch.ao.nn: convert_fx leaves them marked as training, which means nothing to them."""
    return type(module).__module__.startswith("torch.ao.nn.")


def trace(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...], warned: list[str]) -> torch.jit.ScriptModule:
    """torch.jit.trace with the fused attention path off; what it warns of in the user's code goes to `warned`.

    Raises CaptureError when the model cannot run, or when running it changes its buffers.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    before = buffer_versions(model)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", torch.jit.TracerWarning)
            # On copies: the model may write into its inputs.
            traced = torch.jit.trace(model, tuple(value.clone() for value in inputs), check_trace=False, strict=False)
    except RUNNING_FAILS as error:
        given = ", ".join(f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}" for value in inputs)
        raise CaptureError(
            f"running {type(model).__name__} on the example inputs ({given}) failed: {first_line(error)}"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    changed = [name for name, version in buffer_versions(model).items() if before.get(name) != version]
    if changed:
        raise CaptureError(
            f"running {type(model).__name__} changes its buffer {changed[0]}; an NNAPI model keeps nothing from one "
            "run to the next: pass it in as an input and return it"
        )
    warned.extend(dict.fromkeys(filter(None, map(baked_in, caught))))
    return traced


def buffer_versions(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """What changes when a buffer is written into or replaced: its identity and torch's version counter."""
    return {name: (id(buffer), buffer._version) for name, buffer in model.named_buffers()}


def baked_in(warning: warnings.WarningMessage) -> str:
    """Our sentence for a warning of the tracer about the user's own code; "" for one about torch's."""
    if warning.filename.startswith((TORCH_HOME, OUR_HOME)):
        return ""
    what = str(warning.message).split(" might cause")[0].split(".")[0]
    return (
        f"{os.path.basename(warning.filename)}:{warning.lineno}: {what[:1].lower()}{what[1:]}: what Python computes "
        "from a tensor there is fixed at what the example inputs gave"
    )


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    if text.startswith("Tracer cannot infer type of"):
        return "it returns something else than tensors, or mixes types in one list or dict"
    if text.startswith("Could not run"):  # torch goes on for a page about its dispatcher
        return text.split(". ")[0]
    return text.splitlines()[0] if text else type(error).__name__


def quantized_engine(model: torch.nn.Module) -> str:
    """qnnpack for per-tensor quantized weights (NNAPI's nearest relative), else the engine in force."""
    schemes = set()
    for module in model.modules():
        packed = getattr(module, "_packed_params", None)
        if isinstance(packed, torch.ScriptObject):
            plain = packed_params(packed)
            if plain is not None:
                schemes.add(type(plain.weight.type.quant))
    supported = torch.backends.quantized.supported_engines
    current = torch.backends.quantized.engine
    if schemes == {Quant} and "qnnpack" in supported:
        return "qnnpack"
    return current


@contextmanager
def using_engine(engine: str) -> Any:
    """torch.backends.quantized.engine for the duration."""
    before = torch.backends.quantized.engine
    if engine != before:
        torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        if engine != before:
            torch.backends.quantized.engine = before


@contextmanager
def quiet() -> Any:
    """TorchScript and quantized tensors warn of their deprecation on every use; our users know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield
