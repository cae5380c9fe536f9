"""Model → the words that PyTorch's own NNAPI loader reads. Operand numbers exist only here and in the decoder."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from nnapi_lab.encode.words import (
    HEADER_WORDS,
    IMMEDIATE,
    NUMBERED_BUFFER,
    OPERATION_WORDS,
    VALUE_WORDS,
    VERSION,
    EncodedModel,
    Names,
)
from nnapi_lab.errors import InvalidModel, LoweringError
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.model import Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, scalar_type
from nnapi_lab.ops.registry import OPS
from nnapi_lab.validate.structure import finding, require_structure

SOURCE = "PyTorch NNAPI format, version 1"
LARGEST_IMMEDIATE = 128  # bytes; NNAPI copies a value up to this size at once, so it need not outlive the call
_BEYOND = "export to .tflite or .cpp instead"


def encode(model: Model) -> EncodedModel:
    """The model in PyTorch's format, with the names that the format has no place for.

    Raises LoweringError with everything the format cannot say, InvalidModel for a model that is not a sound graph.
    """
    require_structure(model)
    unknown = [op for op in model.operations if op.kind not in OPS]
    if unknown:
        raise InvalidModel([finding("M12", f"%{op.name}", f"{op.kind} has no code") for op in unknown])
    refusals = unsayable(model)
    if refusals:
        raise LoweringError(list(refusals.values()))
    table = _Table(model)
    for name in model.inputs:
        table.number(name)
    operations = [table.operation(operation) for operation in model.operations]
    for name in model.operands:
        table.number(name)
    inputs, outputs = ([table.number(name) for name in names] for names in (model.inputs, model.outputs))
    return EncodedModel(_words(table, operations, inputs, outputs), tuple(table.weights), table.names())


# --- what cannot be said -------------------------------------------------------------------------------------


def unsayable(model: Model) -> dict[str, Refusal]:
    """Everything in the model that the format has no words for, by operand (an operation's by its first result)."""
    refusals = {}
    for name, operand in model.operands.items():
        found = _unsayable(operand)
        if found is not None:
            where = next((f"{op.kind} %{op.name}" for op in model.consumers(name)), f"%{name}")
            refusals[name] = _refusal(where, *found)
    for operation in model.operations:
        if None in operation.inputs:
            where = f"{operation.kind} %{operation.name}"
            message = f"{where} omits an argument; PyTorch's loader passes no operand without a value"
            refusals[operation.name] = _refusal(where, "OMITTED", message, f"give every argument, or {_BEYOND}")
    return refusals


def _refusal(where: str, rule: str, message: str, fix: str) -> Refusal:
    return Refusal("FORBIDDEN", f"TORCH_FORMAT.{rule}", where, message, fix, SOURCE)


def _unsayable(operand: Operand) -> tuple[str, str, str] | None:
    name, type = f"%{operand.name}", operand.type
    if isinstance(type.quant, PerChannel) or type.code == OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL:
        return (
            "PER_CHANNEL",
            f"{name} has a scale for each channel; PyTorch's NNAPI file has room for one scale per operand",
            f"{_BEYOND} (both carry per-channel scales), quantize the weights per tensor (the qnnpack qconfig), "
            "or leave this operation to the CPU",
        )
    if type.code == OperandCode.MODEL:
        return "SUBMODEL", f"{name} is a model; PyTorch's NNAPI file holds one flat model", _BEYOND
    if type.code.is_tensor and type.shape == ():
        return "RANK_0", f"{name} has rank 0, which there means that the rank is not known", "give it the shape [1]"
    if not operand.is_constant and type.shape is not None and 0 in type.shape:
        message = f"{name} {type} has a size of 0, which there means that the size is not known"
        return "ZERO_SIZE", message, "take sizes of 1 or more"
    return None


# --- numbering -----------------------------------------------------------------------------------------------


@dataclass
class _Table:
    """Operands in the order they are first met, with their values."""

    model: Model
    types: list[OperandType] = field(default_factory=list)
    values: list[tuple[int, int, bytes]] = field(default_factory=list)  # operand, source, bytes
    weights: list[np.ndarray] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    known: dict[str | Scalar, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The number of a named operand."""
        if name not in self.known:
            operand = self.model.operands[name]
            self.known[name] = self._add(operand.type, name)
            if operand.is_constant:
                self._constant(self.known[name], operand.value)
        return self.known[name]

    def operation(self, operation: Operation) -> tuple[Operation, list[int], list[int]]:
        """The operation with the numbers of its arguments and results."""
        inputs = [self._argument(arg) for arg in operation.inputs if arg is not None]  # an omitted one is unsayable
        return operation, inputs, [self.number(name) for name in operation.outputs]

    def _argument(self, arg: str | Scalar) -> int:
        if isinstance(arg, str):
            return self.number(arg)
        if arg not in self.known:
            self.known[arg] = self._add(scalar_type(arg.code), None)
            self.values.append((self.known[arg], IMMEDIATE, _bytes(arg.array)))
        return self.known[arg]

    def _add(self, type: OperandType, label: str | None) -> int:
        self.types.append(type)
        self.labels.append(label)
        return len(self.types) - 1

    def _constant(self, number: int, array: np.ndarray) -> None:
        if array.nbytes <= LARGEST_IMMEDIATE:
            self.values.append((number, IMMEDIATE, _bytes(array)))
        else:
            self._buffer(number, array)

    def _buffer(self, number: int, array: np.ndarray) -> None:
        self.weights.append(array)
        self.values.append((number, NUMBERED_BUFFER, struct.pack("<3I", len(self.weights) - 1, 0, array.nbytes)))

    def names(self) -> Names:
        operands = self.model.operands
        dims = {
            name: tuple(str(dim) for dim in operands[name].type.shape or ())
            for name in self.known
            if isinstance(name, str) and any(isinstance(dim, Dim) for dim in operands[name].type.shape or ())
        }
        steps = tuple(operation.step for operation in self.model.operations)
        return Names(self.model.name, tuple(self.labels), steps, dims)


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


# --- words ---------------------------------------------------------------------------------------------------


def _words(
    table: _Table, operations: list[tuple[Operation, list[int], list[int]]], inputs: list[int], outputs: list[int]
) -> np.ndarray:
    parts = [
        struct.pack(f"<{HEADER_WORDS}i", VERSION, len(table.types), len(table.values), len(operations), len(inputs),
                    len(outputs))
    ]  # fmt: skip
    for type in table.types:
        parts.append(struct.pack("<iIfi", type.code, type.rank or 0, type.scale, type.zero_point))
    for number, source, data in table.values:
        parts.append(struct.pack(f"<{VALUE_WORDS}I", number, source, len(data)))
    for operation, args, results in operations:
        parts.append(struct.pack(f"<{OPERATION_WORDS}I", OPS[operation.kind].code, len(args), len(results)))
    for type in table.types:
        sizes = [0 if isinstance(dim, Dim) else dim for dim in type.shape or ()]
        parts.append(struct.pack(f"<{len(sizes)}I", *sizes))
    for _, _, data in table.values:
        parts.append(data + bytes(-len(data) % 4))
    for _, args, results in operations:
        parts.append(struct.pack(f"<{len(args) + len(results)}I", *args, *results))
    parts.append(struct.pack(f"<{len(inputs) + len(outputs)}I", *inputs, *outputs))
    return np.frombuffer(b"".join(parts), np.dtype("<i4")).astype(np.int32)
