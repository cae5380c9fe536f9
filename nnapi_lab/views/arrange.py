"""Graph parts → where everything is drawn: a card and a box by node, a route by edge, both panes level."""

from __future__ import annotations

from dataclasses import dataclass

from nnapi_lab.views.cards import Card, card
from nnapi_lab.views.layout.align import Pair
from nnapi_lab.views.layout.engine import Engine, lay_out_level
from nnapi_lab.views.layout.plane import Plane, Sketch
from nnapi_lab.views.parts import GraphPart, NodePart, WorkbenchPart

# An operation standing level with the node it is first linked to matters most, then with any other (what was fused
# into it); a value level with anything is better than nothing.
FIRST_WEIGHT, OPERATION_WEIGHT, VALUE_WEIGHT = 12.0, 8.0, 1.0


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
    planes = lay_out_level(left_sketch, right_sketch, _pairs(part), engine)
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
    met: set[str] = set()
    for link in part.links:
        (a, one), (b, two) = left[link.left], right[link.right]
        if one.is_constant or two.is_constant:
            continue
        first = link.right not in met
        met.add(link.right)
        weight = FIRST_WEIGHT if first else OPERATION_WEIGHT
        pairs.append((a, b, weight if _computes(one) and _computes(two) else VALUE_WEIGHT))
    return pairs


def _computes(node: NodePart) -> bool:
    return node.kind in ("torch", "operation")
