"""show: the text of small models, read line by line."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.build import Builder
from nnapi_lab.ir.model import Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.text import parse, show

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8C = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
PAIR = OperandType(F32, (2,))


def pool_cat() -> Model:
    """The model of the design's example."""
    b = Builder("pool_cat")
    x = b.input("x", OperandType(Q8, (1, 4, 4, 2), Quant(0.5, 10)))
    c = b.constant("c", np.arange(1, 9).reshape(1, 2, 2, 2), OperandType(Q8, (1, 2, 2, 2), Quant(0.25, 0)))
    pads = {"pad_left": 0, "pad_right": 0, "pad_top": 0, "pad_bottom": 0}
    p = b.add("AVERAGE_POOL_2D", name="p", input=x, **pads, stride_w=2, stride_h=2, filter_w=2, filter_h=2,
              fuse="RELU6", nchw=False)  # fmt: skip
    b.output(b.add("CONCATENATION", name="y", inputs=[p, c], axis=3, quant=Quant(0.5, 10)))
    return b.build()


POOL_CAT = """\
model pool_cat {
  input  %x : q8a[1,4,4,2] scale=0.5 zp=10
  const  %c : q8a[1,2,2,2] scale=0.25 zp=0 = 1 2 3 4 5 6 7 8
  %p = AVERAGE_POOL_2D.explicit_padding(input=%x, pad_left=0, pad_right=0, pad_top=0, pad_bottom=0, \
stride_w=2, stride_h=2, filter_w=2, filter_h=2, fuse=RELU6, nchw=false) : q8a[1,2,2,2] scale=0.5 zp=10
  %y = CONCATENATION(inputs=[%p, %c], axis=3) : q8a[1,2,2,4] scale=0.5 zp=10
  output %y
}
"""


def test_a_model_reads_like_the_design_says() -> None:
    assert show(pool_cat()) == POOL_CAT
    assert parse(POOL_CAT) == pool_cat()


def one(operation: Operation, *operands: Operand, **changes: object) -> Model:
    """A model of one operation, whatever its state."""
    held = {"x": Operand("x", PAIR), **{operand.name: operand for operand in operands}}
    fields = {"inputs": ("x",), "outputs": ("y",), **changes}
    return Model("m", held, (operation,), **fields)  # type: ignore[arg-type]


Y = Operand("y", PAIR)
INNER = Model("body", {"a": Operand("a", PAIR), "b": Operand("b", PAIR)}, (Operation("RELU", ("a",), ("b",)),),
              ("a",), ("b",))  # fmt: skip
BIG = Operand("w", OperandType(F32, (100,)), np.arange(100, dtype=np.float32))

