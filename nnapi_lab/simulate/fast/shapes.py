"""Shapes of bound calls: all sizes are known by the time a twin is prepared."""

from __future__ import annotations

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import OperandType, shape_text


def known_shape(type_: OperandType) -> tuple[int, ...]:
    """The sizes as plain numbers; raises SimulationError where one is still open."""
    if type_.shape is None or not type_.is_static:
        raise SimulationError(f"a twin was prepared for the open size {shape_text(type_.shape)}")
    return tuple(int(dim) for dim in type_.shape)  # type: ignore[arg-type]


def nhwc_shape(type_: OperandType, nchw: bool) -> tuple[int, int, int, int]:
    """[n, h, w, c] of a feature map, whatever layout the call keeps it in."""
    a, b, c, d = known_shape(type_)
    return (a, c, d, b) if nchw else (a, b, c, d)
