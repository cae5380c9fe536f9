"""check: a failing model for every MODEL rule, findings of uses and results, levels with their reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import Builder
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.model import Model, Operand, Operation, Scalar, replace_model
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, scalar_type
from nnapi_lab.ops.densify import EXPERIMENTAL
from nnapi_lab.validate import api_level_of, check, level_text, require_valid
from nnapi_lab.validate.structure import DEEPEST, RULES

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32
Q8, Q8S, Q8C = (
    OperandCode.TENSOR_QUANT8_ASYMM,
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL,
)
INT32, MODEL = OperandCode.INT32, OperandCode.MODEL


def t(code: OperandCode, *shape: int | Dim, quant: Quant | PerChannel | None = None) -> OperandType:
    return OperandType(code, shape, quant)


def pool(input_type: OperandType, relaxed: bool = False, **changes: Any) -> Model:
    b = Builder("pool", relaxed=relaxed)
    x = b.input("x", input_type)
    window = {"padding": "VALID", "stride_w": 1, "stride_h": 1, "filter_w": 2, "filter_h": 2, "fuse": "NONE"}
    b.output(b.add("MAX_POOL_2D", name="y", input=x, **{**window, **changes}))
    return b.build()


IMAGE = t(F32, 1, 4, 4, 2)
GOOD = pool(IMAGE)
POOL = GOOD.operations[0]


def with_operands(model: Model = GOOD, **operands: Operand) -> Model:
    return replace_model(model, operands={**model.operands, **operands})


def retyped(type_: OperandType, value: Any = None) -> Model:
    """GOOD with an unused extra operand of a type, so that only the operand itself is at fault."""
    return with_operands(extra=Operand("extra", type_, value))


def damaged(operand: Operand, **fields: Any) -> Operand:
    """An operand as a reader of broken files might leave it: its own checks are passed by."""
    for name, value in fields.items():
        object.__setattr__(operand, name, value)
    return operand


def chain(*operations: tuple[str, str, str]) -> Model:
    """x → … of EXPAND_DIMS-free, one-input operations (kind, input, output) on f32[1,4,4,2]."""
    window = tuple(Scalar(INT32, v) for v in (1, 1, 1, 1, 1, 0))
    ops = tuple(Operation(kind, (source, *window), (result,)) for kind, source, result in operations)
    names = {"x", *(op.inputs[0] for op in ops), *(op.outputs[0] for op in ops)}
    return Model("chain", {name: Operand(name, IMAGE) for name in names}, ops, ("x",), (operations[-1][2],))


def nested(depth: int) -> Model:
    model = GOOD
    for _ in range(depth):
        model = with_operands(inner=Operand("inner", OperandType(MODEL, ()), model))
    return model


MP = "MAX_POOL_2D"

# Rule → a model that breaks it (and perhaps others that follow from it).
BROKEN: dict[str, dict[str, Callable[[], Model]]] = {
    "M1": {
        "an argument": lambda: replace_model(GOOD, operations=(Operation(MP, ("z",), ("y",)),)),
        "an output": lambda: replace_model(GOOD, outputs=("z",)),
        "filed under another name": lambda: with_operands(z=Operand("zz", IMAGE)),
    },
    "M2": {
        "read before it is written": lambda: chain((MP, "b", "c"), (MP, "x", "b")),
        "never written": lambda: chain((MP, "nobody", "y")),
    },
    "M3": {
        "written twice": lambda: chain((MP, "x", "a"), (MP, "x", "a")),
        "an input written": lambda: chain((MP, "x", "x")),
    },
    "M4": {"a cycle of two": lambda: chain((MP, "b", "a"), (MP, "a", "b"))},
    "M5": {
        "listed twice": lambda: replace_model(GOOD, inputs=("x", "x")),
        "a constant": lambda: with_operands(x=Operand("x", IMAGE, np.zeros((1, 4, 4, 2), np.float32))),
    },
    "M6": {
        "listed twice": lambda: replace_model(GOOD, outputs=("y", "y")),
        "an input": lambda: replace_model(GOOD, outputs=("y", "x")),
    },
    "M7": {
        "no operations": lambda: replace_model(GOOD, operations=(), outputs=()),
        "no results": lambda: replace_model(GOOD, operations=(POOL, Operation(MP, POOL.inputs, ()))),
    },
    "M8": {
        "an open constant": lambda: replace_model(
            GOOD,
            operands={**GOOD.operands, "c": damaged(Operand("c", t(F32, Dim("n"))), value=np.zeros(3, np.float32))},
        ),
        "a wrong size": lambda: with_operands(c=damaged(Operand("c", t(F32, 2)), value=np.zeros(3, np.float32))),
        "a wrong storage": lambda: with_operands(c=damaged(Operand("c", t(F32, 2)), value=np.zeros(2, np.float64))),
        "a MODEL without a model": lambda: retyped(OperandType(MODEL, ())),
        "a tensor that holds a model": lambda: retyped(t(F32, 1), GOOD),
    },
    "M9": {
        "a scalar with dims": lambda: retyped(OperandType(INT32, (1,))),
        "a scalar with a scale": lambda: retyped(OperandType(INT32, (), Quant(0.5))),
        "codes without a scale": lambda: retyped(t(Q8, 2)),
        "a scale of zero": lambda: retyped(t(Q8, 2, quant=Quant(0.0, 3))),
        "a scale that is not finite": lambda: retyped(t(Q8, 2, quant=Quant(float("inf"), 3))),
        "a negative zero point of unsigned codes": lambda: retyped(t(Q8, 2, quant=Quant(0.5, -1))),
        "a zero point beyond signed codes": lambda: retyped(t(Q8S, 2, quant=Quant(0.5, 128))),
        "a symmetric type with a zero point": lambda: retyped(
            t(OperandCode.TENSOR_QUANT16_SYMM, 2, quant=Quant(0.5, 1))
        ),
        "an int32 zero point": lambda: retyped(t(I32, 2, quant=Quant(0.5, 1))),
        "a negative bias scale": lambda: retyped(t(I32, 2, quant=Quant(-0.5))),
        "reals with a scale": lambda: retyped(t(F32, 2, quant=Quant(0.5))),
        "per-channel scales on plain codes": lambda: retyped(t(Q8, 2, quant=PerChannel((0.5, 0.5), 0))),
        "per-channel codes without scales": lambda: retyped(t(Q8C, 2)),
        "too few channel scales": lambda: retyped(t(Q8C, 2, quant=PerChannel((0.5,), 0))),
        "a channel axis outside": lambda: retyped(t(Q8C, 2, quant=PerChannel((0.5, 0.5), 1))),
        "a channel scale of zero": lambda: retyped(t(Q8C, 2, quant=PerChannel((0.5, 0.0), 0))),
        "an open channel axis": lambda: retyped(t(Q8C, Dim("n"), quant=PerChannel((0.5,), 0))),
    },
    "M10": {"four gigabytes": lambda: retyped(t(F32, 2**15, 2**15))},
    "M11": {"unused": lambda: retyped(t(F32, 2))},
    "M12": {"unknown": lambda: replace_model(GOOD, operations=(Operation("FROB", ("x",), ("y",)),))},
    "M13": {"too deep": lambda: nested(DEEPEST + 1)},
}
ROWS = [(rule, name) for rule, rows in BROKEN.items() for name in rows]


@pytest.mark.parametrize(("rule", "name"), ROWS)
def test_a_broken_model_rule_is_found(rule: str, name: str) -> None:
    report = check(BROKEN[rule][name]())
    found = [finding for finding in report.findings if finding.rule == f"MODEL.{rule}"]
    assert found, [str(finding) for finding in report.findings]
    assert found[0].because == RULES[rule]
    assert report.is_valid == (rule == "M11")  # an unused operand is only worth a warning


def test_every_model_rule_has_a_failing_case() -> None:
    assert set(BROKEN) == set(RULES)


TYPES_ALONE = list(BROKEN["M9"])


@pytest.mark.parametrize("name", TYPES_ALONE)
def test_a_wrong_type_is_the_only_error(name: str) -> None:
    assert {finding.rule for finding in check(BROKEN["M9"][name]()).errors} <= {"MODEL.M9", "MODEL.M8"}


def test_a_good_model_has_no_findings() -> None:
    report = require_valid(GOOD)
    assert report.findings == ()
    assert str(report).splitlines()[0] == "model pool: valid"


def test_all_broken_rules_are_told_at_once() -> None:
    window = tuple(Scalar(INT32, v) for v in (0, -1, 0, 0, 1, 1, 2, 2, 0))
    two = Model(
        "two", {**GOOD.operands, "z": Operand("z", t(F32, 1, 9, 9, 2))},
        (Operation(MP, ("x", *window), ("y",)), Operation("FROB", ("x",), ("z",))), ("x",), ("y", "z"),
    )  # fmt: skip
    with pytest.raises(InvalidModel) as caught:
        require_valid(two)
    assert [finding.rule for finding in caught.value.findings] == ["MAX_POOL_2D.C1", "MODEL.M12"]
    assert check(two).feature_level is None


def test_an_operation_that_fits_no_form_is_a_finding() -> None:
    report = check(replace_model(GOOD, operations=(Operation(MP, ("x",), ("y",)),)))
    assert [finding.rule for finding in report.errors] == ["MAX_POOL_2D.FORM"]


# --- results -------------------------------------------------------------------------------------------

Q = Quant(0.5, 10)


def declared(model: Model, **types: OperandType) -> Model:
    return with_operands(model, **{name: Operand(name, type_) for name, type_ in types.items()})


def quantized_chain() -> Model:
    return declared(chain((MP, "x", "a"), (MP, "a", "y")), **dict.fromkeys(("x", "a", "y"), IMAGE_Q))


IMAGE_Q = t(Q8, 1, 4, 4, 2, quant=Q)
RESULTS = {
    "another size": (lambda: declared(GOOD, y=t(F32, 1, 3, 4, 2)), "error"),
    "another rank": (lambda: declared(GOOD, y=t(F32, 1, 3, 6)), "error"),
    "another type": (lambda: declared(GOOD, y=t(F16, 1, 3, 3, 2)), "error"),
    "another scale of an output": (
        lambda: declared(quantized_chain(), y=IMAGE_Q.with_quant(Quant(0.25, 10))), "error"),
    "another scale of a temporary": (
        lambda: declared(quantized_chain(), a=IMAGE_Q.with_quant(Quant(0.25, 10))), "warning"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_declared_otherwise_than_computed_is_found(name: str) -> None:
    model, severity = RESULTS[name]
    found = [finding for finding in check(model()).findings if finding.rule == "MAX_POOL_2D.RESULT"]
    assert [finding.severity for finding in found][:1] == [severity]


def test_an_open_result_agrees_with_anything() -> None:
    assert check(declared(GOOD, y=t(F32, 1, Dim("h"), Dim("w"), 2))).findings == ()
    assert check(declared(GOOD, y=OperandType(F32, None))).findings == ()


def test_findings_inside_a_model_say_where_they_are() -> None:
    flag = t(OperandCode.TENSOR_BOOL8, 1)
    inner = replace_model(GOOD, operations=(Operation("FROB", ("x",), ("y",)),))
    operands = {
        "c": Operand("c", flag), "x": GOOD["x"], "y": GOOD["y"],
        "then": Operand("then", OperandType(MODEL, ()), GOOD), "else": Operand("else", OperandType(MODEL, ()), inner),
    }  # fmt: skip
    model = Model("if", operands, (Operation("IF", ("c", "then", "else", "x"), ("y",)),), ("c", "x"), ("y",))
    (finding,) = check(model).errors
    assert (finding.rule, finding.where) == ("MODEL.M12", "%else/%y")


# --- levels --------------------------------------------------------------------------------------------


def explicit(nchw: bool | None) -> Model:
    b = Builder("explicit")
    x = b.input("x", IMAGE)
    pads = {f"pad_{side}": 0 for side in ("left", "right", "top", "bottom")}
    window = {"stride_w": 1, "stride_h": 1, "filter_w": 2, "filter_h": 2, "fuse": 0}
    layout = {} if nchw is None else {"nchw": nchw}
    b.output(b.add(MP, name="y", input=x, **pads, **window, **layout))
    return b.build()


LEVELS = {
    "float32": (lambda: GOOD, 1, "nothing in it needs more than the first level"),
    "uint8 codes": (lambda: pool(IMAGE_Q), 1, "nothing in it needs more"),
    "relaxed": (lambda: pool(IMAGE, relaxed=True), 2, "relaxed"),
    "float16": (lambda: pool(t(F16, 1, 4, 4, 2)), 3, "TENSOR_FLOAT16"),
    "signed codes": (lambda: pool(t(Q8S, 1, 4, 4, 2, quant=Q)), 4, "TENSOR_QUANT8_ASYMM_SIGNED"),
    "nchw": (lambda: explicit(True), 3, "nchw"),
    "nhwc written out is dropped by the runtime": (lambda: explicit(False), 1, "nothing in it needs more"),
    "an open output": (lambda: declared(GOOD, y=t(F32, 1, 3, Dim("w"), 2)), 3, "output %y is left open: [1,3,w,2]"),
    "an open rank": (lambda: declared(GOOD, y=OperandType(F32, None)), 3, "rank"),
    "no elements": (lambda: pool(t(F32, 0, 4, 4, 2)), 3, "without elements"),
}


@pytest.mark.parametrize("name", LEVELS)
def test_the_level_and_its_reason(name: str) -> None:
    model, level, reason = LEVELS[name]
    report = check(model())
    assert report.feature_level == level
    assert reason in "; ".join(report.because)


def test_each_operation_has_its_own_level() -> None:
    (row,) = check(explicit(True)).levels
    assert (row.operation, row.kind, row.level) == ("y", MP, 3)


def test_the_level_of_a_model_inside_counts() -> None:
    half = pool(t(F16, 1, 4, 4, 2))
    b = with_operands(inner=Operand("inner", OperandType(MODEL, ()), half))
    assert check(b).feature_level == 4  # MODEL itself
    assert check(b).because == ("operand type MODEL",)


API = {1: 27, 2: 28, 3: 29, 4: 30, 5: 31, 6: 1000006, 7: 1000007, 8: 1000008}


@pytest.mark.parametrize("level", API)
def test_feature_levels_and_their_codes(level: int) -> None:
    """Android 12L, 13 and 14 (API 32 to 34) brought no feature level of their own."""
    assert api_level_of(level) == API[level]
    assert str(API[level]) in level_text(level)


def test_an_experimental_operation_has_no_level_of_its_own() -> None:
    b = Builder("relu")
    x = b.input("x", t(F32, 2))
    b.output(b.add("RELU", name="y", input=x))
    report = dataclasses.replace(check(b.build()), feature_level=EXPERIMENTAL)
    assert report.api_level is None
    assert "needs no feature level (experimental) because" in str(report)


@pytest.mark.parametrize("level", [0, 9, -1])
def test_a_level_there_is_not(level: int) -> None:
    with pytest.raises(ValueError, match="no NNAPI feature level"):
        api_level_of(level)


def test_scalar_inputs_are_fine() -> None:
    b = Builder("scalar")
    x, axis = b.input("x", t(F32, 2)), b.input("axis", scalar_type(INT32))
    b.output(b.add("EXPAND_DIMS", name="y", input=x, axis=axis))
    assert check(b.build()).findings == ()
