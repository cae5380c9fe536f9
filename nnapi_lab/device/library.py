"""The C side: compiled once for each user and source, loaded, its table of functions filled.

The compiled file lies in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), named after what it is made
from. It is made on first use, so installing nnapi_lab needs no compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nnapi_lab.errors import MissingDependency

SONAME = "libneuralnetworks.so"
SOURCE = Path(__file__).with_name("neuralnetworks.c")
COMPILERS = ("gcc", "cc", "clang")
FLAGS = ("-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-Wl,-soname,{SONAME}")

TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p, "i": ctypes.c_int32, "u": ctypes.c_uint32, "l": ctypes.c_uint64, "z": ctypes.c_size_t,
    "f": ctypes.c_float, "b": ctypes.c_bool, "v": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry point: its name without `ANeuralNetworks`, the API level it came with, its types by letter."""

    name: str
    api_level: int
    result: str
    arguments: str

    @property
    def prototype(self) -> Any:
        """The ctypes type of a function that can stand in this slot."""
        return ctypes.CFUNCTYPE(TYPES[self.result], *(TYPES[letter] for letter in self.arguments))


class Library:
    """The loaded library. `slots` in the order of its table."""

    def __init__(self, path: str) -> None:
        self.path = path
        # RTLD_GLOBAL: programs that are linked against the library find it as well, not only those that open it.
        self._loaded = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        self.slots = tuple(self._slots())
        self._table = (ctypes.c_void_p * len(self.slots)).in_dll(self._loaded, "nnapi_lab_table")
        self._kept: list[object] = []  # a callback that is collected while it stands in the table would crash

    def _slots(self) -> list[Slot]:
        found: list[Slot] = []
        address = ctypes.addressof(ctypes.c_char_p.in_dll(self._loaded, "nnapi_lab_slots"))
        while text := ctypes.c_char_p.from_address(address + len(found) * ctypes.sizeof(ctypes.c_char_p)).value:
            name, level, result, *arguments = text.decode("ascii").split()
            found.append(Slot(name, int(level), result, "".join(arguments)))
        return found

    def fill(self, answers: Mapping[str, Callable[..., object]]) -> None:
        """Put a function into each slot that has one; the others are emptied."""
        for number, slot in enumerate(self.slots):
            if slot.name in answers:
                callback = slot.prototype(answers[slot.name])
                self._kept.append(callback)
                self._table[number] = ctypes.cast(callback, ctypes.c_void_p).value
            else:
                self._table[number] = None

    def clear(self) -> None:
        """Empty every slot: from now on each call answers UNAVAILABLE_DEVICE."""
        for number in range(len(self.slots)):
            self._table[number] = None


def load() -> Library:
    """The library, loaded so that its name satisfies PyTorch's `dlopen`; made first where it is not there yet.

    Raises MissingDependency where there is no compiler, or no Linux.
    """
    path = built_at()
    if not path.exists():
        path = build(path)
    try:
        return Library(str(path))
    except (OSError, ValueError):  # damaged since: made anew once
        return Library(str(build(path)))


def compiler() -> str | None:
    """The C compiler that would be used: CC, or the first of gcc, cc and clang on the PATH."""
    named = os.environ.get("CC", "").split()
    return next(filter(None, map(shutil.which, (*named[:1], *COMPILERS))), None)


@cache
def _key() -> str:
    made_from = [SOURCE.read_bytes(), " ".join(FLAGS).encode(), platform.machine().encode(), sys.platform.encode()]
    return hashlib.sha256(b"\0".join(made_from)).hexdigest()[:16]


def built_at() -> Path:
    """Where the compiled library of this source lies, or will."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache_home) / "nnapi_lab" / f"device-{_key()}" / SONAME


def build(target: Path) -> Path:
    """Compile the library into `target`, or into a folder of this process where that cannot be written."""
    if not sys.platform.startswith("linux"):
        raise MissingDependency(
            f"lab.device stands in for {SONAME}, which PyTorch opens on Linux only; this is {sys.platform}. "
            "nnapi_lab.simulate and lowered.run compute the same numbers everywhere"
        )
    program = compiler()
    if program is None:
        raise MissingDependency(
            f"lab.device needs a C compiler once, to make {SONAME}: install gcc (apt-get install gcc; conda: "
            "c-compiler), or name one with CC"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as folder:
            made = _compile(program, Path(folder))
            os.replace(made, target)
        return target
    except OSError:
        return _compile(program, _own_folder())


@cache
def _own_folder() -> Path:
    """A folder of this process alone, for where the user's cache takes no files; removed at its end."""
    import atexit

    folder = tempfile.mkdtemp(prefix="nnapi_lab-device-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compile(program: str, folder: Path) -> Path:
    made = folder / SONAME
    done = subprocess.run([program, *FLAGS, "-o", str(made), str(SOURCE)], capture_output=True, text=True)
    if done.returncode != 0 or not made.exists():
        reason = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise MissingDependency(f"lab.device needs a working C compiler once; {program} failed: {reason}")
    return made
