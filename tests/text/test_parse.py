"""parse: the inverse of show on every model, and a sentence with line and column for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.conformance.vectors import read_vectors, vector_files
from nnapi_lab.errors import FormatError
from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, scalar_type
from nnapi_lab.text import parse, show

# --- the law -------------------------------------------------------------------------------------------------


def test_the_law_holds_for_every_golden_model(shared_dir: Path) -> None:
    seen = 0
    for file in vector_files(shared_dir / "nnapi" / "vectors"):
        for case in read_vectors(file):
            assert parse(show(case.model)) == case.model, case.name
            seen += 1
    assert seen > 6000


PLAIN = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,5}", fullmatch=True)
NAMES = st.one_of(
    PLAIN, st.sampled_from(["%", "a b", 'q"', "nan", "none", "true", "1", "ä", "\n", "", "sha256"]), st.text(max_size=4)
)
TENSORS = [code for code in OperandCode if code.is_tensor]
REALS = st.floats(width=32, allow_nan=False)  # a NaN scale is not equal to itself
SIZES = st.one_of(st.integers(0, 2**32), st.builds(Dim, NAMES, st.sampled_from(["load", "run"])))
SCALARS = st.one_of(
    st.builds(Scalar, st.just(OperandCode.INT32), st.integers(-(2**31), 2**31 - 1)),
    st.builds(Scalar, st.just(OperandCode.UINT32), st.integers(0, 2**32 - 1)),
    st.builds(Scalar, st.just(OperandCode.BOOL), st.booleans()),
    st.builds(Scalar, st.sampled_from([OperandCode.FLOAT32, F16 := OperandCode.FLOAT16]), st.floats(width=16)),
)
QUANTS = st.one_of(
    st.none(),
    st.builds(Quant, REALS, st.integers(-300, 300)),
    st.builds(PerChannel, st.lists(REALS, max_size=70).map(tuple), st.integers(-2, 5)),
)
TYPES = st.builds(
    OperandType,
    st.sampled_from(list(OperandCode)),
    st.one_of(st.none(), st.lists(SIZES, max_size=4).map(tuple)),
    QUANTS,
)


@st.composite
def constants(draw: st.DrawFn) -> tuple[OperandType, np.ndarray]:
    """A type and bytes for it: any bit pattern."""
    code = draw(st.sampled_from([code for code in OperandCode if code != OperandCode.MODEL]))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    count = int(np.prod(shape, dtype=int))
    kind = code.numpy
    data = draw(st.binary(min_size=count * kind.itemsize, max_size=count * kind.itemsize))
    array = np.frombuffer(data, np.uint8)
    array = (array & 1).view(kind) if kind.kind == "b" else array.view(kind)
    known = draw(st.booleans())
    return OperandType(code, shape if known else None, draw(QUANTS)), array.reshape(shape)


@st.composite
def models(draw: st.DrawFn, depth: int = 1) -> Model:
    """Any model at all, rarely a valid one."""
    operands: dict[str, Operand] = {}
    for key in draw(st.lists(NAMES, max_size=6, unique=True)):
        name = key if draw(st.integers(0, 5)) else draw(NAMES)
        kind = draw(st.integers(0, 3 if depth else 2))
        if kind == 0:
            operands[key] = Operand(name, draw(TYPES))
        elif kind == 3:
            operands[key] = Operand(name, draw(TYPES), draw(models(depth=depth - 1)))
        else:
            operands[key] = Operand(name, *draw(constants()))
    names = st.one_of(st.sampled_from(sorted(operands)), NAMES) if operands else NAMES
    arguments: st.SearchStrategy[Arg] = st.one_of(st.none(), names, SCALARS)
    operation = st.builds(
        Operation,
        st.one_of(st.sampled_from(["ADD", "RELU", "CONCATENATION", "MAX_POOL_2D", "SPLIT", "IF"]), NAMES),
        st.lists(arguments, max_size=5).map(tuple),
        st.lists(names, max_size=3).map(tuple),
        st.one_of(st.none(), st.integers(0, 10**6)),
    )
    listed = st.lists(names, max_size=3).map(tuple)
    return Model(
        draw(NAMES),
        operands,
        tuple(draw(st.lists(operation, max_size=4))),
        draw(listed),
        draw(listed),
        draw(st.booleans()),
    )


@given(models())
def test_the_law_holds_for_any_model(model: Model) -> None:
    assert parse(show(model)) == model
    assert parse(show(model, inline=0)) == model


@st.composite
def sound_uses(draw: st.DrawFn) -> Model:
    """Operations that bind, so that their arguments are written by name."""
    size = draw(st.integers(1, 3))
    type = OperandType(OperandCode.TENSOR_FLOAT32, (1, size))
    operands = {"x": Operand("x", type)}
    operations = []
    last = "x"
    for index in range(draw(st.integers(1, 4))):
        name = f"v{index}"
        fuse = Scalar(OperandCode.INT32, draw(st.integers(-1, 4)))
        beta = Scalar(OperandCode.FLOAT32, draw(st.floats(width=32)))
        axis = Scalar(OperandCode.INT32, draw(st.integers(-2, 1)))
        kinds = {
            "ADD": (last, "x", fuse),
            "RELU": (last,),
            "CONCATENATION": (*[last] * draw(st.integers(1, 3)), axis),
            "SOFTMAX": (last, beta, axis)[: draw(st.integers(2, 3))],
        }
        kind = draw(st.sampled_from(sorted(kinds)))
        operands[name] = Operand(name, type)
        operations.append(Operation(kind, kinds[kind], (name,)))
        last = name
    return Model("m", operands, tuple(operations), ("x",), (last,))


@given(sound_uses())
def test_the_law_holds_where_arguments_have_names(model: Model) -> None:
    text = show(model)
    assert parse(text) == model


# --- writing by hand -----------------------------------------------------------------------------------------


def body(*lines: str) -> str:
    return "\n".join(["model m {", "  input %x : f32[1,4,4,2]", *(f"  {line}" for line in lines), "}"])


def test_arguments_may_stand_in_any_order_over_several_lines() -> None:
    written = body(
        "// the largest of each window",
        "%y = MAX_POOL_2D(padding=VALID, input=%x,",
        "       stride_w=2, stride_h=2,   // both",
        "       filter_w=2, filter_h=2, fuse=NONE) : f32[1,2,2,2]",
        "output %y",
    )
    (operation,) = parse(written).operations
    values = [arg.value for arg in operation.inputs if isinstance(arg, Scalar)]
    assert operation.inputs[0] == "x"
    assert values == [2, 2, 2, 2, 2, 0]


def test_an_optional_argument_may_be_left_out() -> None:
    written = body("%y = TRANSPOSE(input=%x) : f32[2,4,4,1]", "output %y")
    assert parse(written).operations[0].inputs == ("x", None)


def test_blank_lines_and_windows_line_ends() -> None:
    written = body("", "%y = RELU(input=%x) : f32[*]", "", "output %y")
    assert parse("\n\n" + written.replace("\n", "\r\n") + "\r\n\r\n") == parse(written)


# --- what is not a model -------------------------------------------------------------------------------------

BAD = {
    # name: (text, line, column, what the sentence says)
    "nothing": ("", 1, 1, "expected model NAME {, found the end of the text"),
    "another language": ("graph(%x : Tensor):\n", 1, 1, "expected model NAME {, found 'graph'"),
    "an unknown type": (body("const %c : f31[2] = 1 2"), 3, 14, "expected a type such as f32"),
    "too few elements": (body("const %c : f32[3] = 1 2"), 3, 26, r"expected 3 elements \(there are 2\)"),
    "too many elements": (body("const %c : f32[1] = 1 2"), 3, 26, r"expected 1 elements \(there are 2\)"),
    "an absurd size": (body("const %c : f32[4294967295,4294967295] = 1"),
        3, 44, "18446744065119617025 elements"),
    "an absurd size by hash": (body("const %c : f32[99999999] = sha256:0123456789abcdef"),
        3, 30, "the data sha256:0123456789abcdef is missing"),
    "a size below zero": (body("const %c : f32[-1] = 1"), 3, 18, "expected a size of 0 or more"),
    "a size that is no integer": (body("input %z : f32[1.5]"), 3, 18, "an integer below 2"),
    "a constant of unknown size": (body("const %c : f32[N] = 1"), 3, 9, "has a dimension that is not known"),
    "a number of the wrong kind": (body("const %c : i32[1] = 0.5"), 3, 23, "expected an integer from"),
    "an element out of range": (body("const %c : q8a[2] scale=1.0 zp=0 = 1 256"),
        3, 40, "expected an integer from 0 to 255, found '256'"),
    "an unknown argument": (body("%y = RELU(inputs=%x) : f32[1]"),
        3, 13, "RELU has no argument inputs here; it has input"),
    "an unknown form": (body("%y = ADD.fast(input0=%x) : f32[1]"), 3, 8, "ADD has no form 'fast'; it has"),
    "an unknown operation by name": (body("%y = RELOO(input=%x) : f32[1]"),
        3, 8, "RELOO is not an operation nnapi_lab knows"),
    "a missing argument": (body("%y = CONCATENATION(inputs=[%x]) : f32[1]"),
        3, 8, "CONCATENATION lacks axis"),
    "an argument twice": (body("%y = RELU(input=%x, input=%x) : f32[1]"), 3, 23, "input is given twice"),
    "a list for one argument": (body("%y = RELU(input=[%x]) : f32[1]"), 3, 13, "one argument, not a list"),
    "one argument for a list": (body("%y = CONCATENATION(inputs=%x, axis=1) : f32[1]"),
        3, 22, r"a list in \[ \]"),
    "named and not": (body("%y = RELU(input=%x, 3) : f32[1]"), 3, 23, "either all named or all by position"),
    "an unknown code": (body("%y = ADD(input0=%x, input1=%x, fuse=RELU7) : f32[1]"),
        3, 39, "one of NONE, RELU, RELU1, RELU6"),
    "no type": (body("%y = RELU(input=%x)"),
        3, 22, "expected : and the type of the result, found the end of the line"),
    "a type too few": (body("%y, %z = SPLIT(%x, 0, 2) : f32[1]"), 3, 36, "expected , and the type of %z"),
    "declared twice": (body("input %x : f32[1]"), 3, 9, "%x is declared twice"),
    "a bracket left open": (body("%y = RELU(input=%x : f32[1]"), 3, 22, r"expected , or \)"),
    "two statements on a line": (body("output %x output %x"), 3, 13, "expected the end of the line"),
    "cut off": (body("output %x")[:-2], 3, 12, "found the end of the text"),
    "something after the model": (body("output %x") + "\nmodel n {\n}", 5, 1, "expected data or the end of the text"),
    "a strange character": (body("output %x;"), 3, 12, "found ';'"),
    "a quotation that is none": (body(r'output %"\q"'), 3, 10, "as JSON writes it"),
    "data that is no base 64": (body("output %x") + '\ndata sha256:0123456789abcdef = "?"', 5, 33, "not base 64"),
    "an integer of many digits": (body("output %x  ").replace("[1,4", "[" + "9" * 5000 + ",4"),
        2, 18, "an integer below"),
    "deeply nested models": ("model m {\n" + "const %m : model = model m {\n" * 100, 34, 20, "more than 32 deep"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_an_error_names_its_place(name: str) -> None:
    text, line, column, says = BAD[name]
    with pytest.raises(FormatError, match=says) as caught:
        parse(text, source="bad.nn")
    assert str(caught.value).startswith(f"bad.nn, line {line}, column {column}: ")


@given(st.data())
def test_damage_is_refused_or_read(data: st.DataObject) -> None:
    text = body(
        "const %c : f32[2] = 1.0 2.0", "%y = ADD(input0=%x, input1=%c, fuse=NONE) : f32[1,4,4,2]  #3", "output %y"
    )
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 10, len(text))))
    damaged = text[:start] + data.draw(st.text(max_size=5)) + text[end:]
    try:
        model = parse(damaged)
    except FormatError:
        return
    assert parse(show(model)) == model


def test_a_scalar_input_keeps_its_type() -> None:
    assert parse("model m {\n input %n : uint32\n}")["n"].type == scalar_type(OperandCode.UINT32)
