"""Place strips without Graphviz: ranks by longest path, order by barycentre sweeps, x by isotonic regression.

Linear in nodes and edges, up to a constant: an edge over more than LONG ranks gets no helpers and is drawn
directly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nnapi_lab.views.layout.dot import EXIT, NODE_GAP, RANK_GAP, Placed
from nnapi_lab.views.layout.plane import Box, Point, Route, Sketch, joined, straight, swung
from nnapi_lab.views.layout.strips import Strip

LONG = 40
SWEEPS = 4
Key = tuple[str, int, int]  # ("n", node, 0), ("x", edge, 0) for an exit, ("d", edge, rank) where an edge passes


@dataclass(slots=True)
class _Ladder:
    """A strip as ranks of keys, with what is above and below each key."""

    ranks: list[list[Key]]
    above: dict[Key, list[Key]] = field(default_factory=dict)
    below: dict[Key, list[Key]] = field(default_factory=dict)
    chains: dict[int, list[Key]] = field(default_factory=dict)

    def tie(self, upper: Key, lower: Key) -> None:
        self.below.setdefault(upper, []).append(lower)
        self.above.setdefault(lower, []).append(upper)


def place(sketch: Sketch, strips: Sequence[Strip]) -> list[Placed]:
    """Every strip as the built-in layout places it."""
    return [_place_strip(sketch, strip) for strip in strips]


def _place_strip(sketch: Sketch, strip: Strip) -> Placed:
    ladder = _ladder(sketch, strip, _ranks(sketch, strip))
    _sort(ladder)

    def size(key: Key) -> tuple[float, float]:
        return sketch.sizes[key[1]] if key[0] == "n" else (EXIT, EXIT)

    def reach(key: Key) -> tuple[float, float]:
        """How far a key extends to the left and to the right of its anchor."""
        anchor = sketch.anchor(key[1]) if key[0] == "n" else EXIT / 2
        return anchor, size(key)[0] - anchor

    across = _columns(ladder, reach, sketch)
    heights = [max(size(key)[1] for key in rank) for rank in ladder.ranks]
    tops = [0.0]
    for height in heights[:-1]:
        tops.append(tops[-1] + height + RANK_GAP)
    left = min(across[key] - reach(key)[0] for key in across)
    boxes: dict[int, Box] = {}
    centre: dict[Key, Point] = {}
    for rank, top, tall in zip(ladder.ranks, tops, heights, strict=True):
        for key in rank:
            (w, h), x = size(key), across[key] - left
            centre[key] = (x, top + tall / 2)
            if key[0] == "n":
                boxes[key[1]] = Box(x - reach(key)[0], top + tall / 2 - h / 2, w, h)
    routes = {index: _route(chain, centre, boxes, heights) for index, chain in ladder.chains.items()}
    width = max(across[key] - left + reach(key)[1] for key in across)
    exits = {index: routes[index][-1] for index in strip.leaving}
    return Placed(boxes, routes, exits, width, tops[-1] + heights[-1])


def _ranks(sketch: Sketch, strip: Strip) -> dict[int, int]:
    """Longest path from above; what nothing feeds is pulled down to just above its first reader."""
    rank = dict.fromkeys(strip.nodes, 0)
    fed: set[int] = set()
    into: dict[int, list[int]] = {}
    reader: dict[int, list[int]] = {}
    for index in strip.edges:
        src, dst = sketch.edges[index]
        into.setdefault(dst, []).append(src)
        reader.setdefault(src, []).append(dst)
        fed.add(dst)
    for node in strip.nodes:  # in reading order, so that sources come before readers
        for src in into.get(node, ()):
            rank[node] = max(rank[node], rank[src] + 1)
    for node in strip.nodes:
        if node not in fed and node in reader:
            rank[node] = max(rank[node], min(rank[dst] for dst in reader[node]) - 1)
    return rank


def _ladder(sketch: Sketch, strip: Strip, rank: dict[int, int]) -> _Ladder:
    depth = max(rank.values()) + 1
    ladder = _Ladder([[] for _ in range(depth + bool(strip.leaving))])
    for node in strip.nodes:
        ladder.ranks[rank[node]].append(("n", node, 0))
    for index in (*strip.edges, *strip.leaving):
        src, dst = sketch.edges[index]
        leaves = rank.get(dst) is None
        end: Key = ("x", index, 0) if leaves else ("n", dst, 0)
        last = depth if leaves else rank[dst]
        if leaves:
            ladder.ranks[depth].append(end)
        between = range(rank[src] + 1, last) if last - rank[src] <= LONG else ()
        chain: list[Key] = [("n", src, 0), *(("d", index, level) for level in between), end]
        for level, key in zip(between, chain[1:-1], strict=False):
            ladder.ranks[level].append(key)
        for upper, lower in pairwise(chain):
            ladder.tie(upper, lower)
        ladder.chains[index] = chain
    return ladder


def _sort(ladder: _Ladder) -> None:
    """Order each rank by the mean place of its neighbours, down and up in turn."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = ladder.above if down else ladder.below
        ranks = ladder.ranks if down else ladder.ranks[::-1]
        where = {key: float(spot) for rank in ranks for spot, key in enumerate(rank)}
        for rank in ranks:
            mean = {
                key: sum(where[other] for other in neighbours[key]) / len(neighbours[key])
                if neighbours.get(key)
                else where[key]
                for key in rank
            }
            rank.sort(key=lambda key, mean=mean: mean[key])  # type: ignore[misc]
            where.update((key, float(spot)) for spot, key in enumerate(rank))


