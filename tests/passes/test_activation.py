"""RELU, RELU1, RELU6 become the fuse code of what they follow, where nobody else looks."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.build import Builder, StepLog
from nnapi_lab.ir.model import Scalar
from nnapi_lab.ir.operand_types import OperandCode, OperandType
from nnapi_lab.ir.torch_graph import TorchGraph
from nnapi_lab.passes.activation import FUSE_OF, fuse_activations
from nnapi_lab.passes.pipeline import run_passes
from nnapi_lab.passes.unused import drop_unused
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import Layout, Placement
from nnapi_lab.simulate import simulate

X = np.linspace(-9, 9, 12, dtype=np.float32).reshape(3, 4)


def started() -> Builder:
    builder = Builder("m")
    builder.input("x", OperandType(OperandCode.TENSOR_FLOAT32, (3, 4)), ["%x"], [builder.log.add(DIRECT)])
    return builder


def add(builder: Builder, kind: str, name: str, **arguments: object) -> str:
    step = builder.log.add(DIRECT, values=[f"%{name}"], operands=[name])
    return builder.add(kind, name=name, step=step, values=[f"%{name}"], **arguments)


def finished(builder: Builder, *outputs: str) -> Lowered:
    for output in outputs:
        builder.output(output)
    names = [name for operation in builder.operations for name in operation.outputs]
    placements = {f"%{name}": Placement(f"%{name}", name, (3, 4), Layout.plain((3, 4))) for name in names}
    graph = TorchGraph("m", {}, (), (), ())
    return Lowered(graph, builder.build(), builder.log.steps, placements, builder.origins, builder.made_by)


def added_then(kind: str, fuse: str = "NONE") -> Builder:
    builder = started()
    add(builder, "ADD", "y", input0="x", input1="x", fuse=fuse)
    add(builder, kind, "z", input="y")
    return builder


@pytest.mark.parametrize("kind", FUSE_OF)
def test_fused_and_the_same_values(kind: str) -> None:
    before = finished(added_then(kind), "z")
    after = run_passes(before)
    (operation,) = after.model.operations
    assert (operation.kind, operation.name) == ("ADD", "z")
    assert operation.inputs[2] == Scalar(OperandCode.INT32, FUSE_OF[kind])
    for engine in ("reference", "fast"):
        one, other = (simulate(lowered.model, [X], engine) for lowered in (before, after))
        assert np.array_equal(next(iter(one)), next(iter(other)))


def test_links_go_to_the_fused_operand() -> None:
    after = run_passes(finished(added_then("RELU"), "z"))
    step = after.steps[-1]
    assert step.rule.id == "fusion.activation"
    assert after.origins["z"] == ("%y", "%z")
    assert step.id in after.made_by["z"]
    assert "y" not in {name for step in after.steps for name in step.operands}
    assert "%y" not in after.placements
    assert after.placements["%z"].operand == "z"
    assert set(after.origins) == set(after.made_by) == set(after.model.operands)


def test_a_chain_is_fused_link_by_link() -> None:
    builder = started()
    previous = "x"
    for index in range(50):
        add(builder, "ADD", f"y{index}", input0=previous, input1="x", fuse="NONE")
        previous = add(builder, "RELU6", f"z{index}", input=f"y{index}")
    after = run_passes(finished(builder, previous))
    assert [operation.kind for operation in after.model] == ["ADD"] * 50


def left_alone_read_twice() -> Lowered:
    builder = added_then("RELU")
    add(builder, "ADD", "w", input0="y", input1="z", fuse="NONE")
    return finished(builder, "w")


def left_alone_without_fuse_code() -> Lowered:
    builder = started()
    add(builder, "TANH", "y", input="x")
    add(builder, "RELU", "z", input="y")
    return finished(builder, "z")


LEFT_ALONE = {
    "returned": lambda: finished(added_then("RELU"), "y", "z"),
    "read_twice": left_alone_read_twice,
    "fused_already": lambda: finished(added_then("RELU", fuse="RELU6"), "z"),
    "no_fuse_code": left_alone_without_fuse_code,
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_left_alone(name: str) -> None:
    before = LEFT_ALONE[name]()
    assert fuse_activations(before, StepLog(before.steps)).model == before.model


def test_what_nobody_reads_is_dropped() -> None:
    builder = added_then("RELU")
    builder.constant("c", np.ones(4, np.float32), values=["%c"], steps=[builder.log.add(DIRECT, operands=["c"])])
    add(builder, "ADD", "unread", input0="z", input1="c", fuse="NONE")
    before = finished(builder, "z")
    after = drop_unused(before, StepLog(before.steps))
    assert set(after.model.operands) == {"x", "y", "z"} == set(after.origins) == set(after.made_by)
    assert "%unread" not in after.placements
    assert not {"c", "unread"} & {name for step in after.steps for name in step.operands}
    assert drop_unused(after, StepLog(after.steps)) is after


def test_an_input_nobody_reads_stays() -> None:
    builder = started()
    builder.input("other", OperandType(OperandCode.TENSOR_FLOAT32, (1,)), ["%other"])
    add(builder, "RELU", "y", input="x")
    assert run_passes(finished(builder, "y")).model.inputs == ("x", "other")
