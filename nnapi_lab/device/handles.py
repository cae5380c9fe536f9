"""Objects behind the opaque pointers of the C interface: numbers in a table, so a stale one is an error."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any, TypeVar

from nnapi_lab.device import raw
from nnapi_lab.device.codes import bad_data

T = TypeVar("T")


class Handles:
    """Handle → object. A handle is never used twice."""

    def __init__(self) -> None:
        self._objects: dict[int, Any] = {}
        # Never 0, and below any address a program is given, so that a real pointer is not mistaken for a handle.
        self._next = itertools.count(16, 16)

    def put(self, held: object, address: int | None) -> int:
        """File an object, write its handle where the caller wants it, and return it."""
        place = raw.given(address, "where the handle is to be written")
        handle = next(self._next)
        self._objects[handle] = held
        ctypes.c_void_p.from_address(place).value = handle
        return handle

    def get(self, handle: int | None, kind: type[T]) -> T:
        """The object. Raises DeviceError for NULL, a handle that was freed or never given, or one of another kind."""
        held = self._objects.get(raw.given(handle, f"the {kind.__name__}"))
        if not isinstance(held, kind):
            seen = "nothing, or something freed" if held is None else f"a {type(held).__name__}"
            raise bad_data(f"the pointer {handle:#x} is {seen}, not a {kind.__name__}")
        return held

    def pop(self, handle: int | None, kind: type[T]) -> T | None:
        """Forget an object; NULL is nothing to forget."""
        if not handle:
            return None
        held = self.get(handle, kind)
        self._objects.pop(handle, None)
        return held

    def __len__(self) -> int:
        return len(self._objects)
