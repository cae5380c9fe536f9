"""Workbench part → plain text for a terminal: counts, rewrites by kind, the worst differences, problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from nnapi_lab.views.cards import cells, shorten
from nnapi_lab.views.glyphs import GLYPHS, KIND_TITLES
from nnapi_lab.views.parts import REWRITES, DiffRowPart, GraphPart, MetricPart, WorkbenchPart

INDENT = "  "


def workbench_text(part: WorkbenchPart, *, width: int = 100, worst: int = 5) -> str:
    """A summary of at most `width` columns; `worst` rows of the difference table, worst first as given."""
    blocks = [
        [part.title, "=" * min(cells(part.title), width)],
        _pairs([*part.summary, *(_count(graph) for graph in (part.left, part.right))], width),
        _rewrites(part, width),
        _differences(part, width, worst),
        _problems(part),
    ]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block) + "\n"


def number(value: float | int | None) -> str:
    """Four significant digits; a dash for what is not known."""
    return "–" if value is None else f"{value:.4g}"


def _count(graph: GraphPart) -> tuple[str, str]:
    kinds = Counter(node.kind for node in graph.nodes)
    said = ", ".join(
        f"{kinds[kind]} {title}{'' if kinds[kind] == 1 else 's'}" for kind, title in KIND_TITLES.items() if kinds[kind]
    )
    return graph.title, said or "empty"


def _pairs(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    wide = max((cells(key) for key, _ in rows), default=0)
    return [f"{_padded(key, wide)}  {shorten(value, max(width - wide - 2, 20))}" for key, value in rows]


def _rewrites(part: WorkbenchPart, width: int) -> list[str]:
    """Kinds with their counts, and the rules of each kind."""
    if not part.steps:
        return []
    lines = [f"Rewrites: {len(part.steps)}"]
    rules = Counter((step.kind, step.title) for step in part.steps)
    for kind in REWRITES:
        mine = [(title, count) for (one, title), count in rules.items() if one == kind]
        if not mine:
            continue
        total = sum(count for _, count in mine)
        lines.append(f"{INDENT}{GLYPHS[kind].title:<14}{total:>5}")
        lines.extend(f"{INDENT * 2}{count:>5} × {shorten(title, width - 14)}" for title, count in mine)
    return lines


def _differences(part: WorkbenchPart, width: int, worst: int) -> list[str]:
    if not part.diff_rows:
        return []
    shown = part.diff_rows[:worst]
    metrics = [metric for metric in part.metrics if any(row.metrics.get(metric.key) is not None for row in shown)]
    table = [["", *(metric.title for metric in metrics), "verdict"], *(_cells(row, metrics) for row in shown)]
    table = _narrowed(table, width - len(INDENT))
    count = len(part.diff_rows)
    heading = f"Worst differences ({len(shown)} of {count} compared value{'s' if count != 1 else ''})"
    return [heading, *(INDENT + line for line in _columns(table))]


def _cells(row: DiffRowPart, metrics: Iterable[MetricPart]) -> list[str]:
    return [shorten(row.label, 32), *(number(row.metrics.get(metric.key)) for metric in metrics), row.verdict]


def _narrowed(table: list[list[str]], width: int) -> list[list[str]]:
    """Leave out metrics from the right until label, numbers and verdict fit; then shorten the verdict."""
    while len(table[0]) > 3 and sum(_widths(table)) + 2 * len(table[0]) - 2 > width:
        table = [[*row[:-2], row[-1]] for row in table]
    room = width - sum(_widths(table)[:-1]) - 2 * (len(table[0]) - 1)
    return [[*row[:-1], shorten(row[-1], max(room, 12))] for row in table]


def _widths(table: list[list[str]]) -> list[int]:
    return [max(cells(row[column]) for row in table) for column in range(len(table[0]))]


def _columns(table: list[list[str]]) -> list[str]:
    """First and last column to the left, numbers to the right."""
    widths, last = _widths(table), len(table[0]) - 1
    return [
        "  ".join(
            _padded(text, wide) if column in (0, last) else " " * (wide - cells(text)) + text
            for column, (text, wide) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - cells(text))


def _problems(part: WorkbenchPart) -> list[str]:
    if not part.problems:
        return []
    lines = [f"Problems: {len(part.problems)}"]
    for problem in part.problems:
        lines.append(f"{INDENT}{problem.kind} at {problem.where}: {problem.message}")
        lines.extend(
            f"{INDENT * 2}{name}: {text}" for name, text in (("do", problem.fix), ("source", problem.source)) if text
        )
    return lines
