"""Differences and explanations as HTML for a cell's output: plain tables, coloured by the notebook's own theme.

All text comes from models and is escaped. Styles stand on the elements, because a sanitizer takes style sheets away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from nnapi_lab.compare import Diff, Row
from nnapi_lab.lab import Explanation
from nnapi_lab.rewrites.rule import Side, Step
from nnapi_lab.views.facts import verdict
from nnapi_lab.views.glyphs import GLYPHS
from nnapi_lab.views.text import number

ROWS_SHOWN = 10
LEFT, RIGHT = "text-align:left", "text-align:right"
QUIET = "opacity:0.75"


def diff_html(diff: Diff, rows: int = ROWS_SHOWN) -> str:
    """A sentence of summary and the worst rows; the rest is in `.rows`, `.to_pandas()` or the workbench."""
    steps = any(row.max_steps is not None for row in diff.rows)
    titles = ["value", "PyTorch → NNAPI", "max |Δ|", "of its range", *(["steps"] if steps else []), "alone", "verdict"]
    body = [_diff_cells(row, steps) for row in diff.worst(rows)]
    left_out = len(diff.rows) - len(body)
    more = f"{left_out} more in <code>.rows</code>, <code>.to_pandas()</code>" if left_out else ""
    table = _table(titles, body, {0, 1, len(titles) - 1})
    return f"<div><p>{escape(diff_sentence(diff))}</p>{table}{f'<p>{more}</p>' if more else ''}</div>"


def diff_sentence(diff: Diff) -> str:
    """What one would say aloud: how many values, how far apart at worst, and whether an operation is to blame."""
    summary, bad = diff.summary(), diff.first_bad()
    parts = [f"{diff.model}: {summary['values']} values compared, worst first."]
    if summary["float"]["values"]:
        parts.append(f"Float values differ by {summary['float']['worst_relative']:.1e} of their range at most.")
    if summary["quantized"]["values"]:
        held = summary["quantized"]
        parts.append(
            f"Quantized values differ by {_steps(held['worst_steps'])} at most, "
            f"by {_steps(held['worst_isolated_steps'])} when each operation is fed PyTorch's own values."
        )
    parts.append(
        "No operation does worse than rounding." if bad is None
        else f"The first operation that does worse than rounding is {bad.node} {bad.value} ({bad.operation})."
    )  # fmt: skip
    return " ".join(parts)


def _steps(count: int) -> str:
    return f"{count} step{'s' * (count != 1)}"


def _diff_cells(row: Row, steps: bool) -> list[str]:
    alone = row.isolated_max_abs if row.isolated_max_steps is None else row.isolated_max_steps
    return [
        row.value,
        f"{row.node} → {row.operation}",
        number(row.max_abs),
        f"{row.relative:.1e}" if row.relative else "0",
        *([number(row.max_steps)] if steps else []),
        number(alone),
        verdict(row),
    ]


def explanation_html(explanation: Explanation) -> str:
    """Each rewrite entry with its why, formula, both sides, facts and source."""
    names = f"{', '.join(explanation.values) or '–'} → {', '.join(explanation.operands) or '–'}"
    head = f"<p><strong>{escape(explanation.target)}</strong> <code>{escape(names)}</code></p>"
    if not explanation.steps:
        return f"<div>{head}<p>No rewrite touched it.</p></div>"
    return f"<div>{head}{''.join(map(step_html, explanation.steps))}</div>"


def step_html(step: Step) -> str:
    """One rewrite entry, folded away behind its title where the front end can fold."""
    rule = step.rule
    facts = ", ".join(f"{key} = {held}" for key, held in step.facts.items())
    rows = [
        ("why", escape(rule.why)),
        ("formula", f"<code>{escape(rule.formula)}</code>"),
        *(("before", _side(side)) for side in step.before),
        *(("after", _side(side)) for side in step.after),
        ("facts", escape(facts)),
        ("effect", escape(rule.effect)),
        ("source", f'<span style="{QUIET}">{escape(rule.source)}</span>'),
    ]
    lines = "".join(
        f'<tr><th style="{LEFT};vertical-align:top;white-space:nowrap">{name}</th><td style="{LEFT}">{text}</td></tr>'
        for name, text in rows
        if text
    )
    kind = GLYPHS[rule.kind].title
    return (
        f"<details open><summary>#{step.id} <strong>{escape(rule.title)}</strong> "
        f'<span style="{QUIET}">{escape(kind)} · {escape(rule.id)}</span></summary><table>{lines}</table></details>'
    )


def _side(side: Side) -> str:
    return f"<code>{escape(str(side))}</code>"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: set[int]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f'<{tag} style="{LEFT if column in left else RIGHT}">{escape(cell)}</{tag}>'
            for column, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{line('th', titles)}</tr></thead><tbody>{body}</tbody></table>"
