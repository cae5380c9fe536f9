"""One run of a compilation: what goes in, what comes out, and events that say it is done."""

from __future__ import annotations

import ctypes
import math
import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.device import raw
from nnapi_lab.device.codes import DeviceError, Result, bad_data, bad_state
from nnapi_lab.device.compilations import Compilation
from nnapi_lab.device.memories import Memory
from nnapi_lab.errors import NnapiLabError
from nnapi_lab.ir.model import Operand
from nnapi_lab.ir.operand_types import Dim, OperandType

NEVER_MEASURED = 2**64 - 1
DURATIONS = range(4)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where an input or output lies: an address, part of a memory, or (address and memory None) nowhere.

    `dims` are those given with it, or the model's; 0 for one that is not known.
    """

    dims: tuple[int, ...]
    length: int
    address: int | None = None
    memory: Memory | None = None
    offset: int = 0

    @property
    def is_omitted(self) -> bool:
        return self.address is None and self.memory is None


class Execution:
    """Inputs and outputs are bound, then computed once; a reusable one as often as wanted."""

    def __init__(self, compilation: Compilation) -> None:
        compilation.must_be_finished()
        self.compilation = compilation
        model = compilation.model
        self.inputs: list[Bound | None] = [None] * len(model.inputs)
        self.outputs: list[Bound | None] = [None] * len(model.outputs)
        self.shapes: list[tuple[int, ...]] | None = None
        self.reusable = False
        self.padded = False
        self.measures = False
        self.nanoseconds = NEVER_MEASURED
        self._started = False

    # --- binding ---------------------------------------------------------------------------------------------

    def bind(self, side: str, index: int, type_address: int | None, address: int | None, length: int) -> None:
        """Take the caller's buffer as input or output; NULL and 0 omit it."""
        operand = self._operand(side, index)
        if not address:
            if length:
                raise bad_data(f"{side} {index} is given {length} bytes at NULL")
            bound = Bound((), 0)
        else:
            dims = _dims(operand.type, raw.dims_of(type_address), f"{side} {index}")
            self._check_length(operand.type, dims, length, f"{side} {index}")
            bound = Bound(dims, length, address)
        self._bind(side, index, bound)

    def bind_memory(
        self, side: str, index: int, type_address: int | None, memory: Memory, offset: int, length: int
    ) -> None:
        """Take a part of a memory as input or output; for memory made from a description both numbers are 0."""
        operand = self._operand(side, index)
        dims = _dims(operand.type, raw.dims_of(type_address), f"{side} {index}")
        if memory.is_opaque:
            if offset or length:
                raise bad_data("memory made from a description is used whole: offset and length are 0")
            if (side, self.compilation, index) not in memory.roles:
                raise bad_data(f"the memory was not made for {side} {index} of this compilation")
            length = memory.data.size
            dims = _dims(operand.type, memory.shape, f"{side} {index}")
        else:
            memory.part(offset, length)
            if side == "output" and not memory.writeable:
                raise bad_data("the memory of an output is mapped for reading only")
            self._check_length(operand.type, dims, length, f"{side} {index}")
        self._bind(side, index, Bound(dims, length, None, memory, offset))

    def _operand(self, side: str, index: int) -> Operand:
        self.must_be_open()
        return self.compilation.operand(side, index)

    def _bind(self, side: str, index: int, bound: Bound) -> None:
        table = self.inputs if side == "input" else self.outputs
        if table[index] is not None:
            raise bad_data(f"{side} {index} is set already")
        table[index] = bound

    def _check_length(self, type: OperandType, dims: tuple[int, ...], length: int, what: str) -> None:
        if type.code.is_tensor and (not dims or 0 in dims):
            return  # how much it takes is known only afterwards
        size = math.prod(dims) * type.code.numpy.itemsize
        if length != size and not (self.padded and length > size):
            raise bad_data(f"{what} {type.code.name}{list(dims)} takes {size} bytes, not {length}")

    def must_be_open(self) -> None:
        if self._started:
            raise bad_state("the execution has been started; nothing can be set any more")

    # --- computing -------------------------------------------------------------------------------------------

    def compute(self) -> None:
        """Run and write the outputs.

        Raises DeviceError: BAD_STATE for a second run of an execution that is not reusable, BAD_DATA for what is not
        bound, OUTPUT_INSUFFICIENT_SIZE (the sizes can be asked for afterwards); SimulationError for what fails.
        """
        if self._started and not self.reusable:
            raise bad_state("the execution has run already and is not reusable")
        self._started = True
        arrays = [self._array(index, bound) for index, bound in enumerate(self.inputs)]
        missing = [index for index, bound in enumerate(self.outputs) if bound is None]
        if missing:
            raise bad_data(f"no place is given for output {missing[0]}")
        start = time.perf_counter_ns()
        results = self.compilation.run(arrays)
        if self.measures:
            self.nanoseconds = time.perf_counter_ns() - start
        self.shapes = [result.shape for result in results]
        for index, (bound, result) in enumerate(zip(self.outputs, results, strict=True)):
            if bound is not None:
                _write(bound, result, index)

    def _array(self, index: int, bound: Bound | None) -> np.ndarray | None:
        if bound is None:
            raise bad_data(f"input {index} is not given")
        if bound.is_omitted:
            return None
        type = self.compilation.operand("input", index).type
        if type.code.is_tensor and (not bound.dims or 0 in bound.dims):
            raise bad_data(f"input {index} is {list(bound.dims)}; all its sizes must be known to compute")
        if bound.memory is None:
            return raw.view(bound.address or 0, type.code, bound.dims)
        if not bound.memory.is_filled:
            raise bad_data(f"nothing has been written into the memory of input {index}")
        size = math.prod(bound.dims) * type.code.numpy.itemsize
        data = np.array(bound.memory.data[bound.offset : bound.offset + size])
        return (data != 0 if type.code.numpy.kind == "b" else data.view(type.code.numpy)).reshape(bound.dims)

    # --- afterwards ------------------------------------------------------------------------------------------

    def output_shape(self, index: int) -> tuple[int, ...]:
        """The sizes an output came out with. Raises DeviceError before it was computed."""
        self.compilation.operand("output", index)
        if self.shapes is None:
            raise bad_state("the execution has computed nothing yet")
        return self.shapes[index]


