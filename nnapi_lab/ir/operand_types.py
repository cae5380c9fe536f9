"""Types of NNAPI operands: element code, shape and quantization.

Codes, storage and levels are those of the Android 13 header `NeuralNetworksTypes.h` (OperandCode).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np


class OperandCode(IntEnum):
    """Element type of an operand; the integer is NNAPI's own code."""

    FLOAT32 = 0
    INT32 = 1
    UINT32 = 2
    TENSOR_FLOAT32 = 3
    TENSOR_INT32 = 4
    TENSOR_QUANT8_ASYMM = 5
    BOOL = 6
    TENSOR_QUANT16_SYMM = 7
    TENSOR_FLOAT16 = 8
    TENSOR_BOOL8 = 9
    FLOAT16 = 10
    TENSOR_QUANT8_SYMM_PER_CHANNEL = 11
    TENSOR_QUANT16_ASYMM = 12
    TENSOR_QUANT8_SYMM = 13
    TENSOR_QUANT8_ASYMM_SIGNED = 14
    MODEL = 15

    @property
    def short(self) -> str:
        """The name used in the text form: `q8a` for TENSOR_QUANT8_ASYMM, `float32` for the scalar FLOAT32."""
        return _SHORT[self]

    @property
    def numpy(self) -> np.dtype:
        """How an element is stored in a NumPy array; MODEL has no storage and raises KeyError."""
        return _NUMPY[self]

    @property
    def is_scalar(self) -> bool:
        return self in _SCALARS

    @property
    def is_tensor(self) -> bool:
        return self not in _SCALARS

    @property
    def is_float(self) -> bool:
        return self in (
            OperandCode.TENSOR_FLOAT32,
            OperandCode.TENSOR_FLOAT16,
            OperandCode.FLOAT32,
            OperandCode.FLOAT16,
        )

    @property
    def is_quantized(self) -> bool:
        return self.name.startswith("TENSOR_QUANT")

    @property
    def since(self) -> int:
        """Feature level that introduced the type."""
        return _SINCE[self]

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest stored integer of a quantized or integer type."""
        info = np.iinfo(self.numpy)
        return int(info.min), int(info.max)

    @staticmethod
    def from_short(name: str) -> OperandCode:
        """Raises KeyError with the unknown name."""
        return _BY_SHORT[name]


_SCALARS = frozenset(
    {OperandCode.FLOAT32, OperandCode.INT32, OperandCode.UINT32, OperandCode.BOOL, OperandCode.FLOAT16,
     OperandCode.MODEL}
)  # fmt: skip

_SHORT = {
    OperandCode.FLOAT32: "float32",
    OperandCode.INT32: "int32",
    OperandCode.UINT32: "uint32",
    OperandCode.TENSOR_FLOAT32: "f32",
    OperandCode.TENSOR_INT32: "i32",
    OperandCode.TENSOR_QUANT8_ASYMM: "q8a",
    OperandCode.BOOL: "bool",
    OperandCode.TENSOR_QUANT16_SYMM: "q16s",
    OperandCode.TENSOR_FLOAT16: "f16",
    OperandCode.TENSOR_BOOL8: "b8",
    OperandCode.FLOAT16: "float16",
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL: "q8c",
    OperandCode.TENSOR_QUANT16_ASYMM: "q16a",
    OperandCode.TENSOR_QUANT8_SYMM: "q8s",
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: "q8i",
    OperandCode.MODEL: "model",
}
_BY_SHORT = {short: code for code, short in _SHORT.items()}

_NUMPY: dict[OperandCode, np.dtype] = {
    OperandCode.FLOAT32: np.dtype(np.float32),
    OperandCode.INT32: np.dtype(np.int32),
    OperandCode.UINT32: np.dtype(np.uint32),
    OperandCode.TENSOR_FLOAT32: np.dtype(np.float32),
    OperandCode.TENSOR_INT32: np.dtype(np.int32),
    OperandCode.TENSOR_QUANT8_ASYMM: np.dtype(np.uint8),
    OperandCode.BOOL: np.dtype(np.bool_),
    OperandCode.TENSOR_QUANT16_SYMM: np.dtype(np.int16),
    OperandCode.TENSOR_FLOAT16: np.dtype(np.float16),
    OperandCode.TENSOR_BOOL8: np.dtype(np.bool_),
    OperandCode.FLOAT16: np.dtype(np.float16),
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL: np.dtype(np.int8),
    OperandCode.TENSOR_QUANT16_ASYMM: np.dtype(np.uint16),
    OperandCode.TENSOR_QUANT8_SYMM: np.dtype(np.int8),
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: np.dtype(np.int8),
}

_SINCE = {code: 1 if code <= 5 else 4 if code >= 14 else 3 for code in OperandCode}


@dataclass(frozen=True, slots=True)
class Dim:
    """A size not known when the model is built.

    `known="load"`: PyTorch's loader fills it in before the model reaches NNAPI; `known="run"`: NNAPI itself
    learns it at execution. A known size is a plain int; a real zero-sized dimension is the int 0.
    """

    symbol: str
    known: Literal["load", "run"] = "run"

    def __str__(self) -> str:
        return self.symbol if self.known == "run" else f"{self.symbol}@load"


Shape = tuple[int | Dim, ...]


def _as_float32(value: float) -> float:
    return float(np.float32(value))


@dataclass(frozen=True, slots=True)
class Quant:
    """Per-tensor quantization: real value = scale * (code - zero_point). The scale is a float32 value."""

    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _as_float32(self.scale))
        object.__setattr__(self, "zero_point", int(self.zero_point))

    def __str__(self) -> str:
        return f"scale={float32_text(self.scale)} zp={self.zero_point}"


@dataclass(frozen=True, slots=True)
class PerChannel:
    """Symmetric per-channel quantization: real value = scales[index along axis] * code; zero points are 0."""

    scales: tuple[float, ...]
    axis: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(_as_float32(scale) for scale in self.scales))
        object.__setattr__(self, "axis", int(self.axis))

    def __str__(self) -> str:
        low, high = min(self.scales, default=0.0), max(self.scales, default=0.0)
        return f"{len(self.scales)} scales {low:.3g}…{high:.3g} along axis {self.axis}"


def float32_text(value: float) -> str:
    """The shortest decimal that reads back as the same float32."""
    single = np.float32(value)
    if math.isnan(single):
        return "nan"
    if math.isinf(single):
        return "inf" if single > 0 else "-inf"
    text = np.format_float_positional(single, unique=True, trim="0")
    return text if len(text) <= 12 else np.format_float_scientific(single, unique=True, trim="0")


@dataclass(frozen=True, slots=True)
class OperandType:
    """What an operand holds: element code, shape (None: rank unknown; scalars: ()) and quantization."""

    code: OperandCode
    shape: Shape | None = ()
    quant: Quant | PerChannel | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", OperandCode(self.code))
        if self.shape is not None:
            shape = tuple(dim if isinstance(dim, Dim) else int(dim) for dim in self.shape)
            if any(not isinstance(dim, Dim) and dim < 0 for dim in shape):
                raise ValueError(f"a dimension is negative in {shape}; an unknown size is a Dim, never -1")
            object.__setattr__(self, "shape", shape)

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        """True when rank and every dimension are known numbers."""
        return self.shape is not None and not any(isinstance(dim, Dim) for dim in self.shape)

    @property
    def element_count(self) -> int | None:
        """Number of elements, None while a dimension is unknown."""
        return math.prod(self.shape) if self.is_static else None  # type: ignore[arg-type]

    @property
    def byte_size(self) -> int | None:
        count = self.element_count
        return None if count is None else count * self.code.numpy.itemsize

    @property
    def scale(self) -> float:
        """The per-tensor scale, 0.0 where there is none (as NNAPI stores it)."""
        return self.quant.scale if isinstance(self.quant, Quant) else 0.0

    @property
    def zero_point(self) -> int:
        return self.quant.zero_point if isinstance(self.quant, Quant) else 0

    def with_shape(self, shape: Shape | None) -> OperandType:
        return OperandType(self.code, shape, self.quant)

    def with_quant(self, quant: Quant | PerChannel | None) -> OperandType:
        return OperandType(self.code, self.shape, quant)

    def __str__(self) -> str:
        """`q8a[1,4,4,2] scale=0.5 zp=10`, `f32[*]` for unknown rank, `int32` for a scalar."""
        text = self.code.short + ("" if self.code.is_scalar else shape_text(self.shape))
        if isinstance(self.quant, Quant):
            return f"{text} {self.quant}"
        return text if self.quant is None else f"{text} per-channel({self.quant})"


def shape_text(shape: Shape | None) -> str:
    return "[*]" if shape is None else "[" + ",".join(str(dim) for dim in shape) + "]"


def static_shape(type: OperandType) -> tuple[int, ...]:
    """The shape as plain numbers. Raises ValueError while rank or a dimension is unknown."""
    if type.shape is None or not type.is_static:
        raise ValueError(f"{type} has unknown dimensions")
    return tuple(dim for dim in type.shape if isinstance(dim, int))


def scalar_type(code: OperandCode) -> OperandType:
    return OperandType(code, ())


def same_dims(left: Shape | None, right: Shape | None) -> bool:
    """True when no known dimension contradicts another; unknown sizes and ranks agree with anything."""
    if left is None or right is None:
        return True
    if len(left) != len(right):
        return False
    return all(a == b or isinstance(a, Dim) or isinstance(b, Dim) for a, b in zip(left, right, strict=True))