# name → (model, lines that its text has)
ROWS = {
    "a step": (one(Operation("RELU", ("x",), ("y",), 7), Y), ["  %y = RELU(input=%x) : f32[2]  #7"]),
    "several results": (
        one(Operation("SPLIT", ("x", Scalar(OperandCode.INT32, 0), Scalar(OperandCode.INT32, 2)), ("y", "z")), Y,
            Operand("z", PAIR), outputs=("z", "y")),
        ["  %y, %z = SPLIT(input=%x, axis=0, num_splits=2) : f32[2], f32[2]", "  output %z", "  output %y"],
    ),
    "relaxed": (one(Operation("RELU", ("x",), ("y",)), Y, relaxed=True), ["model m relaxed {"]),
    "sizes not known": (
        one(Operation("RELU", ("x",), ("y",)),
            Operand("x", OperandType(F32, (Dim("N", "load"), Dim("H"), Dim("?"), 3))),
            Operand("y", OperandType(F32, None))),
        ["  input  %x : f32[N@load,H,?,3]", "  %y = RELU(input=%x) : f32[*]"],
    ),
    "a scalar as model input": (
        one(Operation("SPLIT", ("x", "axis", Scalar(OperandCode.INT32, 1)), ("y",)), Y,
            Operand("axis", OperandType(OperandCode.INT32)), inputs=("x", "axis")),
        ["  input  %axis : int32", "  %y = SPLIT(input=%x, axis=%axis, num_splits=1) : f32[2]"],
    ),
    "scales of channels": (
        one(Operation("RELU", ("x",), ("y",)), Y,
            Operand("w", OperandType(Q8C, (2, 1), PerChannel((0.5, 0.1), 0)), np.array([[1], [-2]]))),
        ["  const  %w : q8c[2,1] axis=0 scales=[0.5, 0.1] = 1 -2"],
    ),
    "numbers that are none": (
        one(Operation("RELU", ("x",), ("y",)), Y,
            Operand("c", OperandType(F32, (6,)),
                    np.array([0x7FC00000, 0x7FC00001, 0x7F800000, 0xFF800000, 0x80000000, 0x3DCCCCCD],
                             np.uint32).view(np.float32))),
        ["  const  %c : f32[6] = nan 0x7fc00001 inf -inf -0.0 0.1"],
    ),
    "half a number": (
        one(Operation("RELU", ("x",), ("y",)), Y, Operand("c", OperandType(F16, (2,)), np.array([0.1, 1e-7]))),
        ["  const  %c : f16[2] = 0.1 0.0000001"],
    ),
    "no elements": (
        one(Operation("RELU", ("x",), ("y",)), Y, Operand("c", OperandType(I32, (0, 2)), np.empty((0, 2)))),
        ["  const  %c : i32[0,2] = empty"],
    ),
    "an operation that fits no form": (
        one(Operation("RELU", ("x", None, Scalar(OperandCode.UINT32, 3), Scalar(OperandCode.BOOL, True)), ("y",)), Y),
        ["  %y = RELU(%x, none, uint32(3), true) : f32[2]"],
    ),
    "an operation of another world": (
        one(Operation("my op", ("x", "gone"), ("y",)), Y), ['  %y = "my op"(%x, %gone) : f32[2]'],
    ),
    "names that need quotes": (
        one(Operation("RELU", ("a b",), ("y",)), Y, Operand("a b", PAIR), inputs=("a b",)),
        ['  input  %"a b" : f32[2]', '  %y = RELU(input=%"a b") : f32[2]'],
    ),
    "a result that is an input": (
        one(Operation("RELU", ("x",), ("x",)), outputs=("x",)), ["  input  %x : f32[2]", "  %x = RELU(input=%x) : _"],
    ),
    "no results": (one(Operation("RELU", ("x",), ()), outputs=()), ["  none = RELU(input=%x)"]),
    "an operand nobody writes": (
        one(Operation("RELU", ("x",), ("y",)), Y, Operand("z", PAIR)), ["  operand %z : f32[2]"],
    ),
    "a model inside": (
        one(Operation("RELU", ("x",), ("y",)), Y, Operand("then", OperandType(OperandCode.MODEL), INNER)),
        ["  const  %then : model = model body {", "    input  %a : f32[2]", "    %b = RELU(input=%a) : f32[2]", "  }"],
    ),
    "a large constant": (
        one(Operation("RELU", ("x",), ("y",)), Y, BIG), ["  const  %w : f32[100] = sha256:817cddd35bc80c1c"],
    ),
    "nothing at all": (Model("empty", {}, (), (), ()), ["model empty {", "}"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_lines(name: str) -> None:
    model, lines = ROWS[name]
    text = show(model)
    assert [line for line in lines if line not in text.split("\n")] == [], text
    assert parse(text) == model


def test_steps_can_be_left_out() -> None:
    model, _ = ROWS["a step"]
    assert "#" not in show(model, steps=False)


def test_large_constants_go_into_the_sidecar_once() -> None:
    twin = Operand("twin", BIG.type, BIG.value)
    model = one(Operation("RELU", ("x",), ("y",)), Y, BIG, twin)
    arrays: dict[str, np.ndarray] = {}
    text = show(model, sidecar=arrays)
    assert len(arrays) == 1
    assert "data" not in text
    assert parse(text, sidecar=arrays) == model
