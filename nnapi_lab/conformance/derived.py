"""What the suite derives from stored cases: outputs of unknown size, signed twins of 8-bit cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from nnapi_lab.conformance.vectors import Case, Example
from nnapi_lab.ir.model import Model, Operand, replace_model
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant

_Q8, _Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
_NOT_UNKNOWN = frozenset({"RANK", "IF", "WHILE"})
_NOT_SIGNED = frozenset({"HASHTABLE_LOOKUP", "LSH_PROJECTION", "PAD_V2", "CAST", "QUANTIZED_16BIT_LSTM"})


def derived_cases(case: Case) -> Iterator[Case]:
    """The derived cases that apply to a case."""
    if case.expect != "values":
        return
    kinds = {operation.kind for operation in case.model.operations}
    if not kinds & _NOT_UNKNOWN:
        yield _renamed(replace(case, model=_with_open_outputs(case.model)), "unknown_output_shape")
    holds_q8 = any(operand.type.code == _Q8 for operand in case.model.operands.values())
    if len(case.model.operations) == 1 and holds_q8 and not kinds & _NOT_SIGNED:
        yield _renamed(_signed_twin(case), "signed_twin")


def _renamed(case: Case, family: str) -> Case:
    examples = tuple(Example(f"{example.name}@{family}", example.inputs, example.outputs) for example in case.examples)
    return replace(case, name=f"{case.name}@{family}", examples=examples)


def _with_operands(model: Model, change: Callable[[Operand], Operand]) -> Model:
    return replace_model(model, operands={name: change(operand) for name, operand in model.operands.items()})


def _with_open_outputs(model: Model) -> Model:
    """Every size of every output unknown; the rank stays."""

    def opened(operand: Operand) -> Operand:
        if operand.name not in model.outputs or operand.type.shape is None or operand.type.code.is_scalar:
            return operand
        shape = tuple(Dim(f"{operand.name}_{axis}") for axis in range(len(operand.type.shape)))
        return Operand(operand.name, operand.type.with_shape(shape))

    return _with_operands(model, opened)


def _signed_twin(case: Case) -> Case:
    """Every TENSOR_QUANT8_ASYMM operand as its SIGNED twin: codes and zero points 128 lower."""
    is_q8 = {name: operand.type.code == _Q8 for name, operand in case.model.operands.items()}

    def moved(arrays: tuple[np.ndarray | None, ...], names: tuple[str, ...]) -> tuple[np.ndarray | None, ...]:
        return tuple(
            lowered(array) if array is not None and is_q8[name] else array
            for array, name in zip(arrays, names, strict=True)
        )

    model = case.model
    examples = tuple(
        Example(example.name, moved(example.inputs, model.inputs), moved(example.outputs, model.outputs))
        for example in case.examples
    )
    level = None if case.feature_level is None else max(case.feature_level, 4)
    return replace(case, model=_with_operands(model, _signed), examples=examples, feature_level=level)


def _signed(operand: Operand) -> Operand:
    if isinstance(operand.value, Model):
        return Operand(operand.name, operand.type, _with_operands(operand.value, _signed))
    if operand.type.code != _Q8:
        return operand
    quant = Quant(operand.type.scale, operand.type.zero_point - 128)
    value = None if operand.value is None else lowered(operand.value)
    return Operand(operand.name, OperandType(_Q8S, operand.type.shape, quant), value)


def lowered(codes: np.ndarray) -> np.ndarray:
    """uint8 codes as int8 ones, 128 lower."""
    return (codes.astype(np.int16) - 128).astype(np.int8)
