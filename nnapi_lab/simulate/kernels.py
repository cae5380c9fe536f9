"""From a bound call to something to run: the reference kernel or its twin, in the right precision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from nnapi_lab.ir.findings import Finding
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import OperandType
from nnapi_lab.numerics.rounding import round_to_float16
from nnapi_lab.ops.spec import Call, OpSpec, undefined_findings

Arrays = tuple[np.ndarray, ...]
Compute = Callable[..., Arrays]
# Makes, for one bound call, a function of its tensors in kernel order; None where the twin does not apply.
Prepare = Callable[[Call], Callable[..., Any] | None]
RunModel = Callable[[Model, Sequence[Any]], Arrays]
Groups = tuple[tuple[int, int | None], ...]  # per kernel tensor: first value, how many (None: a single one)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan computes: the engine's twins, float32 as float16 or not, and how sub-models are run.

    `report` is told of values on which Android's reference has no defined result.
    """

    twins: Mapping[str, Prepare]
    as_half: bool
    run_model: RunModel
    loop_seconds: float
    report: Callable[[Finding], None]


def kernel_tensors(spec: OpSpec) -> tuple[str, ...]:
    """Names of the tensors a kernel takes, in order: those of all forms."""
    return tuple(dict.fromkeys(slot.name for form in spec.forms for slot in form.inputs if not slot.scalar))


@cache
def _keywords(kernel: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(kernel).parameters)


def keyword_arguments(call: Call, settings: Settings) -> dict[str, Any]:
    """What the kernel takes by name: the scalars, and the call, the way to run a model, the time limit."""
    return wanted_keywords(call, execute=settings.run_model, loop_seconds=settings.loop_seconds)


def wanted_keywords(call: Call, **offered: Any) -> dict[str, Any]:
    """The scalars, and of `call` and what else is offered what the kernel asks for."""
    wanted = _keywords(call.spec.kernel)
    extra = {name: value for name, value in {"call": call, **offered}.items() if name in wanted}
    return {**call.resolved(), **extra}


def compute_of(call: Call, groups: Groups, settings: Settings, where: str) -> Compute:
    """A bound call as a function from its tensors to the tuple of its results; `where` names it in findings."""
    if call.results and all(type_.element_count == 0 for type_ in call.results):
        return _empty_results(call.results)
    run = _twin(call, settings) or _reference(call, settings)
    if any(one.applies(call) for one in call.spec.undefined):
        run = _watching(run, call, settings.report, where)
    if any(count is not None for _, count in groups):
        run = _grouping(run, groups)
    return run


def _watching(run: Compute, call: Call, report: Callable[[Finding], None], where: str) -> Compute:
    """Look at the values before they are computed with: undefined results are reported, not given silently."""

    def watched(*tensors: Any) -> Arrays:
        for finding in undefined_findings(call, tensors, where):
            report(finding)
        return run(*tensors)

    return watched


def _twin(call: Call, settings: Settings) -> Compute | None:
    """The engine's twin for this call, None where it has none.

    Scales a kernel refuses (ValueError) are left to the reference, which says so when it runs.
    """
    prepare = settings.twins.get(call.spec.kind)
    if prepare is None or settings.as_half:
        return None
    try:
        return prepare(call)
    except (ValueError, ArithmeticError):
        return None


def _empty_results(types: Sequence[OperandType]) -> Compute:
    """Results without elements: Android's executor returns without computing."""
    return lambda *tensors: tuple(np.empty(type_.shape, type_.code.numpy) for type_ in types)


def _reference(call: Call, settings: Settings) -> Compute:
    run = partial(call.spec.kernel, **keyword_arguments(call, settings))
    codes = tuple(type_.code.numpy for type_ in call.results)
    if call.spec.half == "float32" and _holds_half(call):
        return _in_single(run, codes)
    return _through_half(run, codes) if settings.as_half else _typed(run, codes)


def _holds_half(call: Call) -> bool:
    held = [one for types in call.types.values() for one in (types if isinstance(types, tuple) else (types,))]
    return any(type_ is not None and type_.code.numpy == np.float16 for type_ in [*held, *call.results])


def as_tuple(results: Any) -> tuple[Any, ...]:
    """A kernel returns one array or a tuple of them."""
    return results if isinstance(results, tuple) else (results,)


def _typed(run: Callable[..., Any], dtypes: Sequence[np.dtype]) -> Compute:
    """Results as arrays of the declared storage; a NumPy scalar (rank 0) becomes an array."""

    def typed(*tensors: Any) -> Arrays:
        return tuple(np.asarray(one, dtype) for one, dtype in zip(as_tuple(run(*tensors)), dtypes, strict=True))

    return typed


def _in_single(run: Callable[..., Any], dtypes: Sequence[np.dtype]) -> Compute:
    """float16 inputs widened to float32, results rounded once."""
    typed = _typed(run, dtypes)

    def widened(*tensors: Any) -> Arrays:
        with np.errstate(over="ignore"):  # beyond 65504 a result rounds to infinity
            return typed(*(_each(_widen, tensor) for tensor in tensors))

    return widened


def _through_half(run: Callable[..., Any], dtypes: Sequence[np.dtype]) -> Compute:
    """float32 computed with the precision of float16: inputs and results rounded to it."""
    typed = _typed(run, dtypes)
    return lambda *tensors: tuple(map(_halve, typed(*(_each(_halve, tensor) for tensor in tensors))))


def _each(change: Callable[[Any], Any], tensor: Any) -> Any:
    """Apply a change to a tensor, or to each tensor of a variadic argument."""
    return [change(one) for one in tensor] if isinstance(tensor, list) else change(tensor)


def _widen(value: Any) -> Any:
    half = isinstance(value, np.ndarray) and value.dtype == np.float16
    return value.astype(np.float32) if half else value


def _halve(value: Any) -> Any:
    single = isinstance(value, np.ndarray) and value.dtype == np.float32
    return round_to_float16(value) if single else value


def _grouping(run: Compute, groups: Groups) -> Compute:
    """Hand a variadic argument over as a list."""

    def grouped(*values: Any) -> Arrays:
        return run(*(
            values[first] if count is None else list(values[first : first + count]) for first, count in groups
        ))  # fmt: skip

    return grouped
