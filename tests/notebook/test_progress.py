from __future__ import annotations

import io
from typing import Any

import pytest

from nnapi_lab.notebook import progress
from nnapi_lab.notebook.progress import progress_bar, progress_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One time that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_text() -> None:
    assert progress_text("lower", 64, 153) == "lower 64 of 153"
    assert progress_text("diff", 12, 0) == "diff 12"


def test_a_terminal_gets_one_line_that_is_wiped(clock: list[float]) -> None:
    stream = Terminal()
    with progress_bar(stream) as tell:
        tell("lower", 1, 100)  # too early to bother anybody
        clock[0] += 1
        tell("lower", 10, 100)
        tell("lower", 11, 100)  # too soon after the last one
        clock[0] += 1
        tell("run", 5, 9)
    # Each line covers the one before; the last is wiped.
    assert stream.getvalue() == "\rlower 10 of 100\rrun 5 of 9     \r               \r"


def test_a_file_gets_nothing(clock: list[float]) -> None:
    stream = io.StringIO()
    with progress_bar(stream) as tell:
        clock[0] += 9
        tell("lower", 1, 2)
    assert stream.getvalue() == ""


def test_a_notebook_gets_one_output_that_is_updated(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    seen: list[Any] = []

    class Handle:
        def update(self, data: Any, raw: bool) -> None:
            seen.append(data)

    def display(data: Any, raw: bool, display_id: bool) -> Handle:
        seen.append(data)
        return Handle()

    monkeypatch.setattr(progress, "has_kernel", lambda: True)
    monkeypatch.setattr(progress, "display", display)
    with progress_bar() as tell:
        for done in (1, 2):
            clock[0] += 1
            tell("<lower>", done, 2)
    assert [data["text/plain"] for data in seen] == ["<lower> 1 of 2", "<lower> 2 of 2", ""]
    assert 'max="2" value="1"' in seen[0]["text/html"]
    assert "<lower>" not in seen[0]["text/html"]


def test_the_line_is_wiped_after_a_failure(clock: list[float]) -> None:
    stream = Terminal()

    def work() -> None:
        with progress_bar(stream) as tell:
            clock[0] += 1
            tell("run", 1, 2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert stream.getvalue().endswith("\r")
