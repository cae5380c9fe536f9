"""Set-up from nothing: when make runs it, what it installs, and what it says when something is missing.

scripts/setup.sh runs for real, on a PATH that holds a few shell tools and stand-ins for Python and apt-get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP_INPUTS = ("Makefile", "pyproject.toml", "requirements.lock", "scripts/setup.sh")
TOOLS = ("bash", "cat", "chmod", "dirname", "grep", "mkdir", "rm", "sleep", "tail", "touch")
SHEBANG = f"#!{shutil.which('bash')}\n"

# Answers set-up's questions from its environment, notes its calls, and installs nothing.
FAKE_PYTHON = """
echo "$*" >>"$MACHINE/python-calls"
case "$*" in
  *ensurepip*)        exit "${FAKE_NO_VENV:-0}" ;;
  *python%d*)         echo python3.11-venv ;;
  *version_info*)     exit "${FAKE_UNFIT:-0}" ;;
  -V)                 echo "Python 3.x" ;;
  "-m venv "*)        mkdir -p "$3/bin"; cat "$0" >"$3/bin/python"; chmod +x "$3/bin/python" ;;
  *"pip install"*)    exit "${FAKE_PIP_FAILS:-0}" ;;
esac
"""

# Notes its calls and "installs" graphviz by making `dot` appear.
FAKE_APT = """
echo "$*" >>"$MACHINE/apt-calls"
case "$*" in
  *" graphviz") : >"$MACHINE/bin/dot"; chmod +x "$MACHINE/bin/dot" ;;
  *" chromium") exit "${FAKE_NO_CHROMIUM:-0}" ;;
esac
"""


@dataclass
class Machine:
    """A machine with a clone on it, and nothing else but TOOLS, a Python and what is put there."""

    root: Path

    @property
    def clone(self) -> Path:
        return self.root / "clone"

    @property
    def is_ready(self) -> bool:
        return (self.clone / ".venv" / ".ready").exists()

    def put(self, name: str, script: str = "") -> None:
        """Install a program; an empty script is one that only exists."""
        program = self.root / "bin" / name
        program.write_text(SHEBANG + script, encoding="utf-8")
        program.chmod(0o755)

    def become_root(self) -> None:
        self.put("id", "echo 0")
        self.put("apt-get", FAKE_APT)

    def calls(self, program: str) -> list[str]:
        """The command lines a stand-in was called with, in order."""
        noted = self.root / f"{program}-calls"
        return noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []

    def set_up(self, **environment: str) -> tuple[int, str]:
        """Run scripts/setup.sh; its exit code and everything it printed."""
        settings = {"PATH": str(self.root / "bin"), "MACHINE": str(self.root), "NNAPI_LAB_RETRY_SECONDS": "0"}
        done = subprocess.run(
            [self.root / "bin" / "bash", "scripts/setup.sh"],
            cwd=self.clone,
            env=settings | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Somebody's machine, not root's, with a fresh clone and a fitting Python."""
    made = Machine(tmp_path)
    for name in SETUP_INPUTS:
        target = made.clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is not installed"))
    made.put("id", "echo 1000")
    made.put("ldconfig", "echo libatomic.so.1")
    made.put("python3", FAKE_PYTHON)
    return made


# --- when make runs it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("newer", [None, "requirements.lock", "pyproject.toml", "scripts/setup.sh"])
def test_set_up_runs_again_only_when_what_it_reads_changed(machine: Machine, newer: str | None) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    ready = machine.clone / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    for name in SETUP_INPUTS:
        os.utime(machine.clone / name, (1_000, 1_000))
    os.utime(ready, (2_000, 2_000))
    if newer:
        os.utime(machine.clone / newer, (3_000, 3_000))
    done = subprocess.run(["make", "-n", "test"], cwd=machine.clone, capture_output=True, text=True, check=True)
    assert ("scripts/setup.sh" in done.stdout) == (newer is not None)
    assert "-m pytest" in done.stdout


# --- what it does -----------------------------------------------------------------------------------------


def test_the_lock_is_installed_then_the_package(machine: Machine) -> None:
    machine.put("dot")
    machine.put("chromium")
    code, said = machine.set_up()
    assert code == 0, said
    locked, package = (call for call in machine.calls("python") if "pip install" in call)
    assert locked.endswith("-r requirements.lock")
    assert package.endswith("--no-deps --no-build-isolation -e .")
    assert machine.is_ready
    assert "not installed" not in said


def test_missing_system_packages_are_named_and_set_up_goes_on(machine: Machine) -> None:
    code, said = machine.set_up()
    assert code == 0, said
    assert machine.is_ready
    for words in (
        "apt-get install graphviz",
        "built-in layout",
        "apt-get install chromium",
        "tests are skipped",
    ):
        assert words in said


