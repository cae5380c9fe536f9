"""What a layout is given and what it returns: sizes and pairs in, boxes and routes out. CSS pixels, y grows down."""

from __future__ import annotations

from dataclasses import dataclass, replace

MARGIN = 24.0
Point = tuple[float, float]
# A path of cubic segments: 3k+1 points, the first on the source's lower edge, the last on the target's upper edge.
Route = tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A graph without meaning: (width, height) by node in program order, edges as pairs, which nodes are constants.

    `anchors`: how far from a node's left edge its edges enter and leave; empty means in the middle.
    """

    sizes: tuple[tuple[float, float], ...]
    edges: tuple[tuple[int, int], ...]
    constants: frozenset[int] = frozenset()
    anchors: tuple[float, ...] = ()

    def anchor(self, node: int) -> float:
        return self.anchors[node] if self.anchors else self.sizes[node][0] / 2


@dataclass(frozen=True, slots=True)
class Box:
    """A placed node: upper left corner and size."""

    x: float
    y: float
    w: float
    h: float

    @property
    def cx(self) -> float:
        return self.x + self.w / 2

    @property
    def cy(self) -> float:
        return self.y + self.h / 2

    @property
    def bottom(self) -> float:
        return self.y + self.h

    def moved(self, dx: float, dy: float) -> Box:
        return replace(self, x=self.x + dx, y=self.y + dy)

    def meets(self, other: Box) -> bool:
        """True when the two share some area."""
        return (
            self.x < other.x + other.w and other.x < self.x + self.w and self.y < other.bottom and other.y < self.bottom
        )


@dataclass(frozen=True, slots=True)
class Plane:
    """A finished layout: a box by node, a route by edge, the extent, and which engine made it."""

    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]
    width: float
    height: float
    engine: str


def mirrored(plane: Plane) -> Plane:
    """The same layout with left and right exchanged."""
    return replace(
        plane,
        boxes=tuple(replace(box, x=plane.width - box.x - box.w) for box in plane.boxes),
        routes=tuple(tuple((plane.width - x, y) for x, y in route) for route in plane.routes),
    )


def straight(start: Point, end: Point) -> Route:
    """A straight line as one cubic segment."""
    (x0, y0), (x1, y1) = start, end
    third = ((x1 - x0) / 3, (y1 - y0) / 3)
    return (start, (x0 + third[0], y0 + third[1]), (x1 - third[0], y1 - third[1]), end)


def swung(start: Point, end: Point) -> Route:
    """A curve that leaves and arrives vertically."""
    (x0, y0), (x1, y1) = start, end
    middle = (y0 + y1) / 2
    return (start, (x0, middle), (x1, middle), end)


def joined(first: Route, second: Route) -> Route:
    """Two routes in a row; the second begins where the first ends."""
    return first + second[1:]


def ended(route: Route, start: Point, end: Point) -> Route:
    """The route with exact ends, its inner points kept between them in height."""
    low, high = sorted((start[1], end[1]))
    inner = tuple((x, min(max(y, low), high)) for x, y in route[1:-1])
    return (start, *inner, end)
