"""Write docs/operations.md: operation × type × required level × engine × vectors passed.

`python scripts/operations_table.py [VECTORS]`; with a folder of golden vectors both engines run all of them, without
it the counts that the page already states are kept.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from nnapi_lab.conformance import run_conformance
from nnapi_lab.conformance.report import Tally
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import OpSpec
from nnapi_lab.simulate.fast import TWINS
from nnapi_lab.validate import level_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
HEAD = """\
# Operations

Every operation NNAPI declares, the operand types it takes with the feature level each needs, which engine has a kernel
of its own for it, and how many examples of the golden vectors exercise and pass it. An example with several operations
counts for each. A use may need a higher level than its type: `lab.check(model)` says which and why.

Written by `python scripts/operations_table.py VECTORS`; a test holds it to the declarations.

| operation | types (feature level) | engines | vectors, reference | vectors, fast |
|---|---|---|---|---|
"""
_ROW = re.compile(r"^\| ([A-Z0-9_]+) \|.*\| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


def table(counts: Mapping[str, tuple[str, str]]) -> str:
    """The page; `counts` are the texts of the two last columns by operation."""
    rows = [_row(OPS[kind], *counts.get(kind, ("–", "–"))) for kind in sorted(OPS)]
    levels = sorted({level for spec in OPS.values() for level in spec.types.values()})
    notes = "\n".join(f"- {level_text(level)}" for level in levels)
    return HEAD + "\n".join(rows) + f"\n\n{len(OPS)} operations. The levels:\n\n{notes}\n"


def _row(spec: OpSpec, reference: str, fast: str) -> str:
    types = ", ".join(f"{code.name} ({level})" for code, level in spec.types.items())
    engines = "reference, fast" if spec.kind in TWINS else "reference"
    return f"| {spec.kind} | {types} | {engines} | {reference} | {fast} |"


def counts_of(page: str) -> dict[str, tuple[str, str]]:
    """The counts a page states."""
    return {kind: (reference, fast) for kind, reference, fast in _ROW.findall(page)}


def measured(vectors: str) -> dict[str, tuple[str, str]]:
    """Both engines over all vectors."""
    jobs = os.cpu_count() or 1
    reports = [run_conformance(vectors, engine=engine, jobs=jobs) for engine in ("reference", "fast")]
    kinds = {kind for report in reports for kind in report.operations}
    return {kind: (_text(reports[0].operations[kind]), _text(reports[1].operations[kind])) for kind in kinds}


def _text(tally: Tally) -> str:
    return f"{tally.passed} of {tally.total}"


def main() -> None:
    counts = measured(sys.argv[1]) if len(sys.argv) > 1 else counts_of(PAGE.read_text("utf-8"))
    PAGE.write_text(table(counts), "utf-8")


if __name__ == "__main__":
    main()
