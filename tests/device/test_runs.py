"""Compilations and executions over the C interface: devices, memories, bursts, events, reuse, handles."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnapi_lab.device import DeviceError, compilations, last_error
from nnapi_lab.errors import InvalidModel, SimulationError
from tests.device.client import (
    BAD_DATA,
    BAD_STATE,
    GATHER,
    INT32,
    NEG,
    NO_ERROR,
    OP_FAILED,
    OUTPUT_INSUFFICIENT_SIZE,
    RELU,
    TENSOR_FLOAT32,
    TENSOR_INT32,
    UNAVAILABLE_DEVICE,
    UNEXPECTED_NULL,
    UNMAPPABLE,
    VOID,
    WIDE,
    Client,
    type_of,
)

A = np.array([[1, 2, 3]], np.float32)
SUM = [[2, 4, 6]]


def size(number: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(number)


def relu(client: Client, *dims: int) -> ctypes.c_void_p:
    model = client.model(type_of(TENSOR_FLOAT32, *dims), type_of(TENSOR_FLOAT32, *dims))
    assert client.operation(model, RELU, [0], [1]) == NO_ERROR
    assert client.ends(model, [0], [1]) == NO_ERROR
    client.ok("Model_finish", model)
    return model


# --- the surface ---------------------------------------------------------------------------------------------


def test_every_entry_point_is_answered(client: Client) -> None:
    """69 functions, from the header of API level 31; NULL for everything is an error and no crash."""
    assert len(client.library.slots) == 69
    for slot in client.library.slots:
        code = client(slot.name, *([None if letter == "p" else 0 for letter in slot.arguments]))
        if slot.name in VOID:
            assert slot.result == "v"
        elif slot.name in WIDE:
            assert code > 0
        elif slot.name != "Memory_createFromFd":
            assert code in (UNEXPECTED_NULL, BAD_DATA), slot.name


def test_an_empty_table_answers_unavailable_device(client: Client) -> None:
    client.library.clear()
    for slot in client.library.slots:
        code = client(slot.name, *([None if letter == "p" else 0 for letter in slot.arguments]))
        assert code == (None if slot.result == "v" else 0 if slot.result == "l" else UNAVAILABLE_DEVICE), slot.name


@pytest.mark.parametrize("handle", [0x10, 0xDEADBEEF, 2**63])
def test_a_bad_handle_is_an_error_and_no_crash(client: Client, handle: int) -> None:
    for slot in client.library.slots:
        if not slot.arguments.startswith("p") or slot.result == "v" or slot.name[0] == "_" or "create" in slot.name:
            continue
        rest = [None if letter == "p" else 0 for letter in slot.arguments[1:]]
        assert client(slot.name, ctypes.c_void_p(handle), *rest) in (BAD_DATA, UNEXPECTED_NULL), slot.name
    for name in VOID:
        client(name, ctypes.c_void_p(handle))
        assert isinstance(last_error(), DeviceError)


def test_a_freed_handle_and_one_of_another_kind_are_refused(client: Client) -> None:
    model = client.add(1, 3)
    compilation = client.compiled(model)
    assert client("Model_finish", compilation) == BAD_DATA
    assert "is a Compilation, not a ModelDraft" in str(last_error())
    client.ok("Model_free", model)
    assert client.refused("Compilation_create", model) == BAD_DATA
    client.ok("Model_free", model)
    assert "something freed" in str(last_error())


# --- inputs and outputs --------------------------------------------------------------------------------------


def test_lengths_and_sizes_of_inputs_and_outputs(client: Client) -> None:
    execution = client.execution(client.compiled(client.add(1, 3)))
    assert client.input(execution, 0, np.zeros(2, np.float32)) == BAD_DATA
    assert client.input(execution, 0, np.zeros(4, np.float32)) == BAD_DATA
    assert client.input(execution, 2, A) == BAD_DATA
    assert client.input(execution, -1, A) == BAD_DATA
    assert client.input(execution, 0, A, type_of(TENSOR_FLOAT32, 3)) == BAD_DATA
    assert client.input(execution, 0, A, type_of(TENSOR_FLOAT32, 3, 1)) == BAD_DATA
    # Another scale at run time is not looked at, as on Android.
    assert client.input(execution, 0, A, type_of(TENSOR_FLOAT32, 1, 3, scale=0.5)) == NO_ERROR
    assert client.input(execution, 0, A) == BAD_DATA  # set already
    assert client.output(execution, 0, np.zeros(2, np.float32)) == BAD_DATA
    assert client("Execution_compute", execution) == BAD_DATA
    assert "input 1 is not given" in str(last_error())


def test_sizes_left_open_come_with_the_input(client: Client) -> None:
    compilation = client.compiled(relu(client, 0, 3))
    for rows in (1, 4):
        given = np.full((rows, 3), -1, np.float32)
        execution = client.execution(compilation)
        assert client.input(execution, 0, given, type_of(TENSOR_FLOAT32, rows, 3)) == NO_ERROR
        out = np.full((4, 3), 7, np.float32)
        assert client.output(execution, 0, out) == NO_ERROR
        client.ok("Execution_compute", execution)
        assert client.shape(execution) == (rows, 3)
        assert (out == 0).sum() == rows * 3


def test_an_open_size_must_be_known_to_compute(client: Client) -> None:
    execution = client.execution(client.compiled(relu(client, 0, 3)), A)
    assert client.output(execution, 0, np.empty_like(A)) == NO_ERROR
    assert client("Execution_compute", execution) == BAD_DATA


def test_too_little_room_is_answered_with_the_size_to_ask_for(client: Client) -> None:
    execution = client.execution(client.compiled(relu(client, 0, 3)))
    assert client.input(execution, 0, np.ones((4, 3), np.float32), type_of(TENSOR_FLOAT32, 4, 3)) == NO_ERROR
    out = np.full((1, 3), 7, np.float32)
    assert client.output(execution, 0, out) == NO_ERROR
    assert client("Execution_compute", execution) == OUTPUT_INSUFFICIENT_SIZE
    assert client.shape(execution) == (4, 3)
    assert np.all(out == 7)


def test_sizes_are_not_known_before_computing(client: Client) -> None:
    execution = client.execution(client.compiled(client.add(1, 3)))
    rank = ctypes.c_uint32()
    assert client("Execution_getOutputOperandRank", execution, 0, ctypes.byref(rank)) == BAD_STATE
    assert client("Execution_getOutputOperandRank", execution, 3, ctypes.byref(rank)) == BAD_DATA


def test_padding_must_be_allowed(client: Client) -> None:
    compilation = client.compiled(relu(client, 1, 3))
    wide = np.array([[-1, 2, 3, 99]], np.float32)
    execution = client.execution(compilation)
    client.ok("Execution_enableInputAndOutputPadding", execution, True)
    assert client.input(execution, 0, wide) == NO_ERROR
    assert client("Execution_enableInputAndOutputPadding", execution, False) == BAD_DATA
    out = np.full((1, 4), 7, np.float32)
    assert client.output(execution, 0, out) == NO_ERROR
    client.ok("Execution_compute", execution)
    assert out.tolist() == [[0, 2, 3, 7]]


def test_an_execution_runs_once_unless_it_is_reusable(client: Client) -> None:
    compilation = client.compiled(client.add(1, 3))
    first, second = np.array(A), np.array(A)
    out = np.empty_like(A)
    for reusable in (False, True):
        execution = client.execution(compilation, first, second)
        client.ok("Execution_setReusable", execution, reusable)
        assert client.output(execution, 0, out) == NO_ERROR
        client.ok("Execution_compute", execution)
        assert client.input(execution, 0, first) == BAD_STATE
        second[:] = 5
        assert client("Execution_compute", execution) == (NO_ERROR if reusable else BAD_STATE)
        assert out.tolist() == ([[6, 7, 8]] if reusable else SUM)
        second[:] = A


def test_what_fails_while_it_runs_is_kept_as_it_was(client: Client) -> None:
    model = client.model(
        type_of(TENSOR_FLOAT32, 4), type_of(INT32), type_of(TENSOR_INT32, 2), type_of(TENSOR_FLOAT32, 2)
    )
    assert client.value(model, 1, np.zeros((), np.int32)) == NO_ERROR
    assert client.operation(model, GATHER, [0, 1, 2], [3]) == NO_ERROR
    assert client.ends(model, [0, 2], [3]) == NO_ERROR
    client.ok("Model_finish", model)
    execution = client.execution(client.compiled(model), np.ones(4, np.float32), np.array([0, 9], np.int32))
    assert client.output(execution, 0, np.empty(2, np.float32)) == NO_ERROR
    assert client("Execution_compute", execution) == OP_FAILED
    error = last_error()
    assert isinstance(error, SimulationError)
    assert "GATHER" in str(error)
    assert error.__traceback__ is not None


def test_errors_are_kept_by_thread(client: Client) -> None:
    client("Model_finish", ctypes.c_void_p(0xBAD))
    mine = last_error()
    theirs: list[BaseException | None] = []

    def work() -> None:
        client("Event_wait", None)
        theirs.append(last_error())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert last_error() is mine
    assert theirs[0] is last_error(any_thread=True)
    assert theirs[0] is not mine


# --- compilations and devices --------------------------------------------------------------------------------


def test_what_a_compilation_is_told_is_checked_and_ignored(client: Client) -> None:
    compilation = client.make("Compilation_create", client.add(1, 3))
    for name, good, bad in (("setPreference", 1, 3), ("setPriority", 100, 1)):
        client.ok(f"Compilation_{name}", compilation, good)
        assert client(f"Compilation_{name}", compilation, bad) == BAD_DATA
    client.ok("Compilation_setCaching", compilation, ctypes.c_char_p(b"cache"), np.zeros(32, np.uint8))
    assert client("Compilation_setTimeout", compilation, ctypes.c_uint64(5)) == BAD_DATA
    assert client.refused("Execution_create", compilation) == BAD_STATE
    client.ok("Compilation_finish", compilation)
    assert client("Compilation_finish", compilation) == BAD_STATE
    assert client("Compilation_setPreference", compilation, 1) == BAD_STATE
    number = ctypes.c_uint32()
    for what in ("AlignmentForInput", "PaddingForInput", "AlignmentForOutput", "PaddingForOutput"):
        client.ok(f"Compilation_getPreferredMemory{what}", compilation, 0, ctypes.byref(number))
        assert number.value == 1
        assert client(f"Compilation_getPreferredMemory{what}", compilation, 5, ctypes.byref(number)) == BAD_DATA


def test_a_lock_that_a_thread_held_at_a_fork_is_open_in_the_child(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What os.fork calls in the child; TorchScript's own locks, which PyTorch does not renew, are another matter."""
    monkeypatch.setattr(compilations, "_is_forked", False)
    held = client.compiled(client.add(1, 3))
    execution = client.execution(held, A, A)
    out = np.empty_like(A)
    assert client.output(execution, 0, out) == NO_ERROR
    with client.state.handles.get(held.value, compilations.Compilation)._lock:
        compilations._after_fork()
        client.ok("Execution_compute", execution)
    assert out.tolist() == SUM


