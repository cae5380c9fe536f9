"""How things show themselves at the end of a notebook cell, by the mode of `nnapi_lab.options.display`.

Registered by name, so that `import nnapi_lab` inside a notebook loads neither torch nor the widget.
"""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from IPython.display import display

from nnapi_lab.notebook.options import options

if TYPE_CHECKING:
    from nnapi_lab.compare import Diff
    from nnapi_lab.ir.model import Model
    from nnapi_lab.ir.torch_graph import TorchGraph
    from nnapi_lab.lab import Explanation, LoweredModel
    from nnapi_lab.notebook.widget import Workbench

LINES_SHOWN = 60
COLUMNS = 110


def register(ip: Any = None) -> bool:
    """Teach IPython to show what nnapi_lab returns; False where there is no IPython. Twice does no harm."""
    shell = ip if ip is not None else get_ipython()
    if shell is None:
        return False
    formatter = shell.display_formatter
    plain, html = formatter.formatters["text/plain"], formatter.formatters["text/html"]
    for module, name, show in _TEXTS:
        plain.for_type_by_name(module, name, _printer(show))
    for module, name, page in _PAGES:
        html.for_type_by_name(module, name, page)
    png = formatter.formatters["image/png"]
    if _FIGURE not in {(kind.__module__, kind.__name__) for kind in png.type_printers}:
        png.for_type_by_name(*_FIGURE, _figure_png)
    if getattr(shell, "kernel", None) is not None:
        # Only with a kernel: a terminal's IPython has no use for outputs, and keeps its Out[n].
        formatter.ipython_display_formatter.for_type_by_name("nnapi_lab.lab", "LoweredModel", show_lowered)
        formatter.ipython_display_formatter.for_type_by_name("nnapi_lab.notebook.widget", "Workbench", show_workbench)
    return True


def show_lowered(lowered: LoweredModel) -> None:
    """The workbench of a lowered model as one or two outputs, by the mode."""
    mode = options.display
    if mode in ("auto", "widget") and importlib.util.find_spec("anywidget") is not None:
        from nnapi_lab.notebook.widget import Workbench

        _show_live(Workbench(lowered), with_snapshot=mode == "auto")
    else:
        _show_still(lowered, mode)


def show_workbench(workbench: Workbench) -> None:
    """A workbench that was made before: the same outputs, with the differences it holds by now."""
    mode = options.display
    if mode in ("auto", "widget"):
        _show_live(workbench, with_snapshot=mode == "auto")
    else:
        _show_still(workbench.lowered, mode, workbench.diff)


def _show_live(workbench: Workbench, with_snapshot: bool) -> None:
    """Output 1 outlives the kernel; output 2 hides it while it lives. See UX 4.5 for what each front end keeps."""
    from nnapi_lab.notebook.snapshot import new_id, one_line, page_output

    part = workbench.lowered.part(workbench.diff)
    if with_snapshot:
        workbench.snapshot = workbench.snapshot or new_id()
        display({"text/plain": one_line(part), "text/html": page_output(part, workbench.snapshot)}, raw=True)
    bundle: Any = workbench._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    # Where the widget cannot live, the snapshot has said everything already.
    said = "" if with_snapshot else one_line(part)
    display({**data, "text/plain": said}, metadata=metadata, raw=True)


def _show_still(lowered: LoweredModel, mode: str, diff: Diff | None = None) -> None:
    from nnapi_lab.notebook.snapshot import one_line, page_output, picture_output
    from nnapi_lab.views.text import workbench_text

    part = lowered.part(diff)
    data = {"text/plain": workbench_text(part)}
    if mode == "svg":
        data |= {"text/plain": one_line(part), "text/html": picture_output(part)}
    elif mode != "text":
        data |= {"text/plain": one_line(part), "text/html": page_output(part)}
    display(data, raw=True)


# --- text and tables -----------------------------------------------------------------------------------------


def _printer(show: Any) -> Any:
    return lambda held, printer, cycle: printer.text(show(held))


def clipped(text: str, limit: int = LINES_SHOWN) -> str:
    """The first lines of a long text, and how many were left out."""
    lines = text.rstrip().split("\n")
    if len(lines) <= limit + 1:
        return "\n".join(lines)
    return "\n".join([*lines[:limit], f"… {len(lines) - limit} more lines; print() shows all"])


def folded(text: str, width: int = COLUMNS) -> str:
    """Long lines broken between words, with the rest indented; a browser would break them anywhere."""
    return "\n".join(_fold(line, width) for line in text.split("\n"))


def _fold(line: str, width: int) -> str:
    margin = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line, width, subsequent_indent=margin + "      ", break_long_words=False, break_on_hyphens=False
    )  # fmt: skip


def _model_text(model: Model) -> str:
    from nnapi_lab.text import show

    # Large constants by their hash; their data belongs into a file.
    return folded(clipped(show(model, sidecar={})))


def _graph_text(graph: TorchGraph) -> str:
    return folded(clipped(str(graph)))


def _diff_text(diff: Diff) -> str:
    return str(diff)


def _diff_html(diff: Diff) -> str | None:
    from nnapi_lab.notebook.tables import diff_html

    return None if options.display == "text" else diff_html(diff)


def _figure_png(figure: Any) -> bytes:
    """What `diff.plot()` returns is a plain figure: nobody asked for pyplot, which would draw it twice."""
    from io import BytesIO

    held = BytesIO()
    figure.savefig(held, format="png", dpi=100)
    return held.getvalue()


def _explanation_html(explanation: Explanation) -> str | None:
    from nnapi_lab.notebook.tables import explanation_html

    return None if options.display == "text" else explanation_html(explanation)


_FIGURE = ("matplotlib.figure", "Figure")
_TEXTS: tuple[tuple[str, str, Callable[..., str]], ...] = (
    ("nnapi_lab.ir.model", "Model", _model_text),
    ("nnapi_lab.ir.torch_graph", "TorchGraph", _graph_text),
    ("nnapi_lab.compare", "Diff", _diff_text),
)
_PAGES: tuple[tuple[str, str, Callable[..., str | None]], ...] = (
    ("nnapi_lab.compare", "Diff", _diff_html),
    ("nnapi_lab.lab", "Explanation", _explanation_html),
)
