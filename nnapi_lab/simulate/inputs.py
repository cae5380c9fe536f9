"""What a user hands to a model: counted, named, and held against the declared types before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.model import Model, Operand
from nnapi_lab.ir.operand_types import Dim, shape_text

Inputs = Sequence[Any] | Mapping[str, Any]

# Kinds of plain numbers (NumPy's letters) that a kind of operand takes without losing anything.
_TAKES = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}


def check_inputs(model: Model, inputs: Inputs) -> list[np.ndarray | None]:
    """The inputs in the model's order, C-contiguous, each of the declared type; None for an omitted one.

    An array must have the declared dtype; plain numbers and nested lists take it. Sizes the model leaves open
    (Dim) are the caller's choice. Raises SimulationError naming the input, what was given and what is due.
    """
    return [
        None if given is None else _checked(model[name], given)
        for name, given in zip(model.inputs, _in_order(model, inputs), strict=True)
    ]


def _in_order(model: Model, inputs: Inputs) -> list[Any]:
    if isinstance(inputs, Mapping):
        missing = [name for name in model.inputs if name not in inputs]
        alien = [str(name) for name in inputs if name not in model.inputs]
        if missing or alien:
            problem = f"lacks {', '.join(missing)}" if missing else f"has no input named {', '.join(alien)}"
            owner = "the mapping given" if missing else f"model {model.name}"
            raise SimulationError(f"{owner} {problem}; the inputs are {_signature(model)}")
        return [inputs[name] for name in model.inputs]
    if isinstance(inputs, (str, bytes, np.ndarray)) or not isinstance(inputs, Sequence):
        kind = type(inputs).__name__
        raise SimulationError(
            f"inputs are a sequence or a mapping of NumPy arrays, not {kind}; "
            f"model {model.name} takes {_signature(model)}"
        )
    if len(inputs) != len(model.inputs):
        raise SimulationError(
            f"model {model.name} takes {len(model.inputs)} inputs ({_signature(model)}), not {len(inputs)}"
        )
    return list(inputs)


def _signature(model: Model) -> str:
    return ", ".join(f"%{name} : {model[name].type}" for name in model.inputs) or "none"


def _checked(operand: Operand, given: Any) -> np.ndarray:
    wanted = operand.type.code.numpy
    if isinstance(given, (np.ndarray, np.generic)) or hasattr(given, "__array__"):
        array = np.asarray(given)
        if array.dtype != wanted:
            raise SimulationError(
                f"input %{operand.name} is {array.dtype} {shape_text(array.shape)}, "
                f"expected {wanted} for {operand.type}"
            )
    else:
        array = _converted(operand, given)
    if operand.type.shape is not None and not _fits(array.shape, operand.type.shape):
        raise SimulationError(
            f"input %{operand.name} has shape {shape_text(array.shape)}, expected {shape_text(operand.type.shape)}"
        )
    return array if array.flags.c_contiguous else array.copy(order="C")


def _converted(operand: Operand, given: Any) -> np.ndarray:
    wanted = operand.type.code.numpy
    try:
        natural = np.asarray(given)
        if natural.size and natural.dtype.kind not in _TAKES[wanted.kind]:
            raise TypeError(f"{natural.dtype} is not {wanted}")
        # From the Python value, so that NumPy refuses an integer the type cannot hold.
        return np.asarray(given, dtype=wanted)
    except (TypeError, ValueError, OverflowError) as fault:
        raise SimulationError(f"input %{operand.name} is not readable as {operand.type}: {fault}") from fault


def _fits(actual: tuple[int, ...], declared: tuple[int | Dim, ...]) -> bool:
    return len(actual) == len(declared) and all(
        isinstance(wanted, Dim) or have == wanted for have, wanted in zip(actual, declared, strict=True)
    )
