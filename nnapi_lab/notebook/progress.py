"""How far long work is: a bar in a notebook, a line on a terminal, nothing where nobody reads along.

with progress_bar() as tell:
    lab.lower(model, inputs, progress=tell)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, TextIO

from IPython import get_ipython
from IPython.display import display

Progress = Callable[[str, int, int], None]
QUIET_SECONDS = 0.5  # work that is over sooner shows no bar
EVERY_SECONDS = 0.1


@contextmanager
def progress_bar(stream: TextIO | None = None) -> Iterator[Progress]:
    """A `progress` argument for `lab.lower`, `lowered.diff` and the like; `tell(stage, done, total)`, 0 = unknown.

    The bar appears once the work lasts half a second, and is taken away when the block is left.
    """
    bar = _NotebookBar() if has_kernel() else _Line(stream or sys.stderr)
    started = last = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - started >= QUIET_SECONDS and now - last >= EVERY_SECONDS:
            last = now
            bar.show(stage, done, total)

    try:
        yield tell
    finally:
        bar.close()


def has_kernel() -> bool:
    """True inside a Jupyter kernel, false in a terminal's IPython and in plain Python."""
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def progress_text(stage: str, done: int, total: int) -> str:
    """`lower 64 of 153`, or `diff 12` where the end is not known."""
    return f"{stage} {done} of {total}" if total else f"{stage} {done}"


class _NotebookBar:
    """One output that is updated in place: an HTML meter with its text beside it."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, stage: str, done: int, total: int) -> None:
        said = progress_text(stage, done, total)
        ends = f'max="{total}" value="{done}"' if total else ""
        data = {"text/plain": said, "text/html": f"<progress {ends}></progress> {escape(said)}"}
        if self.handle is None:
            self.handle = display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)

    def close(self) -> None:
        if self.handle is not None:
            self.handle.update({"text/plain": "", "text/html": ""}, raw=True)


class _Line:
    """One line that overwrites itself, on a terminal; silent where the stream goes to a file."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.width = 0

    def show(self, stage: str, done: int, total: int) -> None:
        if not self.stream.isatty():
            return
        said = progress_text(stage, done, total)
        self.stream.write("\r" + said.ljust(self.width))
        self.stream.flush()
        self.width = max(self.width, len(said))

    def close(self) -> None:
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()
