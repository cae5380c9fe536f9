"""A page that is loaded again while the kernel lives: the workbench comes back, with what it had been told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser
nbformat = pytest.importorskip("nbformat")

CELL = """
import nnapi_lab as lab, torch
lab.lower(torch.nn.Conv2d(1, 2, 3).eval(), torch.rand(1, 1, 5, 5))
"""


def test_the_workbench_comes_back(lab_server: Any, page: Any, heard: Any, run_all: Callable[[], None]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab_server.folder / "again.ipynb")
    page.goto(lab_server.open("again.ipynb"))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    run_all()
    page.locator(".nl-live-run").click()
    page.locator("[data-tab=diff][aria-selected=true]").wait_for()
    page.locator("[data-side=right] .nl-node").filter(has_text="CONV_2D").first.click()
    page.locator("[data-command='docmanager:save']").first.click()
    saved = lab_server.folder / "again.ipynb"
    end = time.monotonic() + 20
    while "nl-snapshot" not in saved.read_text("utf-8"):
        assert time.monotonic() < end, "the notebook was not saved"
        page.wait_for_timeout(100)
    page.goto(lab_server.open("again.ipynb"))
    workbench = page.locator(".nl-live")
    workbench.wait_for()
    assert not page.locator(".nl-snapshot").is_visible()
    assert workbench.locator(".nl-live-run").inner_text() == "Compare again"
    assert workbench.locator("[data-side=right] .is-pinned .nl-t-label").all_text_contents() == ["CONV_2D"]
    assert heard.errors == []
