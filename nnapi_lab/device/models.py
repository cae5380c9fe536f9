"""A model as it comes in, call by call, and the Model it becomes when it is finished.

Source of the rules: `NeuralNetworks.h`; result codes as AOSP 13 `ModelBuilder.cpp` gives them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.device import raw
from nnapi_lab.device.codes import DeviceError, bad_data, bad_state
from nnapi_lab.device.memories import Memory
from nnapi_lab.device.virtual import level_findings
from nnapi_lab.encode.words import Names
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, Shape
from nnapi_lab.ops.registry import BY_CODE
from nnapi_lab.validate import require_valid


class _Omitted:
    """The value of an optional operand that is left out."""


OMITTED = _Omitted()


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Bytes of the caller's that are copied when the model is finished."""

    address: int
    length: int


@dataclass
class Declared:
    """One operand: its type as given (0: a size that is not known) and, once set, its value."""

    code: OperandCode
    dims: tuple[int, ...]
    quant: Quant | PerChannel | None
    value: Any = None  # bytes as uint8, Borrowed, OMITTED, or a Model

    @property
    def byte_size(self) -> int:
        """Bytes of a value; 0 while a size is not known."""
        if self.code.is_tensor and not self.dims:
            return 0
        return math.prod(self.dims) * self.code.numpy.itemsize


@dataclass(frozen=True, slots=True)
class Use:
    """One operation: its kind, and its arguments and results by number."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class ModelDraft:
    """Grows by the calls of the C interface; `finish` turns it into a valid Model, or says what is wrong.

    PyTorch's loader looks at no result code before `finish`, so the first mistake is kept and told there.
    """

    def __init__(self) -> None:
        self.operands: list[Declared] = []
        self.uses: list[Use] = []
        self.inputs: tuple[int, ...] = ()
        self.outputs: tuple[int, ...] = ()
        self.identified = False
        self.relaxed = False
        self.finished: Model | None = None
        self.mistake: Exception | None = None
        self.order: tuple[int, ...] = ()  # of the finished model's operations, by the number they were added as

    @property
    def model(self) -> Model:
        """The finished model. Raises DeviceError (BAD_STATE) before."""
        if self.finished is None:
            raise bad_state("the model is not finished")
        return self.finished

    @contextmanager
    def noting(self) -> Iterator[ModelDraft]:
        """The draft itself; the first mistake made with it is what `finish` will tell."""
        try:
            yield self
        except DeviceError as mistake:
            if self.finished is None and self.mistake is None:
                self.mistake = mistake
            raise

    # --- calls -----------------------------------------------------------------------------------------------

    def add_operand(self, type_address: int | None) -> None:
        self._must_be_open()
        record = raw.OperandRecord.from_address(raw.given(type_address, "the operand type"))
        if record.type not in OperandCode.__members__.values():
            raise bad_data(f"operand {len(self.operands)} is of type {record.type}, which there is not")
        code = OperandCode(record.type)
        if code.is_scalar and record.rank:
            raise bad_data(f"operand {len(self.operands)} is a scalar {code.name} of rank {record.rank}")
        dims = tuple(raw.numbers(record.dims, record.rank, "dimensions", raw.LARGEST_RANK))
        self.operands.append(Declared(code, dims, raw.quant_of(code, record.scale, record.zero_point)))

    def set_value(self, number: int, address: int | None, length: int) -> None:
        """Copy a small value now, a larger one when the model is finished. NULL and 0: the operand is omitted."""
        operand = self._settable(number)
        if not address:
            if length:
                raise bad_data(f"operand {number} is given {length} bytes at NULL")
            operand.value = OMITTED
            return
        self._check_length(number, operand, length)
        operand.value = raw.read(address, length) if length <= raw.AT_ONCE else Borrowed(address, length)

    def set_value_from_memory(self, number: int, memory: Memory, offset: int, length: int) -> None:
        operand = self._settable(number)
        self._check_length(number, operand, length)
        operand.value = memory.part(offset, length).copy()

    def set_value_from_model(self, number: int, source: ModelDraft) -> None:
        operand = self._settable(number)
        if operand.code != OperandCode.MODEL:
            raise bad_data(f"operand {number} is a {operand.code.name}, a model is given")
        operand.value = source.model

    def set_channels(self, number: int, address: int | None) -> None:
        self._must_be_open()
        operand = self._operand(number)
        if operand.code != OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL:
            raise bad_data(f"operand {number} is a {operand.code.name}, which has no scale for each channel")
        operand.quant = raw.channels(address)

    def add_operation(self, code: int, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self._must_be_open()
        spec = BY_CODE.get(code)
        if spec is None:
            raise bad_data(f"{code} is no operation nnapi_lab knows")
        for number in (*inputs, *outputs):
            self._operand(number)
        self.uses.append(Use(spec.kind, tuple(inputs), tuple(outputs)))

    def identify(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self._must_be_open()
        for number in (*inputs, *outputs):
            self._operand(number)
        self.inputs, self.outputs, self.identified = tuple(inputs), tuple(outputs), True

    def relax(self, allow: bool) -> None:
        self._must_be_open()
        self.relaxed = allow

    def finish(self, feature_level: int, names: Names | None = None) -> None:
        """Copy what is still the caller's, build the model and hold it against the standard.

        Raises the first mistake of the calls before, DeviceError, or InvalidModel with the findings.
        """
        if self.finished is not None or self.mistake is not None:
            if self.mistake is not None:
                raise self.mistake
            raise bad_state("the model is finished already")
        try:
            if not self.identified:
                raise bad_data("inputs and outputs were not identified")
            for number, operand in enumerate(self.operands):
                if isinstance(operand.value, Borrowed):
                    operand.value = raw.read(operand.value.address, operand.value.length)
                operand.value = _array(number, operand)
            model = _Naming(self, names).model()
            too_new = level_findings(require_valid(model), feature_level)
            if too_new:
                raise InvalidModel(too_new)
        except (DeviceError, InvalidModel) as error:
            self.mistake = error
            raise
        self.finished = model

    # --- checks ----------------------------------------------------------------------------------------------

    def _must_be_open(self) -> None:
        if self.finished is not None:
            raise bad_data("the model is finished; nothing can be added to it")

    def _operand(self, number: int) -> Declared:
        if not 0 <= number < len(self.operands):
            raise bad_data(f"there is no operand {number}, the model has {len(self.operands)}")
        return self.operands[number]

    def _settable(self, number: int) -> Declared:
        self._must_be_open()
        operand = self._operand(number)
        if operand.value is not None:
            raise bad_data(f"operand {number} has a value already")
        return operand

    def _check_length(self, number: int, operand: Declared, length: int) -> None:
        if operand.code == OperandCode.MODEL:
            raise bad_data(f"operand {number} is a MODEL; its value is set by setOperandValueFromModel")
        size = operand.byte_size
        if not size:
            raise bad_data(f"operand {number} has a value although a size in {list(operand.dims)} is not known")
        if length != size:
            raise bad_data(f"operand {number} {operand.code.name}{list(operand.dims)} takes {size} bytes, not {length}")


def _array(number: int, operand: Declared) -> Any:
    """The value as an array of the operand's type."""
    if not isinstance(operand.value, np.ndarray):
        return operand.value
    dtype = operand.code.numpy
    if dtype.kind == "b" and operand.value.size and operand.value.max() > 1:
        raise bad_data(f"operand {number} holds a truth value that is neither 0 nor 1")
    return operand.value.view(dtype).reshape(operand.dims)


