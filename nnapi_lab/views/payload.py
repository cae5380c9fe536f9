"""Workbench part → the JSON-ready payload that `static/view.js` draws; layout is done here, drawing there.

Nodes are referred to by position, in links, steps, difference rows and problems. `VERSION` changes when a reader
of an older payload would misread a newer one.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from nnapi_lab.views.arrange import Drawing, arrange
from nnapi_lab.views.glyphs import CHANNELS_LAST, GLYPHS, KIND_TITLES, outline
from nnapi_lab.views.layout.engine import Engine
from nnapi_lab.views.parts import GraphPart, StepPart, WorkbenchPart

VERSION = 1


def payload(part: WorkbenchPart, engine: Engine = "auto") -> dict[str, Any]:
    """Everything view.js needs, made of dict, list, str, float, int, bool and None."""
    left, right = arrange(part, engine)
    spots = (_spots(part.left), _spots(part.right))
    return {
        "version": VERSION,
        "title": part.title,
        "summary": [list(row) for row in part.summary],
        "left": _pane(left),
        "right": _pane(right),
        "links": [[spots[0][link.left], spots[1][link.right]] for link in part.links],
        "steps": [_step(step, *spots) for step in part.steps],
        "metrics": [asdict(metric) for metric in part.metrics],
        "diff": [
            {
                "label": row.label,
                "detail": row.detail,
                "left": spots[0].get(row.left, -1),
                "right": spots[1].get(row.right, -1),
                "values": [_number(row.metrics.get(metric.key)) for metric in part.metrics],
                "verdict": row.verdict,
            }
            for row in part.diff_rows
        ],
        "error_key": part.error_key,
        "problems": [
            {
                "kind": problem.kind,
                "where": problem.where,
                "message": problem.message,
                "fix": problem.fix,
                "source": problem.source,
                "rule": problem.rule,
                "left": [spots[0][name] for name in problem.left],
                "right": [spots[1][name] for name in problem.right],
            }
            for problem in part.problems
        ],
        "glyphs": {kind: asdict(glyph) for kind, glyph in GLYPHS.items()},
        "kinds": dict(KIND_TITLES),
    }


def _spots(graph: GraphPart) -> dict[str, int]:
    return {node.id: position for position, node in enumerate(graph.nodes)}


def _pane(drawing: Drawing) -> dict[str, Any]:
    spots = _spots(drawing.part)
    nodes = []
    for node, face, box in zip(drawing.part.nodes, drawing.cards, drawing.plane.boxes, strict=True):
        fields = asdict(node)
        fields.update(
            attributes=[list(row) for row in node.attributes],
            rewrites=list(node.rewrites),
            x=round(box.x, 1),
            y=round(box.y, 1),
            w=face.width,
            h=face.height,
            outline=outline(node.kind, face.width, face.height),
            lines=[[line.text, line.style, line.y] for line in face.lines],
            glyphs=list(face.glyphs),
            tag=face.tag,
            channels_last=node.layout in CHANNELS_LAST,
        )
        nodes.append(fields)
    edges = [
        {
            "src": spots[edge.src],
            "dst": spots[edge.dst],
            "label": edge.label,
            "route": [round(number, 1) for point in route for number in point],
        }
        for edge, route in zip(drawing.part.edges, drawing.plane.routes, strict=True)
    ]
    return {
        "title": drawing.part.title,
        "width": math.ceil(drawing.plane.width),
        "height": math.ceil(drawing.plane.height),
        "engine": drawing.plane.engine,
        "nodes": nodes,
        "edges": edges,
    }


def _step(step: StepPart, left: dict[str, int], right: dict[str, int]) -> dict[str, Any]:
    fields = asdict(step)
    fields["left"] = [left[name] for name in step.left]
    fields["right"] = [right[name] for name in step.right]
    return fields


def _number(value: float | int | None) -> float | int | str | None:
    """JSON has no NaN and no infinity; they travel as the text they are shown as."""
    if value is None or math.isfinite(value):
        return None if value is None else float(value)
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
