"""Operations on 8-bit codes as tables, filled by the reference kernel itself and so equal to it by construction."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandType
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.compiled import compiled
from nnapi_lab.simulate.kernels import wanted_keywords

_TABLES_KEPT = 64


def _every_code(type_: OperandType) -> np.ndarray:
    return np.arange(256, dtype=np.uint8).view(type_.code.numpy)


class _Use:
    """A call as a key: what a pointwise result depends on, shapes left out."""

    def __init__(self, call: Call, names: tuple[str, ...]) -> None:
        self.call, self.names = call, names
        types = tuple(call[name].with_shape(()) for name in names)
        self.key = (call.spec.kind, types, call.out.with_shape(()), tuple(sorted(call.resolved().items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Use) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def unary_table(call: Call, name: str) -> np.ndarray:
    """The result for each of 256 codes, by the code's bits as an unsigned number."""
    return _unary(_Use(call, (name,)))


def pair_table(call: Call, first: str, second: str) -> np.ndarray:
    """The result for each pair of codes, [256, 256] by their bits as unsigned numbers."""
    return _pair(_Use(call, (first, second)))


@lru_cache(_TABLES_KEPT)
def _unary(use: _Use) -> np.ndarray:
    return _filled(use.call, _every_code(use.call[use.names[0]]))


@lru_cache(_TABLES_KEPT)
def _pair(use: _Use) -> np.ndarray:
    first, second = (_every_code(use.call[name]) for name in use.names)
    return _filled(use.call, np.repeat(first, 256).reshape(256, 256), np.tile(second, (256, 1)))


def _filled(call: Call, *codes: np.ndarray) -> np.ndarray:
    result: Any = call.spec.kernel(*codes, **wanted_keywords(call))
    return np.ascontiguousarray(result, call.out.code.numpy)


def bits(codes: np.ndarray) -> np.ndarray:
    """8-bit codes as a flat array of indices."""
    return np.ascontiguousarray(codes).reshape(-1).view(np.uint8)


@compiled
def look_up(indices, table, out):
    """out[i] = table[indices[i]]."""
    for i in range(indices.size):
        out[i] = table[indices[i]]


@compiled
def look_up_pair(first, second, table, out):
    """out[i] = table[first[i], second[i]]."""
    for i in range(first.size):
        out[i] = table[first[i], second[i]]