class _Naming:
    """Operands get names, scalar constants are written in place, omitted operands disappear."""

    def __init__(self, draft: ModelDraft, names: Names | None) -> None:
        self.draft = draft
        fits = names is not None and (len(names.operands), len(names.steps)) == (len(draft.operands), len(draft.uses))
        self.given = names if fits else None
        written = {number for use in draft.uses for number in use.outputs}
        self.needed = written.union(draft.inputs, draft.outputs)
        self.labels = [self._label(number) for number in range(len(draft.operands))]
        if len(set(self.labels)) != len(self.labels):  # given names that collide with those made here
            self.given = None
            self.labels = [self._label(number) for number in range(len(draft.operands))]

    def _label(self, number: int) -> str:
        given = self.given.operands[number] if self.given is not None else None
        if given:
            return given
        if number in self.draft.inputs:
            return f"in{number}"
        return f"t{number}" if self.draft.operands[number].value is None else f"const{number}"

    def model(self) -> Model:
        draft = self.draft
        operands = {}
        for number, label in enumerate(self.labels):
            if not self._in_place(number) and draft.operands[number].value is not OMITTED:
                operands[label] = self._operand(number, label)
        order = _in_order(draft)
        draft.order = tuple(order)
        return Model(
            self.given.model if self.given is not None else "model",
            operands,
            tuple(self._operation(number) for number in order),
            tuple(self.labels[number] for number in draft.inputs),
            tuple(self.labels[number] for number in draft.outputs),
            draft.relaxed,
        )

    def _in_place(self, number: int) -> bool:
        operand = self.draft.operands[number]
        return operand.code.is_scalar and isinstance(operand.value, np.ndarray) and number not in self.needed

    def _operand(self, number: int, label: str) -> Operand:
        held = self.draft.operands[number]
        return Operand(label, OperandType(held.code, self._shape(held, label), held.quant), held.value)

    def _shape(self, held: Declared, label: str) -> Shape | None:
        if held.code.is_tensor and not held.dims:
            return None
        return tuple(size or Dim(f"{label}_{axis}") for axis, size in enumerate(held.dims))

    def _operation(self, number: int) -> Operation:
        use = self.draft.uses[number]
        step = self.given.steps[number] if self.given is not None else None
        return Operation(use.kind, tuple(map(self._arg, use.inputs)), tuple(self.labels[n] for n in use.outputs), step)

    def _arg(self, number: int) -> Arg:
        operand = self.draft.operands[number]
        if operand.value is OMITTED:
            return None
        return Scalar(operand.code, operand.value.item()) if self._in_place(number) else self.labels[number]


def _in_order(draft: ModelDraft) -> list[int]:
    """The operations in an order in which each reads only what is written before.

    NNAPI lets them be added in any order. What stands in order already stays as it is, and so does what lies in a
    cycle or behind one, at the end.
    """
    writer = {number: position for position, use in enumerate(draft.uses) for number in use.outputs}
    waits = [len({writer[number] for number in use.inputs if number in writer}) for use in draft.uses]
    readers: dict[int, set[int]] = {}
    for position, use in enumerate(draft.uses):
        for number in use.inputs:
            if number in writer:
                readers.setdefault(writer[number], set()).add(position)
    ready = [position for position, count in enumerate(waits) if count == 0]
    order: list[int] = []
    while ready:
        done = heapq.heappop(ready)
        order.append(done)
        for position in readers.get(done, ()):
            waits[position] -= 1
            if waits[position] == 0:
                heapq.heappush(ready, position)
    return order + sorted(set(range(len(draft.uses))) - set(order))
