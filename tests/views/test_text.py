"""The terminal summary, as text beside its expectation."""

from __future__ import annotations

from nnapi_lab.views.parts import (
    DiffRowPart,
    GraphPart,
    NodePart,
    ProblemPart,
    StepPart,
    WorkbenchPart,
)
from nnapi_lab.views.text import workbench_text

EXPECTED = """\
tiny
====

required API level  27
TorchScript         2 TorchScript nodes
NNAPI               1 NNAPI operation

Rewrites: 3
  layout            2
        2 × Weights: OIHW to OHWI
  fusion            1
        1 × Activation fused

Worst differences (1 of 2 compared values)
      max |Δ|  SQNR  verdict
  %2   0.0012    40  rounding only

Problems: 1
  NOT_YET at %9: no lowering
    do: write one
"""


def test_summary() -> None:
    part = WorkbenchPart(
        "tiny",
        GraphPart("TorchScript", (NodePart("a", "a", kind="torch"), NodePart("b", "b", kind="torch"))),
        GraphPart("NNAPI", (NodePart("c", "C"),)),
        summary=(("required API level", "27"),),
        steps=(
            StepPart("1", "layout.w", "layout", "Weights: OIHW to OHWI"),
            StepPart("2", "fusion.a", "fusion", "Activation fused"),
            StepPart("3", "layout.w", "layout", "Weights: OIHW to OHWI"),
        ),
        diff_rows=(
            DiffRowPart("%2", metrics={"max_abs": 0.0012, "sqnr_db": 40}, verdict="rounding only"),
            DiffRowPart("%3", metrics={"max_abs": 0.0001}),
        ),
        problems=(ProblemPart("NOT_YET", "%9", "no lowering", "write one"),),
    )
    assert workbench_text(part, worst=1) == EXPECTED


def test_empty() -> None:
    text = workbench_text(WorkbenchPart("t", GraphPart("left"), GraphPart("right")))
    assert text == "t\n=\n\nleft   empty\nright  empty\n"


def test_tables_keep_to_the_width(mobilenet: WorkbenchPart) -> None:
    assert max(map(len, workbench_text(mobilenet, width=70).splitlines())) <= 70
