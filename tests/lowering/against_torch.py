"""A table row is a module and its inputs: lowered in every layout, simulated, held against PyTorch, accounted for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nnapi_lab.compare import Diff, Row, compare
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.torch_graph import TensorData
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph
from nnapi_lab.validate import check
from nnapi_lab.views.facts import workbench_part

LAYOUTS = ("auto", "nhwc", "nchw")
# float32: both sides sum a few hundred products of N(0,1) numbers, in another order. Each sum is off by some
# 2^-24 · sqrt(terms) of its size; 1e-5 of the value's range is ten times what was ever seen.
FLOAT_TOLERANCE = 1e-5
# Inputs are N(0,1). Where such numbers cancel, the range of what is left says nothing about the sum's error.
CANCELLED = 1e-6


class Written(nn.Module):
    """`formula(*modules, *inputs)` as a module, so that a row of a table can be one line."""

    def __init__(self, formula: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.formula = formula
        self.parts = nn.ModuleList(modules)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.formula(*self.parts, *inputs)


def accounted_for(lowered: Lowered) -> None:
    """Every operand knows its values and Steps, every Step its operands, every value is placed or named."""
    operands, steps = lowered.model.operands, {step.id: step for step in lowered.steps}
    assert list(steps) == list(range(1, len(steps) + 1))
    assert lowered.origins.keys() == operands.keys() == lowered.made_by.keys()
    for name in operands:
        assert lowered.origins[name], f"{name} comes from no torch value"
        assert set(lowered.origins[name]) <= lowered.graph.values.keys(), name
        assert lowered.made_by[name], f"no Step made {name}"
        assert set(lowered.made_by[name]) <= steps.keys(), name
    assert all(operation.step in steps for operation in lowered.model)
    for step in lowered.steps:
        assert set(step.values) <= lowered.graph.values.keys(), f"{step} names a value that is not there"
        assert set(step.operands) <= operands.keys(), f"{step} names an operand that is gone"
    named = {value for step in lowered.steps for value in step.values}
    named |= {value for values in lowered.origins.values() for value in values}
    for value in lowered.graph.values.values():
        is_read = bool(lowered.graph.consumers(value.name)) or value.name in lowered.graph.outputs
        if value.type.is_tensor and (not value.is_constant or isinstance(value.constant, TensorData)) and is_read:
            assert value.name in named or value.name in lowered.placements, f"{value.name} is not accounted for"
    part = workbench_part(lowered)
    linked = {link.right for link in part.links}
    unlinked = {node.id for node in part.right.nodes} - linked
    assert not unlinked, f"no link leads to {unlinked}"


def lowered_in(module: nn.Module, inputs: tuple[torch.Tensor, ...], layout: str) -> tuple[Lowered, Diff]:
    captured = capture(module, inputs)
    lowered = lower_graph(captured.graph, layout)  # type: ignore[arg-type]
    assert not lowered.refusals, lowered.refusals
    report = check(lowered.model)
    assert not [finding for finding in report.findings if finding.severity == "error"]
    return lowered, compare(lowered, captured, inputs, "reference")


def same_numbers(module: nn.Module, inputs: tuple[torch.Tensor, ...], layouts: tuple[str, ...] = LAYOUTS) -> Lowered:
    """Lowered in all layouts, equal to PyTorch, accounted for; returns the first layout's."""
    results = {}
    for layout in layouts:
        lowered, diff = lowered_in(module.eval(), inputs, layout)
        accounted_for(lowered)
        assert diff.outputs, "nothing was compared"
        for row in diff.rows:
            if row.max_steps is None and not row_is_quantized(diff, row):
                assert row.relative <= FLOAT_TOLERANCE or row.max_abs <= CANCELLED, (layout, row)
            assert not row.not_finite, (layout, row)
            # One operation fed PyTorch's codes rounds at most one step away (SEMANTIC_GAPS D).
            assert (row.isolated_max_steps or 0) <= 1, (layout, row)
        results[layout] = lowered
    return results[layouts[0]]


def row_is_quantized(diff: Diff, row: Row) -> bool:
    """A float value behind quantized ones inherits their steps; alone it must be exact."""
    if not any(other.max_steps is not None for other in diff.rows):
        return False
    assert (row.isolated_relative or 0.0) <= FLOAT_TOLERANCE, row
    return True


def refusals(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[Refusal, ...]:
    """Everything in the way; each says kind, rule, place, Python line, what to do."""
    lowered = lower_graph(capture(module.eval(), inputs).graph)
    for refusal in lowered.refusals:
        assert refusal.kind in ("FORBIDDEN", "NOT_YET", "LOSSY")
        assert refusal.rule
        assert refusal.message
        assert refusal.fix
        at_input = refusal.node.startswith("input ")
        assert at_input or refusal.python, f"no Python line: {refusal}"
        assert at_input or refusal.node.split()[-1] in lowered.graph.values
    return lowered.refusals


def rules_of(found: tuple[Refusal, ...]) -> list[str]:
    return [refusal.rule for refusal in found]


def kinds_of(lowered: Lowered) -> list[str]:
    return [operation.kind for operation in lowered.model]
