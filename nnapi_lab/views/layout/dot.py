"""Place strips with Graphviz: one `dot` process for all of them, read back in its plain format."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnapi_lab.views.layout.plane import Box, Point, Route, Sketch
from nnapi_lab.views.layout.strips import Strip

TIMEOUT = 5.0  # seconds; beyond that the built-in layout serves
PIXELS = 72.0  # dot counts in inches of 72 points; one point is one CSS pixel here
NODE_GAP, RANK_GAP = 18.0, 30.0
EXIT = 6.0  # the side of the invisible node at which a leaving edge ends


@dataclass(frozen=True, slots=True)
class Placed:
    """One strip laid out at the origin: boxes by node, routes by edge, and where each leaving edge ends."""

    boxes: dict[int, Box]
    routes: dict[int, Route]
    exits: dict[int, Point]
    width: float
    height: float


class DotFailed(RuntimeError):
    """There is no `dot`, it took too long, or it said something else than a layout."""


def available() -> bool:
    """True when a `dot` is on the path."""
    return shutil.which("dot") is not None


def place(sketch: Sketch, strips: Sequence[Strip], timeout: float = TIMEOUT) -> list[Placed]:
    """Every strip as Graphviz places it. Raises DotFailed."""
    source = "".join(_strip_source(sketch, strip) for strip in strips)
    try:
        done = subprocess.run(
            ["dot", "-Tplain"], input=source, capture_output=True, text=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DotFailed(str(error)) from error
    if done.returncode != 0:
        raise DotFailed(done.stderr.strip() or f"dot ended with code {done.returncode}")
    placed = list(_read(sketch, strips, done.stdout))
    if len(placed) != len(strips):
        raise DotFailed(f"dot laid out {len(placed)} of {len(strips)} strips")
    return placed


def _strip_source(sketch: Sketch, strip: Strip) -> str:
    """A strip in the dot language. Names are numbers, so no label of a model gets here."""
    lines = [
        "digraph {",
        f"nodesep={NODE_GAP / PIXELS:.3f}; ranksep={RANK_GAP / PIXELS:.3f};",
        'node [shape=box fixedsize=true label=""]; edge [dir=none];',
    ]
    for node in strip.nodes:
        width, height = sketch.sizes[node]
        size = f"width={width / PIXELS:.4f} height={height / PIXELS:.4f}"
        lines.append(f"n{node} [{size}{_port(sketch, node)}];")
    place = {node: position for position, node in enumerate(strip.nodes)}
    last: dict[int, int] = {}
    for index in strip.edges:
        src, dst = sketch.edges[index]
        if src not in sketch.constants:
            last[dst] = max(last.get(dst, -1), place[src])
    for index in strip.edges:
        src, dst = sketch.edges[index]
        # Heavy edges are kept straight: the deepest source stands right above its reader, else skip connections pull
        # the graph askew block by block.
        weight = 40 if last.get(dst) == place[src] else 1
        ends = f"tailport={_end(sketch, src, 's')} headport={_end(sketch, dst, 'n')}"
        lines.append(f"n{src} -> n{dst} [weight={weight} {ends}];")
    for index in strip.leaving:
        lines.append(f"x{index} [width={EXIT / PIXELS:.4f} height={EXIT / PIXELS:.4f}];")
        src = sketch.edges[index][0]
        lines.append(f"n{src} -> x{index} [weight=8 tailport={_end(sketch, src, 's')} headport=n];")
    if strip.leaving:
        lines.append("{rank=sink; " + " ".join(f"x{index};" for index in strip.leaving) + "}")
    return "\n".join(lines) + "\n}\n"


def _off_centre(sketch: Sketch, node: int) -> bool:
    return abs(sketch.anchor(node) - sketch.sizes[node][0] / 2) > 0.5


def _end(sketch: Sketch, node: int, side: str) -> str:
    """Where an edge meets a node: below (s) or above (n), at the anchor."""
    return f'"a:{side}"' if _off_centre(sketch, node) else side


def _port(sketch: Sketch, node: int) -> str:
    """A cell around an anchor that is not in the middle; dot knows no other way to place a port."""
    if not _off_centre(sketch, node):
        return ""
    (width, height), anchor = sketch.sizes[node], sketch.anchor(node)
    cell = '<td fixedsize="true" width="{:.0f}" height="{:.0f}"{}></td>'
    cells = cell.format(2 * anchor, height, ' port="a"') + cell.format(width - 2 * anchor, height, "")
    table = 'border="0" cellborder="0" cellspacing="0" cellpadding="0"'
    return f" label=<<table {table}><tr>{cells}</tr></table>>"


def _read(sketch: Sketch, strips: Sequence[Strip], text: str) -> Iterator[Placed]:
    """dot's plain format: `graph`, `node` and `edge` lines, then `stop`; y grows upwards, in inches."""
    pending = iter(strips)
    lines: list[list[str]] = []
    for line in text.splitlines():
        words = line.split(" ")
        if words[0] != "stop":
            lines.append(words)
            continue
        strip = next(pending, None)
        if strip is None:
            raise DotFailed("dot laid out more graphs than it was given")
        try:
            yield _read_strip(sketch, strip, lines)
        except (ValueError, KeyError, IndexError) as error:
            raise DotFailed(f"dot's plain output was not understood: {error}") from error
        lines = []


def _read_strip(sketch: Sketch, strip: Strip, lines: list[list[str]]) -> Placed:
    width, height = (float(word) * PIXELS for word in lines[0][2:4])

    def point(x: str, y: str) -> Point:
        return float(x) * PIXELS, height - float(y) * PIXELS

    centres = {words[1]: point(*words[2:4]) for words in lines if words[0] == "node"}
    boxes: dict[int, Box] = {}
    for node in strip.nodes:
        (x, y), (w, h) = centres[f"n{node}"], sketch.sizes[node]
        boxes[node] = Box(x - w / 2, y - h / 2, w, h)
    # Parallel edges come back in the order in which they were given.
    waiting: dict[tuple[str, str], list[int]] = {}
    for index in strip.edges:
        src, dst = sketch.edges[index]
        waiting.setdefault((f"n{src}", f"n{dst}"), []).append(index)
    for index in strip.leaving:
        waiting.setdefault((f"n{sketch.edges[index][0]}", f"x{index}"), []).append(index)
    routes: dict[int, Route] = {}
    for words in lines:
        if words[0] != "edge":
            continue
        numbers = words[4 : 4 + 2 * int(words[3])]
        path = tuple(point(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
        index = waiting[words[1], words[2]].pop(0)
        if path[0][1] > path[-1][1]:
            path = path[::-1]
        routes[index] = path
    exits = {index: routes[index][-1] for index in strip.leaving}
    return Placed(boxes, routes, exits, width, height)
