"""simulate: run a model on NumPy arrays. One short loop over tasks; see plan.py for how they are made."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from nnapi_lab.errors import InvalidModel, NnapiLabError, SimulationError, UndefinedInReference
from nnapi_lab.ir.findings import Finding
from nnapi_lab.ir.model import Model, Operation
from nnapi_lab.ops.control import LOOP_SECONDS
from nnapi_lab.simulate.inputs import Inputs, check_inputs
from nnapi_lab.simulate.kernels import Prepare, Settings
from nnapi_lab.simulate.plan import Plan, Task, concrete, draw
from nnapi_lab.validate.structure import require_structure

Probe = Callable[[Operation, str, np.ndarray], np.ndarray | None]
Engine = str  # one of ENGINES
Relaxed = str  # "ignore" or "float16"

ENGINES = ("fast", "reference")
_PLANS_KEPT = 8

# What a kernel may run into on values the rules did not foresee; anything else is a defect of ours.
FAULTS = (ArithmeticError, ValueError, LookupError, TypeError, RuntimeError, MemoryError)


@dataclass(frozen=True, slots=True, eq=False)
class Trace(Mapping[str, np.ndarray]):
    """Every value of one execution by operand name: inputs and results of operations; `outputs` in order.

    `findings` are warnings about values on which Android's reference has no defined result.
    """

    arrays: Mapping[str, np.ndarray]
    outputs: tuple[np.ndarray, ...]
    findings: tuple[Finding, ...] = ()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class Executable:
    """A model ready to run on one engine; weights are prepared once, plans are kept by input shapes.

    Not for use from several threads at once.
    """

    def __init__(
        self,
        model: Model,
        engine: Engine = "fast",
        relaxed: Relaxed = "ignore",
        loop_seconds: float = LOOP_SECONDS,
        parent: Executable | None = None,
    ) -> None:
        """Bind a model; one that another refers to computes as its `parent` does.

        Raises InvalidModel when the model breaks a rule, SimulationError for an unknown engine.
        """
        require_structure(model)
        if relaxed not in ("ignore", "float16"):
            raise SimulationError(f'relaxed is "ignore" or "float16", not {relaxed!r}')
        self.model = model
        self.engine = engine
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self._children: dict[int, Executable] = {} if parent is None else parent._children
        # The main model decides for all: its relaxed flag overrides that of the models it refers to.
        as_half = relaxed == "float16" and model.relaxed
        self._found: dict[tuple[str, str], Finding] = {}
        own = Settings(twins_of(engine), as_half, self._run_child, loop_seconds, self._report)
        self._settings: Settings = own if parent is None else parent._settings
        for operand in model.constants:
            if isinstance(operand.value, Model):
                self._child(operand.value)
        types = [model[name].type for name in model.inputs]
        plan = draw(model, types, self._settings)
        if all(type_.is_static for type_ in types):
            self._remember(tuple(type_.shape for type_ in types), plan)

    def run(self, inputs: Inputs, probe: Probe | None = None) -> tuple[np.ndarray, ...]:
        """Execute and return fresh output arrays; `probe(operation, name, array)` sees each result.

        A probe that returns an array (same shape and type) has the run go on with that instead.
        What Android's reference leaves undefined is in `findings` afterwards, and a warning.
        Raises SimulationError for inputs that do not fit and for an operation that fails.
        """
        arrays = check_inputs(self.model, inputs)
        self._found.clear()
        outputs = self._execute(arrays, probe)
        for finding in self._found.values():
            warnings.warn(str(finding), UndefinedInReference, stacklevel=3)
        return outputs

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Values the last run met on which the reference has no defined result, one for each operation and rule."""
        return tuple(self._found.values())

    def _report(self, finding: Finding) -> None:
        # The first of a kind: a loop meets the same values again and again.
        self._found.setdefault((finding.rule, finding.where), finding)

    def _execute(self, arrays: list[Any], probe: Probe | None = None) -> tuple[np.ndarray, ...]:
        plan = self._plan(arrays)
        values = list(plan.initial)
        for place, array in zip(plan.inputs, arrays, strict=True):
            values[place] = array
        for task in plan.tasks:
            try:
                results = task.compute(*[values[place] for place in task.reads])
            except (*FAULTS, NnapiLabError) as fault:
                raise SimulationError(_failure(self.model, plan, values, task, fault)) from fault
            for place, result in zip(task.writes, results, strict=True):
                values[place] = result
            if probe is not None:
                for name, place, result in zip(task.operation.outputs, task.writes, results, strict=True):
                    instead = probe(task.operation, name, result)
                    if instead is not None:
                        values[place] = instead
            for place in task.releases:
                values[place] = None
        # Copies: an output is no view of an input, a constant or another output.
        return tuple(np.array(values[place], order="C") for place in plan.outputs)

    def _plan(self, arrays: list[Any]) -> Plan:
        shapes = tuple(None if array is None else array.shape for array in arrays)
        plan = self._plans.get(shapes)
        if plan is None:
            declared = [self.model[name].type for name in self.model.inputs]
            types = [concrete(type_, array) for type_, array in zip(declared, arrays, strict=True)]
            try:
                plan = self._remember(shapes, draw(self.model, types, self._settings))
            except InvalidModel as fault:
                raise SimulationError(f"model {self.model.name} does not take these sizes: {fault}") from fault
        return plan

    def _remember(self, shapes: tuple[Any, ...], plan: Plan) -> Plan:
        self._plans[shapes] = plan
        if len(self._plans) > _PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan

    def _child(self, model: Model) -> Executable:
        child = self._children.get(id(model))
        if child is None:
            child = Executable(model, self.engine, parent=self)
            self._children[id(model)] = child
        return child

    def _run_child(self, model: Model, arrays: Any) -> tuple[np.ndarray, ...]:
        return self._child(model)._execute(list(arrays))


