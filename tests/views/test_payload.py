"""The payload holds everything the parts say, by position."""

from __future__ import annotations

import json
import math

from nnapi_lab.views.parts import METRICS, DiffRowPart, GraphPart, NodePart, WorkbenchPart
from nnapi_lab.views.payload import payload


def test_totals(mobilenet: WorkbenchPart) -> None:
    data = payload(mobilenet, "builtin")
    for side, graph in (("left", mobilenet.left), ("right", mobilenet.right)):
        assert [node["id"] for node in data[side]["nodes"]] == [node.id for node in graph.nodes]
        assert len(data[side]["edges"]) == len(graph.edges)
        assert [(graph.nodes[e["src"]].id, graph.nodes[e["dst"]].id) for e in data[side]["edges"]] == [
            (edge.src, edge.dst) for edge in graph.edges
        ]
    names = [(mobilenet.left.nodes[a].id, mobilenet.right.nodes[b].id) for a, b in data["links"]]
    assert names == [(link.left, link.right) for link in mobilenet.links]
    assert len(data["steps"]) == len(mobilenet.steps)
    for step, part in zip(data["steps"], mobilenet.steps, strict=True):
        assert tuple(mobilenet.right.nodes[at].id for at in step["right"]) == part.right
    assert [row["label"] for row in data["diff"]] == [row.label for row in mobilenet.diff_rows]


def test_survives_json(mobilenet: WorkbenchPart) -> None:
    data = payload(mobilenet, "builtin")
    assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))


def test_convolutions_stand_level_with_what_they_became(deep: WorkbenchPart) -> None:
    data = payload(deep, "builtin")
    left = {node["id"]: node["y"] + node["h"] / 2 for node in data["left"]["nodes"]}
    right = {node["id"]: node["y"] + node["h"] / 2 for node in data["right"]["nodes"]}
    convolutions = [name for name in left if name.startswith("conv")]
    assert len(convolutions) == 52
    # 0.1 px: coordinates are rounded to one decimal on both sides
    assert all(abs(left[name] - right[f"op:{name[4:]}"]) <= 0.11 for name in convolutions)


def test_not_a_number_travels_as_text() -> None:
    graph = GraphPart("g", (NodePart("a", "a"),))
    rows = tuple(
        DiffRowPart("r", "a", metrics={METRICS[0].key: value}) for value in (math.nan, math.inf, -math.inf, None, 2)
    )
    data = payload(WorkbenchPart("t", graph, graph, diff_rows=rows), "builtin")
    assert [row["values"][0] for row in data["diff"]] == ["NaN", "∞", "-∞", None, 2.0]


def test_empty_workbench() -> None:
    data = payload(WorkbenchPart("t", GraphPart("l"), GraphPart("r")), "builtin")
    assert data["left"]["nodes"] == data["right"]["edges"] == []
