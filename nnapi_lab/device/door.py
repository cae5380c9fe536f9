"""install, run and the errors behind the numbers: what the package shows."""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

# Filled by being imported: the entry points.
from nnapi_lab.device import building as building
from nnapi_lab.device import faults, library, virtual
from nnapi_lab.device import running as running
from nnapi_lab.device.state import State, answers
from nnapi_lab.encode import encode, torch_module
from nnapi_lab.encode.archive import Archive, read_torch
from nnapi_lab.encode.words import Names
from nnapi_lab.errors import NnapiLabError
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.validate import require_valid

VARIABLE = "LIBNEURALNETWORKS_PATH"

_installing = threading.RLock()
_installed: tuple[library.Library, State] | None = None


def install(
    api_level: int | None = None,
    refuse: Iterable[str] = (),
    *,
    feature_level: int | None = None,
    cpu_fallback: bool = False,
    engine: str = "fast",
) -> str:
    """From now on PyTorch's NNAPI loader in this process finds a `libneuralnetworks.so`: the simulator.

    Returns the library's path, which also stands in the environment as LIBNEURALNETWORKS_PATH. The phone that is
    stood in for has `api_level` 27…31 (or `feature_level` 1…8; the newest by default), and a device that refuses the
    operations named in `refuse`; `cpu_fallback` gives those to a second device, as Android does. `engine` is the
    simulator's. Called again, it changes the phone for models compiled from then on.
    Raises MissingDependency where the library cannot be made (no C compiler, no Linux), ValueError for a level or
    operation there is not.
    """
    global _installed
    phone = virtual.phone(api_level, refuse, feature_level=feature_level, cpu_fallback=cpu_fallback, engine=engine)
    with _installing:
        if _installed is None:
            loaded, state = library.load(), State(phone)
            loaded.fill(answers(state, loaded.slots))
            # At exit C++ may still free a compilation: a cleared slot answers that, a dead callback would crash.
            atexit.register(loaded.clear)
            _tell_originals()
            _installed = loaded, state
        loaded, state = _installed
        state.phone = phone
    os.environ[VARIABLE] = loaded.path
    return loaded.path


def state() -> State:
    """What is behind the installed library; installs it first where it is not."""
    if _installed is None:
        install()
    if _installed is None:
        raise RuntimeError("the library was not installed")
    return _installed[1]


def run(source: Any, *inputs: Any) -> Any:
    """Run a saved model, or a lowered one as it would be saved, through PyTorch's own loader on the simulator.

    `source`: the path of a `.pt`, of ours or of PyTorch's own converter, or what `nnapi_lab.lower` returned. A file is
    read and held against the standard before the loader, which trusts it, sees it. Raises FormatError or InvalidModel
    for what it holds, SimulationError for what fails while it runs, naming operation and (for a lowered model)
    TorchScript node: never "failed with error 4".
    """
    held, (module, names, lowered) = state(), _opened(source)
    with held.naming(names):
        try:
            with original_errors():
                return module(*inputs)
        except NnapiLabError as error:
            for note in _nodes(error, lowered):
                error.add_note(note)
            raise


def _opened(source: Any) -> tuple[Any, Names | None, Lowered | None]:
    """The TorchScript module, what its operands are called, and how it was lowered."""
    import torch

    lowered = source if isinstance(source, Lowered) else getattr(source, "result", None)
    if isinstance(lowered, Lowered):
        return torch_module(lowered), encode(lowered.model).names, lowered
    shown = os.fspath(source)
    require_valid(read_torch(shown))
    with Archive(shown) as archive:
        names = archive.names()
    return torch.jit.load(shown), names, None


def _nodes(error: BaseException, lowered: Lowered | None) -> Iterator[str]:
    """The TorchScript nodes behind the operands that an error names."""
    if lowered is None:
        return
    for name in dict.fromkeys(re.findall(r"%([\w.]+)", str(error))):
        for value in lowered.origins.get(name.rstrip("."), ())[-1:]:
            node = lowered.graph.producer(value)
            if node is not None:
                yield f"TorchScript: {lowered.graph.line(node)}"


@contextmanager
def original_errors() -> Iterator[None]:
    """Inside, an error of the simulator is raised as it was, in place of PyTorch's "… failed with error 4"."""
    before = faults.last_error(any_thread=True)
    try:
        yield
    except RuntimeError as error:
        cause = behind(error, before)
        if cause is None:
            raise
        faults.interrupt_heard()
        raise cause from error


def behind(error: BaseException, before: BaseException | None = None) -> BaseException | None:
    """The simulator's exception behind PyTorch's error number, if there is one newer than `before`."""
    if not isinstance(error, RuntimeError) or "failed with error" not in str(error):
        return None
    cause = faults.last_error() or faults.last_error(any_thread=True)
    return None if cause is before else cause


# --- errors nobody caught ------------------------------------------------------------------------------------


def _tell_originals() -> None:
    """What ends the program is told together with the simulator's exception behind it."""
    usual = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        usual(kind, error, trace)
        cause = behind(error)
        if cause is not None:
            faults.interrupt_heard()
            sys.stderr.write(f"\n{explanation(cause)}\n")

    sys.excepthook = told


def explanation(cause: BaseException) -> str:
    """What the simulator says behind an error number."""
    text = "".join(traceback.format_exception_only(cause)).strip()
    return f"nnapi_lab: behind this number is the simulator's own error:\n{text}"