def _dims(type: OperandType, given: tuple[int, ...] | None, what: str) -> tuple[int, ...]:
    """The model's sizes completed by the given ones. Raises DeviceError where they contradict each other.

    What else a given type says (scale, zero point) is not looked at, as on Android.
    """
    declared = tuple(0 if isinstance(dim, Dim) else dim for dim in type.shape or ())
    if not type.code.is_tensor or given is None:
        return declared
    if type.shape is None:
        return given
    fits = len(given) == len(declared) and all(not a or not b or a == b for a, b in zip(declared, given, strict=True))
    if not fits:
        raise bad_data(f"{what} is {list(given)}, the model has {list(declared)}")
    return tuple(a or b for a, b in zip(declared, given, strict=True))


def _write(bound: Bound, result: np.ndarray, index: int) -> None:
    if bound.is_omitted:
        return
    if bound.dims and any(size and size != have for size, have in zip(bound.dims, result.shape, strict=True)):
        raise DeviceError(Result.OP_FAILED, f"output {index} came out as {result.shape}, {bound.dims} was announced")
    if result.nbytes > bound.length:
        message = f"output {index} takes {result.nbytes} bytes, there is room for {bound.length}"
        raise DeviceError(Result.OUTPUT_INSUFFICIENT_SIZE, message)
    if bound.memory is None:
        ctypes.memmove(bound.address or 0, result.ctypes.data, result.nbytes)
        return
    bound.memory.data[bound.offset : bound.offset + result.nbytes] = result.reshape(-1).view(np.uint8)
    if bound.memory.is_opaque:
        bound.memory.is_filled, bound.memory.shape = True, result.shape


class Burst:
    """Several executions of one compilation in a row; nothing is gained here."""

    def __init__(self, compilation: Compilation) -> None:
        compilation.must_be_finished()
        self.compilation = compilation


class Event:
    """What a started execution, or a fence of the system, will signal. Here an execution is done when it starts."""

    def __init__(self, fault: BaseException | None = None, fence: int | None = None) -> None:
        self.fault = fault
        self.fence = fence

    def wait(self) -> None:
        """Raises what went wrong."""
        if self.fence is not None:
            select.select([self.fence], [], [])
        if self.fault is not None:
            raise self.fault

    def close(self) -> None:
        if self.fence is not None:
            os.close(self.fence)
            self.fence = None


def started(execution: Execution, dependencies: Sequence[Event] = ()) -> Event:
    """The event of an execution that waits for others and computes. What fails is told by the event."""
    if not execution.reusable:
        execution.must_be_open()
    try:
        for event in dependencies:
            event.wait()
        execution.compute()
    except NnapiLabError as fault:
        return Event(fault)
    return Event()


def measured(execution: Execution, code: int) -> int:
    """Nanoseconds of the last run; the largest number where nothing was measured."""
    if code not in DURATIONS:
        raise bad_data(f"there is no duration {code}")
    if execution.shapes is None:
        raise bad_state("the execution has computed nothing yet")
    if not execution.measures:
        raise bad_state("measuring was not asked for")
    return execution.nanoseconds


def fence_of(event: Event) -> Any:
    """A file descriptor of its own that signals with the event. Raises DeviceError for an event without a fence."""
    if event.fence is None:
        raise bad_data("the event is no fence of the system")
    return os.dup(event.fence)
