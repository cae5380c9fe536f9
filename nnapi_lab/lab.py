"""The front door: what a user types.

import nnapi_lab as lab
lowered = lab.lower(model, example_inputs)
lowered.diff()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from nnapi_lab import files
from nnapi_lab.compare import Diff, compare
from nnapi_lab.diagnosis import Diagnosis, diagnose
from nnapi_lab.encode import load, save_torch
from nnapi_lab.errors import FormatError, LoweringError, NotThereYet
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import Quant, static_shape
from nnapi_lab.ir.torch_graph import TorchGraph
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.placement import Placement
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.simulate import Engine, Probe, compile_model, simulate
from nnapi_lab.text import write_nn
from nnapi_lab.torchscript.capture import Captured, capture, checked_inputs
from nnapi_lab.torchscript.execute import check_against_graph, run_border
from nnapi_lab.torchscript.levels import level_refusals
from nnapi_lab.torchscript.lower import LayoutChoice, QuantizeAt, QuantTarget, lower_graph
from nnapi_lab.torchscript.tensors import quantized_tensor, stored_elements
from nnapi_lab.validate import Report, check
from nnapi_lab.validate.levels import feature_level_of
from nnapi_lab.views.explain import explanation_text
from nnapi_lab.views.facts import workbench_part
from nnapi_lab.views.html import srcdoc_iframe, workbench_html
from nnapi_lab.views.parts import WorkbenchPart
from nnapi_lab.views.svg import workbench_svg
from nnapi_lab.views.text import workbench_text

Progress = Callable[[str, int, int], None]
LAYOUTS = ("auto", "nhwc", "nchw")
QUANT_TARGETS = ("uint8", "int8")

__all__ = [
    "Diagnosis", "Diff", "Explanation", "LoweredModel", "check", "diagnose", "load", "lower", "simulate",
]  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """The rewrite entries behind one torch value, module or operand."""

    target: str
    values: tuple[str, ...]
    operands: tuple[str, ...]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return explanation_text(self.target, self.values, self.operands, self.steps)

    __repr__ = __str__


@dataclass(frozen=True, eq=False, repr=False)
class LoweredModel:
    """A TorchScript model and the NNAPI model it became, with everything between them.

    Immutable. `run`, `diff`, `explain` and the `save_…` methods read it; in a notebook it shows itself.
    """

    captured: Captured
    result: Lowered
    report: Report

    @property
    def graph(self) -> TorchGraph:
        """What PyTorch says."""
        return self.result.graph

    @property
    def model(self) -> Model:
        """What NNAPI is told."""
        return self.result.model

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every rewrite, in order, as data."""
        return self.result.steps

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Empty, unless the lowering was asked to go as far as it can."""
        return self.result.refusals

    @property
    def feature_level(self) -> int | None:
        """The NNAPI feature level this model needs; None while it is not valid."""
        return self.report.feature_level

    @property
    def api_level(self) -> int | None:
        """The Android API level that goes with it, or the runtime code of a module update."""
        return self.report.api_level

    # --- running ---------------------------------------------------------------------------------------------

    def run(self, *inputs: torch.Tensor, engine: Engine = "fast", probe: Probe | None = None) -> Any:
        """The model's result through the NNAPI simulator, in the original layout and structure.

        Without inputs the example inputs are used. Raises SimulationError when the inputs do not fit.
        """
        tensors = checked_inputs(inputs or self.captured.example_inputs)
        check_against_graph(self.captured, tensors)
        values: dict[str, Any] = dict(zip(self.graph.inputs, tensors, strict=True))
        run_border(self.captured, self.result.head, values)
        arrays = [self._stored(name, values[name]) for name in self.result.inputs]
        outputs = compile_model(self.model, engine).run(arrays, probe)
        for placement, array in zip(self.result.returned, outputs, strict=True):
            values[placement.value] = self._restored(placement, array)
        run_border(self.captured, self.result.tail, values)
        return _structured(self.graph.structure, [values[name] for name in self.graph.outputs])

    def _stored(self, name: str, tensor: torch.Tensor) -> np.ndarray:
        placement = self.result.placements[name]
        type = self.model[placement.operand].type
        return placement.store(stored_elements(tensor), static_shape(type)).astype(type.code.numpy)

    def _restored(self, placement: Placement, array: np.ndarray) -> torch.Tensor:
        type = self.graph[placement.value].type
        elements = placement.read(array)
        if isinstance(type.quant, Quant):
            return quantized_tensor(elements, type.quant, getattr(torch, type.dtype or ""))
        return torch.from_numpy(np.array(elements, order="C")).to(getattr(torch, type.dtype or "float32"))

    def diff(self, *inputs: torch.Tensor, engine: Engine = "fast", progress: Progress | None = None) -> Diff:
        """Run PyTorch and the simulator on the same inputs (the example inputs by default) and compare every value."""
        return compare(self.result, self.captured, inputs or self.captured.example_inputs, engine, progress)

    # --- explaining ------------------------------------------------------------------------------------------

    def explain(self, target: str) -> Explanation:
        """The rewrite entries behind a torch value ("%7"), an operand ("conv1.weight") or a module path ("conv1").

        Raises KeyError naming close matches when nothing has that name.
        """
        values, operands = self._found(target)
        if not values and not operands:
            close = [name for name in (*self.graph.values, *self.model.operands) if target.strip("%") in name][:5]
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise KeyError(f"no torch value, operand or module is called {target!r}{hint}")
        names = dict.fromkeys((*values, *operands))
        steps = tuple(
            step for step in self.steps
            if not names.keys().isdisjoint(step.values) or not names.keys().isdisjoint(step.operands)
        )  # fmt: skip
        reached = [name for step in steps for name in step.operands if name in self.model.operands]
        return Explanation(target, tuple(values), tuple(dict.fromkeys((*operands, *reached))), steps)

    def _found(self, target: str) -> tuple[list[str], list[str]]:
        values = [name for name in (target, f"%{target}") if name in self.graph.values]
        operands = [target] if target in self.model.operands else []
        nodes = [node for node in self.graph if node.scope == target or node.scope.startswith(f"{target}.")]
        values += [name for node in nodes for name in node.outputs]
        return values, operands

    # --- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a TorchScript file that PyTorch's own NNAPI loader reads (format version 1); whole or not at all.

        Raises LoweringError when the format cannot say something, naming the alternatives.
        """
        save_torch(self.result, path)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write another format, chosen by the suffix: `.nn` (text with a sidecar), `.pt`."""
        suffix = os.path.splitext(os.fspath(path))[1]
        if suffix == ".nn":
            write_nn(self.model, path)
        elif suffix == ".pt":
            self.save(path)
        elif suffix in (".tflite", ".cpp"):
            raise NotThereYet(f"export to {suffix} is not there yet; .pt and .nn are")
        else:
            raise FormatError(f"{path}: unknown suffix {suffix!r}; .pt, .nn are written")

    def save_html(self, path: str | os.PathLike[str], diff: Diff | None = None) -> None:
        """The workbench as one self-contained page that needs no network. `diff` adds the diff table."""
        files.write_text(path, workbench_html(self.part(diff)))

    def save_svg(self, path: str | os.PathLike[str]) -> None:
        """Both graphs as one picture."""
        files.write_text(path, workbench_svg(self.part()))

    # --- showing ---------------------------------------------------------------------------------------------

    def part(self, diff: Diff | None = None) -> WorkbenchPart:
        """What every view shows, as data."""
        return workbench_part(self.result, self.report, diff)

    @cached_property
    def _page(self) -> str:
        return srcdoc_iframe(workbench_html(self.part()), workbench_svg(self.part()))

    def _repr_html_(self) -> str:
        return self._page

    def __repr__(self) -> str:
        return workbench_text(self.part())


def _structured(structure: Any, leaves: Sequence[torch.Tensor]) -> Any:
    """Outputs in the shape the model returns them: one tensor, or nested tuples, lists and dicts."""
    if isinstance(structure, int):
        return leaves[structure]
    kind, parts = structure
    if kind == "dict":
        return {key: _structured(part, leaves) for key, part in parts}
    items = [_structured(part, leaves) for part in parts]
    return tuple(items) if kind == "tuple" else items


def lower(
    model: Any,
    example_inputs: Any,
    *,
    api_level: int | None = None,
    feature_level: int | None = None,
    layout: LayoutChoice = "auto",
    on_unsupported: Literal["raise", "cpu"] = "raise",
    relaxed: bool = False,
    quantize_at: QuantizeAt | None = None,
    quant: QuantTarget = "uint8",
    name: str = "",
    progress: Progress | None = None,
) -> LoweredModel:
    """Lower a PyTorch model to NNAPI.

    `model`: nn.Module, ScriptModule, torch.export's ExportedProgram, or the path of a .pt or .pt2; `example_inputs`:
    a tensor or tuple of tensors (None: those an ExportedProgram was exported with).
    `api_level` 27…31 (or `feature_level` 1…8): refuse what an older Android could not run; the newest by default.
    `layout`: how 4-D inputs and outputs of the NNAPI model are kept. `relaxed`: float32 may be computed as float16.
    `quantize_at`: whether quantize and dequantize at the model's border become NNAPI operations ("inside") or stay
    in PyTorch ("outside", the core mode of PyTorch's tutorial); by default the module's own attribute
    `nnapi_quantize_at`, else "inside". `quant`: quantized values as unsigned codes ("uint8") or as signed ones
    ("int8", level 4). `name`: what to call the NNAPI model, by default the module's class.
    Raises CaptureError for what is not a model we can read, LoweringError with all refusals at once.
    """
    if on_unsupported == "cpu":
        raise NotThereYet('on_unsupported="cpu" is not there yet; the error of "raise" lists what would fall back')
    attempted = attempt(
        model, example_inputs, api_level=api_level, feature_level=feature_level, layout=layout, relaxed=relaxed,
        quantize_at=quantize_at, quant=quant, name=name, progress=progress,
    )  # fmt: skip
    if attempted.refusals:
        raise LoweringError(attempted.refusals)
    return attempted


def attempt(
    model: Any,
    example_inputs: Any,
    *,
    api_level: int | None = None,
    feature_level: int | None = None,
    layout: LayoutChoice = "auto",
    relaxed: bool = False,
    quantize_at: QuantizeAt | None = None,
    quant: QuantTarget = "uint8",
    name: str = "",
    progress: Progress | None = None,
) -> LoweredModel:
    """Lower as far as it goes: like `lower`, but what stands in the way is in `.refusals` of the result.

    Raises CaptureError for what is not a model we can read, ValueError for an option there is not.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; it is one of {', '.join(LAYOUTS)}")
    if quant not in QUANT_TARGETS:
        raise ValueError(f"quant is {quant!r}; it is one of {', '.join(QUANT_TARGETS)}")
    target = feature_level_of(api_level, feature_level)
    captured = capture(model, example_inputs, name, progress)
    border: QuantizeAt = quantize_at or getattr(model, "nnapi_quantize_at", None) or "inside"
    result = lower_graph(captured.graph, layout, relaxed, progress, border, quant)
    report = check(result.model)
    result = replace(
        result,
        refusals=(*result.refusals, *level_refusals(result, report, target)),
        warnings=(*captured.warnings, *result.warnings),
    )
    return LoweredModel(captured, result, report)