def device_facts(client: Client, number: int) -> tuple[ctypes.c_void_p, bytes, int, int]:
    device = client.make("_getDevice", number)
    name, version, kind, level = ctypes.c_char_p(), ctypes.c_char_p(), ctypes.c_int32(), ctypes.c_int64()
    for what, place in (("Name", name), ("Version", version), ("Type", kind), ("FeatureLevel", level)):
        client.ok(f"Device_get{what}", device, ctypes.byref(place))
    assert version.value
    return device, name.value or b"", kind.value, level.value


def test_devices_tell_their_feature_level(client_of: Callable[..., Client]) -> None:
    client = client_of(30, ("ADD",), cpu_fallback=True)
    count = ctypes.c_uint32()
    client.ok("_getDeviceCount", ctypes.byref(count))
    assert count.value == 2
    first, *facts = device_facts(client, 0)
    assert facts == [b"nnapi_lab", 4, 30]
    assert device_facts(client, 0)[0].value == first.value
    client.ok("Device_wait", first)
    assert device_facts(client, 1)[1:] == (b"nnapi-reference", 2, 30)
    assert client.refused("_getDevice", 2) == BAD_DATA


@pytest.mark.parametrize(("level", "code"), [({"api_level": 31}, 31), ({"feature_level": 7}, 1000007), ({}, 1000008)])
def test_the_runtime_tells_its_feature_level(client_of: Callable[..., Client], level: dict, code: int) -> None:
    assert client_of(**level)("_getRuntimeFeatureLevel") == code


