"""Drop operands that no operation reads and operations whose results nobody reads.

Requires: nothing. Ensures: every operand is a model input, a model output, or read by an operation.
"""

from __future__ import annotations

from dataclasses import replace

from nnapi_lab.build import StepLog
from nnapi_lab.ir.model import replace_model
from nnapi_lab.rewrites.lowered import Lowered


def drop_unused(lowered: Lowered, log: StepLog) -> Lowered:
    model = lowered.model
    wanted = set(model.outputs)
    kept = []
    for operation in reversed(model.operations):
        if wanted.isdisjoint(operation.outputs):
            continue
        kept.append(operation)
        wanted.update(operation.reads)
        wanted.update(operation.outputs)
    wanted.update(model.inputs)
    operands = {name: operand for name, operand in model.operands.items() if name in wanted}
    if len(operands) == len(model.operands):
        return lowered
    log.rename({name: None for name in model.operands if name not in wanted})
    return replace(
        lowered,
        steps=log.steps,
        model=replace_model(model, operands=operands, operations=tuple(reversed(kept))),
        placements={value: held for value, held in lowered.placements.items() if held.operand in wanted},
        origins={name: values for name, values in lowered.origins.items() if name in wanted},
        made_by={name: steps for name, steps in lowered.made_by.items() if name in wanted},
    )
