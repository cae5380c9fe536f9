"""Entry points that run: executions, bursts, events."""

from __future__ import annotations

import ctypes
import os

import numpy as np

from nnapi_lab.device import executions, raw
from nnapi_lab.device.codes import bad_data
from nnapi_lab.device.compilations import Compilation
from nnapi_lab.device.executions import Burst, Event, Execution
from nnapi_lab.device.memories import Memory
from nnapi_lab.device.state import State, entry

Address = int | None


def _execution(state: State, execution: Address) -> Execution:
    return state.handles.get(execution, Execution)


def _open(state: State, execution: Address) -> Execution:
    found = _execution(state, execution)
    found.must_be_open()
    return found


@entry("Execution_create")
def create_execution(state: State, compilation: Address, out: Address) -> None:
    state.handles.put(Execution(state.handles.get(compilation, Compilation)), out)


@entry("Execution_free")
def free_execution(state: State, execution: Address) -> None:
    state.handles.pop(execution, Execution)


# --- inputs and outputs --------------------------------------------------------------------------------------


@entry("Execution_setInput")
def set_input(state: State, execution: Address, index: int, type: Address, buffer: Address, length: int) -> None:
    _execution(state, execution).bind("input", index, type, buffer, length)


@entry("Execution_setOutput")
def set_output(state: State, execution: Address, index: int, type: Address, buffer: Address, length: int) -> None:
    _execution(state, execution).bind("output", index, type, buffer, length)


@entry("Execution_setInputFromMemory")
def set_input_from_memory(
    state: State, execution: Address, index: int, type: Address, memory: Address, offset: int, length: int
) -> None:
    held = state.handles.get(memory, Memory)
    _execution(state, execution).bind_memory("input", index, type, held, offset, length)


@entry("Execution_setOutputFromMemory")
def set_output_from_memory(
    state: State, execution: Address, index: int, type: Address, memory: Address, offset: int, length: int
) -> None:
    held = state.handles.get(memory, Memory)
    _execution(state, execution).bind_memory("output", index, type, held, offset, length)


@entry("Execution_getOutputOperandRank")
def output_rank(state: State, execution: Address, index: int, out: Address) -> None:
    rank = len(_execution(state, execution).output_shape(index))
    raw.write_number(ctypes.c_uint32, out, rank, "where the rank is to be written")


@entry("Execution_getOutputOperandDimensions")
def output_dimensions(state: State, execution: Address, index: int, out: Address) -> None:
    shape = _execution(state, execution).output_shape(index)
    if not shape:
        raise bad_data(f"output {index} is a scalar, which has no dimensions")
    sizes = np.array(shape, np.uint32)
    ctypes.memmove(raw.given(out, "where the dimensions are to be written"), sizes.ctypes.data, sizes.nbytes)


# --- how -----------------------------------------------------------------------------------------------------


@entry("Execution_setReusable")
def set_reusable(state: State, execution: Address, reusable: bool) -> None:
    _open(state, execution).reusable = reusable


@entry("Execution_enableInputAndOutputPadding")
def enable_padding(state: State, execution: Address, enable: bool) -> None:
    found = _open(state, execution)
    if any(bound is not None for bound in (*found.inputs, *found.outputs)):
        raise bad_data("padding is allowed before the first input or output is set")
    found.padded = enable


@entry("Execution_setMeasureTiming")
def set_measure_timing(state: State, execution: Address, measure: bool) -> None:
    found = _open(state, execution)
    found.compilation.must_have_one_device("measuring")
    found.measures = measure


@entry("Execution_setTimeout")
def set_timeout(state: State, execution: Address, nanoseconds: int) -> None:
    _open(state, execution).compilation.must_have_one_device("a time limit")


@entry("Execution_setLoopTimeout")
def set_loop_timeout(state: State, execution: Address, nanoseconds: int) -> None:
    _open(state, execution)


@entry("Execution_getDuration")
def duration(state: State, execution: Address, code: int, out: Address) -> None:
    nanoseconds = executions.measured(_execution(state, execution), code)
    raw.write_number(ctypes.c_uint64, out, nanoseconds, "where the duration is to be written")


# --- computing -----------------------------------------------------------------------------------------------


@entry("Execution_compute")
def compute(state: State, execution: Address) -> None:
    _execution(state, execution).compute()


@entry("Burst_create")
def create_burst(state: State, compilation: Address, out: Address) -> None:
    state.handles.put(Burst(state.handles.get(compilation, Compilation)), out)


@entry("Burst_free")
def free_burst(state: State, burst: Address) -> None:
    state.handles.pop(burst, Burst)


@entry("Execution_burstCompute")
def burst_compute(state: State, execution: Address, burst: Address) -> None:
    found = _execution(state, execution)
    if state.handles.get(burst, Burst).compilation is not found.compilation:
        raise bad_data("the burst belongs to another compilation")
    found.compute()


@entry("Execution_startCompute")
def start_compute(state: State, execution: Address, out: Address) -> None:
    found = _execution(state, execution)
    raw.given(out, "where the event is to be written")
    state.handles.put(executions.started(found), out)


@entry("Execution_startComputeWithDependencies")
def start_compute_with_dependencies(
    state: State, execution: Address, dependencies: Address, count: int, duration: int, out: Address
) -> None:
    found = _execution(state, execution)
    raw.given(out, "where the event is to be written")
    events = [state.handles.get(event, Event) for event in raw.handles(dependencies, count, "dependencies")]
    state.handles.put(executions.started(found, events), out)


@entry("Event_wait")
def wait(state: State, event: Address) -> None:
    state.handles.get(event, Event).wait()


@entry("Event_free")
def free_event(state: State, event: Address) -> None:
    found = state.handles.pop(event, Event)
    if found is not None:
        found.close()


@entry("Event_createFromSyncFenceFd")
def create_event(state: State, fd: int, out: Address) -> None:
    raw.given(out, "where the event is to be written")
    if fd < 0:
        raise bad_data(f"{fd} is no file descriptor")
    try:
        fence = os.dup(fd)
    except OSError as error:
        raise bad_data(f"the file descriptor {fd} is not open: {error.strerror}") from error
    state.handles.put(Event(fence=fence), out)


@entry("Event_getSyncFenceFd")
def sync_fence(state: State, event: Address, out: Address) -> None:
    found = state.handles.get(event, Event)
    raw.write_number(ctypes.c_int32, out, -1, "where the descriptor is to be written")
    raw.write_number(ctypes.c_int32, out, executions.fence_of(found), "where the descriptor is to be written")
