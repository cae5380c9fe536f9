"""Cut a graph into strips that can be laid out alone and stacked: Graphviz grows worse than quadratically.

A boundary is a cut when every edge that crosses it enters one and the same node. That node is then on top of the
lower strip, and only its incoming edges need joining. Linear in nodes and edges.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import accumulate, pairwise

from nnapi_lab.views.layout.plane import Sketch

STRIP_NODES = 250


@dataclass(frozen=True, slots=True)
class Strip:
    """Nodes in order, positions in Sketch.edges of the edges inside, and of those that leave for the next strip.

    `head` is the node of the next strip that all of `leaving` enter; None at the end or between separate parts.
    """

    nodes: tuple[int, ...]
    edges: tuple[int, ...]
    leaving: tuple[int, ...]
    head: int | None


def reading_order(sketch: Sketch) -> tuple[int, ...]:
    """Sources before readers, otherwise program order; a constant directly before its first reader.

    Nodes on a cycle (a damaged model) come last, in program order.
    """
    count = len(sketch.sizes)
    readers: list[list[int]] = [[] for _ in range(count)]
    feeds: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    fed = {dst for src, dst in sketch.edges if src != dst}
    loose = {node for node in sketch.constants if node not in fed}
    for src, dst in dict.fromkeys(sketch.edges):
        if src == dst:
            continue
        if src in loose:
            feeds[dst].append(src)
        else:
            readers[src].append(dst)
            waiting[dst] += 1
    ready = [node for node in range(count) if waiting[node] == 0 and node not in loose]
    heapq.heapify(ready)
    order: dict[int, None] = {}
    while ready:
        node = heapq.heappop(ready)
        order.update(dict.fromkeys(sorted(feeds[node])))
        order[node] = None
        for reader in readers[node]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    order.update(dict.fromkeys(range(count)))
    return tuple(order)


def cut(sketch: Sketch, limit: int = STRIP_NODES) -> list[Strip]:
    """Strips of at most `limit` nodes where the graph allows it, cut where the fewest edges cross."""
    order = reading_order(sketch)
    place = {node: position for position, node in enumerate(order)}
    forward = [index for index, (src, dst) in enumerate(sketch.edges) if place[src] < place[dst]]
    crossing = _crossings(sketch, place, forward)
    bounds = [0, *_choose(crossing, len(order), limit), len(order)]
    return _collect(sketch, order, place, forward, bounds)


def _crossings(sketch: Sketch, place: dict[int, int], forward: list[int]) -> list[int]:
    """By boundary b (before position b): edges crossing it, or -1 where they enter more than one node."""
    count = len(place)
    edges, heads = [0] * (count + 1), [0] * (count + 1)
    first: dict[int, int] = {}
    for index in forward:
        src, dst = (place[node] for node in sketch.edges[index])
        edges[src + 1] += 1
        edges[dst + 1 if dst + 1 <= count else count] -= 1
        first[dst] = min(src, first.get(dst, src))
    for head, tail in first.items():
        heads[tail + 1] += 1
        heads[min(head + 1, count)] -= 1
    return [
        number if entered <= 1 else -1 for number, entered in zip(accumulate(edges), accumulate(heads), strict=True)
    ]


def _choose(crossing: list[int], count: int, limit: int) -> list[int]:
    """Boundaries, greedily: in the later half of what `limit` allows, the one with the fewest edges crossing."""
    chosen: list[int] = []
    start, best = 0, -1
    for boundary in range(1, count):
        late = boundary - start > limit // 2
        if crossing[boundary] >= 0 and (best < 0 or not late or crossing[boundary] <= crossing[best]):
            best = boundary
        if boundary - start >= limit and best > 0:
            chosen.append(best)
            start, best = best, -1
    return chosen


def _collect(
    sketch: Sketch, order: tuple[int, ...], place: dict[int, int], forward: list[int], bounds: list[int]
) -> list[Strip]:
    strip_at: list[int] = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        strip_at.extend([number] * (end - start))
    inside: list[list[int]] = [[] for _ in bounds[1:]]
    leaving: list[list[int]] = [[] for _ in bounds[1:]]
    for index in forward:
        src, dst = (strip_at[place[node]] for node in sketch.edges[index])
        (inside if src == dst else leaving)[src].append(index)
    return [
        Strip(
            order[start:end],
            tuple(inside[number]),
            tuple(leaving[number]),
            sketch.edges[leaving[number][0]][1] if leaving[number] else None,
        )
        for number, (start, end) in enumerate(pairwise(bounds))
    ]
