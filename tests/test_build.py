"""The builder is the only door: it refuses what the standard forbids, names things once, and writes the log."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import nnapi_lab
from nnapi_lab.build import Builder, StepLog, clean_name
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.model import Scalar
from nnapi_lab.ir.operand_types import OperandCode, OperandType, Quant
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.validate import check

FLOAT, Q8 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_QUANT8_ASYMM
HOUSE = Path(nnapi_lab.__file__).parent


def with_input(shape: tuple[int, ...] = (1, 4, 4, 2), code: OperandCode = FLOAT, quant: Quant | None = None) -> Builder:
    builder = Builder("m")
    builder.input("x", OperandType(code, shape, quant), ["%x"])
    return builder


def test_named_arguments_become_nnapis_order() -> None:
    builder = with_input()
    name = builder.add(
        "MAX_POOL_2D", fuse="RELU6", filter_h=2, filter_w=3, stride_h=1, stride_w=2, pad_bottom=0, pad_top=1,
        pad_right=0, pad_left=2, input="x", name="%y",
    )  # fmt: skip
    builder.output(name)
    model = builder.build()
    (operation,) = model.operations
    assert operation.inputs == ("x", *(Scalar(OperandCode.INT32, n) for n in (2, 0, 1, 0, 2, 1, 3, 2, 3)))
    # (4 + 2 - 3) // 2 + 1 = 2 wide, (4 + 1 - 2) // 1 + 1 = 4 high
    assert model["y"].type.shape == (1, 4, 2, 2)
    assert not check(model).findings


BROKEN = {
    "broken_constraint": ("ADD.", {"kind": "ADD", "input0": "x", "input1": "other", "fuse": "NONE"}),
    "no_such_argument": ("RELU.FORM", {"kind": "RELU", "input": "x", "inputs": "x"}),
    "missing_argument": ("ADD.FORM", {"kind": "ADD", "input0": "x"}),
    "wrong_type": ("DEQUANTIZE.FORM", {"kind": "DEQUANTIZE", "input": "x"}),
    "wrong_rank": ("MAX_POOL_2D.RANK", {
        "kind": "MAX_POOL_2D", "input": "flat", "pad_left": 0, "pad_right": 0, "pad_top": 0, "pad_bottom": 0,
        "stride_w": 1, "stride_h": 1, "filter_w": 1, "filter_h": 1, "fuse": "NONE",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_the_standard_forbids_is_refused_before_anything_is_added(name: str) -> None:
    rule, arguments = BROKEN[name]
    builder = with_input()
    builder.constant("other", np.zeros((3,), np.float32), values=["%c"])
    builder.constant("flat", np.zeros((3,), np.float32), values=["%c"])
    before = builder.build()
    with pytest.raises(InvalidModel) as caught:
        builder.add(arguments["kind"], name="y", **{k: v for k, v in arguments.items() if k != "kind"})
    assert caught.value.findings[0].rule.startswith(rule)
    assert builder.build() == before


def test_names_are_unique_and_can_be_written() -> None:
    builder = with_input()
    names = [builder.add("RELU", input="x", name=wanted) for wanted in ("%y", "y", "%y", "y_2", "7", "", "a b/c")]
    assert names == ["y", "y_2", "y_3", "y_2_2", "v7", "relu", "a_b_c"]
    assert len(set(builder.build().operands)) == 8


@pytest.mark.parametrize(
    ("text", "name"), [("%7", "v7"), ("%x.1", "x.1"), ("0.weight", "v0.weight"), ("é", "_"), ("", "v"), (".a", "v.a")]
)
def test_clean_name(text: str, name: str) -> None:
    assert clean_name(text) == name


def test_every_operand_remembers_values_and_steps() -> None:
    builder = with_input()
    first, second = builder.log.add(PLACED), builder.log.add(DIRECT)
    builder.constant("c", np.ones(1, np.float32), values=["%c"], steps=[first])
    with builder.on_behalf_of("%7"):
        name = builder.add("ADD", input0="x", input1="c", fuse="NONE", step=second, name="y")
    builder.also_made_by(name, [first, second])
    builder.also_from(name, ["%8", "%7"])
    assert builder.origins == {"x": ("%x",), "c": ("%c",), "y": ("%7", "%8")}
    assert builder.made_by == {"x": (), "c": (1,), "y": (2, 1)}
    assert builder.build().operations[0].step == 2


def test_free_output_quantization_is_the_callers() -> None:
    builder = with_input(code=Q8, quant=Quant(0.5, 10))
    builder.constant("c", np.zeros(1, np.uint8), OperandType(Q8, (1,), Quant(0.25, 0)), values=["%c"])
    name = builder.add("ADD", input0="x", input1="c", fuse="NONE", quant=Quant(0.75, 3))
    assert builder[name].type == OperandType(Q8, (1, 4, 4, 2), Quant(0.75, 3))


def test_steps_are_numbered_and_renamed() -> None:
    log = StepLog()
    step = log.add(DIRECT, values=["%1"], operands=["a"])
    log.add(PLACED, operands=["b"])
    log.attach(step, ["c", "a"])
    log.rename({"a": "b", "c": None})
    assert [(step.id, step.operands) for step in log.steps] == [(1, ("b",)), (2, ("b",))]
    assert StepLog(log.steps).add(DIRECT).id == 3


def test_steps_are_written_nowhere_else() -> None:
    """`Step(…)` is called in build.py only, so the log cannot be bypassed."""
    writers = {
        path.relative_to(HOUSE).as_posix()
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Step"
    }
    assert writers == {"build.py"}
