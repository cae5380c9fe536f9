"""The live workbench: views' own script in an anywidget, and a kernel that answers when asked to compare.

Hovering, searching and reading never leave the browser. What travels: the payload once, the selection, and the
rows of a comparison when the reader asks for one.
"""

from __future__ import annotations

import time
from functools import cache
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from nnapi_lab.compare import Diff
from nnapi_lab.errors import NnapiLabError
from nnapi_lab.lab import LoweredModel
from nnapi_lab.views.html import EXPORT, view_script, view_style
from nnapi_lab.views.payload import payload

EXPORT_LIVE = "\nexport default { render: live };\n"
PROGRESS_SECONDS = 0.1  # between two messages to the page


@cache
def live_script() -> str:
    """view.js and its notebook host as one module, as anywidget's `_esm` takes it."""
    return view_script().replace(EXPORT, "") + _static("live.js") + EXPORT_LIVE


@cache
def live_style() -> str:
    """view.css and the host's bar, as anywidget's `_css` takes it."""
    return view_style() + _static("live.css")


def _static(name: str) -> str:
    return files("nnapi_lab.notebook").joinpath("static", name).read_text(encoding="utf-8")


class Workbench(anywidget.AnyWidget):
    """The workbench of one lowering, live. `selected` is the node the reader clicked: {"side", "id"} or None.

    `lowered`: what is shown; one with refusals shows the part that was converted, and the problems.
    `diff`: differences to start with; otherwise the reader asks for them by a button, or `compare(*inputs)` does.
    """

    _esm = live_script()
    _css = live_style()
    payload = traitlets.Dict().tag(sync=True)
    differences = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    selected = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    snapshot = traitlets.Unicode("").tag(sync=True)
    can_compare = traitlets.Bool(True).tag(sync=True)

    def __init__(self, lowered: LoweredModel, diff: Diff | None = None, snapshot: str = "") -> None:
        super().__init__(
            payload=payload(lowered.part()), snapshot=snapshot, can_compare=not lowered.refusals
        )  # fmt: skip
        self.lowered = lowered
        self.diff: Diff | None = None
        if diff is not None:
            self._show(diff)
        self.on_msg(self._answer)

    def compare(self, *inputs: Any) -> Diff:
        """Run both sides on `inputs` (the example inputs by default) and show the differences in the page."""
        self._show(self.lowered.diff(*inputs, progress=self._progress()))
        assert self.diff is not None
        return self.diff

    def _show(self, diff: Diff) -> None:
        self.diff = diff
        shown = payload(self.lowered.part(diff))
        self.differences = {name: shown[name] for name in ("diff", "summary")}

    def _answer(self, _: Any, content: Any, buffers: Any) -> None:
        """What the page asks for. It must hear of every failure: nobody else looks at this call."""
        if not isinstance(content, dict) or content.get("kind") != "compare":
            return
        try:
            self.compare()
        except NnapiLabError as error:
            self.send({"kind": "failed", "message": str(error)})
        except Exception as error:
            self.send({"kind": "failed", "message": f"{type(error).__name__}: {error}"})
            raise

    def _progress(self) -> Any:
        """Tells the page how far the run is, at most ten times a second."""
        total, last = len(self.lowered.model.operations), 0.0

        def tell(stage: str, done: int, of: int) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
                last = now
                self.send({"kind": "progress", "stage": stage, "done": min(done, of or total), "total": of or total})

        return tell
