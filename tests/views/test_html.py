"""The saved page: one file, no address in it, labels as data."""

from __future__ import annotations

import json
import re
from html import escape

import pytest
from bs4 import BeautifulSoup

from nnapi_lab.views import html
from nnapi_lab.views.html import embed_json, srcdoc_iframe, view_script, view_style, workbench_html
from nnapi_lab.views.parts import WorkbenchPart
from nnapi_lab.views.payload import payload
from tests.views.conftest import HOSTILE

NAMESPACE = "http://www.w3.org/2000/svg"


def test_page_is_whole_and_asks_for_nothing(mobilenet: WorkbenchPart) -> None:
    page = workbench_html(mobilenet, "builtin")
    soup = BeautifulSoup(page, "html.parser")
    assert soup.title is not None
    assert soup.title.text == "mobilenet_v2"
    assert set(re.findall(r"https?://[^\s\"'`]+", page)) == {NAMESPACE}
    assert not soup.select("[src], [href], link, iframe, img")
    policy = soup.select_one("meta[http-equiv=Content-Security-Policy]")
    assert policy is not None
    assert "default-src 'none'" in policy["content"]


def test_page_carries_the_payload(mobilenet: WorkbenchPart) -> None:
    soup = BeautifulSoup(workbench_html(mobilenet, "builtin"), "html.parser")
    block = soup.select_one("script#nl-payload")
    assert block is not None
    assert json.loads(block.string or "") == json.loads(json.dumps(payload(mobilenet, "builtin")))


def test_hostile_labels_add_no_element(hostile: WorkbenchPart, mobilenet: WorkbenchPart) -> None:
    tags = [
        [tag.name for tag in BeautifulSoup(workbench_html(part, "builtin"), "html.parser").find_all(True)]
        for part in (hostile, mobilenet)
    ]
    assert tags[0] == tags[1]


def test_embedded_json_holds_no_markup() -> None:
    text = embed_json([HOSTILE, "\u2028\u2029<!--"])
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == [HOSTILE, "\u2028\u2029<!--"]


def test_script_keeps_to_itself() -> None:
    script = view_script()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "import "):
        assert forbidden not in script
    assert not re.search(r"\bwindow\.", script)
    assert script.rstrip().endswith(html.EXPORT)


def test_every_style_is_scoped() -> None:
    style = re.sub(r"/\*.*?\*/", "", view_style(), flags=re.S)
    selectors = re.findall(r"([^{}]+)\{", style)
    loose = [
        one.strip()
        for group in selectors
        if not group.strip().startswith("@")
        for one in group.split(",")
        if ".nl-root" not in one
    ]
    assert loose == []


def test_script_without_its_export_is_refused(mobilenet: WorkbenchPart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "view_script", lambda: "function render() {}")
    with pytest.raises(ValueError, match="must end with"):
        workbench_html(mobilenet, "builtin")


def test_iframe_carries_the_page_and_a_picture() -> None:
    page = '<p class="a">1 & 2</p>'
    soup = BeautifulSoup(srcdoc_iframe(page, "<svg/>", title='a"b'), "html.parser")
    frame = soup.iframe
    assert frame is not None
    assert frame["srcdoc"] == page
    assert frame["sandbox"] in ("allow-scripts", ["allow-scripts"])
    assert frame["title"] == 'a"b'
    assert 'src="data:image/svg+xml;base64,' in srcdoc_iframe(page, "<svg/>")
    assert escape(page) in srcdoc_iframe(page)
