"""Colours: the style sheet says what the palette says, and everyone can read it."""

from __future__ import annotations

import re

import pytest

from nnapi_lab.views.glyphs import GLYPHS
from nnapi_lab.views.html import view_style
from nnapi_lab.views.palette import THEMES, contrast
from nnapi_lab.views.parts import REWRITES

SELECTORS = {"light": r"\.nl-root", "dark": r'\.nl-root\[data-theme="dark"\]'}


@pytest.mark.parametrize("theme", THEMES)
def test_style_sheet_holds_the_palette(theme: str) -> None:
    block = re.search(rf"^{SELECTORS[theme]} \{{\n(.*?)\n\}}", view_style(), re.S | re.M)
    assert block is not None
    assert dict(re.findall(r"--nl-([a-z-]+): (#[0-9a-f]{6});", block[1])) == dict(THEMES[theme])


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ink", ["ink", "muted"])
@pytest.mark.parametrize("ground", ["ground", "panel", "card", "card-op"])
def test_text_has_contrast(theme: str, ink: str, ground: str) -> None:
    assert contrast(THEMES[theme][ink], THEMES[theme][ground]) >= 4.5  # WCAG 2.1, 1.4.3


@pytest.mark.parametrize("theme", THEMES)
def test_highlighted_text_and_errors_have_contrast(theme: str) -> None:
    colour = THEMES[theme]
    assert contrast(colour["ink"], colour["mark"]) >= 4.5
    assert contrast(colour["ink"], colour["error-ground"]) >= 4.5
    assert contrast(colour["error"], colour["card"]) >= 4.5
    assert contrast(colour["layout-ink"], colour["layout"]) >= 4.5  # the filled layout tag holds text


@pytest.mark.parametrize("theme", THEMES)
def test_marks_stand_out_from_their_glyphs_and_borders_from_the_ground(theme: str) -> None:
    colour = THEMES[theme]
    for kind in REWRITES:
        assert contrast(colour[f"{kind}-ink"], colour[kind]) >= 3  # WCAG 2.1, 1.4.11: graphics
    for border in ("outline", "edge", "ring", "rope", "focus"):
        assert contrast(colour[border], colour["ground"]) >= 3


def test_contrast_of_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1


def test_every_rewrite_has_a_glyph_of_its_own_shape() -> None:
    assert set(GLYPHS) == set(REWRITES)
    assert len({glyph.mark for glyph in GLYPHS.values()}) == len(GLYPHS)
