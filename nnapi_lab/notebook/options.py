"""What a user may set for all notebooks of a process: `nnapi_lab.options.display = "svg"`."""

from __future__ import annotations

import os
from typing import Literal, get_args

Mode = Literal["auto", "widget", "static", "svg", "text"]
MODES: tuple[str, ...] = get_args(Mode)
VARIABLE = "NNAPI_LAB_DISPLAY"


class Options:
    """Settings of this process; what is not set here is read from the environment.

    `display`: how a lowered model shows itself in a notebook.
    - "auto": a snapshot that outlives the kernel, and over it the live workbench where a kernel can serve it
    - "widget": only the live workbench; nothing is left when the kernel is gone
    - "static": only the snapshot, a page of its own that is searched, hovered and clicked without a kernel
    - "svg": only a picture, for places that take scripts away (repository viewers, mail)
    - "text": only the summary
    """

    __slots__ = ("_display",)

    def __init__(self) -> None:
        self._display: Mode | None = None

    @property
    def display(self) -> Mode:
        """The mode set here, else that of NNAPI_LAB_DISPLAY, else "auto". Raises ValueError for an unknown one."""
        return self._display or _mode(os.environ.get(VARIABLE, "").strip().lower() or "auto", VARIABLE)

    @display.setter
    def display(self, mode: Mode) -> None:
        self._display = _mode(mode, "nnapi_lab.options.display")

    def __repr__(self) -> str:
        return f"Options(display={self.display!r})"


def _mode(text: str, where: str) -> Mode:
    if text not in MODES:
        raise ValueError(f"{where} is {text!r}; it is one of {', '.join(MODES)}")
    return text  # type: ignore[return-value]


options = Options()
