from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import nnapi_lab
from nnapi_lab.errors import CaptureError, SimulationError
from nnapi_lab.lab import LoweredModel
from nnapi_lab.notebook.widget import Workbench, live_script, live_style
from nnapi_lab.notebook.workbench import workbench


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(Workbench, "send", lambda self, content, buffers=None: messages.append(content))
    return messages


def ask(bench: Workbench, content: Any) -> None:
    """A message as the page sends it."""
    bench._handle_custom_msg(content, [])


def test_the_script_is_one_module_with_one_export() -> None:
    script = live_script()
    assert script.count("export default") == 1
    assert script.rstrip().endswith("export default { render: live };")
    assert "function render(" in script
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in live_style()


def test_what_travels_at_first(tiny: LoweredModel) -> None:
    state = Workbench(tiny).get_state()
    assert state["differences"] is None
    assert state["selected"] is None
    assert state["can_compare"]
    assert [node["label"] for node in state["payload"]["right"]["nodes"] if node["kind"] == "operation"] == ["CONV_2D"]


def test_the_page_asks_and_gets_rows(tiny: LoweredModel, sent: list[Any]) -> None:
    bench = Workbench(tiny)
    before = bench.payload
    ask(bench, {"kind": "compare"})
    assert bench.payload is before  # the graphs do not travel again
    assert set(bench.differences) == {"diff", "summary"}
    assert [row["label"] for row in bench.differences["diff"]] == [row.value for row in tiny.diff().rows]
    assert not [message for message in sent if message["kind"] == "failed"]


def test_other_inputs_from_python(tiny: LoweredModel, picture: torch.Tensor) -> None:
    bench = Workbench(tiny)
    diff = bench.compare(torch.zeros_like(picture))
    assert bench.diff is diff
    assert {row.value: row.range for row in diff.rows}[tiny.graph.inputs[0]] == 0


@pytest.mark.parametrize("noise", ["compare", None, {}, {"kind": "rm -rf"}, ["compare"]])
def test_other_messages_are_left_alone(tiny: LoweredModel, sent: list[Any], noise: Any) -> None:
    bench = Workbench(tiny)
    ask(bench, noise)
    assert bench.differences is None
    assert sent == []


def failing(tiny: LoweredModel, error: Exception) -> LoweredModel:
    model = replace(tiny)

    def diff(*_: Any, **__: Any) -> None:
        raise error

    object.__setattr__(model, "diff", diff)
    return model


def test_a_failure_is_told(tiny: LoweredModel, sent: list[Any]) -> None:
    ask(Workbench(failing(tiny, SimulationError("no such kernel"))), {"kind": "compare"})
    assert sent == [{"kind": "failed", "message": "no such kernel"}]


def test_a_bug_is_told_and_raised(tiny: LoweredModel, sent: list[Any]) -> None:
    bench = Workbench(failing(tiny, ZeroDivisionError("by zero")))
    with pytest.raises(ZeroDivisionError):
        bench._answer(bench, {"kind": "compare"}, [])
    assert sent == [{"kind": "failed", "message": "ZeroDivisionError: by zero"}]


def test_progress_is_told_at_most_ten_times_a_second(
    tiny: LoweredModel, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.00, 10.05, 10.09, 10.11, 10.15, 10.30])
    monkeypatch.setattr("nnapi_lab.notebook.widget.time.monotonic", lambda: next(clock))
    tell = Workbench(tiny)._progress()
    for done in range(1, 7):
        tell("diff", done, 6)
    assert [message["done"] for message in sent] == [1, 4, 6]


# --- lab.workbench -------------------------------------------------------------------------------------------


class Unconvertible(nn.Module):
    """A convolution that converts, and an inverse error function that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.erfinv(self.conv(x)))


def test_the_front_door_takes_models_and_lowered_ones(tiny: LoweredModel) -> None:
    assert nnapi_lab.workbench is workbench
    assert workbench(tiny).lowered is tiny
    made = workbench(nn.Conv2d(3, 4, 3).eval(), torch.rand(1, 3, 8, 8))
    assert made.can_compare
    assert made.lowered.refusals == ()


def test_a_model_that_does_not_convert_is_shown_as_far_as_it_does() -> None:
    bench = workbench(Unconvertible().eval(), torch.rand(1, 3, 8, 8))
    assert not bench.can_compare
    assert [problem["where"].split(" ")[0] for problem in bench.payload["problems"]][:1] == ["aten::erfinv"]
    assert "CONV_2D" in [node["label"] for node in bench.payload["right"]["nodes"]]
    failed = [node["label"] for node in bench.payload["left"]["nodes"] if node["state"] == "failed"]
    assert failed == ["aten::erfinv"]


def test_a_level_that_is_too_old_is_a_problem() -> None:
    model = nn.PReLU(4).eval()
    shape = torch.rand(1, 4, 8, 8)
    assert workbench(model, shape).can_compare
    bench = workbench(model, shape, api_level=27)
    assert [refusal.kind for refusal in bench.lowered.refusals] == ["FORBIDDEN"]
    assert not bench.can_compare


def test_what_is_no_model_is_refused_at_once() -> None:
    with pytest.raises(CaptureError):
        workbench(nn.Conv2d(3, 4, 3).train(), torch.rand(1, 3, 8, 8))