def test_a_refusing_device(client_of: Callable[..., Client]) -> None:
    client = client_of(29, ("ADD",))
    model = client.add(1, 3)
    device, *_ = device_facts(client, 0)
    answers = np.ones(1, np.bool_)
    devices = np.array([device.value], np.uintp)
    client.ok("Model_getSupportedOperationsForDevices", model, devices, 1, answers)
    assert answers.tolist() == [False]
    compilation = client.make("Compilation_create", model)
    assert client("Compilation_finish", compilation) == BAD_DATA
    error = last_error()
    assert isinstance(error, InvalidModel)
    assert [finding.rule for finding in error.findings] == ["DEVICE.REFUSED"]


def test_a_second_device_takes_what_the_first_refuses(client_of: Callable[..., Client]) -> None:
    client = client_of(29, ("ADD",), cpu_fallback=True)
    model = client.add(1, 3)
    assert client.run(model, [A, A], A).tolist() == SUM
    refusing, *_ = device_facts(client, 0)
    taking, *_ = device_facts(client, 1)
    for device, code in ((refusing, BAD_DATA), (taking, NO_ERROR)):
        compilation = client.make("Compilation_createForDevices", model, np.array([device.value], np.uintp), 1)
        assert client("Compilation_finish", compilation) == code
    twice = np.array([taking.value] * 2, np.uintp)
    assert client.refused("Compilation_createForDevices", model, twice, 2) == BAD_DATA