def test_root_gets_what_is_missing_through_apt(machine: Machine) -> None:
    machine.become_root()
    code, said = machine.set_up()
    assert code == 0, said
    assert [call.split()[-1] for call in machine.calls("apt")] == ["update", "graphviz", "chromium"]
    assert "not installed" not in said


@pytest.mark.parametrize(
    ("programs", "environment"),
    [(["dot", "google-chrome"], {}), ([], {"NNAPI_LAB_NO_APT": "1"})],
    ids=["nothing is missing", "apt is forbidden"],
)
def test_apt_is_left_alone(machine: Machine, programs: list[str], environment: dict[str, str]) -> None:
    machine.become_root()
    for program in programs:
        machine.put(program)
    code, said = machine.set_up(**environment)
    assert (code, machine.calls("apt")) == (0, []), said


def test_a_library_the_browser_tests_need_is_brought_too(machine: Machine) -> None:
    machine.become_root()
    machine.put("dot")
    machine.put("chromium")
    machine.put("ldconfig", "echo libc.so.6")
    code, said = machine.set_up()
    assert code == 0, said
    assert [call.split()[-1] for call in machine.calls("apt")] == ["update", "libatomic1"]


def test_a_failing_apt_does_not_stop_set_up(machine: Machine) -> None:
    machine.become_root()
    code, said = machine.set_up(FAKE_NO_CHROMIUM="100")
    assert code == 0, said
    assert "chromium is not installed" in said
    assert "graphviz is not installed" not in said


def test_a_half_built_environment_is_built_anew(machine: Machine) -> None:
    stray = machine.clone / ".venv" / "lib" / "stray"
    stray.parent.mkdir(parents=True)
    stray.touch()
    code, said = machine.set_up()
    assert code == 0, said
    assert "half built" in said
    assert not stray.exists()


@pytest.mark.parametrize(
    ("trouble", "messages"),
    [
        ({"FAKE_UNFIT": "1"}, ["Python 3.11, 3.12 or 3.13 is needed", "PYTHON="]),
        ({"FAKE_NO_VENV": "1"}, ["cannot create virtual environments", "apt-get install python3.11-venv"]),
        ({"FAKE_PIP_FAILS": "1"}, ["attempt 3 of 3", "build/setup.log"]),
        ({"PYTHON": "no-such-python"}, ["no-such-python is not there"]),
    ],
    ids=["python does not fit", "no venv module", "pip fails", "named python is absent"],
)
def test_set_up_stops_with_what_to_do(machine: Machine, trouble: dict[str, str], messages: list[str]) -> None:
    code, said = machine.set_up(**trouble)
    assert code == 1
    assert [message for message in messages if message not in said] == []
    assert not machine.is_ready


# --- what conftest promises -------------------------------------------------------------------------------


def run_tests(folder: Path, text: str, *options: str, **environment: str) -> str:
    """What pytest prints for one test file, in a folder of its own with this project's conftest."""
    tests = folder / "tests"
    tests.mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tests / "conftest.py")
    (tests / "test_one.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *options, str(tests)]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    return done.stdout


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_missing_chromium_skips_at_a_desk_and_fails_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    test = "def test_page(chromium_path):\n    assert chromium_path.is_file()\n"
    said = run_tests(tmp_path, test, CI=ci, NNAPI_LAB_CHROMIUM=str(tmp_path / "absent"))
    assert outcome in said
    assert "no Chromium" in said
    assert "chromium MISSING" in said


def test_absent_facts_skip_with_the_reason(tmp_path: Path) -> None:
    test = "def test_facts(shared_dir):\n    assert (shared_dir / 'nnapi').is_dir()\n"
    said = run_tests(tmp_path, test, NNAPI_LAB_SHARED=str(tmp_path / "absent"))
    assert "1 skipped" in said
    assert "set NNAPI_LAB_SHARED" in said


def test_goldens_are_compared_unless_they_are_to_be_written(tmp_path: Path) -> None:
    test = "def test_golden(golden):\n    golden('case', 'model x {\\n}\\n')\n"
    assert "write it with --write-goldens" in run_tests(tmp_path, test)
    shutil.rmtree(tmp_path / "tests")
    assert "1 passed" in run_tests(tmp_path, test, "--write-goldens")
    written = tmp_path / "tests" / "goldens" / "case.nn"
    assert written.read_text(encoding="utf-8") == "model x {\n}\n"


def test_one_thread_per_test_process() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed here")
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