def _failure(model: Model, plan: Plan, values: list[Any], task: Task, fault: BaseException) -> str:
    """One sentence: which operation, on which operands, for which reason."""
    operation = task.operation
    types = {
        name: concrete(model[name].type, values[plan.places[name]] if name in plan.places else None)
        for name in operation.reads
    }
    seen = ", ".join(f"%{name} : {type_ or 'omitted'}" for name, type_ in types.items())
    reason = str(fault) or type(fault).__name__
    return f"{operation.kind} at %{operation.name} failed on {seen or 'no operands'}: {reason}"


def twins_of(engine: str) -> Mapping[str, Prepare]:
    """The fast kernels of an engine by operation kind; `reference` has none.

    Raises SimulationError for an engine there is not.
    """
    if engine == "reference":
        return {}
    if engine == "fast":
        # Imported here: torch and numba are loaded only when someone wants speed.
        from nnapi_lab.simulate.fast import TWINS

        return TWINS
    raise SimulationError(f"there is no engine {engine!r}; the engines are {', '.join(ENGINES)}")


def compile_model(
    model: Model, engine: Engine = "fast", *, relaxed: Relaxed = "ignore", loop_seconds: float = LOOP_SECONDS
) -> Executable:
    """The Executable of a model, made once and kept as long as the model lives.

    `relaxed="float16"` computes a relaxed model's float32 operations with the precision of float16; "ignore"
    keeps float32, as Android's reference does. Raises InvalidModel with the findings when a rule is broken.
    """
    key = (engine, relaxed, loop_seconds)
    if key not in model.derived:
        model.derived[key] = Executable(model, engine, relaxed, loop_seconds)
    return model.derived[key]


def simulate(
    model: Model,
    inputs: Inputs,
    engine: Engine = "fast",
    probe: Probe | None = None,
    *,
    relaxed: Relaxed = "ignore",
    loop_seconds: float = LOOP_SECONDS,
) -> tuple[np.ndarray, ...]:
    """Run a model on NumPy arrays (NNAPI's layout, quantized tensors as stored codes); return its outputs.

    `inputs`: a sequence in the model's order or a mapping by name, None for an omitted optional input.
    `engine`: "reference" (readable kernels) or "fast" (the same numbers, integers to the bit).
    `probe(operation, name, array)` is called for each value an operation produces; it must not write to it.
    Warns UndefinedInReference where Android's reference has no defined result (see `trace`).
    Raises InvalidModel for a model that breaks a rule, SimulationError for inputs that cannot be run.
    """
    return compile_model(model, engine, relaxed=relaxed, loop_seconds=loop_seconds).run(inputs, probe)


def trace(model: Model, inputs: Inputs, engine: Engine = "fast", *, relaxed: Relaxed = "ignore") -> Trace:
    """Run a model and keep every value: the inputs and the results of all operations, by operand name.

    `findings` of the Trace say where Android's reference has no defined result; here that is no warning.
    """
    executable = compile_model(model, engine, relaxed=relaxed)
    values: dict[str, np.ndarray] = {}
    for name, array in zip(model.inputs, check_inputs(model, inputs), strict=True):
        if array is not None:
            values[name] = array
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedInReference)
        outputs = executable.run(inputs, lambda _, name, array: values.update({name: array}))
    return Trace(MappingProxyType(values), outputs, executable.findings)