def test_supported_operations_are_counted_as_they_were_added(client_of: Callable[..., Client]) -> None:
    client = client_of(29, ("ADD",))
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, tensor, tensor, type_of(INT32))
    assert client.value(model, 3, np.zeros((), np.int32)) == NO_ERROR
    assert client.operation(model, RELU, [1], [2]) == NO_ERROR  # added first, runs second
    assert client.operation(model, 0, [0, 0, 3], [1]) == NO_ERROR
    assert client.ends(model, [0], [2]) == NO_ERROR
    client.ok("Model_finish", model)
    device, *_ = device_facts(client, 0)
    answers = np.zeros(2, np.bool_)
    devices = np.array([device.value], np.uintp)
    client.ok("Model_getSupportedOperationsForDevices", model, devices, 1, answers)
    assert answers.tolist() == [True, False]


def test_a_model_too_new_for_the_phone_says_why(client_of: Callable[..., Client]) -> None:
    client = client_of(27)
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, tensor)
    assert client.operation(model, NEG, [0], [1]) == NO_ERROR
    assert client.ends(model, [0], [1]) == NO_ERROR
    assert client("Model_finish", model) == BAD_DATA
    assert "feature level 3 (API 29, Android 10)" in str(last_error())


def test_functions_newer_than_the_phone_are_not_there(client_of: Callable[..., Client]) -> None:
    client = client_of(29)
    for slot in client.library.slots:
        if slot.api_level > 29 and slot.result == "i":
            code = client(slot.name, *([None if letter == "p" else 0 for letter in slot.arguments]))
            assert code == UNAVAILABLE_DEVICE, slot.name
            assert "new in API level" in str(last_error())


def test_measuring_needs_one_device(client: Client) -> None:
    model = client.add(1, 3)
    assert client("Execution_setMeasureTiming", client.execution(client.compiled(model)), True) == BAD_DATA
    device, *_ = device_facts(client, 0)
    compilation = client.make("Compilation_createForDevices", model, np.array([device.value], np.uintp), 1)
    client.ok("Compilation_setTimeout", compilation, ctypes.c_uint64(10**9))
    client.ok("Compilation_finish", compilation)
    execution = client.execution(compilation, A, A)
    client.ok("Execution_setMeasureTiming", execution, True)
    client.ok("Execution_setTimeout", execution, ctypes.c_uint64(10**9))
    client.ok("Execution_setLoopTimeout", execution, ctypes.c_uint64(10**9))
    assert client.output(execution, 0, np.empty_like(A)) == NO_ERROR
    nanoseconds = ctypes.c_uint64()
    assert client("Execution_getDuration", execution, 0, ctypes.byref(nanoseconds)) == BAD_STATE
    client.ok("Execution_compute", execution)
    client.ok("Execution_getDuration", execution, 0, ctypes.byref(nanoseconds))
    assert 0 < nanoseconds.value < 10**10
    assert client("Execution_getDuration", execution, 4, ctypes.byref(nanoseconds)) == BAD_DATA


# --- memories ------------------------------------------------------------------------------------------------


def mapped(client: Client, path: Path, data: np.ndarray, offset: int = 0, protect: int = 3) -> ctypes.c_void_p:
    path.write_bytes(bytes(offset) + data.tobytes())
    fd = os.open(path, os.O_RDWR)
    try:  # Android, too, keeps a descriptor of its own
        return client.make("Memory_createFromFd", size(data.nbytes), protect, fd, size(offset))
    finally:
        os.close(fd)


