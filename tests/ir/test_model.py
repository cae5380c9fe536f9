"""Operands, operations and models: immutable, compared to the bit, with their links at hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnapi_lab.ir.model import Model, Operand, Operation, Scalar, replace_model
from nnapi_lab.ir.operand_types import OperandCode, OperandType

FLOAT = OperandType(OperandCode.TENSOR_FLOAT32, (2,))


def constant(values: list[float], name: str = "c") -> Operand:
    return Operand(name, FLOAT, np.array(values, np.float32))


def small() -> Model:
    operands = [Operand("x", FLOAT), constant([1, 2]), Operand("y", FLOAT), Operand("z", FLOAT)]
    none = Scalar(OperandCode.INT32, 0)
    operations = (Operation("ADD", ("x", "c", none), ("y",)), Operation("ADD", ("y", "x", none), ("z",)))
    return Model("m", {operand.name: operand for operand in operands}, operations, ("x",), ("z",))


def test_links() -> None:
    model = small()
    first, second = model.operations
    assert model.producer("y") is first
    assert model.producer("x") is None
    assert model.consumers("x") == (first, second)
    assert first.reads == ("x", "c")
    assert [operand.name for operand in model.constants] == ["c"]
    # FuseCode 0 is one operand, however often it is read.
    assert model.operand_count == 5


def test_values_of_arguments() -> None:
    model = small()
    assert model.value_of("x") is None
    assert model.value_of("c").tolist() == [1, 2]
    assert model.value_of(None) is None
    assert model.value_of(Scalar(OperandCode.INT32, 3)) == 3
    assert model.type_of(Scalar(OperandCode.BOOL, True)) == OperandType(OperandCode.BOOL, ())


def test_nothing_can_be_changed() -> None:
    model = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        model.operands["x"] = constant([0, 0])  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        model["c"].value[0] = 9


def test_the_callers_array_stays_his() -> None:
    mine = np.array([1, 2], np.float32)
    Operand("c", FLOAT, mine)
    mine[0] = 7
    assert mine[0] == 7


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ([1, 2], [1, 2], True),
        ([1, 2], [1, 3], False),
        ([np.nan, 0], [np.nan, 0], True),
        ([0.0, 0], [-0.0, 0], False),
    ],
)
def test_constants_are_compared_to_the_bit(left: list[float], right: list[float], equal: bool) -> None:
    assert (constant(left) == constant(right)) is equal


def test_scalars_are_what_nnapi_stores() -> None:
    assert Scalar(OperandCode.INT32, True) == Scalar(OperandCode.INT32, 1)
    assert Scalar(OperandCode.FLOAT32, 0.1).value == float(np.float32(0.1))
    assert Scalar(OperandCode.INT32, 1) != Scalar(OperandCode.FLOAT32, 1)
    assert Scalar(OperandCode.FLOAT32, np.nan) == Scalar(OperandCode.FLOAT32, np.nan)
    assert [str(Scalar(code, 1)) for code in (OperandCode.BOOL, OperandCode.INT32)] == ["true", "1"]


def test_models_are_compared_by_what_they_hold() -> None:
    assert small() == small()
    assert hash(small()) == hash(small())
    assert small() != replace_model(small(), relaxed=True)
    assert small() != replace_model(small(), operands={**small().operands, "c": constant([1, 3])})
    assert small().renamed("n").name == "n"
