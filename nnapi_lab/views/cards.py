"""Node → card: the lines of text that are drawn and the box they need, the same for browser and static SVG.

Widths are estimated from a monospaced face (0.602 em a character, two cells for wide East Asian characters), so
that layout needs no browser. Sizes are in CSS pixels.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from nnapi_lab.views.parts import REWRITES, NodePart, Rewrite

LABEL_CELL = 7.3  # 12 px bold
SMALL_CELL = 6.1  # 10 px
CHIP = 18.0  # a 14 px glyph and its gap
PAD_X, PAD_Y = 13.0, 7.0
LABEL_LINE, SMALL_LINE = 16.0, 14.0
TAG_CELL, TAG_PAD = 5.5, 8.0
LABEL_MAX, SMALL_MAX, CONSTANT_MAX = 34, 42, 24

LineStyle = Literal["label", "small", "quant"]


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn line: text (shortened where it would not fit), its style, and its baseline below the card's top."""

    text: str
    style: LineStyle
    y: float


@dataclass(frozen=True, slots=True)
class Card:
    """A node as drawn: size, lines, rewrite glyphs in a fixed order, and the layout tag."""

    width: float
    height: float
    lines: tuple[Line, ...]
    glyphs: tuple[Rewrite, ...]
    tag: str


def cells(text: str) -> int:
    """Columns a text takes in a monospaced face."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shorten(text: str, limit: int) -> str:
    """Keep both ends: `features.17.conv.0.weight` → `features.1…0.weight`. Controls become spaces."""
    text = "".join(character if character.isprintable() else " " for character in text)
    if cells(text) <= limit:
        return text
    head, tail = _prefix(text, (limit - 1 + 1) // 2), _prefix(text[::-1], (limit - 1) // 2)[::-1]
    return f"{head}…{tail}"


def _prefix(text: str, limit: int) -> str:
    """The longest beginning that takes at most `limit` columns."""
    used = 0
    for count, character in enumerate(text):
        used += cells(character)
        if used > limit:
            return text[:count]
    return text


def card(node: NodePart) -> Card:
    """The card of one node."""
    limit = CONSTANT_MAX if node.is_constant else LABEL_MAX
    glyphs = tuple(kind for kind in REWRITES if kind in node.rewrites and kind != "operation")
    tag = shorten(node.layout, 10)
    label = shorten(node.label, limit)
    width = cells(label) * LABEL_CELL + len(glyphs) * CHIP + (4 if glyphs else 0)
    lines = [Line(label, "label", PAD_Y + 11.5)]
    y = PAD_Y + LABEL_LINE
    small_limit = CONSTANT_MAX + 8 if node.is_constant else SMALL_MAX
    tag_width = cells(tag) * TAG_CELL + TAG_PAD + 8 if tag else 0.0
    if node.sublabel or tag:
        text = shorten(node.sublabel, small_limit)
        width = max(width, cells(text) * SMALL_CELL + tag_width)
        lines.append(Line(text, "small", y + 10))
        y += SMALL_LINE
    if node.quant:
        text = shorten(node.quant, small_limit)
        width = max(width, cells(text) * SMALL_CELL)
        lines.append(Line(text, "quant", y + 10))
        y += SMALL_LINE
    return Card(round(width + 2 * PAD_X), round(y + PAD_Y), tuple(lines), glyphs, tag)
