"""Models over the C interface: lengths, lifetimes, order, omitted operands, sub-models, per-channel scales."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from nnapi_lab.device import last_error
from nnapi_lab.errors import InvalidModel
from nnapi_lab.simulate import simulate
from nnapi_lab.text import show
from tests.device.client import (
    ADD,
    BAD_DATA,
    BAD_STATE,
    BOOL,
    CONV_2D,
    FLOAT32,
    IF,
    INT32,
    MODEL,
    MUL,
    NO_ERROR,
    PER_CHANNEL,
    RELU,
    SOFTMAX,
    SQUEEZE,
    TENSOR_FLOAT32,
    TENSOR_INT32,
    TENSOR_QUANT8,
    UNEXPECTED_NULL,
    Channels,
    Client,
    type_of,
    u32,
)

A = np.array([[1, 2, 3]], np.float32)


def draft(client: Client, model: ctypes.c_void_p) -> object:
    """What the library holds behind a handle."""
    return client.state.handles._objects[model.value]


def test_a_model_runs(client: Client) -> None:
    assert client.run(client.add(1, 3), [A, 10 * A], A).tolist() == [[11, 22, 33]]


def test_scalar_constants_are_written_in_place(client: Client) -> None:
    assert "fuse=NONE" in show(draft(client, client.add(1, 3)).model)


# --- lifetimes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "copied"), [(32, True), (33, False)])
def test_values_of_128_bytes_are_copied_at_once_larger_ones_at_finish(client: Client, count: int, copied: bool) -> None:
    held = np.ones((1, count), np.float32)
    model = client.add(1, count, b=held, finish=False)
    held[:] = 5
    client.ok("Model_finish", model)
    held[:] = 9
    zeros = np.zeros((1, count), np.float32)
    assert np.all(client.run(model, [zeros], zeros) == (1 if copied else 5))


def test_a_model_may_be_freed_before_its_compilation_runs(client: Client) -> None:
    model = client.add(1, 3)
    compilation = client.compiled(model)
    client.ok("Model_free", model)
    execution = client.execution(compilation, A, A)
    out = np.empty_like(A)
    assert client.output(execution, 0, out) == NO_ERROR
    client.ok("Compilation_free", compilation)
    client.ok("Execution_compute", execution)
    assert out.tolist() == [[2, 4, 6]]


def test_nothing_stays_behind(client: Client) -> None:
    model = client.add(1, 3)
    compilation = client.compiled(model)
    execution = client.execution(compilation, A, A)
    for name, handle in (("Execution", execution), ("Compilation", compilation), ("Model", model)):
        client.ok(f"{name}_free", handle)
    assert len(client.state.handles) == 0


# --- what is refused -----------------------------------------------------------------------------------------

WRONG = {
    "a value too short": (lambda c, m: c.value(m, 0, np.zeros(2, np.float32)), BAD_DATA),
    "a value too long": (lambda c, m: c.value(m, 0, np.zeros(4, np.float32)), BAD_DATA),
    "bytes at NULL": (lambda c, m: c("Model_setOperandValue", m, 0, None, ctypes.c_size_t(12)), BAD_DATA),
    "an operand there is not": (lambda c, m: c.value(m, 9, np.zeros(3, np.float32)), BAD_DATA),
    "a negative operand": (lambda c, m: c.value(m, -1, np.zeros(3, np.float32)), BAD_DATA),
    "an operation there is not": (lambda c, m: c.operation(m, 5000, [0], [1]), BAD_DATA),
    "an argument there is not": (lambda c, m: c.operation(m, RELU, [7], [1]), BAD_DATA),
    "a result there is not": (lambda c, m: c.operation(m, RELU, [0], [7]), BAD_DATA),
    "an input there is not": (lambda c, m: c.ends(m, [4], [1]), BAD_DATA),
    "a type there is not": (lambda c, m: c("Model_addOperand", m, type_of(77, 1)), BAD_DATA),
    "a scalar with a size": (lambda c, m: c("Model_addOperand", m, type_of(INT32, 1)), BAD_DATA),
    "no type": (lambda c, m: c("Model_addOperand", m, None), UNEXPECTED_NULL),
    "a scale that is no number": (
        lambda c, m: c("Model_addOperand", m, type_of(TENSOR_QUANT8, 1, scale=float("nan"))), BAD_DATA,
    ),
    "a rank that wrapped": (
        lambda c, m: c("Model_addOperand", m, _ranked(1 << 30)), BAD_DATA,
    ),
    "a count that wrapped": (
        lambda c, m: c("Model_addOperation", m, ADD, 1 << 30, u32(0), 1, u32(1)), BAD_DATA,
    ),
    "scales on another type": (lambda c, m: c("Model_setOperandSymmPerChannelQuantParams", m, 0, _scales(1, 1.0)),
                               BAD_DATA),
    "a value of a MODEL": (lambda c, m: c("Model_setOperandValueFromModel", m, 0, c.add(1, 3)), BAD_DATA),
}  # fmt: skip


def _ranked(rank: int) -> object:
    type = type_of(TENSOR_FLOAT32, 1)
    type.count = rank
    return type


def _scales(axis: int, *scales: float) -> Channels:
    return Channels(axis, len(scales), (ctypes.c_float * len(scales))(*scales))


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_answered_and_finish_tells_it_again(client: Client, case: str) -> None:
    call, code = WRONG[case]
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, tensor)
    assert call(client, model) == code
    first = last_error()
    assert client("Model_finish", model) == code
    # PyTorch's loader looks at no code before this one.
    assert last_error() is first


def test_a_value_is_set_once(client: Client) -> None:
    model = client.model(type_of(TENSOR_FLOAT32, 1, 3))
    assert client.value(model, 0, A) == NO_ERROR
    assert client.value(model, 0, A) == BAD_DATA


def test_a_value_of_unknown_size_is_refused(client: Client) -> None:
    model = client.model(type_of(TENSOR_FLOAT32, 0, 3))
    assert client.value(model, 0, A) == BAD_DATA


def test_memory_that_is_not_there_is_an_error_and_no_crash(client: Client) -> None:
    model = client.model(type_of(TENSOR_FLOAT32, 1 << 20))
    nowhere = ctypes.c_void_p(0x10000)
    assert client("Model_setOperandValue", model, 0, nowhere, ctypes.c_size_t(4 << 20)) == NO_ERROR
    assert client.ends(model, [], []) == NO_ERROR
    assert client("Model_finish", model) == BAD_DATA
    assert "cannot be read" in str(last_error())


def test_a_finished_model_takes_nothing_more(client: Client) -> None:
    model = client.add(1, 3)
    assert client("Model_addOperand", model, type_of(INT32)) == BAD_DATA
    assert client("Model_relaxComputationFloat32toFloat16", model, True) == BAD_DATA
    assert client("Model_finish", model) == BAD_STATE
    assert client.run(model, [A, A], A).tolist() == [[2, 4, 6]]


def test_an_unfinished_model_is_not_compiled(client: Client) -> None:
    assert client.refused("Compilation_create", client.add(1, 3, finish=False)) == BAD_STATE


def test_an_invalid_model_is_refused_with_its_findings(client: Client) -> None:
    wide, narrow = type_of(TENSOR_FLOAT32, 1, 3), type_of(TENSOR_FLOAT32, 1, 2)
    model = client.model(wide, narrow)
    assert client.operation(model, RELU, [0], [1]) == NO_ERROR
    assert client.ends(model, [0], [1]) == NO_ERROR
    assert client("Model_finish", model) == BAD_DATA
    error = last_error()
    assert isinstance(error, InvalidModel)
    assert [finding.rule for finding in error.findings] == ["RELU.RESULT"]


def test_inputs_and_outputs_must_be_identified(client: Client) -> None:
    model = client.model(type_of(TENSOR_FLOAT32, 1))
    assert client("Model_finish", model) == BAD_DATA


# --- order, omission, sub-models, channels -------------------------------------------------------------------


def test_operations_may_be_added_in_any_order(client: Client) -> None:
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, tensor, tensor, tensor)
    for reads, writes in ((2, 3), (1, 2), (0, 1)):
        assert client.operation(model, RELU, [reads], [writes]) == NO_ERROR
    assert client.ends(model, [0], [3]) == NO_ERROR
    client.ok("Model_finish", model)
    assert client.run(model, [-A], A).tolist() == [[0, 0, 0]]


def test_a_cycle_is_found(client: Client) -> None:
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, tensor, tensor, type_of(INT32))
    assert client.value(model, 3, np.zeros((), np.int32)) == NO_ERROR
    assert client.operation(model, ADD, [0, 2, 3], [1]) == NO_ERROR
    assert client.operation(model, RELU, [1], [2]) == NO_ERROR
    assert client.ends(model, [0], [2]) == NO_ERROR
    assert client("Model_finish", model) == BAD_DATA
    assert "MODEL.M4" in {finding.rule for finding in last_error().findings}


def test_relaxing_reaches_the_model(client: Client) -> None:
    model = client.add(1, 3, finish=False)
    client.ok("Model_relaxComputationFloat32toFloat16", model, True)
    client.ok("Model_finish", model)
    assert draft(client, model).model.relaxed


def test_per_channel_scales_compute_like_the_simulator(client: Client) -> None:
    """CONV_2D of quant8 by a filter with two scales; the expectation by hand: codes 1 and 2 at 1x1."""
    model = client.model(
        type_of(TENSOR_QUANT8, 1, 1, 1, 1, scale=1.0), type_of(PER_CHANNEL, 2, 1, 1, 1), type_of(TENSOR_INT32, 2),
        *[type_of(INT32)] * 4, type_of(TENSOR_QUANT8, 1, 1, 1, 2, scale=1.0),
    )  # fmt: skip
    client.ok("Model_setOperandSymmPerChannelQuantParams", model, 1, _scales(0, 0.5, 2.0))
    assert client.value(model, 1, np.array([4, 3], np.int8)) == NO_ERROR
    assert client.value(model, 2, np.zeros(2, np.int32)) == NO_ERROR
    for number, scalar in ((3, 1), (4, 1), (5, 1), (6, 0)):  # padding SAME, strides 1, no activation
        assert client.value(model, number, np.array(scalar, np.int32)) == NO_ERROR
    assert client.operation(model, CONV_2D, range(7), [7]) == NO_ERROR
    assert client.ends(model, [0], [7]) == NO_ERROR
    client.ok("Model_finish", model)
    image = np.full((1, 1, 1, 1), 10, np.uint8)
    out = client.run(model, [image], np.empty((1, 1, 1, 2), np.uint8))
    assert out.reshape(-1).tolist() == [10 * 4 * 0.5, 10 * 3 * 2.0]
    assert np.array_equal(out, simulate(draft(client, model).model, [image], "reference")[0])


@pytest.mark.parametrize(("axis", "scales"), [(9, (1.0, 1.0)), (0, (1.0,)), (0, (1.0, -1.0))])
def test_wrong_per_channel_parameters_are_refused_at_finish(
    client: Client, axis: int, scales: tuple[float, ...]
) -> None:
    model = client.model(type_of(PER_CHANNEL, 2, 1, 1, 1))
    client.ok("Model_setOperandSymmPerChannelQuantParams", model, 0, _scales(axis, *scales))
    assert client.value(model, 0, np.array([4, 3], np.int8)) == NO_ERROR
    assert client.ends(model, [], []) == NO_ERROR
    assert client("Model_finish", model) == BAD_DATA


def branch(client: Client, code: int) -> ctypes.c_void_p:
    """out = a ∘ a"""
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    model = client.model(tensor, type_of(INT32), tensor)
    assert client.value(model, 1, np.zeros((), np.int32)) == NO_ERROR
    assert client.operation(model, code, [0, 0, 1], [2]) == NO_ERROR
    assert client.ends(model, [0], [2]) == NO_ERROR
    client.ok("Model_finish", model)
    return model


@pytest.mark.parametrize(("condition", "expected"), [(True, [[2, 4, 6]]), (False, [[1, 4, 9]])])
def test_sub_models_are_run(client: Client, condition: bool, expected: list[list[float]]) -> None:
    tensor = type_of(TENSOR_FLOAT32, 1, 3)
    then, otherwise = branch(client, ADD), branch(client, MUL)
    model = client.model(type_of(9, 1), type_of(MODEL), type_of(MODEL), tensor, tensor)  # 9: TENSOR_BOOL8
    client.ok("Model_setOperandValueFromModel", model, 1, then)
    client.ok("Model_setOperandValueFromModel", model, 2, otherwise)
    client.ok("Model_free", then)
    assert client.operation(model, IF, [0, 1, 2, 3], [4]) == NO_ERROR
    assert client.ends(model, [0, 3], [4]) == NO_ERROR
    client.ok("Model_finish", model)
    assert client.run(model, [np.array([condition]), A], A).tolist() == expected


def test_an_unfinished_sub_model_is_refused(client: Client) -> None:
    model = client.model(type_of(MODEL))
    inner = client.add(1, 3, finish=False)
    assert client("Model_setOperandValueFromModel", model, 0, inner) == BAD_STATE


def test_null_and_no_length_omit_an_operand(client: Client) -> None:
    """SQUEEZE without its axes drops every dimension of size 1."""
    model = client.model(type_of(TENSOR_FLOAT32, 1, 3, 1), type_of(TENSOR_INT32, 1), type_of(TENSOR_FLOAT32, 3))
    client.ok("Model_setOperandValue", model, 1, None, ctypes.c_size_t(0))
    assert client.operation(model, SQUEEZE, [0, 1], [2]) == NO_ERROR
    assert client.ends(model, [0], [2]) == NO_ERROR
    client.ok("Model_finish", model)
    assert client.run(model, [A.reshape(1, 3, 1)], A.reshape(3)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("byte", [2, 255])
def test_a_truth_value_is_0_or_1(client: Client, byte: int) -> None:
    model = client.model(type_of(BOOL))
    assert client.value(model, 0, np.array(byte, np.uint8)) == NO_ERROR
    assert client.ends(model, [], []) == NO_ERROR
    assert client("Model_finish", model) == BAD_DATA
    assert "truth value" in str(last_error())


def test_a_float_scalar_keeps_its_bits(client: Client) -> None:
    model = client.model(type_of(TENSOR_FLOAT32, 1, 3), type_of(FLOAT32), type_of(INT32), type_of(TENSOR_FLOAT32, 1, 3))
    assert client.value(model, 1, np.array(0.1, np.float32)) == NO_ERROR
    assert client.value(model, 2, np.array(1, np.int32)) == NO_ERROR
    assert client.operation(model, SOFTMAX, [0, 1, 2], [3]) == NO_ERROR
    assert client.ends(model, [0], [3]) == NO_ERROR
    client.ok("Model_finish", model)
    (operation,) = draft(client, model).model.operations
    assert operation.inputs[1].value == np.float32(0.1)
