"""encode: word by word on a small model, what cannot be said, and the law decode(encode(m)) == m."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from nnapi_lab.build import Builder
from nnapi_lab.conformance.vectors import read_vectors, vector_files
from nnapi_lab.encode import EncodedModel, decode, encode
from nnapi_lab.encode.torch_nnapi import unsayable
from nnapi_lab.errors import InvalidModel, LoweringError
from nnapi_lab.ir.model import Model, Operand, Operation, Scalar, replace_model
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.text import show

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8, Q8C = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL


def add_model() -> Model:
    """%y = %x + %c on two quantized values."""
    b = Builder("add")
    x = b.input("x", OperandType(Q8, (1, 2), Quant(0.5, 10)))
    c = b.constant("c", np.array([[7, 9]]), OperandType(Q8, (1, 2), Quant(0.25, 3)))
    b.output(b.add("ADD", name="y", input0=x, input1=c, fuse="RELU6", quant=Quant(1.0, 0)))
    return b.build()


def bits(number: float) -> int:
    (word,) = struct.unpack("<i", struct.pack("<f", number))
    return int(word)


def test_every_word_of_a_small_model() -> None:
    encoded = encode(add_model())
    assert encoded.words.dtype == np.int32
    assert encoded.weights == ()
    assert encoded.words.tolist() == [
        1, 4, 2, 1, 1, 1,  # version; operands, values, operations, inputs, outputs
        5, 2, bits(0.5), 10,  # x: TENSOR_QUANT8_ASYMM, rank, scale, zero point
        5, 2, bits(0.25), 3,  # c
        1, 0, 0, 0,  # fuse: INT32
        5, 2, bits(1.0), 0,  # y
        1, 0, 2,  # the value of c is in place, 2 bytes
        2, 0, 4,  # the value of fuse
        0, 3, 1,  # ADD: 3 arguments, 1 result
        1, 2, 1, 2, 1, 2,  # sizes of x, c and y
        7 + 256 * 9, 3,  # the values, padded to words
        0, 1, 2, 3,  # arguments and result of ADD
        0, 3,  # model inputs, model outputs
    ]  # fmt: skip
    assert encoded.names.operands == ("x", "c", None, "y")


def model_of(operands: list[Operand], *operations: Operation) -> Model:
    outputs = tuple(name for operation in operations for name in operation.outputs)
    return Model("m", {o.name: o for o in operands}, operations, ("x",), outputs)


def relu(*operands: Operand) -> Model:
    return model_of([*operands], Operation("RELU", ("x",), ("y",)))


def test_a_scalar_is_stored_once() -> None:
    pool = tuple(Scalar(OperandCode.INT32, n) for n in (2, 2, 2, 2, 2, 0))  # VALID, strides, filter, fuse
    type = OperandType(F32, (1, 8, 8, 1))
    model = model_of(
        [Operand("x", type), Operand("p", type.with_shape((1, 4, 4, 1))), Operand("y", type.with_shape((1, 2, 2, 1)))],
        Operation("MAX_POOL_2D", ("x", *pool), ("p",)),
        Operation("AVERAGE_POOL_2D", ("p", *pool), ("y",)),
    )
    assert encode(model).words[1] == 3 + 2


@pytest.mark.parametrize(("count", "buffers"), [(32, 0), (33, 1)])
def test_values_beyond_128_bytes_are_buffers(count: int, buffers: int) -> None:
    type = OperandType(F32, (count,))
    constant = Operand("c", type, np.arange(count, dtype=np.float32))
    adding = Operation("ADD", ("x", "c", Scalar(OperandCode.INT32, 0)), ("y",))
    encoded = encode(model_of([Operand("x", type), constant, Operand("y", type)], adding))
    assert [weight.nbytes for weight in encoded.weights] == [4 * count] * buffers


def test_the_law_holds_for_every_golden_model_that_can_be_said(shared_dir: Path) -> None:
    said = refused = 0
    for file in vector_files(shared_dir / "nnapi" / "vectors"):
        for case in read_vectors(file):
            if unsayable(case.model):
                refused += 1
                continue
            encoded = encode(case.model)
            back = decode(encoded.words, encoded.weights, encoded.names, relaxed=case.model.relaxed)
            assert back == case.model, case.name
            assert_same_but_for_names(case.model, encoded)
            said += 1
    assert said > 5000
    assert refused > 500


def assert_same_but_for_names(model: Model, encoded: EncodedModel) -> None:
    """Without the kept names the model is the same under canonical ones, and encodes to the same words."""
    nameless = decode(encoded.words, encoded.weights)
    again = encode(nameless)
    assert np.array_equal(again.words, encoded.words)
    assert [w.tobytes() for w in again.weights] == [w.tobytes() for w in encoded.weights]
    assert [op.kind for op in nameless.operations] == [op.kind for op in model.operations]
    of = dict(zip(encoded.names.operands, again.names.operands, strict=True))
    assert tuple(of[name] for name in model.inputs) == nameless.inputs
    assert tuple(of[name] for name in model.outputs) == nameless.outputs
    for mine, other in zip(model.operations, nameless.operations, strict=True):
        assert other.inputs == tuple(of[arg] if isinstance(arg, str) else arg for arg in mine.inputs)


def test_names_and_steps_and_unknown_sizes_come_back() -> None:
    type = OperandType(F32, (Dim("N", "load"), Dim("H"), 3))
    model = model_of([Operand("x", type), Operand("y", type)], Operation("RELU", ("x",), ("y",), 42))
    encoded = encode(replace_model(model, name="my model"))
    assert decode(encoded.words, encoded.weights, encoded.names) == replace_model(model, name="my model")


def test_without_names_operands_are_called_by_kind_and_number() -> None:
    encoded = encode(add_model())
    assert show(decode(encoded.words, encoded.weights)) == (
        "model model {\n"
        "  input  %in0 : q8a[1,2] scale=0.5 zp=10\n"
        "  const  %const1 : q8a[1,2] scale=0.25 zp=3 = 7 9\n"
        "  %t3 = ADD(input0=%in0, input1=%const1, fuse=RELU6) : q8a[1,2] scale=1.0 zp=0\n"
        "  output %t3\n"
        "}\n"
    )


def test_a_size_of_another_converter_is_known_at_load() -> None:
    type = OperandType(F32, (Dim("N"), 3))
    encoded = encode(model_of([Operand("x", type), Operand("y", type)], Operation("RELU", ("x",), ("y",))))
    assert decode(encoded.words, encoded.weights)["in0"].type.shape == (Dim("in0_0", "load"), 3)


PLAIN = [Operand("x", OperandType(F32, (2,))), Operand("y", OperandType(F32, (2,)))]
BODY = relu(*PLAIN)
UNSAYABLE = {
    "PER_CHANNEL": relu(
        *PLAIN, Operand("w", OperandType(Q8C, (2, 1), PerChannel((0.5, 0.1), 0)), np.array([[1], [-2]]))
    ),
    "SUBMODEL": relu(*PLAIN, Operand("m", OperandType(OperandCode.MODEL), BODY)),
    "RANK_0": relu(Operand("x", OperandType(F32, ())), Operand("y", OperandType(F32, ()))),
    "OMITTED": model_of([*PLAIN], Operation("TRANSPOSE", ("x", None), ("y",))),
    "ZERO_SIZE": relu(Operand("x", OperandType(F32, (0, 2))), Operand("y", OperandType(F32, (0, 2)))),
}


@pytest.mark.parametrize("rule", UNSAYABLE)
def test_what_the_format_cannot_say_is_refused(rule: str) -> None:
    with pytest.raises(LoweringError) as caught:
        encode(UNSAYABLE[rule])
    refusal = caught.value.refusals[0]
    assert (refusal.kind, refusal.rule) == ("FORBIDDEN", f"TORCH_FORMAT.{rule}")
    assert refusal.fix
    assert "PyTorch" in refusal.source


def test_everything_is_refused_at_once() -> None:
    operands = [operand for model in UNSAYABLE.values() for operand in model.operands.values()]
    with pytest.raises(LoweringError) as caught:
        encode(relu(*operands))  # of x and y the last ones stay
    assert [r.rule.removeprefix("TORCH_FORMAT.") for r in caught.value.refusals] == [
        "ZERO_SIZE", "ZERO_SIZE", "PER_CHANNEL", "SUBMODEL",
    ]  # fmt: skip


def test_a_graph_that_is_not_sound_is_not_encoded() -> None:
    with pytest.raises(InvalidModel, match=r"MODEL\.M6"):
        encode(Model("m", {o.name: o for o in PLAIN}, (), ("x",), ("y",)))


def test_an_operation_of_another_world_is_not_encoded() -> None:
    with pytest.raises(InvalidModel, match=r"MODEL\.M12"):
        encode(model_of(PLAIN, Operation("GELU", ("x",), ("y",))))
