"""Control flow: IF runs one of two models, WHILE one model as long as another says so.

Source: AOSP 13 CpuExecutor.cpp (executeIfOperation, executeWhileOperation).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.model import Model
from nnapi_lab.simulate.kernels import Compute, RunModel


def run_if(models: Sequence[Model], run_model: RunModel, loop_seconds: float) -> Compute:
    """IF(condition, then, else, arguments): the condition is one bool; its model gets the arguments."""
    then_model, else_model = models

    def compute(condition: np.ndarray, *arguments: Any) -> tuple[np.ndarray, ...]:
        return run_model(then_model if _truth(condition) else else_model, arguments)

    return compute


def run_while(models: Sequence[Model], run_model: RunModel, loop_seconds: float) -> Compute:
    """WHILE(condition, body, arguments): the body's results replace the first arguments, round after round.

    The condition model sees all arguments. The first results of the body (or, when it never ran, the first
    arguments) are the operation's results. Raises SimulationError when the loop outlasts `loop_seconds`.
    """
    condition_model, body_model = models

    def compute(*arguments: Any) -> tuple[np.ndarray, ...]:
        state = list(arguments)
        deadline = time.monotonic() + loop_seconds
        rounds = 0
        while _truth(run_model(condition_model, state)[0]):
            if time.monotonic() > deadline:
                raise SimulationError(
                    f"the loop did not end within {loop_seconds:g} s ({rounds} rounds); "
                    "NNAPI stops such a loop too (default 2 s); loop_seconds sets the limit"
                )
            results = run_model(body_model, state)
            state[: len(results)] = results
            rounds += 1
        return tuple(state)

    return compute


def _truth(condition: np.ndarray) -> bool:
    if condition.size != 1:
        raise SimulationError(f"a condition is one bool, this one has {condition.size} elements")
    return bool(condition.reshape(-1)[0])


CONTROL: Mapping[str, Callable[[Sequence[Model], RunModel, float], Compute]] = {
    "IF": run_if,
    "WHILE": run_while,
}
