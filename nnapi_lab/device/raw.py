"""Memory that is the caller's: read and written by address, never trusted further than it is declared."""

from __future__ import annotations

import ctypes
import math
import os
from typing import Any

import numpy as np

from nnapi_lab.device.codes import DeviceError, Result, bad_data
from nnapi_lab.ir.operand_types import OperandCode, PerChannel, Quant, Shape

AT_ONCE = 128  # bytes; a value up to this size is copied in the call that sets it
LARGEST_RANK = 32
LARGEST_LIST = 1 << 16  # arguments of an operation, inputs of a model: far beyond any model, far below a wrapped count


class OperandRecord(ctypes.Structure):
    """ANeuralNetworksOperandType as it lies in memory."""

    _fields_ = (
        ("type", ctypes.c_int32), ("rank", ctypes.c_uint32), ("dims", ctypes.c_void_p), ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
    )  # fmt: skip


class ChannelRecord(ctypes.Structure):
    """ANeuralNetworksSymmPerChannelQuantParams as it lies in memory."""

    _fields_ = (("axis", ctypes.c_uint32), ("count", ctypes.c_uint32), ("scales", ctypes.c_void_p))


def given(address: int | None, what: str) -> int:
    """The address itself. Raises DeviceError when it is NULL."""
    if not address:
        raise DeviceError(Result.UNEXPECTED_NULL, f"{what} is NULL")
    return address


def read(address: int, length: int) -> np.ndarray:
    """A copy of `length` bytes.

    A large block is read by way of the kernel, which refuses an address that is not ours where a plain copy would
    end the process: PyTorch's loader passes on lengths that a damaged file made up.
    """
    if length <= AT_ONCE:
        return np.frombuffer(ctypes.string_at(address, length), np.uint8)
    copy = np.empty(length, np.uint8)
    if not _read_by_kernel(address, copy):
        ctypes.memmove(copy.ctypes.data, address, length)
    return copy


def _read_by_kernel(address: int, copy: np.ndarray) -> bool:
    """Fill `copy`; False where this system has no way to. Raises DeviceError for memory that cannot be read."""
    try:
        # Opened each time: after a fork, a descriptor kept from before would show the parent's memory.
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        done = 0
        while done < copy.size:
            count = os.preadv(memory, [copy.data[done:]], address + done)
            if count == 0:
                raise OSError("nothing there")
            done += count
    except (OSError, OverflowError) as error:
        raise bad_data(f"{copy.size} bytes at {address:#x} cannot be read") from error
    finally:
        os.close(memory)
    return True


def numbers(address: int | None, count: int, what: str, largest: int = LARGEST_LIST) -> list[int]:
    """`count` unsigned 32-bit numbers. Raises DeviceError for NULL and for a count beyond reason."""
    if count > largest:
        raise bad_data(f"{what}: {count} are announced, at most {largest} are read")
    if count == 0:
        return []
    return read(given(address, what), 4 * count).view(np.uint32).tolist()


def handles(address: int | None, count: int, what: str) -> list[int | None]:
    """`count` pointers."""
    if count > LARGEST_LIST:
        raise bad_data(f"{what}: {count} are announced, at most {LARGEST_LIST} are read")
    held = read(given(address, what), ctypes.sizeof(ctypes.c_void_p) * count).view(np.uintp).tolist() if count else []
    return [one or None for one in held]


def dims_of(address: int | None) -> tuple[int, ...] | None:
    """The dimensions in an operand type, 0 for one that is not known; None when no type is given."""
    if address is None:
        return None
    record = OperandRecord.from_address(address)
    return tuple(numbers(record.dims, record.rank, "dimensions", LARGEST_RANK))


def write_number(kind: Any, address: int | None, number: int, what: str) -> None:
    """Store a number of a ctypes type where the caller wants it."""
    kind.from_address(given(address, what)).value = number


def view(address: int, code: OperandCode, shape: tuple[int, ...]) -> np.ndarray:
    """The caller's memory as an array, not copied unless it must be: truth values, and elements astride a word."""
    dtype = code.numpy
    length = math.prod(shape) * dtype.itemsize
    block = memoryview((ctypes.c_uint8 * length).from_address(address)) if length else b""
    raw = np.frombuffer(block, np.uint8)
    if dtype.kind == "b":
        return (raw != 0).reshape(shape)
    if address % dtype.itemsize:
        raw = raw.copy()
    return raw.view(dtype).reshape(shape)


def channels(address: int | None) -> PerChannel:
    """Per-channel parameters. Raises DeviceError for NULL or a count beyond reason."""
    record = ChannelRecord.from_address(given(address, "channelQuant"))
    bits = numbers(record.scales, record.count, "scales")
    return PerChannel(tuple(np.array(bits, np.uint32).view(np.float32).tolist()), record.axis)


def quant_of(code: OperandCode, scale: float, zero_point: int) -> Quant | None:
    """The quantization in an operand type; None for none."""
    if not math.isfinite(scale) or scale < 0:
        raise bad_data(f"the scale of a {code.name} is {scale}")
    plain = scale == 0 and zero_point == 0 and not code.is_quantized
    return None if plain or code == OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL else Quant(scale, zero_point)


def known(shape: Shape | None) -> bool:
    """Whether rank and every dimension are numbers."""
    return shape is not None and all(isinstance(dim, int) for dim in shape)
