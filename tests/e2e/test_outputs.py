"""What is left of a workbench when its kernel is gone: reopened, not trusted, or turned into a page (UX 4.5)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

CELL = """
import nnapi_lab as lab, torch
torch.manual_seed(0)
lab.lower(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval(), torch.rand(1, 3, 8, 8))
"""


@pytest.fixture(scope="module")
def executed() -> Any:
    """A notebook that was run in mode "auto"; its kernel has ended."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "NNAPI_LAB_DISPLAY", "auto")
        nbclient.NotebookClient(notebook, timeout=180, store_widget_state=False).execute()
    return notebook


def test_two_outputs(executed: Any) -> None:
    snapshot, live = executed.cells[0].outputs
    assert snapshot.data["text/plain"] == "Sequential: 2 TorchScript nodes → 1 NNAPI operation"
    assert "<iframe" in snapshot.data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in live.data
    assert live.data["text/plain"] == ""


def test_a_trusted_notebook_keeps_a_page_that_lives(executed: Any, lab_server: Any, page: Any) -> None:
    from nbformat.sign import NotebookNotary

    NotebookNotary(data_dir=str(lab_server.data)).sign(executed)
    nbformat.write(executed, lab_server.folder / "trusted.ipynb")
    page.goto(lab_server.open("trusted.ipynb"))
    page.locator(".nl-snapshot iframe").wait_for()
    inside = page.frame_locator(".nl-snapshot iframe")
    inside.locator("[data-side=left] .nl-node").filter(has_text="aten::relu").hover()
    inside.locator("[data-side=right] .is-linked").first.wait_for()
    assert "CONV_2D" in inside.locator("[data-side=right] .is-linked .nl-t-label").all_text_contents()
    # Jupyter's error about the widget that is gone would only worry the reader.
    error = page.get_by_text("Error displaying widget")
    error.wait_for(state="attached")
    assert not error.is_visible()


def test_an_untrusted_notebook_keeps_the_picture(executed: Any, lab_server: Any, page: Any) -> None:
    foreign = nbformat.from_dict(executed)
    foreign.cells[0].source += "\n# signed by nobody"
    nbformat.write(foreign, lab_server.folder / "untrusted.ipynb")
    page.goto(lab_server.open("untrusted.ipynb"))
    picture = page.locator(".jp-OutputArea img[src^='data:image/svg+xml']")
    picture.wait_for()
    assert picture.evaluate("one => one.complete && one.naturalWidth > 100")
    assert page.locator(".jp-OutputArea iframe").count() == 0


def test_nbconvert_makes_a_page_that_lives_without_a_network(executed: Any, chromium: Any, tmp_path: Path) -> None:
    nbconvert = pytest.importorskip("nbconvert")
    text, _ = nbconvert.HTMLExporter().from_notebook_node(executed)
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    page = chromium.new_page(viewport={"width": 1440, "height": 960})
    # nbconvert's own template asks for MathJax and RequireJS; here nothing is answered.
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    page.goto(file.as_uri())
    inside = page.frame_locator(".nl-snapshot iframe")
    inside.locator("[data-side=right] .nl-node").filter(has_text="0.weight").first.click()
    assert "OIHW to OHWI" in inside.locator(".nl-inspector").inner_text()
    page.close()
