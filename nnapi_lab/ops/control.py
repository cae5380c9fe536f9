"""Control flow: IF and WHILE. Their bodies are models; running one is the engine's business.

A kernel here is handed `execute(model, arrays) -> arrays` by whoever runs it.
Source: AOSP 13 Validation.cpp (validateIfOperation, validateWhileOperation), CpuExecutor.cpp.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Shape, same_dims
from nnapi_lab.ops.axes import agreed
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, tensor

BOOL8, MODEL = OperandCode.TENSOR_BOOL8, OperandCode.MODEL

# ANeuralNetworks_getDefaultLoopTimeout; an execution may ask for up to 15 s.
LOOP_SECONDS = 2.0

Execute = Callable[[Model, Sequence[Any]], Sequence[Any]]


def _any_type(key: OperandCode) -> tuple[OperandCode, ...]:
    return tuple(OperandCode)


def _model(name: str, doc: str) -> Slot:
    return tensor(name, fixed(MODEL), doc=doc)


_ARGS = tensor("args", _any_type, variadic=True, optional=True)
_OUTPUTS = (tensor("outputs", _any_type, variadic=True),)


# --- what both ask of a model -------------------------------------------------------------------------------


def compatible(inner: OperandType, outer: OperandType) -> bool:
    """One type, one scale, zero point and channel scales, no known size that contradicts another."""
    return inner.code == outer.code and inner.quant == outer.quant and same_dims(inner.shape, outer.shape)


def inputs_seen(call: Call, slot: str) -> str | None:
    """An argument that the model in `slot` does not take, None when all fit (or the model is unknown)."""
    model, args = call.value(slot), call["args"]
    if not isinstance(model, Model):
        return None
    if len(model.inputs) != len(args):
        return f"{slot} {model.name} takes {len(model.inputs)} inputs, {len(args)} are given"
    for name, outer in zip(model.inputs, args, strict=True):
        inner = model[name].type
        if outer is not None and not compatible(inner, outer):
            return f"{slot} {model.name} takes %{name} : {inner}, given is {outer}"
    return None


def _output_types(call: Call, slot: str) -> tuple[OperandType, ...] | None:
    model = call.value(slot)
    return tuple(model[name].type for name in model.outputs) if isinstance(model, Model) else None


def _common_shape(left: Shape | None, right: Shape | None) -> Shape | None:
    """Sizes both agree on; unknown where they may differ."""
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple(a if a == b else Dim("?") for a, b in zip(left, right, strict=True))


def truth(condition: np.ndarray) -> bool:
    return bool(np.reshape(condition, -1)[0])


# --- IF -----------------------------------------------------------------------------------------------------


def branch_types(call: Call) -> tuple[OperandType, ...]:
    """What both branches give; a size on which they do not agree is known only after the choice."""
    then, other = _output_types(call, "then_model"), _output_types(call, "else_model")
    if then is None or other is None:
        return then or other or call.declared
    return tuple(a.with_shape(_common_shape(a.shape, b.shape)) for a, b in zip(then, other, strict=False))


def if_(
    condition: np.ndarray, then_model: Model, else_model: Model, args: Sequence[Any], *, execute: Execute
) -> tuple[Any, ...]:
    """The results of one of two models on the same arguments."""
    return tuple(execute(then_model if truth(condition) else else_model, args))


def _condition_shape(call: Call) -> str | None:
    # Android asks for the known size 1: a condition of unknown size is refused when the model is made.
    held = call["condition"]
    return None if held.shape == (1,) else f"condition is {held}"


def _branches_differ(call: Call) -> str | None:
    then, other = _output_types(call, "then_model"), _output_types(call, "else_model")
    if then is None or other is None:
        return None
    if len(then) != len(other):
        return f"then_model gives {len(then)} results, else_model {len(other)}"
    for index, (a, b) in enumerate(zip(then, other, strict=True)):
        if not compatible(a, b):
            return f"result {index} is {a} in then_model and {b} in else_model"
    return None


def _no_result(call: Call) -> str | None:
    types = _output_types(call, "then_model")
    return "then_model gives no result" if types == () else None


_IF = OpSpec(
    kind="IF",
    code=96,
    since=4,
    summary="Run one of two models.",
    types={BOOL8: 4},
    forms=(
        Form(
            "only",
            (
                tensor("condition"),
                _model("then_model", "runs when the condition is true"),
                _model("else_model", "runs when it is false"),
                _ARGS,
            ),
            _OUTPUTS,
        ),
    ),
    result=branch_types,
    kernel=if_,
    source="AOSP 13 Validation.cpp (validateIfOperation)",
    constraints=(
        Constraint("C1", "the condition is one bool, shape [1]", _condition_shape),
        Constraint("C2", "then_model takes the arguments", lambda call: inputs_seen(call, "then_model")),
        Constraint("C3", "else_model takes the arguments", lambda call: inputs_seen(call, "else_model")),
        Constraint("C4", "both models give results of the same types", _branches_differ),
        Constraint("C5", "there is at least one result", _no_result),
    ),
    zero_sized=4,
    half="native",
)


# --- WHILE --------------------------------------------------------------------------------------------------


def carried_types(call: Call) -> tuple[OperandType, ...]:
    """The first results of the body, as many as are declared (all, when nothing is declared).

    Sizes are those that the body and the arguments both know, for the body may never run.
    """
    types = _output_types(call, "body_model")
    if types is None:
        return call.declared
    count = len(call.declared) or len(types)
    pairs = zip(types[:count], call["args"], strict=False)
    return tuple(body.with_shape(_carried_shape(body, first)) for body, first in pairs)


def _carried_shape(body: OperandType, first: OperandType | None) -> Shape | None:
    if body.shape is None or first is None or first.shape is None or len(first.shape) != len(body.shape):
        return body.shape
    # A size the body leaves open may grow from round to round.
    return tuple(b if isinstance(b, Dim) else agreed(b, a) for b, a in zip(body.shape, first.shape, strict=True))


def while_(
    cond_model: Model, body_model: Model, args: Sequence[Any], *, call: Call, execute: Execute,
    loop_seconds: float = LOOP_SECONDS,
) -> tuple[Any, ...]:  # fmt: skip
    """Run the body as long as the condition model says so; its results replace the first arguments.

    The arguments are m results, k more that the body hands on, n constants. Raises SimulationError when the
    loop outlasts `loop_seconds`, as NNAPI does (MISSED_DEADLINE).
    """
    state, rounds = list(args), 0
    start = time.monotonic()
    while truth(execute(cond_model, state)[0]):
        if time.monotonic() - start > loop_seconds:
            raise SimulationError(
                f"WHILE did not end within {loop_seconds:g} s ({rounds} rounds); NNAPI gives up after 2 s"
            )
        results = execute(body_model, state)
        state[: len(results)] = results
        rounds += 1
    return tuple(state[: len(call.results)])


def _condition_result(call: Call) -> str | None:
    types = _output_types(call, "cond_model")
    if types is None:
        return None
    if len(types) != 1:
        return f"cond_model gives {len(types)} results"
    return None if types[0].code == BOOL8 and types[0].shape == (1,) else f"cond_model gives {types[0]}"


def _body_count(call: Call) -> str | None:
    types = _output_types(call, "body_model")
    if types is None:
        return None
    least = max(1, len(call.declared))
    if least <= len(types) <= len(call["args"]):
        return None
    return f"body_model gives {len(types)} results; {least} are wanted and {len(call['args'])} arguments given"


def _body_changes(call: Call) -> str | None:
    model = call.value("body_model")
    if not isinstance(model, Model):
        return None
    for out, name in zip(model.outputs, model.inputs, strict=False):
        if not compatible(model[out].type, model[name].type):
            return f"%{out} : {model[out].type} is to replace %{name} : {model[name].type}"
    return None


_WHILE = OpSpec(
    kind="WHILE",
    code=97,
    since=4,
    summary="Run a model again and again while another says so.",
    types={MODEL: 4},
    forms=(
        Form(
            "only",
            (
                _model("cond_model", "all arguments → one bool: go on?"),
                _model("body_model", "all arguments → those that change, in order"),
                _ARGS,
            ),
            _OUTPUTS,
        ),
    ),
    result=carried_types,
    kernel=while_,
    source="AOSP 13 Validation.cpp (validateWhileOperation)",
    constraints=(
        Constraint("C1", "cond_model takes the arguments", lambda call: inputs_seen(call, "cond_model")),
        Constraint("C2", "cond_model gives one bool of shape [1]", _condition_result),
        Constraint("C3", "body_model takes the arguments", lambda call: inputs_seen(call, "body_model")),
        Constraint("C4", "body_model gives at least the results, at most the arguments", _body_count),
        Constraint("C5", "what body_model gives has the type of what it replaces", _body_changes),
    ),
    zero_sized=4,
    half="native",
    notes=(
        "Operands of unknown size inside a loop need Android's own CPU implementation: no driver of level 4 "
        "takes them.",
        "A loop stops with MISSED_DEADLINE after 2 s unless the execution asks for up to 15 s.",
    ),
)

SPECS: tuple[OpSpec, ...] = (_IF, _WHILE)
