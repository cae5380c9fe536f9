"""Where the large constants of a text go: named by their content, kept beside the text or at its end."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import IO

import numpy as np

from nnapi_lab.errors import FormatError

Arrays = MutableMapping[str, np.ndarray]  # content hash → array; shape and element type are the writer's choice


def content_hash(array: np.ndarray) -> str:
    """`sha256:` and 16 hexadecimal digits of the elements' bytes, row-major and little-endian."""
    return "sha256:" + hashlib.sha256(stored_bytes(array)).hexdigest()[:16]


def stored_bytes(array: np.ndarray) -> bytes:
    """The elements' bytes, row-major and little-endian."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def data_text(array: np.ndarray) -> str:
    """The elements' bytes in base 64, for a text that carries its own large constants."""
    return base64.b64encode(stored_bytes(array)).decode("ascii")


def data_from_text(text: str) -> np.ndarray:
    """The bytes as uint8. Raises ValueError when it is not base 64."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def stored_size(arrays: Mapping[str, np.ndarray], key: str) -> int:
    """Bytes of the elements under a content hash, 0 when there is none; nothing is unpacked to tell."""
    if isinstance(arrays, NpzArrays):
        return arrays.stored_size(key)
    held = arrays.get(key)
    return 0 if held is None else held.nbytes


def restored(arrays: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """The array stored under a content hash, as `shape` of `kind`.

    Raises FormatError when it is missing, of another size, or not what the hash says. Nothing is unpacked or
    allocated before the sizes agree.
    """
    if key not in arrays:
        raise FormatError(f"the data {key} is missing; a text with large constants needs its .npz beside it")
    size, wanted = stored_size(arrays, key), math.prod(shape) * kind.itemsize
    if size != wanted:
        raise FormatError(f"the data {key} has {size} bytes, {wanted} are declared")
    held = arrays[key]
    if held.nbytes != wanted or content_hash(held) != key:
        raise FormatError(f"the data {key} is damaged: its content hash is {content_hash(held)}")
    array = np.frombuffer(stored_bytes(held), kind.newbyteorder("<")).astype(kind, copy=False)
    if kind.kind == "b" and wanted and array.view(np.uint8).max() > 1:
        raise FormatError(f"the data {key} holds bytes other than 0 and 1 for booleans")
    return array.reshape(shape)


# --- the .npz beside a .nn -----------------------------------------------------------------------------------


def sidecar_path(path: str | os.PathLike[str]) -> str:
    """`m.nn` → `m.nn.npz`."""
    return os.fspath(path) + ".npz"


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an .npz, the same bytes for the same arrays."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in sorted(arrays):
            member = zipfile.ZipInfo(f"{key.removeprefix('sha256:')}.npy")  # a fixed date
            member.compress_type = zipfile.ZIP_DEFLATED
            npy = io.BytesIO()
            np.lib.format.write_array(npy, np.ascontiguousarray(arrays[key]), (1, 0), allow_pickle=False)
            archive.writestr(member, npy.getvalue())
    return out.getvalue()


class NpzArrays(Mapping[str, np.ndarray]):
    """The arrays of an .npz by content hash, unpacked when asked for; untrusted.

    Without a file there are none. Raises FormatError for a damaged archive.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        if not os.path.exists(path):
            return
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    self._members[f"sha256:{info.filename.removesuffix('.npy')}"] = info
        except _DAMAGE as error:
            raise FormatError(f"{path} is not a readable .npz ({error})") from error

    def stored_size(self, key: str) -> int:
        """Bytes of the elements as the .npy's own header gives them."""
        info = self._members.get(key)
        if info is None:
            return 0
        with self._open(info) as (stream, shape, kind):
            size = math.prod(shape) * kind.itemsize
            if stream.tell() + size != info.file_size:
                raise FormatError(f"{self.path}: {info.filename} has not the size its header says")
        return size

    def __getitem__(self, key: str) -> np.ndarray:
        info = self._members[key]
        size = self.stored_size(key)
        with self._open(info) as (stream, shape, kind):
            data = stream.read(size)
        if len(data) != size:
            raise FormatError(f"{self.path}: {info.filename} is cut off")
        return np.frombuffer(data, kind).reshape(shape)

    @contextmanager
    def _open(self, info: zipfile.ZipInfo) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype]]:
        """The stream behind the header, and what the header says."""
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as stream:
                if np.lib.format.read_magic(stream) != (1, 0):
                    raise ValueError("another version of .npy")
                shape, by_columns, kind = np.lib.format.read_array_header_1_0(stream)
                if by_columns or kind.hasobject:
                    raise ValueError("elements by columns, or objects")
                yield stream, shape, kind
        except _DAMAGE as error:
            raise FormatError(f"{self.path}: {info.filename} is damaged ({error})") from error

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


# What reading a damaged archive raises: zipfile, zlib and NumPy's header reader between them.
_DAMAGE = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, MemoryError,
    OverflowError, TypeError, SyntaxError, struct.error, tokenize.TokenError, RecursionError,
)  # fmt: skip
