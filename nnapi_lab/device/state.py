"""The state behind the library, and how a Python function becomes what C calls."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

from nnapi_lab.device import faults
from nnapi_lab.device.codes import DeviceError, Result, bad_data
from nnapi_lab.device.handles import Handles
from nnapi_lab.device.library import Slot
from nnapi_lab.device.virtual import Device, Phone
from nnapi_lab.encode.words import Names

Answer = Callable[..., Any]
ENTRIES: dict[str, Callable[..., Any]] = {}


class State:
    """The phone, and every object the callers hold. Devices have a handle each as long as the process lives."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.handles = Handles()
        self._names: dict[int, Names] = {}  # by thread
        self._device_handles: dict[Device, int] = {}

    @contextmanager
    def naming(self, names: Names | None) -> Iterator[None]:
        """Meanwhile, a model that is finished on this thread gets these names where they fit."""
        thread = threading.get_ident()
        if names is not None:
            self._names[thread] = names
        try:
            yield
        finally:
            self._names.pop(thread, None)

    def names(self) -> Names | None:
        """What the operands of a model finished now are called."""
        return self._names.get(threading.get_ident())

    def put_device(self, number: int, address: int | None) -> None:
        """Write the handle of a device, always the same one. Raises DeviceError when there is no such device."""
        if not 0 <= number < len(self.phone.devices):
            raise bad_data(f"there is no device {number}, the phone has {len(self.phone.devices)}")
        device = self.phone.devices[number]
        if device in self._device_handles and address:
            ctypes.c_void_p.from_address(address).value = self._device_handles[device]
            return
        self._device_handles[device] = self.handles.put(device, address)

    def devices(self, handles: Sequence[int | None]) -> list[Device]:
        """The devices a caller names. Raises DeviceError for none, and for one named twice."""
        found = [self.handles.get(handle, Device) for handle in handles]
        if not found or len(set(found)) != len(found):
            raise bad_data("no device is named" if not found else "a device is named twice")
        return found


@cache
def text(words: str) -> ctypes.Array[ctypes.c_char]:
    """A C string that lives as long as the process."""
    return ctypes.create_string_buffer(words.encode("utf-8"))


def entry(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the answer of an entry point, by its name without `ANeuralNetworks`.

    It takes the State and the C arguments (pointers as numbers, NULL as None), and raises for any result but
    NO_ERROR.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in ENTRIES:
            raise TypeError(f"{name} is answered twice")
        ENTRIES[name] = function
        return function

    return declare


def answers(state: State, slots: Sequence[Slot]) -> Mapping[str, Answer]:
    """A function for each slot, as C may call it; what is newer than the phone's Android says so."""
    return {slot.name: _answer(state, slot) for slot in slots}


def _answer(state: State, slot: Slot) -> Answer:
    function = ENTRIES[slot.name]

    @wraps(function)
    def checked(*arguments: Any) -> Any:
        if slot.api_level > state.phone.api_level:
            message = f"ANeuralNetworks{slot.name} is new in API level {slot.api_level}, this phone has "
            raise DeviceError(Result.UNAVAILABLE_DEVICE, message + str(state.phone.api_level))
        return function(state, *arguments)

    return _numbered(checked) if slot.result == "l" else _guarded(checked)


def _guarded(function: Answer) -> Answer:
    """A result code, whatever happens inside."""

    def answer(*arguments: Any) -> int:
        try:
            function(*arguments)
        except BaseException as fault:  # noqa: BLE001  nothing may cross into C: it is kept and becomes a number
            return faults.keep(fault)
        return 0

    return answer


def _numbered(function: Answer) -> Answer:
    """The number it returns; 0 when something happens inside."""

    def answer() -> int:
        try:
            return int(function())
        except BaseException as fault:  # noqa: BLE001  as above
            faults.keep(fault)
            return 0

    return answer
