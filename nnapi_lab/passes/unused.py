"""Drop operands that no operation reads and operations whose results nobody reads.

Requires: nothing. Ensures: every operand is a model input, a model output, or read by an operation.
"""

from __future__ import annotations

from dataclasses import replace

from nnapi_lab.build import StepLog
from nnapi_lab.ir.model import Model, replace_model
from nnapi_lab.rewrites.lowered import Lowered

_SAME_ELEMENTS = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")


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
    stand_in = _stand_ins(model, wanted)
    log.rename({name: stand_in.get(name) for name in model.operands if name not in wanted})
    origins = {name: values for name, values in lowered.origins.items() if name in wanted}
    for name, other in stand_in.items():
        origins[other] = tuple(dict.fromkeys((*origins[other], *lowered.origins.get(name, ()))))
    placements = {
        value: replace(held, operand=stand_in.get(held.operand, held.operand))
        for value, held in lowered.placements.items()
        if held.operand in wanted or held.operand in stand_in
    }
    return replace(
        lowered,
        steps=log.steps,
        model=replace_model(model, operands=operands, operations=tuple(reversed(kept))),
        placements=placements,
        origins=origins,
        made_by={name: steps for name, steps in lowered.made_by.items() if name in wanted},
    )


def _stand_ins(model: Model, wanted: set[str]) -> dict[str, str]:
    """For the result of a RESHAPE nobody reads: the operand it was made of, where that stays.

    A Placement reads an operand of any shape, so a value that lived in the one lives as well in the other.
    """
    reshaped = {op.outputs[0]: str(op.inputs[0]) for op in model.operations if op.kind in _SAME_ELEMENTS}
    found = {}
    for name in reshaped:
        source = name
        while source not in wanted and source in reshaped:
            source = reshaped[source]
        if name not in wanted and source in wanted:
            found[name] = source
    return found
