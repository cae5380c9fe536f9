"""Exit codes, one sentence for every mistake, and a fast start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nnapi_lab
from nnapi_lab.cli import app as application
from nnapi_lab.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("lower", "show", "diff", "diagnose", "check", "run", "export", "conformance", "doctor", "device")


def test_help_lists_the_commands_that_are_there(cli: Callable) -> None:
    said = cli("--help")
    assert said.code == 0
    listed = [line.split()[0] for line in said.out.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)
    assert "view" not in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Callable, command: str) -> None:
    said = cli(command, "--help")
    assert said.code == 0
    assert f"Usage: nnapi-lab {command}" in said.out


def test_nothing_asked_gives_help_and_exit_code_2(cli: Callable) -> None:
    said = cli()
    assert said.code == 2
    assert "Commands:" in said.out


def test_version(cli: Callable) -> None:
    assert cli("--version") == (0, f"nnapi_lab {nnapi_lab.__version__}\n", "")


MISTAKES = {
    "unknown_command": (("lowr",), "No such command 'lowr'"),
    "unknown_option": (("doctor", "--jsn"), "No such option: --jsn"),
    "missing_argument": (("lower",), "Missing argument 'MODEL'"),
    "missing_option": (("export", "m.nn"), "Missing option '-o'"),
    "not_a_number": (("lower", "m.pt", "--api-level", "ten"), "Invalid value for '--api-level'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_typing_is_one_sentence(cli: Callable, case: str) -> None:
    arguments, words = MISTAKES[case]
    said = cli(*arguments)
    assert said.code == 2
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert words in line
    assert "--help` tells more" in line


def fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError("division by zero")


def test_a_defect_is_one_sentence_and_its_own_exit_code(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "app", fail)
    said = cli("doctor")
    assert said.code == 70
    (line,) = said.err.splitlines()
    assert "a defect of nnapi_lab: ZeroDivisionError: division by zero (test_app.py:" in line


@pytest.mark.parametrize(("setting", "shown"), [("1", True), ("0", False), ("", False)])
def test_tracebacks_are_for_those_who_ask(
    cli: Callable, monkeypatch: pytest.MonkeyPatch, setting: str, shown: bool
) -> None:
    monkeypatch.setattr(application, "app", fail)
    monkeypatch.setenv("NNAPI_LAB_DEBUG", setting)
    assert ("Traceback" in cli("doctor").err) == shown


def test_an_interrupt_is_no_defect(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "app", interrupted)
    assert cli("doctor") == (130, "", "nnapi-lab: interrupted\n")


def test_a_reader_that_has_gone_is_no_error() -> None:
    """`nnapi-lab doctor | true`: no traceback, neither from Python nor at its end."""
    program = "import sys, time; time.sleep(0.3); from nnapi_lab.cli import main; sys.exit(main(['doctor']))"
    running = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    said = running.stderr.read()
    running.stderr.close()
    assert running.wait(timeout=60) == 0
    assert said == b""


def test_help_starts_in_a_second_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from nnapi_lab.cli import main; main(['--help']);"
        "print([name for name in ('torch', 'numba', 'pandas', 'matplotlib') if name in sys.modules], file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):  # the best of three: other processes share this machine
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert done.stderr == "[]\n"
    assert min(seconds) < 1


def test_python_m_nnapi_lab_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "nnapi_lab", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"nnapi_lab {nnapi_lab.__version__}\n")


def test_the_process_arguments_are_the_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["nnapi-lab", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("nnapi_lab ")
