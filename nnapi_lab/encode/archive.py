"""TorchScript archives read without running anything in them: the NNAPI model inside, whoever wrote it.

`torch.jit.load` executes what an archive says; here its pickle is walked as data (`pickled`) and its tensors are
read from the zip file, with every size checked before anything is allocated.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.encode.from_words import decode
from nnapi_lab.encode.names import NAMES_MEMBER, names_from_json
from nnapi_lab.encode.pickled import Name, Pickled, Stored, TensorPlan, Thing, read_pickle
from nnapi_lab.encode.words import Names
from nnapi_lab.errors import FormatError
from nnapi_lab.ir.model import Model

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"), "HalfStorage": np.dtype("<f2"), "DoubleStorage": np.dtype("<f8"),
    "IntStorage": np.dtype("<i4"), "LongStorage": np.dtype("<i8"), "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"), "BoolStorage": np.dtype("?"),
    "QUInt8Storage": np.dtype("u1"), "QInt8Storage": np.dtype("i1"), "QInt32Storage": np.dtype("<i4"),
}  # fmt: skip
_DAMAGE = (
    OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    struct.error, OverflowError, MemoryError,
)  # fmt: skip


def read_torch(path: str | os.PathLike[str]) -> Model:
    """The NNAPI model in a TorchScript file: ours, or one of PyTorch's own converter.

    Nothing in the file is executed. Raises FormatError for a file that is damaged or holds no (or more than one)
    NNAPI model, InvalidModel for one that is no sound graph.
    """
    shown = os.fspath(path)
    with Archive(shown) as archive:
        state = _nnapi_module(read_pickle(archive.read("data.pkl"), f"{shown}: data.pkl"), shown)
        words = archive.tensor(state.get("ser_model"), "ser_model")
        held = state.get("weights")
        if not isinstance(held, list):
            raise FormatError(f"{shown}: weights is no list of tensors")
        weights = [archive.tensor(plan, f"weights[{index}]") for index, plan in enumerate(held)]
        names = archive.names()
    relaxed = state.get("relax_f32_to_f16", False)
    return decode(_as_words(words, shown), weights, names, relaxed=relaxed is True, source=shown)


def _as_words(words: np.ndarray, shown: str) -> np.ndarray:
    """Old files keep the words as bytes."""
    if words.dtype == np.uint8 and words.ndim == 1 and words.size % 4 == 0:
        return words.view("<i4").astype(np.int32)
    if words.dtype != np.int32:
        raise FormatError(f"{shown}: ser_model is {words.dtype}; int32 or bytes were expected")
    return words.astype(np.int32)


def _nnapi_module(found: Pickled, shown: str) -> dict[str, Any]:
    modules = [thing.state for thing in found.things if _is_nnapi(thing)]
    if not modules:
        raise FormatError(
            f"{shown}: a TorchScript file without an NNAPI model; lower it first (nnapi_lab.lower takes this path)"
        )
    if len(modules) > 1:
        raise FormatError(f"{shown}: holds {len(modules)} NNAPI models; one was expected")
    return modules[0]


def _is_nnapi(thing: Thing) -> bool:
    return isinstance(thing.state, dict) and {"ser_model", "weights"} <= thing.state.keys()


class Archive:
    """The zip file of `torch.jit.save`: members of one folder, stored as they are."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._size = os.path.getsize(path)
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise FormatError(f"{path}: there is no such file") from error
        except _DAMAGE as error:
            raise FormatError(f"{path}: not a TorchScript archive (a zip file), or it is cut off: {error}") from error
        self._members = {info.filename: info for info in self._zip.infolist()}
        self._check_sizes()
        self._folder = self._find_folder()
        self._storages: dict[str, np.ndarray] = {}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _check_sizes(self) -> None:
        """Members that overlap, or claim more than the file has, would unpack to any size."""
        if len(self._members) != len(self._zip.infolist()):
            self._zip.close()
            raise FormatError(f"{self.path}: two members have the same name")
        if sum(info.file_size for info in self._members.values() if not info.compress_type) > self._size:
            self._zip.close()
            raise FormatError(f"{self.path}: the members are larger than the file")

    def _find_folder(self) -> str:
        found = [name for name in self._members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            self._zip.close()
            raise FormatError(f"{self.path}: not a TorchScript archive, it has {len(found)} data.pkl")
        return found[0].removesuffix("data.pkl")

    def read(self, name: str) -> bytes:
        """A member's bytes. TorchScript never compresses, so a compressed one is refused."""
        info = self._members.get(self._folder + name)
        if info is None:
            raise FormatError(f"{self.path}: there is no {name} in it")
        if info.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"{self.path}: {name} is compressed, which TorchScript does not do")
        try:
            return self._zip.read(info)
        except _DAMAGE as error:
            raise FormatError(f"{self.path}: {name} is damaged ({error})") from error

    def names(self) -> Names | None:
        """The names kept beside a model that nnapi_lab wrote."""
        if self._folder + NAMES_MEMBER not in self._members:
            return None
        return names_from_json(self.read(NAMES_MEMBER), f"{self.path}: {NAMES_MEMBER}")

    # --- tensors ---------------------------------------------------------------------------------------------

    def tensor(self, plan: Any, what: str) -> np.ndarray:
        """The elements of a tensor in row-major order. Raises FormatError when the plan does not fit its storage."""
        if not isinstance(plan, TensorPlan):
            raise FormatError(f"{self.path}: {what} is no tensor")
        elements = self._storage(plan.storage, what)
        sizes, strides = (_integers(values) for values in (plan.sizes, plan.strides))
        offset = plan.offset
        if sizes is None or strides is None or len(sizes) != len(strides) or _integers((offset,)) is None:
            raise FormatError(f"{self.path}: {what} has sizes, strides or an offset that are no sizes")
        if 0 in sizes:
            return np.empty([min(size, 1) for size in sizes], elements.dtype)
        # One element is read once: strides of 0 over absurd sizes would fill any memory.
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if last >= elements.size or math.prod(sizes) > elements.size:
            raise FormatError(f"{self.path}: {what} {list(sizes)} reaches beyond its {elements.size} elements")
        steps = [stride * elements.itemsize for stride in strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(elements[offset:], sizes, steps, writeable=False))

    def _storage(self, stored: Any, what: str) -> np.ndarray:
        fields = stored.fields if isinstance(stored, Stored) else None
        if not isinstance(fields, tuple) or len(fields) != 5 or fields[0] != "storage":
            raise FormatError(f"{self.path}: {what} has no storage")
        _, kind, key, _, count = fields
        dtype = STORAGES.get(kind.name) if isinstance(kind, Name) and kind.module == "torch" else None
        if dtype is None or not isinstance(key, str) or not key.isdecimal() or _integers((count,)) is None:
            raise FormatError(f"{self.path}: {what} is kept in a way that is not known here")
        data = self._storages.get(key)
        if data is None:
            data = self._storages[key] = np.frombuffer(self.read(f"data/{key}"), np.uint8)
        if data.nbytes != count * dtype.itemsize:
            raise FormatError(f"{self.path}: {what} has {data.nbytes} bytes, {count} × {dtype.itemsize} were expected")
        return data.view(dtype)


def _integers(values: Any) -> Sequence[int] | None:
    """The sizes, when they are such: non-negative integers below 2^63, at most 64 of them."""
    if not isinstance(values, tuple) or len(values) > 64:
        return None
    good = all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63 for v in values)
    return values if good else None
