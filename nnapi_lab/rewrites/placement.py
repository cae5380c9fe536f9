"""How to read an operand back as the torch value it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnapi_lab.ir.operand_types import PerChannel, Quant

NHWC = (0, 2, 3, 1)
RANK_LIMIT = 4  # most NNAPI operations take no tensor of a higher rank
AXIS_NAMES = {3: ("N", "C", "L"), 4: ("N", "C", "H", "W")}


def folded(dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape an operand of these dimensions is given: beyond rank 4, ones are left out and leading dims merged.

    Row-major order does not change by it. A scalar gets shape (1,): rank 0 means "unknown rank" in NNAPI.
    """
    if len(dims) <= RANK_LIMIT:
        return tuple(dims) or (1,)
    kept = [size for size in dims if size != 1]
    if len(kept) > RANK_LIMIT:
        tail = RANK_LIMIT - 1
        kept = [math.prod(kept[:-tail]), *kept[-tail:]]
    return tuple(kept) or (1,)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a logical tensor is stored: reshape to `dims`, permute by `perm`, store row-major in any shape.

    Plain row-major storage is `dims == logical shape` with the identity permutation. A flattened NHWC feature
    map is `dims=(N,C,H,W), perm=(0,2,3,1)` stored in the shape [N, H*W*C].
    """

    dims: tuple[int, ...]
    perm: tuple[int, ...]

    @staticmethod
    def plain(shape: tuple[int, ...]) -> Layout:
        return Layout(tuple(shape), tuple(range(len(shape))))

    @staticmethod
    def nhwc(shape: tuple[int, ...]) -> Layout:
        """Channels last for a logical NCHW shape of rank 4."""
        return Layout(tuple(shape), NHWC)

    @property
    def is_plain(self) -> bool:
        """True when storage order is logical order (permuting dimensions of size 1 changes nothing)."""
        moved = [axis for axis in self.perm if self.dims[axis] != 1]
        return moved == sorted(moved)

    @property
    def name(self) -> str:
        if self.perm == NHWC:
            return "NHWC"
        if self.perm == tuple(range(len(self.perm))):
            return "NCHW" if len(self.perm) == 4 else "plain"
        return "perm" + "".join(map(str, self.perm))

    @property
    def stored_dims(self) -> tuple[int, ...]:
        """The permuted dims: the natural shape of the stored array."""
        return tuple(self.dims[axis] for axis in self.perm)

    def store(self, logical: np.ndarray) -> np.ndarray:
        """Logical array → stored order, in the shape `stored_dims`."""
        return np.ascontiguousarray(np.transpose(logical.reshape(self.dims), self.perm))

    def read(self, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Stored array (any shape) → logical array of `shape`; the inverse of `store`."""
        inverse = tuple(int(axis) for axis in np.argsort(self.perm))
        return np.transpose(stored.reshape(self.stored_dims), inverse).reshape(shape)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a torch value lives in the NNAPI model.

    `value`: torch name; `operand`: NNAPI name; `shape`: the value's logical shape; `code_shift`: add to NNAPI
    codes to get torch's (-128 where a qint8 tensor became uint8). `quant`: the operand's quantization.
    """

    value: str
    operand: str
    shape: tuple[int, ...]
    layout: Layout
    quant: Quant | PerChannel | None = None
    code_shift: int = 0

    def read(self, stored: np.ndarray) -> np.ndarray:
        """Operand array → the torch value's stored elements (codes for quantized), in PyTorch's layout."""
        logical = self.layout.read(stored, self.shape)
        return logical if self.code_shift == 0 else logical.astype(np.int32) + self.code_shift

    def store(self, logical: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The torch value's stored elements → operand array of `shape`."""
        codes = logical if self.code_shift == 0 else logical.astype(np.int32) - self.code_shift
        return self.layout.store(codes).reshape(shape)
