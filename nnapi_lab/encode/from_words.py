"""The words of PyTorch's NNAPI format → Model. Nothing is taken on trust.

PyTorch's loader lets negative counts, wrapped sizes and wild operand numbers through to NNAPI; here every word is
held against what it may be, and an error names the word.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from nnapi_lab.encode.words import (
    COUNT_LIMIT,
    HEADER_WORDS,
    IMMEDIATE,
    NUMBERED_BUFFER,
    NUMBERED_MEMORY,
    OPERAND_WORDS,
    OPERATION_WORDS,
    REFERENCE_BYTES,
    VALUE_WORDS,
    VERSION,
    Names,
)
from nnapi_lab.errors import FormatError
from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, Shape
from nnapi_lab.ops.registry import BY_CODE
from nnapi_lab.validate.structure import require_structure

LARGEST_RANK = 32  # NNAPI's operations take at most 8


def decode(
    words: np.ndarray, weights: Sequence[np.ndarray], names: Names | None = None, *, relaxed: bool = False,
    source: str = "serialized model",
) -> Model:  # fmt: skip
    """The model behind PyTorch's words and weights.

    `words`: int32, one dimension; `weights`: buffers by number, of any type. Without `names` operands are called
    `in0`, `const7`, `t9` after their kind and number, and a size that is not known `t9_1` after its axis.
    Raises FormatError naming the word, InvalidModel for what is no sound graph.
    """
    model = _Decoder(words, weights, names, source).model(relaxed)
    require_structure(model)
    return model


@dataclass(frozen=True, slots=True)
class _Record:
    """One operand as it stands in the words."""

    code: OperandCode
    rank: int
    quant: Quant | None
    word: int


class _Decoder:
    def __init__(self, words: np.ndarray, weights: Sequence[np.ndarray], names: Names | None, source: str) -> None:
        self.source = source
        if words.dtype != np.int32 or words.ndim != 1:
            raise FormatError(f"{source}: {words.dtype}{list(words.shape)}; a row of int32 words was expected")
        self.signed = words.tolist()
        self.unsigned = np.ascontiguousarray(words).view(np.uint32).tolist()
        self.bytes = np.ascontiguousarray(words, "<i4").tobytes()
        self.weights = weights
        self.names = names
        self.at = 0

    def fail(self, word: int, message: str) -> NoReturn:
        raise FormatError(f"{self.source}, word {word}: {message}")

    def take(self, count: int, what: str) -> int:
        """Step over `count` words and return where they begin."""
        start = self.at
        if count > len(self.signed) - start:
            self.fail(start, f"{what} take {count} words, {len(self.signed) - start} are left")
        self.at = start + count
        return start

    # --- the whole -------------------------------------------------------------------------------------------

    def model(self, relaxed: bool) -> Model:
        counts = self._header()
        records = [self._record(start) for start in self._table(counts[0], OPERAND_WORDS, "operands")]
        values = self._table(counts[1], VALUE_WORDS, "values")
        operations = self._table(counts[2], OPERATION_WORDS, "operations")
        dims = [self.take(record.rank, f"the sizes of operand {i}") for i, record in enumerate(records)]
        held = self._values(values, records, dims)
        arguments = [self._arguments(start) for start in operations]
        inputs = self._numbers(self.take(counts[3], "model inputs"), counts[3], len(records), "a model input")
        outputs = self._numbers(self.take(counts[4], "model outputs"), counts[4], len(records), "a model output")
        if self.at != len(self.signed):
            self.fail(self.at, f"{len(self.signed) - self.at} words follow the model")
        uses = [self._use(start, place, len(records)) for start, place in zip(operations, arguments, strict=True)]
        self._check_names(len(records), len(uses))
        written = {number for _, _, results in uses for number in results}
        labels = self._labels(records, held, {*written, *inputs, *outputs}, inputs)
        operands = self._operands(records, dims, held, labels)
        return Model(
            self.names.model if self.names else "model",
            operands,
            tuple(self._operation(i, use, records, labels, held) for i, use in enumerate(uses)),
            tuple(str(labels[number]) for number in inputs),
            tuple(str(labels[number]) for number in outputs),
            relaxed,
        )

    def _header(self) -> list[int]:
        start = self.take(HEADER_WORDS, "the header")
        if self.signed[start] != VERSION:
            self.fail(start, f"the format version is {self.signed[start]}, version {VERSION} is read here")
        counts = self.signed[start + 1 : start + HEADER_WORDS]
        kinds = ("operands", "values", "operations", "inputs", "outputs")
        for index, (kind, count) in enumerate(zip(kinds, counts, strict=True)):
            if not 0 <= count < COUNT_LIMIT:
                self.fail(start + 1 + index, f"{count} {kind}; 0 to {COUNT_LIMIT - 1} are possible")
        return counts

    def _table(self, count: int, width: int, what: str) -> range:
        start = self.take(count * width, f"{count} {what}")
        return range(start, start + count * width, width)

    # --- operands and their values ---------------------------------------------------------------------------

    def _record(self, start: int) -> _Record:
        number, rank = self.signed[start], self.unsigned[start + 1]
        if number not in OperandCode.__members__.values():
            self.fail(start, f"{number} is no operand type")
        code = OperandCode(number)
        if code in (OperandCode.MODEL, OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL):
            self.fail(start, f"{code.name}: this format cannot hold what such an operand needs")
        if rank > LARGEST_RANK:
            self.fail(start + 1, f"rank {rank}; at most {LARGEST_RANK} is read here")
        if code.is_scalar and rank:
            self.fail(start + 1, f"the scalar {code.name} has rank {rank}")
        scale, zero_point = struct.unpack_from("<fi", self.bytes, 4 * (start + 2))
        if not math.isfinite(scale) or scale < 0:
            self.fail(start + 2, f"the scale is {scale}")
        plain = scale == 0 and zero_point == 0 and not code.is_quantized
        return _Record(code, rank, None if plain else Quant(scale, zero_point), start)

    def _values(self, starts: range, records: Sequence[_Record], dims: Sequence[int]) -> dict[int, Any]:
        """Array by operand number."""
        held: dict[int, np.ndarray] = {}
        for start in starts:
            number, source, length = self.signed[start], self.signed[start + 1], self.unsigned[start + 2]
            if not 0 <= number < len(records):
                self.fail(start, f"a value for operand {number} of {len(records)}")
            if number in held:
                self.fail(start, f"operand {number} has two values")
            place = self.take((length + 3) // 4, f"{length} bytes of operand {number}")
            data = memoryview(self.bytes)[4 * place : 4 * place + length]
            if source == NUMBERED_BUFFER:
                found = self._buffer(start, place, data)
            elif source == IMMEDIATE:
                found = data
            else:
                kind = "memory, which PyTorch never reads" if source == NUMBERED_MEMORY else f"{source}"
                self.fail(start + 1, f"the value of operand {number} is in {kind}; 0 and 2 are possible")
            held[number] = self._array(start, records[number], dims[number], found)
        return held

    def _buffer(self, start: int, place: int, data: memoryview) -> memoryview:
        if len(data) != REFERENCE_BYTES:
            self.fail(start + 2, f"a reference to a buffer takes {REFERENCE_BYTES} bytes, here are {len(data)}")
        number, offset, length = struct.unpack("<3I", data)
        if number >= len(self.weights):
            self.fail(place, f"buffer {number} of {len(self.weights)}")
        held = self.weights[number]
        if offset + length > held.nbytes:
            self.fail(place + 1, f"bytes {offset} to {offset + length} of buffer {number}, which has {held.nbytes}")
        plain: Any = np.ascontiguousarray(held).reshape(-1).view(np.uint8)
        return memoryview(plain)[offset : offset + length]

    def _array(self, start: int, record: _Record, dims: int, data: memoryview) -> np.ndarray:
        sizes = tuple(self.unsigned[dims : dims + record.rank])
        wanted = math.prod(sizes) * record.code.numpy.itemsize
        if record.code.is_tensor and not sizes:
            self.fail(record.word + 1, "a constant tensor of unknown rank")
        if len(data) != wanted:
            self.fail(start + 2, f"{record.code.name}{list(sizes)} takes {wanted} bytes, here are {len(data)}")
        kind = record.code.numpy
        if kind.kind == "b" and wanted and np.frombuffer(data, np.uint8).max() > 1:
            self.fail(start, "a truth value that is neither 0 nor 1")
        return np.frombuffer(data, kind.newbyteorder("<")).astype(kind).reshape(sizes)

    # --- operations ------------------------------------------------------------------------------------------

    def _arguments(self, start: int) -> int:
        count = self.unsigned[start + 1] + self.unsigned[start + 2]
        return self.take(count, f"the arguments and results of the operation at word {start}")

    def _use(self, start: int, place: int, operands: int) -> tuple[str, list[int], list[int]]:
        number, args, results = self.signed[start], self.unsigned[start + 1], self.unsigned[start + 2]
        spec = BY_CODE.get(number)
        if spec is None:
            self.fail(start, f"{number} is no operation nnapi_lab knows")
        return (
            spec.kind,
            self._numbers(place, args, operands, f"an argument of {spec.kind}"),
            self._numbers(place + args, results, operands, f"a result of {spec.kind}"),
        )

    def _numbers(self, start: int, count: int, operands: int, what: str) -> list[int]:
        numbers = self.signed[start : start + count]
        for index, number in enumerate(numbers):
            if not 0 <= number < operands:
                self.fail(start + index, f"{what} is operand {number} of {operands}")
        return numbers

    def _operation(
        self, index: int, use: tuple[str, list[int], list[int]], records: Sequence[_Record],
        labels: Sequence[str | None], held: dict[int, np.ndarray],
    ) -> Operation:  # fmt: skip
        kind, args, results = use
        inputs: list[Arg] = []
        for number in args:
            label = labels[number]
            if label is not None:
                inputs.append(label)
            else:
                inputs.append(Scalar(records[number].code, held[number].item()))
        step = self.names.steps[index] if self.names else None
        return Operation(kind, tuple(inputs), tuple(str(labels[number]) for number in results), step)

    # --- names -----------------------------------------------------------------------------------------------

    def _labels(
        self, records: Sequence[_Record], held: dict[int, np.ndarray], needed: set[int], inputs: Sequence[int]
    ) -> list[str | None]:
        """A name for every operand that stands on its own; None for scalars in place."""
        labels: list[str | None] = []
        for number, record in enumerate(records):
            given = self.names.operands[number] if self.names else None
            value = held.get(number)
            in_place = value is not None and record.code.is_scalar
            if given is None and in_place and number not in needed:
                labels.append(None)
            else:
                kind = "in" if number in inputs else "const" if value is not None else "t"
                labels.append(given or f"{kind}{number}")
        return labels

    def _check_names(self, operands: int, operations: int) -> None:
        names = self.names
        if names is None:
            return
        given = [name for name in names.operands if name is not None]
        if (len(names.operands), len(names.steps)) != (operands, operations) or len(set(given)) != len(given):
            raise FormatError(f"{self.source}: the names kept with the model do not belong to it")

    def _operands(
        self, records: Sequence[_Record], dims: Sequence[int], held: dict[int, np.ndarray], labels: Sequence[str | None]
    ) -> dict[str, Operand]:
        operands = {}
        for number, (record, start, label) in enumerate(zip(records, dims, labels, strict=True)):
            if label is None:
                continue
            value = held.get(number)
            shape = self._shape(record, start, label, value is not None)
            operands[label] = Operand(label, OperandType(record.code, shape, record.quant), value)
        if len(operands) != sum(label is not None for label in labels):
            raise FormatError(f"{self.source}: the names kept with the model do not belong to it")
        return operands

    def _shape(self, record: _Record, start: int, label: str, is_constant: bool) -> Shape | None:
        if record.code.is_tensor and record.rank == 0:
            return None
        sizes = self.unsigned[start : start + record.rank]
        if is_constant:
            return tuple(sizes)
        symbols = self.names.dims.get(label, ()) if self.names else ()
        if len(symbols) != len(sizes):
            symbols = tuple(f"{label}_{axis}@load" for axis in range(len(sizes)))
        return tuple(size or _dim(symbol) for size, symbol in zip(sizes, symbols, strict=True))


def _dim(text: str) -> Dim:
    symbol, _, known = text.rpartition("@")
    return Dim(symbol, "load") if known == "load" and symbol else Dim(text)
