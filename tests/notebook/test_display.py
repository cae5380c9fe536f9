from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell

from nnapi_lab.lab import LoweredModel
from nnapi_lab.notebook import display as display_module
from nnapi_lab.notebook.display import clipped, folded, register, show_lowered, show_workbench
from nnapi_lab.notebook.options import options
from nnapi_lab.notebook.widget import Workbench

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def shell() -> Iterator[Any]:
    """An IPython that believes it has a kernel."""
    one = InteractiveShell()
    one.kernel = object()
    yield one
    one.history_manager.end_session() if one.history_manager else None


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was displayed, bundle by bundle."""
    bundles: list[dict[str, Any]] = []
    monkeypatch.setattr(display_module, "display", lambda data, **_: bundles.append(data))
    return bundles


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda name: monkeypatch.setattr(options, "_display", name)


def test_auto_is_a_snapshot_and_a_widget_that_knows_it(tiny: LoweredModel, shown: list[Any], mode: Any) -> None:
    mode("auto")
    show_lowered(tiny)
    snapshot, live = shown
    soup = BeautifulSoup(snapshot["text/html"], "html.parser")
    frame = soup.select_one("div.nl-snapshot > iframe")
    assert frame is not None
    assert frame["sandbox"] == ["allow-scripts"]
    assert "TinyNet" in frame["srcdoc"]
    assert "data:image/svg+xml" in frame.decode_contents()
    assert snapshot["text/plain"] == "TinyNet: 3 TorchScript nodes → 1 NNAPI operation"
    assert VIEW in live
    assert live["text/plain"] == ""
    widget = next(one for one in _widgets() if one.model_id == live[VIEW]["model_id"])
    assert widget.snapshot == soup.select_one("div.nl-snapshot")["id"]


def _widgets() -> list[Workbench]:
    import ipywidgets

    held = getattr(ipywidgets.widgets.widget, "_instances", {})
    return [one for one in held.values() if isinstance(one, Workbench)]


def test_two_displays_do_not_share_an_id(tiny: LoweredModel, shown: list[Any], mode: Any) -> None:
    mode("auto")
    show_lowered(tiny)
    show_lowered(tiny)
    ids = [BeautifulSoup(one["text/html"], "html.parser").div["id"] for one in shown if "text/html" in one]
    assert len(set(ids)) == 2


MODES = {
    # mode: (outputs, what the last one's HTML holds, what it must not hold)
    "widget": (1, "", "iframe"),
    "static": (1, "<iframe", "widget-view"),
    "svg": (1, "data:image/svg+xml;base64,", "<iframe"),
    "text": (1, "", "<"),
}


@pytest.mark.parametrize("name", MODES)
def test_other_modes_are_one_output(tiny: LoweredModel, shown: list[Any], mode: Any, name: str) -> None:
    mode(name)
    show_lowered(tiny)
    count, holds, lacks = MODES[name]
    assert len(shown) == count
    html = shown[-1].get("text/html", "")
    assert holds in html
    assert lacks not in html
    assert (VIEW in shown[-1]) == (name == "widget")
    assert shown[-1]["text/plain"].startswith("TinyNet")


def test_without_anywidget_auto_is_the_snapshot(
    tiny: LoweredModel, shown: list[Any], mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode("auto")
    monkeypatch.setattr(display_module.importlib.util, "find_spec", lambda name: None)
    show_lowered(tiny)
    (only,) = shown
    assert "<iframe" in only["text/html"]


def test_a_workbench_is_shown_with_its_differences(tiny: LoweredModel, shown: list[Any], mode: Any) -> None:
    mode("static")
    workbench = Workbench(tiny)
    workbench.compare()
    show_workbench(workbench)
    assert "rounding only" in shown[-1]["text/html"]


def test_registered_types_show_themselves(tiny: LoweredModel, shell: Any, mode: Any, shown: list[Any]) -> None:
    mode("svg")
    assert register(shell)
    assert register(shell)  # twice does no harm
    format = shell.display_formatter.format
    assert format(tiny) == ({}, {})  # shown by itself, so nothing is left to format
    assert len(shown) == 1
    diff, _ = format(tiny.diff())
    assert diff["text/plain"].startswith("TinyNet: 2 values compared, worst first")
    assert "<table>" in diff["text/html"]
    explanation, _ = format(tiny.explain("bn"))
    assert "Batch norm folded into the convolution" in explanation["text/html"]
    assert "#2 Batch norm folded" in explanation["text/plain"]
    assert format(tiny.model)[0]["text/plain"].startswith("model TinyNet {")
    assert "data sha256" not in format(tiny.model)[0]["text/plain"]
    assert format(tiny.graph)[0]["text/plain"].startswith("graph TinyNet(")
    assert format(tiny.diff().plot())[0]["image/png"]


def test_text_mode_has_no_html_at_all(tiny: LoweredModel, shell: Any, mode: Any) -> None:
    mode("text")
    register(shell)
    assert "text/html" not in shell.display_formatter.format(tiny.diff())[0]
    assert "text/html" not in shell.display_formatter.format(tiny.explain("bn"))[0]


def test_a_terminal_keeps_its_own_way(tiny: LoweredModel) -> None:
    shell = InteractiveShell()  # no kernel
    register(shell)
    assert shell.display_formatter.format(tiny)[0]["text/plain"] == repr(tiny).rstrip()


def test_without_ipython_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display_module, "get_ipython", lambda: None)
    assert not register()


def test_importing_in_a_notebook_loads_neither_torch_nor_the_widget() -> None:
    code = (
        "import IPython, sys\n"
        "shell = IPython.core.interactiveshell.InteractiveShell.instance()\n"
        "import nnapi_lab\n"
        "late = {'torch', 'anywidget', 'ipywidgets'} & set(sys.modules)\n"
        "kinds = shell.display_formatter.formatters['text/plain'].deferred_printers\n"
        "print(sorted(late), ('nnapi_lab.compare', 'Diff') in kinds)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[] True"


def test_clipping_says_what_is_missing() -> None:
    assert clipped("a\nb\nc\n", 2) == "a\nb\nc"  # one line more costs as much as saying so
    assert clipped("a\nb\nc\nd\n", 2) == "a\nb\n… 2 more lines; print() shows all"


def test_folding_breaks_between_words_only() -> None:
    assert (
        folded("  %a = ADD(x=%b, y=%c) : f32[1,2]\nshort", 20)
        == "  %a = ADD(x=%b,\n        y=%c) :\n        f32[1,2]\nshort"
    )
    assert folded("", 20) == ""
    assert folded("x" * 30, 20) == "x" * 30
