"""numba with its compiled code kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over arrays at its first call; later processes find it on disk.

    Where no folder is writable the code is compiled again in each process (half a second a loop).
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no place for its cache
        return numba.njit(nogil=True, error_model="numpy")(function)
