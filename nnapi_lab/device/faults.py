"""What went wrong behind an error number: the original exception, kept by thread.

NNAPI answers with a number, PyTorch turns it into "… failed with error 4", and both forget the reason.
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections import OrderedDict

from nnapi_lab.device.codes import DeviceError, Result
from nnapi_lab.errors import FormatError, InvalidModel

_THREADS_KEPT = 256
_RAISED_AGAIN_SECONDS = 0.02

# By the operating system's thread: a thread that is not Python's own gets a new thread-local at every callback.
_latest: OrderedDict[int, BaseException] = OrderedDict()
_again: list[threading.Timer] = []


def last_error(*, any_thread: bool = False) -> BaseException | None:
    """The latest exception behind an error number that this thread (or any thread) was answered; None before one."""
    if any_thread:
        return next(reversed(_latest.values()), None) if _latest else None
    return _latest.get(threading.get_ident())


def keep(fault: BaseException) -> int:
    """Remember an exception and return the result code that stands for it."""
    # The frames may hold arrays over memory that is the caller's and soon gone.
    traceback.clear_frames(fault.__traceback__)
    thread = threading.get_ident()
    _latest.pop(thread, None)
    _latest[thread] = fault
    while len(_latest) > _THREADS_KEPT:
        _latest.popitem(last=False)
    if isinstance(fault, KeyboardInterrupt):
        _raise_again()
    return int(code_of(fault))


def forget(thread: int | None = None) -> None:
    """Forget what this thread was answered."""
    _latest.pop(threading.get_ident() if thread is None else thread, None)


def code_of(fault: BaseException) -> Result:
    """The result code of an exception: BAD_DATA for a wrong model, OP_FAILED for what fails while it runs."""
    if isinstance(fault, DeviceError):
        return fault.code
    if isinstance(fault, InvalidModel | FormatError):
        return Result.BAD_DATA
    return Result.OUT_OF_MEMORY if isinstance(fault, MemoryError) else Result.OP_FAILED


def _raise_again() -> None:
    """Ctrl-C inside a callback cannot cross C++: the interpreter is told again once the call has returned.

    Whoever hears of the interrupt sooner calls `interrupt_heard`.
    """
    main = threading.main_thread().ident
    if main is None:
        return
    # A signal and not only its flag: a main thread that sleeps by then wakes up.
    timer = threading.Timer(_RAISED_AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGINT))
    timer.daemon = True
    interrupt_heard()
    _again.append(timer)
    timer.start()


def interrupt_heard() -> None:
    """The KeyboardInterrupt reaches its user another way; do not raise it again."""
    while _again:
        _again.pop().cancel()
