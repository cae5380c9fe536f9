"""Shared memory: a mapped file, or memory of the device's own that is described by the roles it plays."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nnapi_lab.device.codes import DeviceError, Result, bad_data, bad_state
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType

if TYPE_CHECKING:
    from nnapi_lab.device.compilations import Compilation

PROT_READ, PROT_WRITE = 1, 2


class Memory:
    """Bytes that models and executions share. `role_type` is set for memory made from a description."""

    def __init__(self, data: np.ndarray, writeable: bool, role_type: OperandType | None = None) -> None:
        self.data = data
        self.writeable = writeable
        self.role_type = role_type
        self.roles: tuple[tuple[str, Compilation, int], ...] = ()
        self.shape: tuple[int, ...] | None = None
        # Memory of the device's own holds nothing until an execution or a copy has written it.
        self.is_filled = role_type is None

    @property
    def is_opaque(self) -> bool:
        """Whether only executions and copies see what is in it."""
        return self.role_type is not None

    def part(self, offset: int, length: int) -> np.ndarray:
        """The bytes of a part. Raises DeviceError beyond the end, and for memory that only the device may see."""
        if self.is_opaque:
            raise bad_data("memory made from a description has no parts; it holds what an execution writes")
        if offset + length > self.data.size:
            raise bad_data(f"bytes {offset} to {offset + length} of a memory of {self.data.size}")
        return self.data[offset : offset + length]


def from_fd(size: int, protect: int, fd: int, offset: int) -> Memory:
    """Map `size` bytes of a file. Raises DeviceError: BAD_DATA for a file or size that cannot be, UNMAPPABLE."""
    if size == 0 or fd < 0:
        raise bad_data(f"{size} bytes of the file descriptor {fd} cannot be mapped")
    before = offset % mmap.ALLOCATIONGRANULARITY
    writes = bool(protect & PROT_WRITE)
    try:
        if os.fstat(fd).st_size < offset + size:
            raise bad_data(f"the file has {os.fstat(fd).st_size} bytes, {offset} to {offset + size} are asked for")
        mapped = mmap.mmap(
            fd, before + size, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writes else 0),
            offset=offset - before,
        )  # fmt: skip
    except (OSError, ValueError, OverflowError) as error:
        raise DeviceError(Result.UNMAPPABLE, f"the file descriptor {fd} cannot be mapped: {error}") from error
    return Memory(np.frombuffer(mapped, np.uint8)[before:], writes)


@dataclass
class Description:
    """What a memory will be used for: inputs and outputs of compilations, which must be of one type."""

    roles: list[tuple[str, Compilation, int]] = field(default_factory=list)
    type: OperandType | None = None
    dims: tuple[int, ...] = ()
    finished: bool = False

    def add_role(self, side: str, compilation: Compilation, index: int, frequency: float) -> None:
        """Raises DeviceError for a role there is not, one that is given twice, or one of another type."""
        self._must_be_open()
        if not 0 < frequency <= 1:
            raise bad_data(f"the frequency is {frequency}; it is above 0 and at most 1")
        compilation.must_be_finished()
        operand = compilation.operand(side, index)
        role = (side, compilation, index)
        if role in self.roles:
            raise bad_data(f"{side} {index} is given twice")
        if operand.type.code == OperandCode.MODEL:
            raise bad_data("a model is no memory")
        if self.type is None:
            self.type = operand.type
        elif (self.type.code, self.type.quant) != (operand.type.code, operand.type.quant):
            raise bad_data(f"{side} {index} is {operand.type}, the role before {self.type}")
        self._merge(operand.type)
        self.roles.append(role)

    def set_dims(self, dims: Sequence[int]) -> None:
        self._must_be_open()
        self.dims = _merged(self.dims, tuple(dims))

    def _merge(self, type: OperandType) -> None:
        if type.shape is not None and type.code.is_tensor:
            self.dims = _merged(self.dims, tuple(0 if isinstance(dim, Dim) else dim for dim in type.shape))

    def _must_be_open(self) -> None:
        if self.finished:
            raise bad_state("the description is finished")

    def finish(self) -> None:
        self._must_be_open()
        if not self.roles:
            raise bad_data("the description has no role")
        self.finished = True

    def memory(self) -> Memory:
        """The memory described. Raises DeviceError before the description is finished, or while a size is open."""
        if not self.finished or self.type is None:
            raise bad_state("the description is not finished")
        if self.type.code.is_tensor and (not self.dims or 0 in self.dims):
            raise DeviceError(Result.OP_FAILED, f"a size in {list(self.dims)} is not known, so nothing is allocated")
        size = math.prod(self.dims) * self.type.code.numpy.itemsize
        memory = Memory(np.zeros(size, np.uint8), True, self.type)
        memory.shape, memory.roles = self.dims, tuple(self.roles)
        return memory


def _merged(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Both together, 0 for what neither knows. Raises DeviceError where they contradict each other."""
    if not left or not right:
        return left or right
    if len(left) != len(right) or any(a and b and a != b for a, b in zip(left, right, strict=True)):
        raise bad_data(f"the dimensions {list(right)} contradict {list(left)}")
    return tuple(a or b for a, b in zip(left, right, strict=True))


def copy(source: Memory, target: Memory) -> None:
    """All bytes from one memory to another. Raises DeviceError when the sizes differ, or nothing was written yet."""
    if not source.is_filled:
        raise bad_data("nothing has been written into the memory that is copied from")
    if not target.writeable:
        raise bad_data("the memory that is copied to is mapped for reading only")
    if source.data.size != target.data.size:
        raise bad_data(f"{source.data.size} bytes do not fit into {target.data.size}")
    target.data[:] = source.data
    target.is_filled = True
    if target.is_opaque and source.shape is not None:
        target.shape = source.shape
