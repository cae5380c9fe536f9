"""Models and inputs nobody can run: each is refused with a sentence, before memory is taken, on both engines."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from nnapi_lab.errors import InvalidModel, SimulationError
from nnapi_lab.ir.model import Model, Operand, Operation
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.simulate import ENGINES, simulate, trace
from tests.simulate.test_execute import conditional

F32 = OperandCode.TENSOR_FLOAT32
X = np.ones((2, 2), np.float32)


def chain(*steps: tuple[str, str], output: str = "y", **types: OperandType) -> Model:
    """RELUs from operand to operand; 2×2 float32 unless `types` says otherwise."""
    names = dict.fromkeys(["x", output, *(name for step in steps for name in step)])
    operands = {name: Operand(name, types.get(name, OperandType(F32, (2, 2)))) for name in names}
    operations = tuple(Operation("RELU", (source,), (result,)) for source, result in steps)
    return Model("chain", operands, operations, ("x",), (output,))


def fill(*shape: int) -> Model:
    """FILL to a size that only execution brings."""
    open_ = OperandType(F32, tuple(Dim(f"d{axis}") for axis in range(len(shape))))
    operands = {
        "dims": Operand("dims", OperandType(OperandCode.TENSOR_INT32, (len(shape),))),
        "value": Operand("value", OperandType(OperandCode.FLOAT32, ())),
        "y": Operand("y", open_),
    }
    return Model("fill", operands, (Operation("FILL", ("dims", "value"), ("y",)),), ("dims", "value"), ("y",))


HUGE = OperandType(F32, (2**20, 2**20))
MODELS: dict[str, tuple[Callable[[], Model], str]] = {
    "cyclic": (lambda: chain(("b", "a"), ("a", "b"), ("b", "y")), r"MODEL\.M4 .*cycle"),
    "reads before it is written": (lambda: chain(("a", "y"), ("x", "a")), r"MODEL\.M2 .*only later"),
    "reads what nothing writes": (lambda: chain(("nobody", "y")), r"MODEL\.M2 .*nothing writes it"),
    "writes twice": (lambda: chain(("x", "y"), ("x", "y")), r"MODEL\.M3 .*writes it again"),
    "an output nothing writes": (lambda: chain(("x", "a")), r"MODEL\.M6 .*no operation writes"),
    "terabytes": (lambda: chain(("x", "y"), x=HUGE, y=HUGE), r"MODEL\.M10 .*bytes"),
    "terabytes in between": (lambda: chain(("x", "a"), ("a", "y"), a=HUGE), r"MODEL\.M10"),
}
INPUTS = {
    "too few": ([], "takes 1 inputs"),
    "too many": ([X, X], "not 2"),
    "another type": ([X.astype(np.int32)], "int32"),
    "another shape": ([X[:1]], r"shape \[1,2\]"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_nobody_can_run_is_refused(name: str, engine: str) -> None:
    make, sentence = MODELS[name]
    with pytest.raises(InvalidModel, match=sentence):
        simulate(make(), [X], engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_do_not_fit_are_refused(name: str, engine: str) -> None:
    inputs, sentence = INPUTS[name]
    with pytest.raises(SimulationError, match=sentence):
        simulate(chain(("x", "y")), inputs, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dims", [(2**20, 2**20), (2**31 - 1, 2**31 - 1), (2**16, 2**14, 2)])
def test_an_absurd_size_that_only_a_run_brings_is_refused_before_memory_is_taken(
    dims: tuple[int, ...], engine: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SimulationError, match=r"FILL at %y failed .*MODEL\.M10"):
            simulate(fill(*dims), [np.array(dims, np.int32), 1.0], engine)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_failing_operation_names_itself_its_operands_and_the_rule() -> None:
    with pytest.raises(SimulationError, match=r"FILL at %y failed on %dims : i32\[2\], %value : float32: FILL\.C\d"):
        simulate(fill(2, 2), [np.array([-1, 2], np.int32), 1.0], "reference")


def test_a_probe_sees_what_control_flow_gives() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    assert set(trace(conditional(), [np.array([True]), x])) == {"c", "x", "y"}
