"""docs/operations.md says what the declarations say, and that every example passed."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "operations_table.py"))
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")

# No vector exercises them: their value tables are in tests/ops alone.
UNTESTED = {"DETECTION_POSTPROCESSING", "EXP", "HARD_SWISH", "LOG", "PACK", "QUANTIZED_16BIT_LSTM", "RANK"}


def test_the_page_is_current() -> None:
    """After a change to a declaration: `python scripts/operations_table.py`."""
    assert SCRIPT["table"](SCRIPT["counts_of"](PAGE)) == PAGE


def test_every_example_of_every_operation_passed_on_both_engines() -> None:
    counts = SCRIPT["counts_of"](PAGE)
    assert len(counts) == 107
    for kind, texts in counts.items():
        for text in texts:
            passed, _, total = text.partition(" of ")
            assert passed == total or (kind in UNTESTED and text == "–"), kind


def test_the_counts_are_those_of_the_vectors(shared_dir: Path) -> None:
    index = json.loads((shared_dir / "nnapi" / "vectors" / "INDEX.json").read_text("utf-8"))
    assert set(index["operations"]) <= set(SCRIPT["counts_of"](PAGE))
