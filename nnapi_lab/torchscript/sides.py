"""Tensors as a rewrite entry shows them: shape with axis names, type, quantization, first values."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandType, PerChannel, Quant
from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.rule import Side

SAMPLE = 6
_AXES = {4: ("N", "C", "H", "W")}


def sample_of(array: np.ndarray) -> tuple[str, ...]:
    """The first stored values as text."""
    first = array.reshape(-1)[:SAMPLE].tolist()
    return tuple([f"{value:.5g}" for value in first] if array.dtype.kind == "f" else map(str, first))


def torch_side(value: TorchValue, axes: tuple[str, ...] = (), array: np.ndarray | None = None) -> Side:
    """A torch value; feature maps get N, C, H, W as axis names unless others are given."""
    shape = value.type.shape or ()
    axes = axes or _AXES.get(len(shape), ())
    held = value.constant if isinstance(value.constant, TensorData) else None
    stored = array if array is not None else held.array if held is not None else None
    return Side(
        value.origin or value.name, shape, axes, value.type.dtype or value.type.kind, quant_text(value.type.quant),
        () if stored is None else sample_of(stored),
    )  # fmt: skip


def array_side(name: str, array: np.ndarray, axes: tuple[str, ...] = (), quant: Any = None, dtype: str = "") -> Side:
    return Side(name, array.shape, axes, dtype or array.dtype.name, quant_text(quant), sample_of(array))


def operand_side(name: str, type: OperandType, axes: tuple[str, ...] = (), array: np.ndarray | None = None) -> Side:
    sample = () if array is None else sample_of(array)
    return Side(name, type.shape or (), axes, type.code.name, quant_text(type.quant), sample)


def quant_text(quant: Quant | PerChannel | None) -> str:
    return "" if quant is None else str(quant)