@pytest.mark.parametrize("offset", [0, 4096, 20])
def test_values_inputs_and_outputs_in_a_mapped_file(client: Client, tmp_path: Path, offset: int) -> None:
    memory = mapped(client, tmp_path / "shared", np.concatenate([A, 10 * A, 0 * A]), offset)
    model = client.add(1, 3, finish=False)
    client.ok("Model_free", model)
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, tensor, type_of(INT32), tensor)
    client.ok("Model_setOperandValueFromMemory", model, 1, memory, size(12), size(12))
    assert client.value(model, 2, np.zeros((), np.int32)) == NO_ERROR
    assert client.operation(model, 0, [0, 1, 2], [3]) == NO_ERROR
    assert client.ends(model, [0], [3]) == NO_ERROR
    client.ok("Model_finish", model)
    execution = client.execution(client.compiled(model))
    client.ok("Execution_setInputFromMemory", execution, 0, None, memory, size(0), size(12))
    client.ok("Execution_setOutputFromMemory", execution, 0, None, memory, size(24), size(12))
    client.ok("Memory_free", memory)
    client.ok("Execution_compute", execution)
    written = np.frombuffer((tmp_path / "shared").read_bytes()[offset:], np.float32)
    assert written.tolist() == [1, 2, 3, 10, 20, 30, 11, 22, 33]


def test_memory_that_cannot_be_mapped_or_reaches_too_far(client: Client, tmp_path: Path) -> None:
    memory = mapped(client, tmp_path / "shared", A)
    model = client.model(type_of(TENSOR_FLOAT32, 1, 3))
    assert client("Model_setOperandValueFromMemory", model, 0, memory, size(4), size(12)) == BAD_DATA
    with open(tmp_path / "shared", "rb") as file:
        assert client.refused("Memory_createFromFd", size(13), 1, file.fileno(), size(0)) == BAD_DATA
        assert client.refused("Memory_createFromFd", size(12), 3, file.fileno(), size(0)) == UNMAPPABLE
    assert client.refused("Memory_createFromFd", size(0), 1, 0, size(0)) == BAD_DATA
    assert client.refused("Memory_createFromFd", size(8), 1, -1, size(0)) == BAD_DATA
    assert client.refused("Memory_createFromAHardwareBuffer", ctypes.c_void_p(16)) == UNMAPPABLE


def test_an_output_is_not_written_into_memory_for_reading(client: Client, tmp_path: Path) -> None:
    memory = mapped(client, tmp_path / "shared", A, protect=1)
    execution = client.execution(client.compiled(client.add(1, 3)))
    code = client("Execution_setOutputFromMemory", execution, 0, None, memory, size(0), size(12))
    assert code == BAD_DATA


def described(client: Client, compilation: ctypes.c_void_p, *roles: tuple[str, int]) -> ctypes.c_void_p:
    description = client.make("MemoryDesc_create")
    for side, index in roles:
        client.ok(f"MemoryDesc_add{side}Role", description, compilation, index, ctypes.c_float(0.5))
    client.ok("MemoryDesc_finish", description)
    memory = client.make("Memory_createFromDesc", description)
    client.ok("MemoryDesc_free", description)
    return memory


def test_memory_of_the_device_carries_a_result_into_the_next_run(client: Client, tmp_path: Path) -> None:
    compilation = client.compiled(client.add(1, 3))
    memory = described(client, compilation, ("Output", 0), ("Input", 0))
    unfilled = client.execution(compilation)
    client.ok("Execution_setInputFromMemory", unfilled, 0, None, memory, size(0), size(0))
    assert client.input(unfilled, 1, A) == NO_ERROR
    assert client.output(unfilled, 0, np.empty_like(A)) == NO_ERROR
    assert client("Execution_compute", unfilled) == BAD_DATA  # nothing was written into it yet
    first = client.execution(compilation, A, A)
    client.ok("Execution_setOutputFromMemory", first, 0, None, memory, size(0), size(0))
    client.ok("Execution_compute", first)
    second = client.execution(compilation)
    client.ok("Execution_setInputFromMemory", second, 0, None, memory, size(0), size(0))
    assert client.input(second, 1, A) == NO_ERROR
    out = np.empty_like(A)
    assert client.output(second, 0, out) == NO_ERROR
    client.ok("Execution_compute", second)
    assert out.tolist() == [[3, 6, 9]]
    shared = mapped(client, tmp_path / "shared", 0 * A)
    client.ok("Memory_copy", memory, shared)
    assert np.frombuffer((tmp_path / "shared").read_bytes(), np.float32).tolist() == SUM[0]


