"""What the simulator adds to each operation: chains of tiny operations, time per operation."""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.timing import Figure
from nnapi_lab.build import Builder
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.simulate import compile_model

MOST = 5.0  # microseconds an operation
STEADY = 1.2  # 10,000 operations may take this much more an operation than 1,000


def run(rounds: int) -> list[Figure]:
    """Microseconds an operation at 10,000 operations, and how much that is over 1,000 operations."""
    executables = {count: compile_model(chain(count), "fast") for count in (1_000, 10_000)}
    x = [np.array([-1.0, 0.5, 2.0, 3.0], np.float32)]
    seconds: dict[int, list[float]] = {count: [] for count in executables}
    for turn in range(rounds + 1):
        for count, executable in executables.items():
            start = time.perf_counter()
            executable.run(x)
            if turn:  # the first round does not count
                seconds[count].append((time.perf_counter() - start) / count)
    few, many = (1e6 * statistics.median(times) for times in seconds.values())
    each = f"{many:.2f} µs an operation at 10,000 operations (goal: at most {MOST:g})"
    grows = f"{many / few:.2f} × the time an operation takes at 1,000 ({few:.2f} µs; goal: at most {STEADY:g})"
    return [
        Figure("dispatch", each, many, many <= MOST),
        Figure("dispatch is linear", grows, many / few, many / few <= STEADY),
    ]


def chain(count: int) -> Model:
    """x → ABS → NEG → ABS … on four numbers."""
    b = Builder("chain")
    name = b.input("x", OperandType(OperandCode.TENSOR_FLOAT32, (4,)))
    for index in range(count):
        name = b.add("NEG" if index % 2 else "ABS", name=f"v{index}", input=name)
    b.output(name)
    return b.build()
