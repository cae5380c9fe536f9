"""Fuse RELU, RELU1 and RELU6 into the operation that produces their input.

Given
    %y = CONV_2D(…, fuse=NONE)
    %z = RELU6(input=%y)
Result
    %z = CONV_2D(…, fuse=RELU6)

Requires: nobody else reads %y and it is no model output; producer's fuse is NONE; both have one quantization.
Ensures: the same values in %z; %y is gone and its torch value has no placement any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nnapi_lab.build import StepLog
from nnapi_lab.ir.model import Model, Operation, Scalar, replace_model, with_step
from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import FUSE_NAMES, bind
from nnapi_lab.rewrites.fusion import ACTIVATION_FUSED
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.rule import Side

FUSE_OF = {"RELU": 1, "RELU1": 2, "RELU6": 3}


def fuse_position(model: Model, operation: Operation) -> int | None:
    """Index of the fuse argument among the operation's inputs, None when it has none."""
    spec = OPS[operation.kind]
    if not any(slot.name == "fuse" for form in spec.forms for slot in form.inputs):
        return None
    types = [model.type_of(arg) for arg in operation.inputs]
    call = bind(spec, types, [model.value_of(arg) for arg in operation.inputs])
    slots = call.form.spread(len(operation.inputs)) or ()
    return next((index for index, slot in enumerate(slots) if slot.name == "fuse"), None)


def fuse_activations(lowered: Lowered, log: StepLog) -> Lowered:
    model = lowered.model
    outputs = set(model.outputs)
    merged: dict[str, Operation] = {}  # result of the producer → the fused operation that replaces it
    moved: dict[str, tuple[str, int]] = {}  # vanished operand → the one that replaces it, the Step that says so
    for operation in model.operations:
        if operation.kind not in FUSE_OF:
            continue
        (source,) = operation.reads
        (result,) = operation.outputs
        producer = model.producer(source)
        if producer is None or source in outputs or len(model.consumers(source)) != 1:
            continue
        if len(producer.outputs) != 1 or model[source].type != model[result].type:
            continue
        position = fuse_position(model, producer)
        if position is None or producer.inputs[position] != Scalar(OperandCode.INT32, 0):
            continue
        code = FUSE_OF[operation.kind]
        step = log.add(
            ACTIVATION_FUSED,
            values=(*lowered.origins.get(source, ()), *lowered.origins.get(result, ())),
            operands=[result],
            before=[Side(f"{source} = {producer.kind}(fuse=NONE)"), Side(f"{result} = {operation.kind}({source})")],
            after=[Side(f"{result} = {producer.kind}(fuse={FUSE_NAMES[code]})")],
            facts={"producer": producer.kind, "fuse": FUSE_NAMES[code]},
            node=next(iter(lowered.origins.get(result, ())), ""),
        )
        inputs = (*producer.inputs[:position], Scalar(OperandCode.INT32, code), *producer.inputs[position + 1 :])
        fused = replace(producer, inputs=inputs, outputs=(result,))
        merged[source] = fused if producer.step is not None else with_step(fused, step.id)
        moved[source] = (result, step.id)
    if not moved:
        return lowered
    log.rename({source: result for source, (result, _) in moved.items()})
    fused_results = {operation.name for operation in merged.values()}
    operations = tuple(
        merged.get(operation.name, operation)
        for operation in model.operations
        if not (operation.kind in FUSE_OF and operation.name in fused_results)
    )
    operands = {name: operand for name, operand in model.operands.items() if name not in moved}
    linked = _relinked(lowered, moved)
    return replace(linked, model=replace_model(model, operands=operands, operations=operations), steps=log.steps)


def _relinked(lowered: Lowered, moved: Mapping[str, tuple[str, int]]) -> Lowered:
    """Links of the vanished operands go to the fused ones."""
    origins, made_by = dict(lowered.origins), dict(lowered.made_by)
    for source, (result, step) in moved.items():
        origins[result] = tuple(dict.fromkeys((*origins.pop(source, ()), *origins.get(result, ()))))
        made_by[result] = tuple(dict.fromkeys((*made_by.pop(source, ()), *made_by.get(result, ()), step)))
    placements = {value: held for value, held in lowered.placements.items() if held.operand not in moved}
    return replace(lowered, origins=origins, made_by=made_by, placements=placements)
