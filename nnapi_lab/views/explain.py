"""Rewrite entries as text to read in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from nnapi_lab.rewrites.rule import Step


def explanation_text(target: str, values: Sequence[str], operands: Sequence[str], steps: Sequence[Step]) -> str:
    """What became of `target`, entry by entry: rule, why, formula, both sides, facts, source."""
    heads = [f"{target}: {', '.join(values) or '-'} → {', '.join(operands) or '-'}"]
    if not steps:
        heads.append("no rewrite touched it")
    return "\n".join([*heads, *("\n".join(step_lines(step)) for step in steps)])


def step_lines(step: Step, width: int = 110) -> Iterable[str]:
    """One entry, indented under its number and title."""
    rule = step.rule
    yield f"#{step.id} {rule.title}  [{rule.id}]"
    yield from _wrapped("why", rule.why, width)
    yield from _wrapped("formula", rule.formula, width)
    for label, sides in (("before", step.before), ("after", step.after)):
        for side in sides:
            yield f"    {label:8} {side}"
    if step.facts:
        yield from _wrapped("facts", ", ".join(f"{key} = {held}" for key, held in step.facts.items()), width)
    if rule.effect:
        yield from _wrapped("else", rule.effect, width)
    yield from _wrapped("source", rule.source, width)


def _wrapped(label: str, text: str, width: int) -> Iterable[str]:
    return textwrap.wrap(text, width, initial_indent=f"    {label:8} ", subsequent_indent=" " * 13)
