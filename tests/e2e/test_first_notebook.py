"""The first notebook as a newcomer meets it: opened in JupyterLab, run, pointed at, clicked, read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def labels(workbench: Any, side: str, state: str) -> list[str]:
    return sorted(workbench.locator(f"[data-side={side}] .nl-node.{state} .nl-t-label").all_text_contents())


def node(workbench: Any, side: str, label: str) -> Any:
    return workbench.locator(f"[data-side={side}] .nl-node").filter(has_text=label).first


def test_the_lesson_runs_and_its_workbench_answers(
    lab_server: Any, page: Any, heard: Any, run_all: Callable[[], None]
) -> None:
    page.goto(lab_server.open("01_first_lowering.ipynb"))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    run_all()
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0

    # The live workbench stands where the snapshot was.
    workbench = page.locator(".nl-live").first
    workbench.scroll_into_view_if_needed()
    assert page.locator(".nl-live").count() == page.locator(".nl-snapshot").count() == 2
    assert not page.locator(".nl-snapshot").first.is_visible()
    assert workbench.is_visible()

    # Pointing: batch norm has no operation of its own; it lives on in the convolution and its constants.
    node(workbench, "left", "aten::batch_norm").hover()
    workbench.locator("[data-side=right] .nl-node.is-linked").first.wait_for()
    assert labels(workbench, "right", "is-linked") == ["CONV_2D", "conv.weight", "conv.weight.bias"]
    assert "aten::batch_norm" in workbench.locator(".nl-status").inner_text()
    assert workbench.locator(".nl-rope").count() > 0

    # Clicking: the inspector says by which rule the filter changed its order, and how.
    node(workbench, "right", "conv.weight").click()
    inspector = workbench.locator(".nl-inspector")
    said = inspector.inner_text()
    for expected in ("Convolution weights: OIHW to OHWI", "W'[o,h,w,i] = W[o,i,h,w]", "Batch norm folded"):
        assert expected in said
    assert "aten::_convolution" in labels(workbench, "left", "is-partner")

    # Asking the kernel: both sides run, the table fills, the reader's selection survives.
    workbench.locator(".nl-live-run").click()
    workbench.locator("[data-tab=diff][aria-selected=true]").wait_for()
    assert workbench.locator(".nl-live-said").inner_text() == "2 values compared"
    assert workbench.locator(".nl-tab-diff .nl-row").filter(has_text="rounding only").count() == 1
    assert "aten::_convolution" in labels(workbench, "left", "is-partner")

    # MobileNetV2, the same way.
    big = page.locator(".nl-live").nth(1)
    big.scroll_into_view_if_needed()
    node(big, "left", "aten::_convolution").hover()
    big.locator("[data-side=right] .nl-node.is-linked").first.wait_for()
    assert "features.0.0.weight" in labels(big, "right", "is-linked")
    assert heard.errors == []


FAILING = """
import nnapi_lab as lab, torch
lowered = lab.lower(torch.nn.Conv2d(1, 2, 3).eval(), torch.rand(1, 1, 5, 5))
bench = lab.workbench(lowered)
def refuse(*inputs, **options):
    raise lab.SimulationError("the simulator is out of order")
object.__setattr__(lowered, "diff", refuse)
bench
"""


def test_a_failure_in_the_kernel_is_told_in_the_page(
    lab_server: Any, page: Any, heard: Any, run_all: Callable[[], None]
) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FAILING)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab_server.folder / "failing.ipynb")
    page.goto(lab_server.open("failing.ipynb"))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    run_all()
    workbench = page.locator(".nl-live")
    workbench.locator(".nl-live-run").click()
    workbench.locator(".nl-live-failure:not(:empty)").wait_for()
    assert workbench.locator(".nl-live-failure").inner_text() == "the simulator is out of order"
    assert workbench.locator(".nl-live-run").is_enabled()
    assert heard.errors == []
