"""Writing files: they appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from nnapi_lab.errors import OutputError


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` into the file; what was there before stays until all of it is written.

    Raises OutputError, in one sentence, where it cannot be written.
    """
    write_with(path, lambda stream: stream.write(data))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Like `write_bytes`, in UTF-8 and with line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_with(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a stream that becomes the file once it returns.

    The bytes go to a file beside the target and are then renamed over it; if anything fails, that file is removed
    and the target is as it was. A link is followed; a device (`/dev/stdout`) is written to directly.
    """
    shown = os.fspath(path)
    target = os.path.realpath(shown)
    try:
        if os.path.isdir(shown):
            raise OutputError(f"{shown} cannot be written: it is a folder")
        if os.path.exists(shown) and not os.path.isfile(shown):
            with open(shown, "wb") as stream:
                write(stream)
        else:
            _replace(target, write)
    except OSError as error:
        raise OutputError(f"{shown} cannot be written: {_reason(target, error)}") from error


def _replace(target: str, write: Callable[[BinaryIO], object]) -> None:
    folder, name = os.path.split(target)
    draft = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(4)}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if os.path.exists(target):
            os.chmod(draft, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(draft, target)
    except BaseException:  # also when interrupted: nothing half-written stays behind
        with suppress(OSError):
            os.unlink(draft)
        raise


def _reason(target: str, error: OSError) -> str:
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    if isinstance(error, PermissionError) or not os.access(folder, os.W_OK):
        return f"the folder {folder} is read-only for you; choose another place"
    return error.strerror or str(error)
