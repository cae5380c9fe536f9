"""Stretch two layouts so that linked nodes stand at the same height: a bilingual edition reads line by line.

Each side's y is mapped by a piecewise linear function whose slope is never below 1, so distances only grow: boxes
that did not overlap still do not, edges that ran down still do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from nnapi_lab.views.layout.plane import MARGIN, Box, Plane, Sketch, ended

Pair = tuple[int, int, float]  # left node, right node, how much it matters that they stand level


def align(left: Plane, right: Plane, pairs: Sequence[Pair], sketch: Sketch, other: Sketch) -> tuple[Plane, Plane]:
    """Both planes, equally high, with the heaviest consistent set of `pairs` level.

    `sketch` and `other` are what the left and the right plane were laid out from.
    """
    anchors = _chain([(left.boxes[a].cy, right.boxes[b].cy, weight) for a, b, weight in pairs])
    targets: list[float] = []
    for index, (a, b) in enumerate(anchors):
        if index == 0:
            targets.append(max(a, b))
        else:
            before = anchors[index - 1]
            targets.append(targets[-1] + max(a - before[0], b - before[1]))
    planes = (
        _stretch(left, [a for a, _ in anchors], targets, sketch),
        _stretch(right, [b for _, b in anchors], targets, other),
    )
    height = max(plane.height for plane in planes)
    return replace(planes[0], height=height), replace(planes[1], height=height)


def _chain(pairs: list[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """The heaviest sequence of pairs that grows strictly on both sides. O(n log n), by a Fenwick tree of maxima."""
    ordered = sorted(set(pairs), key=lambda pair: (pair[0], -pair[1], -pair[2]))
    heights = sorted({b for _, b, _ in ordered})
    slot = {b: position + 1 for position, b in enumerate(heights)}
    tree: list[tuple[float, int]] = [(0.0, -1)] * (len(heights) + 1)
    previous: list[int] = []
    best = (0.0, -1)
    for index, (_, b, weight) in enumerate(ordered):
        found, position = (0.0, -1), slot[b] - 1
        while position > 0:
            found = max(found, tree[position])
            position -= position & -position
        previous.append(found[1])
        entry = (found[0] + weight, index)
        best = max(best, entry)
        position = slot[b]
        while position < len(tree):
            tree[position] = max(tree[position], entry)
            position += position & -position
    chain: list[tuple[float, float]] = []
    at = best[1]
    while at >= 0:
        chain.append(ordered[at][:2])
        at = previous[at]
    return chain[::-1]


def _stretch(plane: Plane, knots: list[float], targets: list[float], sketch: Sketch) -> Plane:
    """Move each knot to its target, everything between in proportion, everything outside along with the nearest."""
    if not knots:
        return plane

    def moved(y: float) -> float:
        position = bisect_right(knots, y)
        if position == 0:
            return y + targets[0] - knots[0]
        if position == len(knots):
            return y + targets[-1] - knots[-1]
        low, high = knots[position - 1], knots[position]
        share = (y - low) / (high - low)
        return targets[position - 1] + share * (targets[position] - targets[position - 1])

    boxes = tuple(Box(box.x, moved(box.cy) - box.h / 2, box.w, box.h) for box in plane.boxes)
    routes = tuple(
        ended(
            tuple((x, moved(y)) for x, y in route),
            (route[0][0], boxes[src].bottom),
            (route[-1][0], boxes[dst].y),
        )
        for route, (src, dst) in zip(plane.routes, sketch.edges, strict=True)
    )
    height = max((box.bottom for box in boxes), default=0.0) + MARGIN
    return Plane(boxes, routes, plane.width, height, plane.engine)
