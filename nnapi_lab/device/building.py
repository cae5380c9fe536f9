"""Entry points that build: devices, models, compilations, memories."""

from __future__ import annotations

import ctypes

import numpy as np

from nnapi_lab.device import memories, raw
from nnapi_lab.device.codes import DeviceError, Result, bad_data
from nnapi_lab.device.compilations import PREFERENCES, PRIORITIES, TOKEN_BYTES, Compilation
from nnapi_lab.device.memories import Description, Memory
from nnapi_lab.device.models import ModelDraft
from nnapi_lab.device.state import State, entry, text
from nnapi_lab.device.virtual import Device, supported
from nnapi_lab.ops.control import LOOP_SECONDS
from nnapi_lab.validate.levels import api_level_of

Address = int | None
LONGEST_LOOP_SECONDS = 15  # as on Android
NO_ALIGNMENT = 1  # any address, any length: the simulator copies


def _write_text(address: Address, words: str) -> None:
    raw.write_number(ctypes.c_void_p, address, ctypes.addressof(text(words)), "where the text is to be written")


def _write_u32(address: Address, number: int) -> None:
    raw.write_number(ctypes.c_uint32, address, number, "where the number is to be written")


# --- the phone and its devices -------------------------------------------------------------------------------


@entry("_getDeviceCount")
def device_count(state: State, count: Address) -> None:
    _write_u32(count, len(state.phone.devices))


@entry("_getDevice")
def device(state: State, number: int, out: Address) -> None:
    state.put_device(number, out)


@entry("Device_getName")
def device_name(state: State, device: Address, out: Address) -> None:
    _write_text(out, state.handles.get(device, Device).name)


@entry("Device_getType")
def device_type(state: State, device: Address, out: Address) -> None:
    _write_u32(out, state.handles.get(device, Device).type)


@entry("Device_getVersion")
def device_version(state: State, device: Address, out: Address) -> None:
    _write_text(out, state.handles.get(device, Device).version)


@entry("Device_getFeatureLevel")
def device_feature_level(state: State, device: Address, out: Address) -> None:
    level = api_level_of(state.handles.get(device, Device).feature_level)
    raw.write_number(ctypes.c_int64, out, level, "where the level is to be written")


@entry("Device_wait")
def device_wait(state: State, device: Address) -> None:
    state.handles.get(device, Device)


@entry("_getRuntimeFeatureLevel")
def runtime_feature_level(state: State) -> int:
    return state.phone.runtime_level


@entry("_getDefaultLoopTimeout")
def default_loop_timeout(state: State) -> int:
    return int(LOOP_SECONDS * 1e9)


@entry("_getMaximumLoopTimeout")
def maximum_loop_timeout(state: State) -> int:
    return LONGEST_LOOP_SECONDS * 10**9


# --- models --------------------------------------------------------------------------------------------------


def _draft(state: State, model: Address) -> ModelDraft:
    return state.handles.get(model, ModelDraft)


@entry("Model_create")
def create_model(state: State, out: Address) -> None:
    state.handles.put(ModelDraft(), out)


@entry("Model_free")
def free_model(state: State, model: Address) -> None:
    state.handles.pop(model, ModelDraft)


@entry("Model_addOperand")
def add_operand(state: State, model: Address, type: Address) -> None:
    with _draft(state, model).noting() as draft:
        draft.add_operand(type)


@entry("Model_setOperandValue")
def set_value(state: State, model: Address, number: int, buffer: Address, length: int) -> None:
    with _draft(state, model).noting() as draft:
        draft.set_value(number, buffer, length)


@entry("Model_setOperandValueFromMemory")
def set_value_from_memory(state: State, model: Address, number: int, memory: Address, offset: int, length: int) -> None:
    with _draft(state, model).noting() as draft:
        draft.set_value_from_memory(number, state.handles.get(memory, Memory), offset, length)


@entry("Model_setOperandValueFromModel")
def set_value_from_model(state: State, model: Address, number: int, value: Address) -> None:
    with _draft(state, model).noting() as draft:
        draft.set_value_from_model(number, _draft(state, value))


@entry("Model_setOperandSymmPerChannelQuantParams")
def set_channels(state: State, model: Address, number: int, parameters: Address) -> None:
    with _draft(state, model).noting() as draft:
        draft.set_channels(number, parameters)


@entry("Model_addOperation")
def add_operation(
    state: State, model: Address, code: int, read_count: int, reads: Address, write_count: int, writes: Address
) -> None:
    with _draft(state, model).noting() as draft:
        draft.add_operation(
            code, raw.numbers(reads, read_count, "arguments"), raw.numbers(writes, write_count, "results")
        )


@entry("Model_identifyInputsAndOutputs")
def identify(
    state: State, model: Address, input_count: int, inputs: Address, output_count: int, outputs: Address
) -> None:
    with _draft(state, model).noting() as draft:
        draft.identify(raw.numbers(inputs, input_count, "inputs"), raw.numbers(outputs, output_count, "outputs"))


@entry("Model_relaxComputationFloat32toFloat16")
def relax(state: State, model: Address, allow: bool) -> None:
    with _draft(state, model).noting() as draft:
        draft.relax(allow)


