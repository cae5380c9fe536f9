"""The NNAPI side: immutable operands, operations and models.

Operands are known by name; numbers exist only in encoders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, OperandType, float32_text, static_shape


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar parameter written where it is used: `stride_w=2`. NNAPI keeps it as an operand of its own."""

    code: OperandCode
    value: int | float | bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", OperandCode(self.code))
        # .item() so that 1, True and np.int32(1) compare and print alike
        object.__setattr__(self, "value", self.code.numpy.type(self.value).item())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scalar):
            return NotImplemented
        return self.code == other.code and self.array.tobytes() == other.array.tobytes()

    def __hash__(self) -> int:
        return hash((self.code, self.array.tobytes()))

    @property
    def array(self) -> np.ndarray:
        return np.array(self.value, dtype=self.code.numpy)

    def __str__(self) -> str:
        if self.code == OperandCode.BOOL:
            return "true" if self.value else "false"
        return float32_text(self.value) if self.code.is_float else str(self.value)


Arg = str | Scalar | None  # the name of an operand, a scalar in place, or an omitted optional input


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A named value: an input, a result, or a constant (`value` is a read-only array, or a Model for MODEL)."""

    name: str
    type: OperandType
    value: Any = None

    def __post_init__(self) -> None:
        if self.value is None or isinstance(self.value, Model):
            return
        array = np.ascontiguousarray(self.value, dtype=self.type.code.numpy)
        if self.type.is_static and array.shape != self.type.shape:
            array = array.reshape(static_shape(self.type))
        if array.flags.writeable:
            # A view, so that the caller's own array (perhaps torch's weight storage) stays writeable.
            array = array.view()
            array.flags.writeable = False
        object.__setattr__(self, "value", array)

    @property
    def is_constant(self) -> bool:
        return self.value is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Operand):
            return NotImplemented
        if self is other:
            return True
        return self.name == other.name and self.type == other.type and _same_value(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.name, self.type))


def _same_value(left: Any, right: Any) -> bool:
    """Equality to the bit, so that a NaN equals itself."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left is right or (
            left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
        )
    return bool(left == right)


@dataclass(frozen=True, slots=True)
class Operation:
    """One NNAPI operation: kind, arguments in NNAPI's order, result names, and the Step that made it.

    `name` is its first result: no two operations write the same operand.
    """

    kind: str
    inputs: tuple[Arg, ...]
    outputs: tuple[str, ...]
    step: int | None = None

    @property
    def name(self) -> str:
        return self.outputs[0] if self.outputs else self.kind

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the operands read, scalars in place left out."""
        return tuple(arg for arg in self.inputs if isinstance(arg, str))


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An NNAPI model: operands by name, operations in execution order, names of inputs and outputs.

    Immutable; what is *valid* is decided by `nnapi_lab.validate`, so that a damaged model can be held and shown.
    """

    name: str
    operands: Mapping[str, Operand]
    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    relaxed: bool = False
    _producers: Mapping[str, Operation] = field(init=False, repr=False, compare=False)
    _consumers: Mapping[str, tuple[Operation, ...]] = field(init=False, repr=False, compare=False)
    # What others computed from this model (the simulator's executables) and want to keep as long as it lives.
    derived: dict[Any, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "derived", {})
        object.__setattr__(self, "operands", MappingProxyType(dict(self.operands)))
        object.__setattr__(self, "operations", tuple(self.operations))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        producers: dict[str, Operation] = {}
        consumers: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for output in operation.outputs:
                producers.setdefault(output, operation)
            for read in dict.fromkeys(operation.reads):
                consumers.setdefault(read, []).append(operation)
        object.__setattr__(self, "_producers", MappingProxyType(producers))
        object.__setattr__(
            self, "_consumers", MappingProxyType({name: tuple(users) for name, users in consumers.items()})
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        return self is other or (
            (self.name, self.operations, self.inputs, self.outputs, self.relaxed)
            == (other.name, other.operations, other.inputs, other.outputs, other.relaxed)
            and dict(self.operands) == dict(other.operands)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.operations, self.inputs, self.outputs, self.relaxed))

    def __getitem__(self, name: str) -> Operand:
        return self.operands[name]

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def type_of(self, arg: Arg) -> OperandType | None:
        """The type of an argument of an operation; None for an omitted one."""
        if arg is None:
            return None
        return OperandType(arg.code, ()) if isinstance(arg, Scalar) else self.operands[arg].type

    def value_of(self, arg: Arg) -> Any:
        """The constant behind an argument, None when it is only known at execution."""
        if arg is None:
            return None
        return arg.array if isinstance(arg, Scalar) else self.operands[arg].value

    def producer(self, name: str) -> Operation | None:
        return self._producers.get(name)

    def consumers(self, name: str) -> tuple[Operation, ...]:
        return self._consumers.get(name, ())

    @property
    def constants(self) -> Iterable[Operand]:
        return (operand for operand in self.operands.values() if operand.is_constant)

    @property
    def scalar_count(self) -> int:
        """Distinct scalar parameters: the operands NNAPI needs besides the named ones."""
        return len({arg for op in self.operations for arg in op.inputs if isinstance(arg, Scalar)})

    @property
    def operand_count(self) -> int:
        """Operands as NNAPI counts them: named ones and distinct scalar parameters."""
        return len(self.operands) + self.scalar_count

    def renamed(self, name: str) -> Model:
        return replace_model(self, name=name)


def replace_model(model: Model, **changes: Any) -> Model:
    """A copy of `model` with some fields changed."""
    fields = {key: getattr(model, key) for key in ("name", "operands", "operations", "inputs", "outputs", "relaxed")}
    return Model(**{**fields, **changes})


def with_step(operation: Operation, step: int) -> Operation:
    return replace(operation, step=step)
