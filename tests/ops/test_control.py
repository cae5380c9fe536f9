"""IF and WHILE: their rules, and what they do with a way to run models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel, SimulationError
from nnapi_lab.ir.model import Model, Operand
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.control import if_, while_
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import Call, bind, required_level

MODEL = OperandType(OperandCode.MODEL, ())
BOOL = OperandType(OperandCode.TENSOR_BOOL8, (1,))
F32 = OperandType(OperandCode.TENSOR_FLOAT32, (2,))
WIDE = OperandType(OperandCode.TENSOR_FLOAT32, (3,))
OPEN = OperandType(OperandCode.TENSOR_FLOAT32, (Dim("n"),))
Q8 = OperandType(OperandCode.TENSOR_QUANT8_ASYMM, (2,), Quant(0.5, 1))


def body(name: str, inputs: Sequence[OperandType], outputs: Sequence[OperandType]) -> Model:
    """A model of which only the signature matters here."""
    ins = [Operand(f"i{index}", type_) for index, type_ in enumerate(inputs)]
    outs = [Operand(f"o{index}", type_) for index, type_ in enumerate(outputs)]
    operands = {operand.name: operand for operand in (*ins, *outs)}
    return Model(name, operands, (), tuple(one.name for one in ins), tuple(one.name for one in outs))


def branch(
    then: Model, other: Model, *args: OperandType, condition: OperandType = BOOL, outputs: Sequence[OperandType] = ()
) -> Call:
    return bind(OPS["IF"], [condition, MODEL, MODEL, *args], [None, then, other, *[None] * len(args)], outputs)


def loop(condition: Model, work: Model, *args: OperandType, outputs: Sequence[OperandType] = ()) -> Call:
    return bind(OPS["WHILE"], [MODEL, MODEL, *args], [condition, work, *[None] * len(args)], outputs)


SAME = body("same", [F32], [F32])
TEST = body("test", [F32], [BOOL])

BROKEN: dict[str, Callable[[], Call]] = {
    "IF.C1": lambda: branch(SAME, SAME, F32, condition=OperandType(OperandCode.TENSOR_BOOL8, (Dim("n"),))),
    "IF.C2": lambda: branch(body("wide", [WIDE], [F32]), SAME, F32),
    "IF.C3": lambda: branch(SAME, body("codes", [Q8], [F32]), F32),
    "IF.C4": lambda: branch(SAME, body("other", [F32], [WIDE]), F32),
    "IF.C5": lambda: branch(body("none", [F32], []), body("none", [F32], []), F32),
    "WHILE.C1": lambda: loop(body("test", [WIDE], [BOOL]), SAME, F32),
    "WHILE.C2": lambda: loop(body("test", [F32], [F32]), SAME, F32),
    "WHILE.C3": lambda: loop(body("test", [F32, F32], [BOOL]), SAME, F32, F32),
    "WHILE.C4": lambda: loop(TEST, body("more", [F32], [F32, F32]), F32),
    "WHILE.C5": lambda: loop(body("test", [F32], [BOOL]), body("widens", [F32], [WIDE]), F32),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_a_loop_gives_no_more_results_than_its_body() -> None:
    call = loop(TEST, SAME, F32, outputs=[F32, F32])
    assert [finding.rule for finding in broken_rules(call, "here")] == ["WHILE.C4"]


def test_scales_are_part_of_the_signature() -> None:
    other = OperandType(Q8.code, Q8.shape, Quant(0.25, 1))
    call = branch(body("a", [Q8], [Q8]), body("b", [Q8], [Q8]), other)
    assert [finding.rule for finding in broken_rules(call, "here")] == ["IF.C2", "IF.C3"]


def test_a_condition_is_a_bool_tensor() -> None:
    with pytest.raises(InvalidModel, match=r"IF\.FORM"):
        branch(SAME, SAME, F32, condition=F32)


def test_results_of_if_are_what_both_branches_give() -> None:
    assert branch(SAME, SAME, F32).results == (F32,)
    opened = branch(body("open", [F32], [OPEN]), SAME, F32)
    assert broken_rules(opened, "here") == []
    assert opened.out.shape == (Dim("?"),)


def test_results_of_while_are_as_many_as_declared() -> None:
    test, work = body("test", [F32, BOOL], [BOOL]), body("work", [F32, BOOL], [F32, BOOL])
    assert loop(test, work, F32, BOOL).results == (F32, BOOL)
    assert loop(test, work, F32, BOOL, outputs=[F32]).results == (F32,)


def test_a_size_that_the_body_leaves_open_stays_open() -> None:
    test, work = body("test", [OPEN], [BOOL]), body("work", [OPEN], [OPEN])
    assert loop(test, work, F32).out.shape == (Dim("n"),)


def test_control_flow_needs_level_4() -> None:
    assert required_level(branch(SAME, SAME, F32))[0] == 4
    assert required_level(loop(TEST, SAME, F32))[0] == 4


def test_if_runs_the_branch_that_the_condition_names() -> None:
    ran: list[str] = []

    def execute(model: Model, arrays: Sequence[Any]) -> Sequence[Any]:
        ran.append(model.name)
        return [arrays[0] + 1]

    for truth, name in ((True, "then"), (False, "else")):
        then, other = body("then", [F32], [F32]), body("else", [F32], [F32])
        (out,) = if_(np.array([truth]), then, other, [np.zeros(2)], execute=execute)
        assert out.tolist() == [1, 1]
        assert ran.pop() == name


def counting(limit: int) -> Callable[[Model, Sequence[Any]], Sequence[Any]]:
    """`test`: first argument below limit; anything else: first argument plus one, the others untouched."""

    def execute(model: Model, arrays: Sequence[Any]) -> Sequence[Any]:
        if model.name == "test":
            return [np.array([arrays[0][0] < limit])]
        return [arrays[0] + 1]

    return execute


@pytest.mark.parametrize(("limit", "expected"), [(3, 3), (0, 0)])
def test_while_asks_first_and_then_works(limit: int, expected: int) -> None:
    call = loop(TEST, SAME, F32, outputs=[F32])
    (out,) = while_(TEST, SAME, [np.zeros(2)], call=call, execute=counting(limit))
    assert out.tolist() == [expected, expected]


def test_while_hands_constants_on_to_every_round() -> None:
    seen: list[float] = []

    def execute(model: Model, arrays: Sequence[Any]) -> Sequence[Any]:
        seen.append(float(arrays[1][0]))
        return counting(2)(model, arrays)

    test, work = body("test", [F32, F32], [BOOL]), body("work", [F32, F32], [F32])
    call = loop(test, work, F32, F32, outputs=[F32])
    results = while_(test, work, [np.zeros(2), np.full(2, 7.0)], call=call, execute=execute)
    assert len(results) == 1
    assert seen == [7.0] * 5


def test_an_endless_loop_is_stopped() -> None:
    call = loop(TEST, SAME, F32, outputs=[F32])
    with pytest.raises(SimulationError, match="did not end within"):
        while_(TEST, SAME, [np.zeros(2)], call=call, execute=counting(10**12), loop_seconds=0.01)
