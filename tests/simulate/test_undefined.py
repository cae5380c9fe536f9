"""Values on which Android's reference has no defined result: a finding that names the operation, never silence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import Builder
from nnapi_lab.errors import UndefinedInReference
from nnapi_lab.ir.model import Model, Operand, Operation
from nnapi_lab.ir.operand_types import OperandCode, OperandType, Quant
from nnapi_lab.ops import use as by_hand
from nnapi_lab.ops.registry import OPS
from nnapi_lab.simulate import ENGINES, compile_model, simulate, trace
from tests.simulate.test_execute import conditional

F32, I32, Q8 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32, OperandCode.TENSOR_QUANT8_ASYMM
SMALLEST, LARGEST = -(2**31), 2**31 - 1


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def pair(kind: str, left: list[int], right: list[int]) -> Callable[[], Any]:
    return lambda: by_hand.use(kind, input0=integers(*left), input1=integers(*right), fuse=0)


def logits(count: int) -> Any:
    codes = (np.full((2, count), 9, np.uint8), Quant(0.005, 0))
    return by_hand.use("SOFTMAX", quant=Quant(1 / 256, 0), input=codes, beta=1.0)


# rule → (a use that breaks it, what was seen, what comes out, a use beside it that is defined)
CASES: dict[str, tuple[Callable[[], Any], str, Any, Callable[[], Any]]] = {
    "SOFTMAX.U1": (lambda: logits(512), "exponentials of 2 rows sum to 512 or more", [0] * 1024, lambda: logits(511)),
    "DIV.U1": (pair("DIV", [7, 8], [0, 2]), "1 of 2 divisors are 0", [0, 4], pair("DIV", [7, 0], [1, 2])),
    "DIV.U2": (pair("DIV", [SMALLEST], [-1]), "1 of 1 dividends are -2147483648", [SMALLEST],
               pair("DIV", [SMALLEST, 5], [1, -1])),
    "ADD.U1": (pair("ADD", [LARGEST, 1], [1, 1]), "1 of 2 results do not fit", [SMALLEST, 2],
               pair("ADD", [LARGEST - 1], [1])),
    "SUB.U1": (pair("SUB", [SMALLEST], [1]), "1 of 1 results do not fit", [LARGEST], pair("SUB", [SMALLEST], [0])),
    "MUL.U1": (pair("MUL", [2**16], [2**16]), "1 of 1 results do not fit", [0], pair("MUL", [2**15], [2**15])),
    "ABS.U1": (lambda: by_hand.use("ABS", input=integers(SMALLEST, -1)), "1 of 2 elements", [SMALLEST, 1],
               lambda: by_hand.use("ABS", input=integers(-LARGEST))),
    "NEG.U1": (lambda: by_hand.use("NEG", input=integers(SMALLEST, -1)), "1 of 2 elements", [SMALLEST, 1],
               lambda: by_hand.use("NEG", input=integers(LARGEST))),
    "CAST.U1": (lambda: by_hand.use("CAST", code=I32, input=np.array([np.nan, 3e9, -1.5], np.float32)),
                "2 of 3 numbers are NaN or beyond an int32", [0, LARGEST, -1],
                lambda: by_hand.use("CAST", code=I32, input=np.array([-(2.0**31), 2.0**30], np.float32))),
    "TOPK_V2.U1": (lambda: by_hand.use("TOPK_V2", input=np.array([1, np.nan], np.float32), k=2),
                   "1 of 2 elements are NaN", None,
                   lambda: by_hand.use("TOPK_V2", input=np.array([1, np.inf], np.float32), k=2)),
}  # fmt: skip


def test_every_declared_rule_has_a_case() -> None:
    assert {f"{spec.kind}.{one.id}" for spec in OPS.values() for one in spec.undefined} == set(CASES)


@pytest.mark.parametrize("rule", CASES)
def test_an_undefined_result_is_told(rule: str) -> None:
    make, seen, result, defined = CASES[rule]
    with pytest.warns(UndefinedInReference, match=rf"{rule} at .*{seen}"):
        out = by_hand.run(make())
    if result is not None:
        assert out.reshape(-1).tolist() == result
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_hand.run(defined())


def classifier(count: int) -> Model:
    b = Builder("classifier")
    x = b.input("x", OperandType(Q8, (1, count), Quant(0.005, 0)))
    b.output(b.add("SOFTMAX", name="shares", input=x, beta=1.0))
    return b.build()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_warns_and_a_trace_holds_the_finding(engine: str) -> None:
    model, codes = classifier(1000), [np.full((1, 1000), 9, np.uint8)]
    with pytest.warns(UndefinedInReference, match=r"SOFTMAX\.U1 at %shares: the exponentials of 1 row sum to 512"):
        simulate(model, codes, engine)
    (finding,) = trace(model, codes, engine).findings
    assert (finding.rule, finding.severity, finding.where) == ("SOFTMAX.U1", "warning", "%shares")
    assert "device" in finding.message
    assert finding.source


def test_the_next_run_starts_without_findings() -> None:
    executable = compile_model(classifier(600), "reference")
    with pytest.warns(UndefinedInReference):
        executable.run([np.full((1, 600), 9, np.uint8)])
    assert len(executable.findings) == 1
    peak = np.zeros((1, 600), np.uint8)
    peak[0, 0] = 255
    executable.run([peak])
    assert executable.findings == ()


def counting() -> tuple[Model, list[np.ndarray]]:
    """While x ≠ 0: x ← x · 2^16: overflows once, in the body of a loop."""
    number = OperandType(I32, (1,))

    def condition() -> Model:
        b = Builder("condition")
        x = b.input("x", number)
        b.output(b.add("NOT_EQUAL", name="go", input0=x, input1=b.constant("zero", integers(0))))
        return b.build()

    def body() -> Model:
        b = Builder("body")
        x = b.input("x", number)
        b.output(b.add("MUL", name="doubled", input0=x, input1=b.constant("factor", integers(2**16)), fuse="NONE"))
        return b.build()

    model_type = OperandType(OperandCode.MODEL, ())
    operands = {
        "x": Operand("x", number),
        "y": Operand("y", number),
        "condition": Operand("condition", model_type, condition()),
        "body": Operand("body", model_type, body()),
    }
    loop = Operation("WHILE", ("condition", "body", "x"), ("y",))
    return Model("counting", operands, (loop,), ("x",), ("y",)), [integers(3)]


def test_findings_inside_a_loop_are_told_once() -> None:
    model, inputs = counting()
    found = trace(model, inputs).findings
    assert [(one.rule, one.where) for one in found] == [("MUL.U1", "%doubled")]


def test_a_run_without_anything_undefined_has_no_findings() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    assert trace(conditional(), [np.array([True]), x]).findings == ()
