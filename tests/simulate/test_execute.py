"""simulate: inputs checked, operations bound once or late, probes, control flow, failures that say where."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import Builder
from nnapi_lab.errors import InvalidModel, SimulationError
from nnapi_lab.ir.model import Model, Operand, Operation, Scalar, replace_model
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, scalar_type
from nnapi_lab.simulate import Executable, compile_model, simulate, trace

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, I32 = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_INT32
INT32 = OperandCode.INT32


def f32(*shape: int | Dim) -> OperandType:
    return OperandType(F32, shape)


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


WINDOW = {"padding": "VALID", "stride_w": 2, "stride_h": 2, "filter_w": 2, "filter_h": 2, "fuse": "NONE"}


def pool_then_flatten(input_type: OperandType) -> Model:
    """Largest of each 2x2 window, then as one row."""
    b = Builder("pool_then_flatten")
    x = b.input("x", input_type)
    p = b.add("MAX_POOL_2D", name="p", input=x, **WINDOW)
    shape = b.constant("shape", np.array([1, -1], np.int32))
    b.output(b.add("RESHAPE", name="y", input=p, shape=shape))
    return b.build()


STATIC = pool_then_flatten(f32(1, 4, 4, 1))
OPEN = pool_then_flatten(f32(1, Dim("h"), Dim("w"), 1))


# --- values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_a_model_runs(engine: Any) -> None:
    (y,) = simulate(STATIC, [ramp(1, 4, 4, 1)], engine)
    assert y.tolist() == [[5, 7, 13, 15]]


def test_inputs_may_come_by_name() -> None:
    (y,) = simulate(STATIC, {"x": ramp(1, 4, 4, 1)}, "reference")
    assert y.tolist() == [[5, 7, 13, 15]]


def test_open_sizes_are_bound_to_each_input() -> None:
    run = compile_model(OPEN, "reference").run
    assert run([ramp(1, 4, 4, 1)])[0].tolist() == [[5, 7, 13, 15]]
    assert run([ramp(1, 2, 6, 1)])[0].tolist() == [[7, 9, 11]]
    assert run([ramp(1, 4, 4, 1)])[0].tolist() == [[5, 7, 13, 15]]


def test_a_shape_computed_at_run_time_is_bound_late() -> None:
    b = Builder("late")
    x, shape = b.input("x", f32(2, 3)), b.input("shape", OperandType(I32, (2,)))
    y = b.add("RESHAPE", name="y", input=x, shape=shape)
    b.output(b.add("TRANSPOSE", name="z", input=y, perm=b.constant("perm", np.array([1, 0], np.int32))))
    model = b.build()
    assert not model["y"].type.is_static
    assert simulate(model, [ramp(2, 3), np.array([3, 2], np.int32)], "reference")[0].shape == (2, 3)
    assert simulate(model, [ramp(2, 3), np.array([6, 1], np.int32)], "reference")[0].shape == (1, 6)
    with pytest.raises(SimulationError, match=r"RESHAPE at %y failed on %x : f32\[2,3\], %shape : i32\[2\]"):
        simulate(model, [ramp(2, 3), np.array([4, 2], np.int32)], "reference")


def test_a_scalar_input_is_bound_late() -> None:
    b = Builder("scalar")
    x, axis = b.input("x", f32(2, 3)), b.input("axis", scalar_type(INT32))
    b.output(b.add("EXPAND_DIMS", name="y", input=x, axis=axis))
    model = b.build()
    assert simulate(model, [ramp(2, 3), np.array(0, np.int32)], "reference")[0].shape == (1, 2, 3)
    assert simulate(model, [ramp(2, 3), 2], "reference")[0].shape == (2, 3, 1)


def test_a_variadic_argument_and_several_results() -> None:
    b = Builder("parts")
    x = b.input("x", f32(2, 4))
    parts = b.add_all("SPLIT", names=["a"], input=x, axis=1, num_splits=2)
    b.output(b.add("CONCATENATION", name="y", inputs=[parts[1], x, parts[0]], axis=1))
    (y,) = simulate(b.build(), [ramp(2, 4)], "reference")
    assert y.tolist() == [[2, 3, 0, 1, 2, 3, 0, 1], [6, 7, 4, 5, 6, 7, 4, 5]]


def test_an_omitted_optional_input_is_none() -> None:
    omitted = Model(
        "t", {"x": Operand("x", f32(2, 3)), "y": Operand("y", f32(3, 2)),
              "p": Operand("p", OperandType(I32, (2,)))},
        (Operation("TRANSPOSE", ("x", "p"), ("y",)),), ("x", "p"), ("y",),
    )  # fmt: skip
    (y,) = simulate(omitted, [ramp(2, 3), None], "reference")
    assert y.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_result_without_elements_is_empty() -> None:
    model = pool_then_flatten(f32(Dim("n"), 2, 2, 1))
    b = Builder("empty")
    x = b.input("x", f32(Dim("n"), 2, 2, 1))
    b.output(b.add("MAX_POOL_2D", name="p", input=x, **WINDOW))
    (y,) = simulate(b.build(), [np.empty((0, 2, 2, 1), np.float32)], "reference")
    assert y.shape == (0, 1, 1, 1)
    with pytest.raises(SimulationError, match="size zero"):  # RESHAPE does not take such tensors
        simulate(model, [np.empty((0, 2, 2, 1), np.float32)], "reference")


def test_outputs_are_fresh_arrays() -> None:
    b = Builder("view")
    x = b.input("x", f32(2, 3))
    shape = b.constant("shape", np.array([6], np.int32))
    for name in ("y", "z"):
        b.output(b.add("RESHAPE", name=name, input=x, shape=shape))
    given = ramp(2, 3)
    y, z = simulate(b.build(), [given], "reference")
    y[0] = 99
    assert given[0, 0] == 0
    assert z[0] == 0


# --- half precision ------------------------------------------------------------------------------------


def averaged(code: OperandCode, relaxed: bool = False) -> Model:
    b = Builder("mean", relaxed=relaxed)
    x = b.input("x", OperandType(code, (1, 1, 2, 1)))
    window = {**WINDOW, "filter_h": 1, "stride_h": 1}
    b.output(b.add("AVERAGE_POOL_2D", name="y", input=x, **window))
    return b.build()


def test_float16_is_computed_in_float32_and_rounded_once() -> None:
    """1 and 1 + 2^-10 are neighbours in float16; so are 60000 and its sum beyond the largest float16."""
    x = np.array([60000, 60000], np.float16).reshape(1, 1, 2, 1)
    (y,) = simulate(averaged(F16), [x], "reference")
    assert y.dtype == np.float16
    assert y.item() == x[0, 0, 0, 0]


def test_relaxed_is_float32_unless_asked_for() -> None:
    x = np.array([1, 1 + 2**-10], np.float32).reshape(1, 1, 2, 1)  # the mean needs 11 bits after the point
    assert simulate(averaged(F32, relaxed=True), [x], "reference")[0].item() == 1 + 2**-11
    half = simulate(averaged(F32, relaxed=True), [x], "reference", relaxed="float16")[0].item()
    assert half in (1, 1 + 2**-10)
    assert simulate(averaged(F32), [x], "reference", relaxed="float16")[0].item() == 1 + 2**-11


# --- probes --------------------------------------------------------------------------------------------


def test_a_probe_sees_every_result_in_order() -> None:
    seen = []
    simulate(STATIC, [ramp(1, 4, 4, 1)], "reference", lambda op, name, array: seen.append((op.kind, name, array.shape)))
    assert seen == [("MAX_POOL_2D", "p", (1, 2, 2, 1)), ("RESHAPE", "y", (1, 4))]


def test_a_probe_may_replace_a_value() -> None:
    def instead(operation: Operation, name: str, array: np.ndarray) -> np.ndarray | None:
        return -array if name == "p" else None

    (y,) = simulate(STATIC, [ramp(1, 4, 4, 1)], "reference", instead)
    assert y.tolist() == [[-5, -7, -13, -15]]


def test_a_probes_own_error_passes_unchanged() -> None:
    def broken(operation: Operation, name: str, array: np.ndarray) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        simulate(STATIC, [ramp(1, 4, 4, 1)], "reference", broken)


def test_a_trace_holds_inputs_and_all_results() -> None:
    traced = trace(STATIC, [ramp(1, 4, 4, 1)], "reference")
    assert set(traced) == {"x", "p", "y"}
    assert traced["p"].reshape(-1).tolist() == [5, 7, 13, 15]
    assert traced.outputs[0].tolist() == [[5, 7, 13, 15]]


# --- what does not fit ---------------------------------------------------------------------------------

GOOD = ramp(1, 4, 4, 1)
BAD_INPUTS = {
    "too few": ([], r"takes 1 inputs \(%x : f32\[1,4,4,1\]\), not 0"),
    "too many": ([GOOD, GOOD], "not 2"),
    "an array alone": (GOOD, "a sequence or a mapping"),
    "a missing name": ({}, "lacks x"),
    "an unknown name": ({"x": GOOD, "z": GOOD}, "no input named z"),
    "another dtype": ([GOOD.astype(np.float64)], r"input %x is float64 \[1,4,4,1\], expected float32"),
    "another byte order": ([GOOD.astype(">f4")], "expected float32"),
    "another shape": ([GOOD[:, :3]], r"input %x has shape \[1,3,4,1\], expected \[1,4,4,1\]"),
    "another rank": ([GOOD[0]], r"has shape \[4,4,1\]"),
    "text": ([["a"]], "not readable"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_do_not_fit_are_refused_in_a_sentence(name: str) -> None:
    inputs, sentence = BAD_INPUTS[name]
    with pytest.raises(SimulationError, match=sentence):
        simulate(STATIC, inputs, "reference")


PLAIN = {
    "integers into codes": (Q8, [1, 255], True),
    "an integer beyond the codes": (Q8, [1, 256], False),
    "a fraction into codes": (Q8, [1.5, 2], False),
    "integers into reals": (F32, [1, 2], True),
    "numbers into bools": (OperandCode.TENSOR_BOOL8, [0, 1], False),
    "bools into bools": (OperandCode.TENSOR_BOOL8, [False, True], True),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_numbers_take_the_declared_type_when_nothing_is_lost(name: str) -> None:
    code, given, fits = PLAIN[name]
    b = Builder("plain")
    x = b.input("x", OperandType(code, (2,), Quant(0.5, 3) if code == Q8 else None))
    if code == OperandCode.TENSOR_BOOL8:
        b.output(b.add("LOGICAL_OR", name="y", input0=x, input1=x))
    else:
        shape = b.constant("shape", np.array([2], np.int32))
        b.output(b.add("RESHAPE", name="y", input=x, shape=shape))
    if fits:
        assert simulate(b.build(), [given], "reference")[0].tolist() == given
    else:
        with pytest.raises(SimulationError):
            simulate(b.build(), [given], "reference")


def test_a_rule_broken_at_build_time_is_an_invalid_model() -> None:
    wrong = replace_model(STATIC, operations=(
        Operation("MAX_POOL_2D", ("x", *(Scalar(INT32, v) for v in (2, 0, 2, 2, 2, 0))), ("p",)),
        STATIC.operations[1],
    ))  # fmt: skip
    with pytest.raises(InvalidModel, match=r"MAX_POOL_2D\.C1 at %p"):
        simulate(wrong, [GOOD], "reference")


def test_a_rule_broken_by_the_sizes_given_is_a_simulation_error() -> None:
    with pytest.raises(SimulationError, match=r"does not take these sizes.*MAX_POOL_2D\.C3"):
        simulate(OPEN, [ramp(1, 1, 1, 1)], "reference")


def test_a_declared_size_must_be_the_computed_one() -> None:
    operands = {**STATIC.operands, "y": Operand("y", f32(1, 5))}
    with pytest.raises(InvalidModel, match=r"RESHAPE\.RESULT at %y: declared \[1,5\]"):
        simulate(replace_model(STATIC, operands=operands), [GOOD], "reference")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(SimulationError, match="no engine 'turbo'; the engines are fast, reference"):
        simulate(STATIC, [GOOD], "turbo")  # type: ignore[arg-type]


# --- control flow --------------------------------------------------------------------------------------


def body(name: str, kind: str, **arguments: Any) -> Model:
    b = Builder(name)
    x = b.input("x", f32(1, 2, 2, 1))
    b.output(b.add(kind, name="y", input=x, **arguments))
    return b.build()


def conditional() -> Model:
    window = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "filter_w": 2, "filter_h": 2, "fuse": "NONE"}
    then, other = body("then", "MAX_POOL_2D", **window), body("else", "AVERAGE_POOL_2D", **window)
    model_type = OperandType(OperandCode.MODEL, ())
    operands = {
        "c": Operand("c", OperandType(OperandCode.TENSOR_BOOL8, (1,))),
        "x": Operand("x", f32(1, 2, 2, 1)),
        "then": Operand("then", model_type, then),
        "else": Operand("else", model_type, other),
        "y": Operand("y", f32(1, 2, 2, 1)),
    }
    return Model("if", operands, (Operation("IF", ("c", "then", "else", "x"), ("y",)),), ("c", "x"), ("y",))


@pytest.mark.parametrize(("condition", "first"), [(True, 3.0), (False, 1.5)])
def test_if_runs_the_chosen_model(condition: bool, first: float) -> None:
    (y,) = simulate(conditional(), [np.array([condition]), ramp(1, 2, 2, 1)], "reference")
    assert y[0, 0, 0, 0] == first


def endless() -> Model:
    """While the flag is set, hand the flag on: it never ends when it is set."""
    flag = OperandType(OperandCode.TENSOR_BOOL8, (1,))

    def same(name: str) -> Model:
        b = Builder(name)
        x = b.input("x", flag)
        b.output(b.add("LOGICAL_OR", name="y", input0=x, input1=x))
        return b.build()

    model_type = OperandType(OperandCode.MODEL, ())
    operands = {
        "c": Operand("c", flag),
        "y": Operand("y", flag),
        "condition": Operand("condition", model_type, same("condition")),
        "body": Operand("body", model_type, same("body")),
    }
    return Model("while", operands, (Operation("WHILE", ("condition", "body", "c"), ("y",)),), ("c",), ("y",))


def test_while_ends_when_its_condition_says_so() -> None:
    assert simulate(endless(), [np.array([False])], "reference")[0].tolist() == [False]


def test_while_is_stopped_by_its_time_limit() -> None:
    with pytest.raises(SimulationError, match=r"did not end within 0\.05 s"):
        simulate(endless(), [np.array([True])], "reference", loop_seconds=0.05)


def test_a_broken_model_inside_is_refused_before_anything_runs() -> None:
    model = conditional()
    inner = model["then"].value
    broken = replace_model(inner, operations=(Operation("FROB", ("x",), ("y",)),))
    operands = {**model.operands, "then": Operand("then", model["then"].type, broken)}
    with pytest.raises(InvalidModel, match="FROB"):
        compile_model(replace_model(model, operands=operands), "reference")


# --- executables ---------------------------------------------------------------------------------------


def test_an_executable_is_made_once_and_lives_as_long_as_its_model() -> None:
    model = pool_then_flatten(f32(1, 2, 2, 1))
    executable = compile_model(model, "reference")
    assert compile_model(model, "reference") is executable
    assert compile_model(model, "fast") is not executable
    gone = weakref.ref(executable)
    del model, executable
    gc.collect()
    assert gone() is None


def test_values_are_released_after_their_last_use() -> None:
    """A chain of reshapes holds the input and at most two values of the chain at a time."""
    b = Builder("chain")
    name = b.input("x", f32(4))
    shapes = [b.constant("s", np.array(shape, np.int32)) for shape in ([2, 2], [4])]
    for index in range(6):
        name = b.add("RESHAPE", name=f"v{index}", input=name, shape=shapes[index % 2])
    b.output(name)
    model = b.build()
    (plan,) = Executable(model, "reference")._plans.values()
    released = [{name for name, place in plan.places.items() if place in task.releases} for task in plan.tasks]
    assert released == [{"x"}, {"v0"}, {"v1"}, {"v2"}, {"v3"}, {"v4"}]
