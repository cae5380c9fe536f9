"""Every notebook runs from top to bottom, as shipped and with right answers; what is shipped stays small.

That wrong answers are told is tested in notebook/test_exercise.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
SIZE_LIMIT = 1_500_000  # bytes: repository viewers give up on larger ones
SECONDS = 300

# Worked out by hand, not by the checker. TinyNet: batch norm and ReLU go into the convolution, so one operation; its
# operands are input, filter, bias, result, and the numbers 2 (pads and strides) and 1 (RELU). MobileNetV2: the input is
# handed over as NHWC, the weights are reordered ahead of time, flatten meets 1×1 pixels: nothing to transpose.
ANSWERS: dict[str, dict[str, str]] = {
    "01_first_lowering.ipynb": {
        "operations": "1",
        "filter_shape": "(8, 5, 5, 3)",
        "operands": "6",
        "transposes": "0",
        "depthwise_shape": "(1, 3, 3, 32)",
    },
}
PLACEHOLDER = r"^(\w+) = \.\.\."


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def run(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NNAPI_LAB_DISPLAY", "static")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute(cwd=str(folder))
    return notebook


def exercises(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]


def outcome(cell: Any) -> str:
    """The check's verdict as text; it is what the cell shows last."""
    return cell.outputs[-1].data["text/plain"]


def streams(notebook: Any) -> str:
    return "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    )


def test_there_are_notebooks() -> None:
    assert sorted(ANSWERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_exercises_wait_for_the_reader(name: str) -> None:
    asked = [re.search(PLACEHOLDER, cell.source, re.MULTILINE) for cell in exercises(read(name))]
    assert [found and found[1] for found in asked] == list(ANSWERS[name])


@pytest.mark.parametrize("name", NAMES)
def test_shipped_outputs_are_complete_clean_and_small(name: str) -> None:
    notebook, text = read(name), (NOTEBOOKS / name).read_text("utf-8")
    assert len(text) < SIZE_LIMIT
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from the top: python notebooks/refresh.py"
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", [])}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert "widgets" not in notebook.metadata
    # A viewer runs no script, and a reader's machine is nobody's business.
    assert not re.search(r"<iframe|<script|/home/|/tmp/|/work/|/Users/", text)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_unanswered(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run(read(name), tmp_path, monkeypatch)
    assert all("not answered yet" in outcome(cell) for cell in exercises(notebook))
    shown = [cell for cell in notebook.cells if "workbench" in cell.metadata.get("tags", [])]
    assert shown
    assert all("<iframe" in output.data["text/html"] for cell in shown for output in cell.outputs)


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_right(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read(name)
    for cell, (variable, answer) in zip(exercises(notebook), ANSWERS[name].items(), strict=True):
        cell.source = cell.source.replace(f"{variable} = ...", f"{variable} = {answer}")
    run(notebook, tmp_path, monkeypatch)
    assert [outcome(cell)[0] for cell in exercises(notebook)] == ["✓"] * len(ANSWERS[name])
    assert list(tmp_path.iterdir()) == []  # a lesson leaves nothing beside the notebook
    if name.startswith("01"):
        said = streams(notebook)
        # 443 of 450 in each way: a float sum in another order may tip one picture.
        accuracies = [int(found) for found in re.findall(r"(\d+) of 450 right", said)]
        assert len(accuracies) == 4
        assert all(abs(accuracy - 443) <= 1 for accuracy in accuracies)
        assert "equal model   True" in said
