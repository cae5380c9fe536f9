"""Lay a graph out: cut it into strips, place each with `dot` or with the built-in layout, stack them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nnapi_lab.views.layout import dot, layers
from nnapi_lab.views.layout.align import Pair, align
from nnapi_lab.views.layout.bundles import bundle, bundled_pairs, unbundle
from nnapi_lab.views.layout.dot import RANK_GAP, Placed
from nnapi_lab.views.layout.plane import MARGIN, Box, Plane, Route, Sketch, ended, joined, mirrored, straight, swung
from nnapi_lab.views.layout.strips import STRIP_NODES, Strip, cut

Engine = Literal["auto", "dot", "builtin"]


def lay_out(
    sketch: Sketch, engine: Engine = "auto", *, limit: int = STRIP_NODES, timeout: float = dot.TIMEOUT
) -> Plane:
    """Boxes and routes of a graph, the same on every call.

    "auto" takes `dot` where there is one and it answers within `timeout` seconds, else the built-in layout;
    "dot" insists and raises DotFailed. Nodes never overlap; an edge to a later node runs downwards, except that
    of a constant that stands beside its reader.
    """
    bundles = bundle(sketch)
    return unbundle(bundles, _lay_out(bundles.inner, engine, limit, timeout))


def lay_out_level(left: Sketch, right: Sketch, pairs: Sequence[Pair], engine: Engine = "auto") -> tuple[Plane, Plane]:
    """Two graphs, equally high, the nodes of `pairs` at the same height as far as both orders allow.

    Constants stand on the outer sides, left of the left graph's operations and right of the right one's, so that
    linked operations face each other.
    """
    both = (bundle(left), bundle(right))
    planes = align(
        _lay_out(both[0].inner, engine, STRIP_NODES, dot.TIMEOUT),
        _lay_out(both[1].inner, engine, STRIP_NODES, dot.TIMEOUT),
        bundled_pairs(both, pairs),
        both[0].inner,
        both[1].inner,
    )
    return mirrored(unbundle(both[0], planes[0])), unbundle(both[1], planes[1])


def _lay_out(sketch: Sketch, engine: Engine, limit: int, timeout: float) -> Plane:
    if not sketch.sizes:
        return Plane((), (), 0.0, 0.0, "builtin")
    strips = cut(sketch, limit)
    if engine == "dot" or (engine == "auto" and dot.available()):
        try:
            return _stack(sketch, strips, dot.place(sketch, strips, timeout), "dot")
        except dot.DotFailed:
            if engine == "dot":
                raise
    return _stack(sketch, strips, layers.place(sketch, strips), "builtin")


def _stack(sketch: Sketch, strips: Sequence[Strip], placed: Sequence[Placed], engine: str) -> Plane:
    """Strips below each other, each shifted so that its head stands below the edges that enter it."""
    boxes: dict[int, Box] = {}
    routes: dict[int, Route] = {}
    top, expected = 0.0, None
    for part, before in zip(placed, [None, *strips[:-1]], strict=True):
        dx = 0.0
        if before is not None and before.head in part.boxes and expected is not None:
            dx = expected - part.boxes[before.head].x - sketch.anchor(before.head)
        boxes.update((node, box.moved(dx, top)) for node, box in part.boxes.items())
        routes.update((index, tuple((x + dx, y + top) for x, y in route)) for index, route in part.routes.items())
        exits = [x + dx for x, _ in part.exits.values()]
        expected = sum(exits) / len(exits) if exits else None
        top += part.height + RANK_GAP
    leaving = frozenset(index for strip in strips for index in strip.leaving)
    return _finish(sketch, boxes, routes, leaving, engine)


def _finish(
    sketch: Sketch, boxes: dict[int, Box], routes: dict[int, Route], leaving: frozenset[int], engine: str
) -> Plane:
    """Move everything into the positive quadrant, end every route exactly at its nodes, join what leaves a strip."""
    dx = MARGIN - min([box.x for box in boxes.values()] + [x for route in routes.values() for x, _ in route])
    dy = MARGIN - min(box.y for box in boxes.values())
    moved = {node: box.moved(dx, dy) for node, box in boxes.items()}
    finished: list[Route] = []
    for index, (src, dst) in enumerate(sketch.edges):
        source, target = moved[src], moved[dst]
        start = (source.x + sketch.anchor(src), source.bottom)
        end = (target.x + sketch.anchor(dst), target.y)
        route = tuple((x + dx, y + dy) for x, y in routes.get(index, ()))
        if not route:
            route = swung(start, end) if start[1] <= end[1] else straight(start, end)
        elif index in leaving:
            route = joined(route, swung(route[-1], end))
        finished.append(ended(route, start, end))
    width = max([box.x + box.w for box in moved.values()] + [x for route in finished for x, _ in route])
    height = max(box.bottom for box in moved.values())
    ordered = tuple(moved[node] for node in range(len(sketch.sizes)))
    return Plane(ordered, tuple(finished), width + MARGIN, height + MARGIN, engine)