def _columns(ladder: _Ladder, reach: Callable[[Key], tuple[float, float]], sketch: Sketch) -> dict[Key, float]:
    """The x of every key's centre: as near to its neighbours' as the widths beside it allow."""
    across: dict[Key, float] = {}
    for rank in ladder.ranks:
        x = 0.0
        for key in rank:
            across[key] = x + reach(key)[0]
            x += sum(reach(key)) + NODE_GAP

    def wish(key: Key, neighbours: dict[Key, list[Key]]) -> float:
        others = neighbours.get(key, [])
        # Real neighbours before passing edges: a skip connection goes around, the main column stays straight.
        main = [other for other in others if _leads(other, sketch)]
        chosen = main or others
        return sum(across[other] for other in chosen) / len(chosen) if chosen else across[key]

    for sweep in range(2 * SWEEPS + 1):
        down = sweep % 2 == 0
        neighbours = ladder.above if down else ladder.below
        for rank in ladder.ranks if down else ladder.ranks[::-1]:
            wishes = [wish(key, neighbours) for key in rank]
            weights = [1.0 if _leads(key, sketch) else 0.01 for key in rank]
            settled = _settle(wishes, [reach(key) for key in rank], weights)
            across.update(zip(rank, settled, strict=True))
    return across


def _leads(key: Key, sketch: Sketch) -> bool:
    """True for what stands in the main column: neither a constant nor a passing edge."""
    return key[0] == "n" and key[1] not in sketch.constants


def _settle(wishes: list[float], reaches: list[tuple[float, float]], weights: list[float]) -> list[float]:
    """Centres in the given order, NODE_GAP apart, with the least weighted squared distance to the wishes."""
    offsets = [0.0]
    for (_, right), (left, _) in pairwise(reaches):
        offsets.append(offsets[-1] + right + left + NODE_GAP)
    blocks: list[list[float]] = []  # [sum of weighted targets, sum of weights, members]
    for wish, offset, weight in zip(wishes, offsets, weights, strict=True):
        blocks.append([(wish - offset) * weight, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, weight_sum, members = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + weight_sum, blocks[-1][2] + members]
    bases = [total / weight for total, weight, members in blocks for _ in range(int(members))]
    return [base + offset for base, offset in zip(bases, offsets, strict=True)]


def _route(chain: list[Key], centre: dict[Key, Point], boxes: dict[int, Box], heights: list[float]) -> Route:
    """From the source's lower edge through the helpers' ranks to the target's upper edge."""
    at: Point = (centre[chain[0]][0], boxes[chain[0][1]].bottom)
    path: Route = (at,)
    for key in chain[1:-1]:
        x, y = centre[key]
        half = heights[key[2]] / 2
        path = joined(joined(path, swung(at, (x, y - half))), straight((x, y - half), (x, y + half)))
        at = (x, y + half)
    last = chain[-1]
    end = (centre[last][0], boxes[last[1]].y) if last[0] == "n" else centre[last]
    return joined(path, swung(at, end))
