"""A model bound to concrete input shapes: a list of tasks, each a kernel with its arguments already arranged.

An operation whose types and parameters are all known is bound once, when the plan is made. One whose result
depends on values that only execution brings (a computed shape, a scalar input) is bound each time it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.model import Arg, Model, Operation
from nnapi_lab.ir.operand_types import OperandCode, OperandType, Shape, same_dims, shape_text
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.kernels import Compute, Groups, Settings, compute_of, kernel_tensors
from nnapi_lab.validate.uses import combined_shape, require_valid_use

OMITTED = 0  # the place in the table of values that always holds None


@dataclass(frozen=True, slots=True)
class Task:
    """One operation ready to run: `compute(*values at reads)` gives the values at writes.

    `releases` are places nobody reads afterwards.
    """

    operation: Operation
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    compute: Compute
    releases: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks in order. `initial` is the table of values at the start: None, the constants, empty places."""

    tasks: tuple[Task, ...]
    initial: tuple[Any, ...]
    places: Mapping[str, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class _Drawing:
    """A plan being made: places by name, and what is known of every operand so far."""

    model: Model
    settings: Settings
    types: dict[str, OperandType | None]
    values: list[Any] = field(default_factory=lambda: [None])
    places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        if name not in self.places:
            self.places[name] = len(self.values)
            self.values.append(self.model[name].value)
        return self.places[name]

    def place_of(self, arg: Arg) -> int:
        if arg is None:
            return OMITTED
        if isinstance(arg, str):
            return self.place(arg)
        self.values.append(arg.array)
        return len(self.values) - 1

    def type_of(self, arg: Arg) -> OperandType | None:
        """The type as far as planning has come: concrete where it is already decided."""
        return self.types[arg] if isinstance(arg, str) and arg in self.types else self.model.type_of(arg)

    def is_omitted(self, arg: Arg) -> bool:
        return isinstance(arg, str) and arg in self.types and self.types[arg] is None


def draw(model: Model, input_types: Sequence[OperandType | None], settings: Settings) -> Plan:
    """Bind `model` to inputs of these concrete types (None: the optional input is omitted).

    Raises InvalidModel with the findings of the first operation that breaks a rule.
    """
    drawing = _Drawing(model, settings, dict(zip(model.inputs, input_types, strict=True)))
    inputs = tuple(drawing.place(name) for name in model.inputs)
    tasks = [_task(drawing, operation) for operation in model.operations]
    outputs = tuple(drawing.place(name) for name in model.outputs)
    constants = {place for place, value in enumerate(drawing.values) if value is not None}
    return Plan(_with_releases(tasks, {OMITTED, *outputs, *constants}), tuple(drawing.values), drawing.places,
                inputs, outputs)  # fmt: skip


def _with_releases(tasks: Sequence[Task], kept: set[int]) -> tuple[Task, ...]:
    """The tasks, each releasing the values it is the last to touch."""
    done: list[Task] = []
    seen = set(kept)
    for task in reversed(tasks):
        last = tuple(dict.fromkeys(place for place in (*task.reads, *task.writes) if place not in seen))
        seen.update(last)
        done.append(Task(task.operation, task.reads, task.writes, task.compute, last))
    return tuple(reversed(done))


# --- one operation ---------------------------------------------------------------------------------


def _task(drawing: _Drawing, operation: Operation) -> Task:
    model = drawing.model
    values = [None if drawing.is_omitted(arg) else model.value_of(arg) for arg in operation.inputs]
    call = require_valid_use(model, operation, [drawing.type_of(arg) for arg in operation.inputs], values)
    writes = tuple(drawing.place(name) for name in operation.outputs)
    for name, type_ in zip(operation.outputs, call.results, strict=True):
        drawing.types[name] = type_.with_shape(combined_shape(type_.shape, model[name].type.shape))
    if not _is_fixed(drawing, operation, call):
        return _late_task(drawing, operation, writes)
    order, groups = arrangement(call, len(operation.inputs))
    places = [drawing.place_of(arg) for arg in operation.inputs]
    reads = tuple(OMITTED if index is None else places[index] for index in order)
    return Task(operation, reads, writes, compute_of(call, groups, drawing.settings, f"%{operation.name}"))


def _is_fixed(drawing: _Drawing, operation: Operation, call: Call) -> bool:
    """True when everything that decides the results' types is known before execution.

    A computed scalar or integer tensor may decide a shape or break a rule by its content, so such an
    operation is looked at each time.
    """
    for arg in operation.inputs:
        if not isinstance(arg, str) or drawing.model[arg].is_constant:
            continue
        type_ = drawing.types[arg]
        if type_ is not None and (
            not type_.is_static or type_.code.is_scalar or type_.code == OperandCode.TENSOR_INT32
        ):
            return False
    return all(type_.is_static for type_ in call.results)


def arrangement(call: Call, count: int) -> tuple[tuple[int | None, ...], Groups]:
    """How the operation's `count` arguments become the kernel's tensors.

    Returns the argument index of each value the kernel takes, in its order (None: omitted), and how those
    values group into its parameters.
    """
    slots = call.form.spread(count) or ()
    by_name: dict[str, list[int | None]] = {}
    for index, slot in enumerate(slots):
        if not slot.scalar:
            by_name.setdefault(slot.name, []).append(index)
    variadic = {slot.name for slot in call.form.inputs if slot.variadic}
    order: list[int | None] = []
    groups: list[tuple[int, int | None]] = []
    for name in kernel_tensors(call.spec):
        indices = by_name.get(name, [] if name in variadic else [None])
        groups.append((len(order), len(indices) if name in variadic else None))
        order += indices
    return tuple(order), tuple(groups)


def _late_task(drawing: _Drawing, operation: Operation, writes: tuple[int, ...]) -> Task:
    """A task that binds its operation anew at every execution, to the shapes and values it then finds."""
    model, settings = drawing.model, drawing.settings
    known = [drawing.type_of(arg) for arg in operation.inputs]

    def compute(*values: Any) -> tuple[np.ndarray, ...]:
        types = [concrete(type_, value) for type_, value in zip(known, values, strict=True)]
        call = require_valid_use(model, operation, types, values)
        order, groups = arrangement(call, len(values))
        run = compute_of(call, groups, settings, f"%{operation.name}")
        results = run(*(None if i is None else values[i] for i in order))
        for name, result in zip(operation.outputs, results, strict=True):
            check_size(name, model[name].type.shape, result)
        return results

    return Task(operation, tuple(drawing.place_of(arg) for arg in operation.inputs), writes, compute)


def concrete(type_: OperandType | None, value: Any) -> OperandType | None:
    """The type with the shape a value turned out to have; None when the value is omitted."""
    if type_ is None or value is None:
        return None
    return type_ if type_.code == OperandCode.MODEL else type_.with_shape(value.shape)


def check_size(name: str, declared: Shape | None, result: np.ndarray) -> None:
    """Raises SimulationError when a computed value contradicts the size its operand declares."""
    if not same_dims(declared, result.shape):
        raise SimulationError(
            f"%{name} came out as {shape_text(result.shape)}, but the model declares {shape_text(declared)}"
        )
