from __future__ import annotations

from dataclasses import replace

from bs4 import BeautifulSoup

from nnapi_lab.compare import Diff
from nnapi_lab.lab import LoweredModel
from nnapi_lab.notebook.tables import diff_html, diff_sentence, explanation_html


def test_the_worst_rows_and_a_pointer_to_the_rest(tiny: LoweredModel) -> None:
    diff = tiny.diff()
    soup = BeautifulSoup(diff_html(diff, rows=1), "html.parser")
    cells = [cell.text for cell in soup.select("tbody tr td")]
    assert len(soup.select("tbody tr")) == 1
    assert cells[:2] == [diff.rows[0].value, "aten::relu → CONV_2D"]
    assert cells[-1] == "rounding only"
    assert "1 more in" in soup.text


def test_the_sentence_names_the_culprit(tiny: LoweredModel) -> None:
    diff = tiny.diff()
    assert diff_sentence(diff).endswith("No operation does worse than rounding.")
    bad = replace(diff.rows[0], isolated_relative=0.5)
    assert "first operation that does worse than rounding is aten::relu" in diff_sentence(
        Diff(diff.model, (bad, *diff.rows[1:]), diff.outputs)
    )


def test_names_are_data(tiny: LoweredModel) -> None:
    diff = tiny.diff()
    row = replace(diff.rows[0], value="<img src=x onerror=alert(1)>")
    assert "<img" not in diff_html(Diff(diff.model, (row,), ()))
    explanation = replace(tiny.explain("bn"), target="<img src=x>")
    assert "<img" not in explanation_html(explanation)


def test_an_explanation_has_every_entry_with_its_formula(tiny: LoweredModel) -> None:
    explanation = tiny.explain("conv")
    soup = BeautifulSoup(explanation_html(explanation), "html.parser")
    assert [one.strong.text for one in soup.select("details summary")] == [
        step.rule.title for step in explanation.steps
    ]
    assert "W'[o,h,w,i] = W[o,i,h,w]" in soup.text
    assert "conv.weight float32[O=8,H=5,W=5,I=3]" in soup.text


def test_an_untouched_value_says_so(tiny: LoweredModel) -> None:
    explanation = replace(tiny.explain("bn"), steps=())
    assert "No rewrite touched it" in explanation_html(explanation)
