"""Cards: labels are shortened in the middle, and the box fits what is drawn in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.views.cards import LABEL_CELL, PAD_X, card, cells, shorten
from nnapi_lab.views.parts import NodePart


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 10, "short"),
        ("features.17.conv.0.weight", 13, "featur…weight"),
        ("a\nb\tc", 10, "a b c"),
        ("漢字漢字漢字", 7, "漢…字"),
    ],
)
def test_shorten(text: str, limit: int, expected: str) -> None:
    assert shorten(text, limit) == expected


@given(st.text(max_size=80), st.integers(3, 40))
def test_shortened_text_fits(text: str, limit: int) -> None:
    assert cells(shorten(text, limit)) <= limit


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_card_holds_its_lines(label: str, sublabel: str, quant: str) -> None:
    face = card(NodePart("a", label, sublabel, quant=quant, rewrites=("fusion", "layout")))
    assert face.glyphs == ("layout", "fusion")  # always in the same order
    assert cells(face.lines[0].text) * LABEL_CELL + 2 * PAD_X <= face.width
    assert all(0 < line.y < face.height for line in face.lines)
