"""Parts refuse what cannot be drawn: doubled ids, and references to nothing."""

from __future__ import annotations

import pytest

from nnapi_lab.views.parts import (
    DiffRowPart,
    EdgePart,
    GraphPart,
    LinkPart,
    NodePart,
    ProblemPart,
    StepPart,
    TensorPart,
    WorkbenchPart,
)

ONE = GraphPart("one", (NodePart("a", "a"),))
BROKEN = {
    "doubled id": lambda: WorkbenchPart("t", GraphPart("g", (NodePart("a", "1"), NodePart("a", "2"))), ONE),
    "edge": lambda: WorkbenchPart("t", GraphPart("g", (NodePart("a", "1"),), (EdgePart("a", "b"),)), ONE),
    "link left": lambda: WorkbenchPart("t", ONE, ONE, (LinkPart("b", "a"),)),
    "link right": lambda: WorkbenchPart("t", ONE, ONE, (LinkPart("a", "b"),)),
    "step": lambda: WorkbenchPart("t", ONE, ONE, steps=(StepPart("1", "r", "layout", "t", right=("b",)),)),
    "row": lambda: WorkbenchPart("t", ONE, ONE, diff_rows=(DiffRowPart("x", left="b"),)),
    "problem": lambda: WorkbenchPart("t", ONE, ONE, problems=(ProblemPart("error", "x", "m", left=("b",)),)),
    "axes": lambda: TensorPart("w", ("1", "2"), ("N",)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r"refers to 'b'|two nodes with the id 'a'|1 axis names for 2"):
        BROKEN[case]()


def test_the_two_graphs_may_use_the_same_id() -> None:
    assert WorkbenchPart("t", ONE, ONE, (LinkPart("a", "a"),)).links
