"""The colours, once: Okabe and Ito's categorical palette, told apart by everyone, on a light and a dark ground.

`static/view.css` holds the same values as custom properties (a test compares them); contrast is computed in tests.
Colour never speaks alone: every rewrite has a glyph of its own shape besides (views/glyphs.py).
Source: Okabe & Ito, Color Universal Design (2008); WCAG 2.1, 1.4.3 and 1.4.11.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

Theme = Literal["light", "dark"]

# ground: page · panel: bars and tables · card: nodes · ink, muted: text · line: borders · edge: arrows
# mark: ground of a highlighted node · ring: its border · rope: the line that ties linked nodes
LIGHT = MappingProxyType(
    {
        "ground": "#ffffff",
        "panel": "#f5f7f9",
        "card": "#ffffff",
        "card-op": "#eaeef3",
        "ink": "#1b2127",
        "muted": "#55606b",
        "line": "#c3ccd5",
        "outline": "#7c8896",
        "edge": "#8792a0",
        "mark": "#fff2b3",
        "ring": "#1b2127",
        "rope": "#a67c00",
        "focus": "#0072b2",
        "layout": "#0072b2",
        "layout-ink": "#ffffff",
        "quantization": "#e69f00",
        "quantization-ink": "#1b2127",
        "fusion": "#009e73",
        "fusion-ink": "#04150f",
        "decomposition": "#cc79a7",
        "decomposition-ink": "#1b2127",
        "constant": "#f0e442",
        "constant-ink": "#1b2127",
        "shape": "#56b4e9",
        "shape-ink": "#1b2127",
        "identity": "#ffffff",
        "identity-ink": "#55606b",
        "operation": "#ffffff",
        "operation-ink": "#55606b",
        "error": "#b34a00",
        "error-ground": "#fdebdf",
    }
)
DARK = MappingProxyType(
    {
        "ground": "#13171c",
        "panel": "#1a2027",
        "card": "#1c232b",
        "card-op": "#2b3540",
        "ink": "#e8eef4",
        "muted": "#a9b6c3",
        "line": "#3a4653",
        "outline": "#768595",
        "edge": "#778695",
        "mark": "#4d4412",
        "ring": "#ffffff",
        "rope": "#f0e442",
        "focus": "#56b4e9",
        "layout": "#56b4e9",
        "layout-ink": "#0b1a24",
        "quantization": "#e69f00",
        "quantization-ink": "#1b1300",
        "fusion": "#009e73",
        "fusion-ink": "#04150f",
        "decomposition": "#cc79a7",
        "decomposition-ink": "#22101a",
        "constant": "#f0e442",
        "constant-ink": "#1e1c00",
        "shape": "#b8c7ff",
        "shape-ink": "#0c1230",
        "identity": "#13171c",
        "identity-ink": "#a9b6c3",
        "operation": "#13171c",
        "operation-ink": "#a9b6c3",
        "error": "#ff9a57",
        "error-ground": "#40230f",
    }
)
THEMES = MappingProxyType({"light": LIGHT, "dark": DARK})


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two colours "#rrggbb": 1 (equal) to 21 (black on white)."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
