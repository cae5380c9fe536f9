"""A finished model made ready for devices of the phone."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence

import numpy as np

from nnapi_lab.device.codes import bad_data, bad_state
from nnapi_lab.device.models import ModelDraft
from nnapi_lab.device.virtual import Device, Phone, refusal_findings
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.model import Operand
from nnapi_lab.simulate import Executable

PREFERENCES = range(3)  # LOW_POWER, FAST_SINGLE_ANSWER, SUSTAINED_SPEED
PRIORITIES = (90, 100, 110)  # LOW, MEDIUM, HIGH
TOKEN_BYTES = 32

_alive: weakref.WeakSet[Compilation] = weakref.WeakSet()
_is_forked = False


class Compilation:
    """What `finish` makes of a model: an executable, or the reasons why the devices do not take it.

    Preference, priority, time limits and caching are checked and ignored. `named` are the devices the caller chose;
    None: the phone chooses among all it has.
    """

    def __init__(self, draft: ModelDraft, phone: Phone, named: Sequence[Device] | None = None) -> None:
        self.model = draft.model
        self.phone = phone
        self.devices = phone.devices if named is None else tuple(named)
        self.one_device = named is not None and len(named) == 1
        self._executable: Executable | None = None
        self._tried = False
        # An Executable is not for several threads at once.
        self._lock = threading.Lock()
        _alive.add(self)

    def finish(self) -> None:
        """Raises InvalidModel naming each operation that no device takes, DeviceError when called twice."""
        self.must_be_open()
        self._tried = True
        if _is_forked:
            _without_torch_threads()
        refused = refusal_findings(self.model, self.devices)
        if refused:
            raise InvalidModel(refused)
        self._executable = Executable(self.model, self.phone.engine)

    def run(self, arrays: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """One execution. Raises SimulationError for what does not fit or fails."""
        if _is_forked:
            _without_torch_threads()
        with self._lock:
            return self._finished().run(arrays)

    def must_be_finished(self) -> None:
        self._finished()

    def _finished(self) -> Executable:
        if self._executable is None:
            raise bad_state("the compilation is not finished")
        return self._executable

    def must_be_open(self) -> None:
        if self._tried:
            raise bad_state("the compilation is finished; nothing can be set any more")

    def must_have_one_device(self, what: str) -> None:
        if not self.one_device:
            raise bad_data(f"{what} needs a compilation for exactly one device")

    def operand(self, side: str, index: int) -> Operand:
        """The model's input or output of this number. Raises DeviceError when there is none."""
        names = self.model.inputs if side == "input" else self.model.outputs
        if not 0 <= index < len(names):
            raise bad_data(f"there is no {side} {index}, the model has {len(names)}")
        return self.model[names[index]]

    def renew_lock(self) -> None:
        self._lock = threading.Lock()


def _after_fork() -> None:
    """In a forked child, a thread that held a lock is gone; its lock would stay closed."""
    global _is_forked
    _is_forked = True
    for compilation in list(_alive):
        compilation.renew_lock()


def _without_torch_threads() -> None:
    """A forked child has none of the threads that torch's kernels share their work with, and would wait for them."""
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


os.register_at_fork(after_in_child=_after_fork)