def test_memory_of_the_device_is_used_only_as_described(client: Client) -> None:
    compilation = client.compiled(client.add(1, 3))
    memory = described(client, compilation, ("Input", 0))
    execution = client.execution(compilation)
    for index, offset, length in ((1, 0, 0), (0, 4, 0), (0, 0, 12)):
        code = client("Execution_setInputFromMemory", execution, index, None, memory, size(offset), size(length))
        assert code == BAD_DATA
    model = client.model(type_of(TENSOR_FLOAT32, 1, 3))
    assert client("Model_setOperandValueFromMemory", model, 0, memory, size(0), size(12)) == BAD_DATA


def test_descriptions_are_checked(client: Client) -> None:
    compilation = client.compiled(client.add(1, 3))
    description = client.make("MemoryDesc_create")
    assert client("MemoryDesc_finish", description) == BAD_DATA
    assert client.refused("Memory_createFromDesc", description) == BAD_STATE
    add = "MemoryDesc_addInputRole"
    assert client(add, description, compilation, 0, ctypes.c_float(0)) == BAD_DATA
    assert client(add, description, compilation, 7, ctypes.c_float(1)) == BAD_DATA
    client.ok(add, description, compilation, 0, ctypes.c_float(1))
    assert client(add, description, compilation, 0, ctypes.c_float(1)) == BAD_DATA
    assert client("MemoryDesc_setDimensions", description, 2, (ctypes.c_uint32 * 2)(1, 4)) == BAD_DATA
    client.ok("MemoryDesc_setDimensions", description, 2, (ctypes.c_uint32 * 2)(1, 3))
    client.ok("MemoryDesc_finish", description)
    assert client("MemoryDesc_finish", description) == BAD_STATE


# --- bursts and events ---------------------------------------------------------------------------------------


def test_bursts(client: Client) -> None:
    model = client.add(1, 3)
    compilation, other = client.compiled(model), client.compiled(model)
    burst = client.make("Burst_create", compilation)
    for owner, code in ((compilation, NO_ERROR), (other, BAD_DATA)):
        execution = client.execution(owner, A, A)
        out = np.zeros_like(A)
        assert client.output(execution, 0, out) == NO_ERROR
        assert client("Execution_burstCompute", execution, burst) == code
        assert out.tolist() == (SUM if code == NO_ERROR else [[0, 0, 0]])
    client.ok("Burst_free", burst)


def test_events(client: Client) -> None:
    compilation = client.compiled(client.add(1, 3))
    execution = client.execution(compilation, A, A)
    out = np.zeros_like(A)
    assert client.output(execution, 0, out) == NO_ERROR
    event = client.make("Execution_startCompute", execution)
    client.ok("Event_wait", event)
    assert out.tolist() == SUM
    fd = ctypes.c_int()
    assert client("Event_getSyncFenceFd", event, ctypes.byref(fd)) == BAD_DATA
    assert fd.value == -1
    # A dependency that failed fails what depends on it.
    incomplete = client.execution(compilation, A, A)
    failed = client.make("Execution_startCompute", incomplete)
    assert client("Event_wait", failed) == BAD_DATA
    for dependency, code in ((event, NO_ERROR), (failed, BAD_DATA)):
        after = client.execution(compilation, A, A)
        assert client.output(after, 0, out) == NO_ERROR
        events = np.array([dependency.value], np.uintp)
        ended = client.make("Execution_startComputeWithDependencies", after, events, 1, ctypes.c_uint64(0))
        assert client("Event_wait", ended) == code
        client.ok("Event_free", ended)


def test_fences_of_the_system(client: Client) -> None:
    """A sync fence is a descriptor that becomes readable when it signals; a pipe does so, too."""
    reads, writes = os.pipe()
    event = client.make("Event_createFromSyncFenceFd", reads)
    fd = ctypes.c_int()
    client.ok("Event_getSyncFenceFd", event, ctypes.byref(fd))
    assert fd.value not in (-1, reads)
    os.write(writes, b"!")
    client.ok("Event_wait", event)
    client.ok("Event_free", event)
    for one in (reads, writes, fd.value):
        os.close(one)
    assert client.refused("Event_createFromSyncFenceFd", -1) == BAD_DATA
    assert client.refused("Event_createFromSyncFenceFd", reads) == BAD_DATA