@entry("Model_finish")
def finish_model(state: State, model: Address) -> None:
    _draft(state, model).finish(state.phone.feature_level, state.names())


@entry("Model_getSupportedOperationsForDevices")
def supported_operations(state: State, model: Address, devices: Address, count: int, out: Address) -> None:
    draft = _draft(state, model)
    taken = supported(draft.model, state.devices(raw.handles(devices, count, "devices")))
    flags = np.zeros(len(taken), np.bool_)
    flags[list(draft.order)] = taken  # the caller counts operations as they were added
    ctypes.memmove(raw.given(out, "where the answers are to be written"), flags.ctypes.data, flags.size)


# --- compilations --------------------------------------------------------------------------------------------


def _open_compilation(state: State, compilation: Address) -> Compilation:
    found = state.handles.get(compilation, Compilation)
    found.must_be_open()
    return found


@entry("Compilation_create")
def create_compilation(state: State, model: Address, out: Address) -> None:
    state.handles.put(Compilation(_draft(state, model), state.phone), out)


@entry("Compilation_createForDevices")
def create_compilation_for(state: State, model: Address, devices: Address, count: int, out: Address) -> None:
    named = state.devices(raw.handles(devices, count, "devices"))
    state.handles.put(Compilation(_draft(state, model), state.phone, named), out)


@entry("Compilation_free")
def free_compilation(state: State, compilation: Address) -> None:
    state.handles.pop(compilation, Compilation)


@entry("Compilation_setPreference")
def set_preference(state: State, compilation: Address, preference: int) -> None:
    _open_compilation(state, compilation)
    if preference not in PREFERENCES:
        raise bad_data(f"there is no preference {preference}")


@entry("Compilation_setPriority")
def set_priority(state: State, compilation: Address, priority: int) -> None:
    _open_compilation(state, compilation)
    if priority not in PRIORITIES:
        raise bad_data(f"there is no priority {priority}")


@entry("Compilation_setTimeout")
def set_compilation_timeout(state: State, compilation: Address, nanoseconds: int) -> None:
    _open_compilation(state, compilation).must_have_one_device("a time limit")


@entry("Compilation_setCaching")
def set_caching(state: State, compilation: Address, folder: Address, token: Address) -> None:
    _open_compilation(state, compilation)
    raw.given(folder, "the folder")
    raw.read(raw.given(token, "the token"), TOKEN_BYTES)


@entry("Compilation_finish")
def finish_compilation(state: State, compilation: Address) -> None:
    state.handles.get(compilation, Compilation).finish()


def _preferred(side: str) -> None:
    """Alignment and padding of one side: none is preferred."""
    for what in ("Alignment", "Padding"):

        @entry(f"Compilation_getPreferredMemory{what}For{side.title()}")
        def preferred(state: State, compilation: Address, index: int, out: Address) -> None:
            found = state.handles.get(compilation, Compilation)
            found.must_be_finished()
            found.operand(side, index)
            _write_u32(out, NO_ALIGNMENT)


_preferred("input")
_preferred("output")


# --- memories ------------------------------------------------------------------------------------------------


@entry("Memory_createFromFd")
def create_memory(state: State, size: int, protect: int, fd: int, offset: int, out: Address) -> None:
    state.handles.put(memories.from_fd(size, protect, fd, offset), out)


@entry("Memory_createFromAHardwareBuffer")
def create_memory_from_hardware_buffer(state: State, buffer: Address, out: Address) -> None:
    raw.given(buffer, "the AHardwareBuffer")
    raise DeviceError(Result.UNMAPPABLE, "an AHardwareBuffer is Android's; there are none here")


@entry("Memory_createFromDesc")
def create_memory_from_description(state: State, description: Address, out: Address) -> None:
    state.handles.put(state.handles.get(description, Description).memory(), out)


@entry("Memory_copy")
def copy_memory(state: State, source: Address, target: Address) -> None:
    memories.copy(state.handles.get(source, Memory), state.handles.get(target, Memory))


@entry("Memory_free")
def free_memory(state: State, memory: Address) -> None:
    state.handles.pop(memory, Memory)


@entry("MemoryDesc_create")
def create_description(state: State, out: Address) -> None:
    state.handles.put(Description(), out)


@entry("MemoryDesc_free")
def free_description(state: State, description: Address) -> None:
    state.handles.pop(description, Description)


@entry("MemoryDesc_addInputRole")
def add_input_role(state: State, description: Address, compilation: Address, index: int, frequency: float) -> None:
    found = state.handles.get(compilation, Compilation)
    state.handles.get(description, Description).add_role("input", found, index, frequency)


@entry("MemoryDesc_addOutputRole")
def add_output_role(state: State, description: Address, compilation: Address, index: int, frequency: float) -> None:
    found = state.handles.get(compilation, Compilation)
    state.handles.get(description, Description).add_role("output", found, index, frequency)


@entry("MemoryDesc_setDimensions")
def set_dimensions(state: State, description: Address, rank: int, dims: Address) -> None:
    sizes = raw.numbers(dims, rank, "dimensions", raw.LARGEST_RANK)
    state.handles.get(description, Description).set_dims(sizes)


@entry("MemoryDesc_finish")
def finish_description(state: State, description: Address) -> None:
    state.handles.get(description, Description).finish()
