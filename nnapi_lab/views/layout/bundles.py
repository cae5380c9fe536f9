"""Constants stand beside the operation that reads them, as one bundle: data runs down, parameters come from the side.

A bundle is laid out as one box whose anchor, where edges enter and leave, is the operation's middle. Constants
with several readers, or with a source, stay nodes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nnapi_lab.views.layout.plane import Box, Plane, Point, Route, Sketch, ended

BESIDE, STACKED = 26.0, 8.0  # gaps between reader and constants, and between constants
COLUMN = 6  # constants above each other before another column begins


@dataclass(frozen=True, slots=True)
class Bundles:
    """`inner`: the sketch of the bundles; `home`: node → bundle; `core`: bundle → its main node.

    `spots`: constant → its offset from the upper right corner of its reader's bundle row (x, y from the middle).
    """

    outer: Sketch
    inner: Sketch
    home: tuple[int, ...]
    core: tuple[int, ...]
    spots: dict[int, Point]
    edges: tuple[int, ...]  # inner edge → outer edge


def bundle(sketch: Sketch) -> Bundles:
    """Take every constant with a single reader to that reader."""
    beside = _satellites(sketch)
    core = tuple(node for node in range(len(sketch.sizes)) if node not in beside)
    number = {node: position for position, node in enumerate(core)}
    home = tuple(number[beside.get(node, node)] for node in range(len(sketch.sizes)))
    followers: dict[int, list[int]] = {}
    for node, reader in beside.items():
        followers.setdefault(reader, []).append(node)
    spots: dict[int, Point] = {}
    sizes: list[tuple[float, float]] = []
    for node in core:
        width, height = sketch.sizes[node]
        for at in range(0, len(followers.get(node, ())), COLUMN):
            column = followers[node][at : at + COLUMN]
            tall = sum(sketch.sizes[member][1] for member in column) + STACKED * (len(column) - 1)
            y = -tall / 2
            for member in column:
                spots[member] = (width + BESIDE, y)
                y += sketch.sizes[member][1] + STACKED
            width += BESIDE + max(sketch.sizes[member][0] for member in column)
            height = max(height, tall)
        sizes.append((width, height))
    kept = tuple(index for index, (src, _) in enumerate(sketch.edges) if src not in beside)
    inner = Sketch(
        tuple(sizes),
        tuple((home[sketch.edges[index][0]], home[sketch.edges[index][1]]) for index in kept),
        frozenset(number[node] for node in sketch.constants if node in number),
        tuple(sketch.sizes[node][0] / 2 for node in core),
    )
    return Bundles(sketch, inner, home, core, spots, kept)


def _satellites(sketch: Sketch) -> dict[int, int]:
    """Constant → its only reader, in program order; the reader is no such constant itself."""
    readers: dict[int, set[int]] = {node: set() for node in sketch.constants}
    for src, dst in sketch.edges:
        if src in readers:
            readers[src].add(dst)
        readers.pop(dst, None)
    return {
        node: next(iter(readers[node]))
        for node in sorted(readers)
        if len(readers[node]) == 1 and not readers[node] & sketch.constants
    }


def unbundle(bundles: Bundles, plane: Plane) -> Plane:
    """Boxes and routes of the single nodes: constants at their spots, their edges from the side."""
    sketch = bundles.outer
    boxes: list[Box] = []
    for node, unit in enumerate(bundles.home):
        outer, (w, h) = plane.boxes[unit], sketch.sizes[node]
        dx, dy = bundles.spots.get(node, (0.0, -h / 2))
        boxes.append(Box(outer.x + dx, outer.cy + dy, w, h))
    inner = dict(zip(bundles.edges, plane.routes, strict=True))
    routes = tuple(
        _beside(boxes[src], boxes[dst])
        if index not in inner
        else ended(inner[index], (boxes[src].cx, boxes[src].bottom), (boxes[dst].cx, boxes[dst].y))
        for index, (src, dst) in enumerate(sketch.edges)
    )
    return replace(plane, boxes=tuple(boxes), routes=routes)


def _beside(constant: Box, reader: Box) -> Route:
    """From the constant's left edge to the reader's right edge."""
    start, end = (constant.x, constant.cy), (reader.x + reader.w, reader.cy)
    middle = end[0] + min(BESIDE, start[0] - end[0]) / 2
    return (start, (middle, start[1]), (middle, end[1]), end)


def bundled_pairs(
    bundles: tuple[Bundles, Bundles], pairs: Sequence[tuple[int, int, float]]
) -> list[tuple[int, int, float]]:
    """Pairs of nodes as pairs of their bundles."""
    left, right = bundles
    return [(left.home[a], right.home[b], weight) for a, b, weight in pairs]
