"""The static picture: well-formed, no script, everything drawn, text as text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from nnapi_lab.views.parts import GraphPart, NodePart, WorkbenchPart
from nnapi_lab.views.svg import workbench_svg

NS = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_draws_every_node_once(mobilenet: WorkbenchPart, theme: str) -> None:
    root = ET.fromstring(workbench_svg(mobilenet, "builtin", theme))
    titles = [title.text for title in root.iter(f"{NS}title")]
    operations = [title for title in titles if title and title.startswith("NNAPI operation")]
    assert len(operations) == sum(node.kind == "operation" for node in mobilenet.right.nodes)


def test_labels_are_text(hostile: WorkbenchPart) -> None:
    root = ET.fromstring(workbench_svg(hostile, "builtin"))
    assert {element.tag.removeprefix(NS) for element in root.iter()} <= {"svg", "g", "path", "rect", "text", "title"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


def test_characters_that_xml_forbids() -> None:
    graph = GraphPart("g", (NodePart("a", "a\x00b\x1bc", "\ud800"),))
    ET.fromstring(workbench_svg(WorkbenchPart("\x07", graph, GraphPart("r")), "builtin").encode())
