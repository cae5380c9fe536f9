"""Graph parts → where everything is drawn: a card and a box by node, a route by edge, both panes level."""

from __future__ import annotations

from dataclasses import dataclass

from nnapi_lab.views.cards import Card, card
from nnapi_lab.views.layout.align import Pair, align
from nnapi_lab.views.layout.engine import Engine, lay_out
from nnapi_lab.views.layout.plane import Plane, Sketch
from nnapi_lab.views.parts import GraphPart, NodePart, WorkbenchPart

# A pair of operations standing level matters most; a value level with its operation is better than nothing.
OPERATION_WEIGHT, VALUE_WEIGHT = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """One pane, ready to draw; cards and plane.boxes in the order of part.nodes, plane.routes of part.edges."""

    part: GraphPart
    cards: tuple[Card, ...]
    plane: Plane


def arrange(part: WorkbenchPart, engine: Engine = "auto") -> tuple[Drawing, Drawing]:
    """Both graphs laid out, linked nodes at the same height as far as both orders allow."""
    left_cards, left_sketch = _sketch(part.left)
    right_cards, right_sketch = _sketch(part.right)
    planes = align(
        lay_out(left_sketch, engine),
        lay_out(right_sketch, engine),
        _pairs(part),
        left_sketch.edges,
        right_sketch.edges,
    )
    return Drawing(part.left, left_cards, planes[0]), Drawing(part.right, right_cards, planes[1])


def _sketch(graph: GraphPart) -> tuple[tuple[Card, ...], Sketch]:
    cards = tuple(card(node) for node in graph.nodes)
    spot = {node.id: index for index, node in enumerate(graph.nodes)}
    edges = tuple((spot[edge.src], spot[edge.dst]) for edge in graph.edges)
    constants = frozenset(index for index, node in enumerate(graph.nodes) if node.is_constant)
    return cards, Sketch(tuple((face.width, face.height) for face in cards), edges, constants)


def _pairs(part: WorkbenchPart) -> list[Pair]:
    left = {node.id: (index, node) for index, node in enumerate(part.left.nodes)}
    right = {node.id: (index, node) for index, node in enumerate(part.right.nodes)}
    pairs: list[Pair] = []
    for link in part.links:
        (a, one), (b, two) = left[link.left], right[link.right]
        if not one.is_constant and not two.is_constant:
            pairs.append((a, b, OPERATION_WEIGHT if _computes(one) and _computes(two) else VALUE_WEIGHT))
    return pairs


def _computes(node: NodePart) -> bool:
    return node.kind in ("torch", "operation")
