"""A lowering held against an older Android: which uses are too new, said at their TorchScript nodes."""

from __future__ import annotations

from nnapi_lab.ir.findings import Refusal
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.validate import Report
from nnapi_lab.validate.levels import UseLevel, level_text


def level_refusals(result: Lowered, report: Report, target: int) -> tuple[Refusal, ...]:
    """A FORBIDDEN refusal for every use that needs more than the target level."""
    return tuple(_level_refusal(result, use, target) for use in report.levels if use.level > target)


def _level_refusal(result: Lowered, use: UseLevel, target: int) -> Refusal:
    node = next(
        (node for value in result.origins.get(use.operation, ()) if (node := result.graph.producer(value))), None
    )
    needed, wanted = level_text(use.level), level_text(target)
    return Refusal(
        "FORBIDDEN",
        f"{use.kind}.LEVEL",
        f"{node.kind} {node.name}" if node is not None else f"{use.kind} {use.operation}",
        f"{use.kind} at {use.operation} needs {needed} ({use.because}), the target is {wanted}",
        f"target {needed} or newer, or replace the operation",
        "NNAPI feature levels",
        node.python if node is not None else "",
        node.scope if node is not None else "",
    )
