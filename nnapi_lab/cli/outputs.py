"""Where results go: looked at before the long work, written whole or not at all."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from functools import partial
from typing import IO

import numpy as np

from nnapi_lab import files
from nnapi_lab.cli.outcome import BadInput


def check_target(path: str | None, suffixes: Sequence[str] = ()) -> None:
    """Refuse an output path that cannot work out, before anything is computed. Raises BadInput."""
    if path is None:
        return
    folder = os.path.dirname(os.path.realpath(path))
    if suffixes and os.path.splitext(path)[1] not in suffixes:
        raise BadInput(f"{path}: the suffix says what is written; it is one of {', '.join(suffixes)}")
    if os.path.isdir(path):
        raise BadInput(f"{path} cannot be written: it is a folder")
    if not os.path.isdir(folder):
        raise BadInput(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK) and not (os.path.exists(path) and not os.path.isfile(path)):
        raise BadInput(f"{path} cannot be written: the folder {folder} is read-only for you; choose another place")


def check_arrays_target(path: str | None, count: int) -> None:
    """Several outputs need several files or one .npz. Raises BadInput."""
    if path is None:
        return
    if not path.endswith(".npz") and count != 1 and "{n}" not in path:
        raise BadInput(
            f"the model has {count} outputs and {path} takes one; write {{n}} into the name (Y{{n}}.npy), or give Y.npz"
        )
    check_target(path.replace("{n}", "0"), (".npy", ".npz"))


def write_arrays(path: str, names: Sequence[str], arrays: Sequence[np.ndarray]) -> list[str]:
    """Write outputs as one .npz by name, or as an .npy each; the paths written."""
    if path.endswith(".npz"):
        files.write_with(path, partial(_npz, names, arrays))
        return [path]
    targets = [path.replace("{n}", str(position)) for position in range(len(arrays))]
    for target, array in zip(targets, arrays, strict=True):
        files.write_with(target, partial(_npy, array))
    return targets


def _npy(array: np.ndarray, stream: IO[bytes]) -> None:
    np.save(stream, array, allow_pickle=False)


def _npz(names: Sequence[str], arrays: Sequence[np.ndarray], stream: IO[bytes]) -> None:
    """As numpy.savez does, which takes names as keywords and so has no room for an output called `file`."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in zip(names, arrays, strict=True):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def wrote(path: str) -> str:
    """`wrote m.nn (27.9 kB)`, and the data beside it where there is such a file."""
    beside = f"{path}.npz"
    data = f" with {beside} ({size_text(beside)})" if path.endswith(".nn") and os.path.exists(beside) else ""
    return f"wrote {path} ({size_text(path)}){data}"


def size_text(path: str) -> str:
    """`13.4 MB`."""
    size = float(os.path.getsize(path))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
