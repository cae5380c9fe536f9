"""The project's own files agree with each other and with the machine-independent promise they make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SETUP_INPUTS = ("Makefile", "pyproject.toml", "requirements.lock", "scripts/setup.sh")


def read_pins(lines: list[str]) -> dict[str, str]:
    """`name==version` lines → version by normalised name; anything but an exact pin raises ValueError."""
    pins: dict[str, str] = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.!]*)", line)
        if match is None:
            raise ValueError(f"not an exact pin: {line!r}")
        pins[canonicalize_name(match[1])] = match[2]
    return pins


def lock_pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return read_pins([line for line in lines if not line.startswith("#")])


def direct_requirements() -> list[Requirement]:
    project = PYPROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [
        Requirement(line)
        for line in [*project["dependencies"], *extras, *PYPROJECT["build-system"]["requires"]]
    ]


def conda_sections() -> tuple[list[str], list[str]]:
    """environment.yml's conda packages and its pip lines, the editable install left out."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    return [entry for entry in listed if isinstance(entry, str)], [line for line in pip if line != "-e ."]


# --- requirements -----------------------------------------------------------------------------------------


def test_every_direct_requirement_is_locked_within_its_range() -> None:
    pins = lock_pins()
    outside = {
        str(requirement): pins.get(canonicalize_name(requirement.name), "not locked")
        for requirement in direct_requirements()
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    }
    assert outside == {}


def test_environment_file_pins_the_direct_requirements_as_locked() -> None:
    pins = lock_pins()
    _, pip_lines = conda_sections()
    names = [canonicalize_name(requirement.name) for requirement in direct_requirements()]
    assert read_pins(pip_lines) == {name: pins[name] for name in names}


def test_environment_file_brings_a_supported_python_and_dot() -> None:
    conda, _ = conda_sections()
    (python,) = (entry.removeprefix("python=") for entry in conda if entry.startswith("python="))
    assert Requirement(f"python{PYPROJECT['project']['requires-python']}").specifier.contains(python)
    assert "graphviz" in conda


def test_lock_is_whole() -> None:
    """What the locked packages need in turn is locked too, so an install resolves nothing anew."""
    from importlib.metadata import PackageNotFoundError, requires

    pins, missing = lock_pins(), set()
    for name in pins:
        try:
            needs = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            pytest.skip(f"{name} of requirements.lock is not installed here")
        needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
        missing |= {f"{name} needs {need.name}" for need in needs if canonicalize_name(need.name) not in pins}
    assert missing == set()


def test_lock_has_torch_exactly_and_nothing_of_cuda() -> None:
    pins = lock_pins()
    assert pins["torch"] == "2.13.0"
    assert [name for name in pins if name.startswith("nvidia") or name == "triton"] == []


@pytest.mark.parametrize("line", ["torch>=2.13", "torch", "torch==2.13.0+cpu", "torch==2.*", "-e ."])
def test_a_loose_pin_is_noticed(line: str) -> None:
    with pytest.raises(ValueError, match="not an exact pin"):
        read_pins([line])


# --- the package ------------------------------------------------------------------------------------------


def test_version_is_said_once() -> None:
    import nnapi_lab

    assert nnapi_lab.__version__ == PYPROJECT["project"]["version"]


def test_license_is_the_one_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


# --- nothing of one machine in what is shared -------------------------------------------------------------

# Spelled with character classes so that this file does not match itself.
FOREIGN = {
    "absolute path": re.compile(
        r"(?<![\w.+~$})-])/(?:[w]ork|[t]mp|[h]ome|[r]oot|[f]arm|[U]sers|[o]pt)/[\w.]"
    ),
    "package host": re.compile(r"[i]ndex-url[ =]|--[f]ind-links|[t]rusted-host|download\.[p]ytorch"),
    "private address": re.compile(
        r"\b(?:10\.\d+|192\.[1]68|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b|[f]ile:///"
    ),
    "workplace tool": re.compile(r"\b[f]arm-[a-z]+|[b]ash_jobs|[b]efore-stop"),
}


def tracked_texts() -> list[tuple[str, str]]:
    """(path, text) of every file git tracks that is UTF-8 text; skips outside a git checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the project's is not known")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    texts = []
    for path in filter(None, listing.stdout.split("\0")):
        try:
            texts.append((path, (ROOT / path).read_text(encoding="utf-8")))
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # weights and pictures; or a file just deleted and not committed
    return texts


@pytest.mark.parametrize("what", FOREIGN)
def test_tracked_files_name_no_machine(what: str) -> None:
    hits = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if FOREIGN[what].search(line)
    ]
    assert hits == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("absolute path", "open('/" + "tmp/model.pt')"),
        ("absolute path", "see /" + "work/main"),
        ("package host", "pip install --extra-index" + "-url http://somewhere"),
        ("private address", "http://192." + "168.0.7:8000"),
        ("workplace tool", "ask farm" + "-studio"),
    ],
)
def test_a_machine_in_a_line_is_noticed(what: str, line: str) -> None:
    assert FOREIGN[what].search(line)


@pytest.mark.parametrize("line", ["runtime/tmp/x", "a/work/b", "../work/b", "10.2.1", "127.0.0.1:8888"])
def test_an_innocent_line_is_not(line: str) -> None:
    assert not any(pattern.search(line) for pattern in FOREIGN.values())


# --- make -------------------------------------------------------------------------------------------------


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))


@pytest.fixture
def make() -> str:
    program = shutil.which("make")
    if program is None:
        pytest.skip("make is not installed")
    return program


def test_help_lists_every_target(make: str) -> None:
    shown = subprocess.run([make, "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", shown, flags=re.MULTILINE))
    assert set(described) == make_targets()
    assert {"lab", "test", "demo"} <= set(described)


def test_every_target_is_phony() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert set(phony.split()) == make_targets()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files set-up reads, alone in a folder."""
    for name in SETUP_INPUTS:
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return tmp_path / "clone"


@pytest.mark.parametrize("newer", [None, "requirements.lock", "pyproject.toml", "scripts/setup.sh"])
def test_set_up_runs_again_only_when_what_it_reads_changed(make: str, clone: Path, newer: str | None) -> None:
    for name in SETUP_INPUTS:
        os.utime(clone / name, (1_000, 1_000))
    ready = clone / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    os.utime(ready, (2_000, 2_000))
    if newer:
        os.utime(clone / newer, (3_000, 3_000))
    planned = subprocess.run(
        [make, "-n", "test"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    assert ("scripts/setup.sh" in planned) == (newer is not None)
    assert "-m pytest" in planned


# --- scripts/setup.sh, with stand-ins for the interpreter and an empty PATH -------------------------------

TOOLS = ("bash", "cat", "chmod", "dirname", "grep", "id", "mkdir", "rm", "sleep", "tail", "touch")

# A Python that answers set-up's questions from its environment and installs nothing.
FAKE_PYTHON = f"""#!{shutil.which("bash")}
echo "$*" >>"$FAKE_CALLS"
case "$*" in
  *ensurepip*)        exit "${{FAKE_NO_VENV:-0}}" ;;
  *python%d*)         echo python3.11-venv ;;
  *version_info*)     exit "${{FAKE_UNFIT:-0}}" ;;
  -V)                 echo "Python 3.x" ;;
  "-m venv "*)        mkdir -p "$3/bin"; cat "$0" >"$3/bin/python"; chmod +x "$3/bin/python" ;;
  *"pip install"*)    exit "${{FAKE_PIP_FAILS:-0}}" ;;
esac
"""


def run_setup(clone: Path, programs: tuple[str, ...] = (), **environment: str) -> tuple[int, str, list[str]]:
    """Exit code, everything printed, and the stand-in interpreter's calls."""
    programs_dir, calls = clone.parent / "bin", clone.parent / "calls"
    programs_dir.mkdir()
    for tool in TOOLS:
        (programs_dir / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is not installed"))
    for name in programs:
        (programs_dir / name).symlink_to(programs_dir / "bash")
    (programs_dir / "python3").write_text(FAKE_PYTHON, encoding="utf-8")
    (programs_dir / "python3").chmod(0o755)
    settings = {"PATH": str(programs_dir), "FAKE_CALLS": str(calls), "NNAPI_LAB_NO_APT": "1", **environment}
    settings["NNAPI_LAB_RETRY_SECONDS"] = "0"
    done = subprocess.run(
        [programs_dir / "bash", "scripts/setup.sh"],
        cwd=clone,
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr, calls.read_text(encoding="utf-8").splitlines()


def test_set_up_installs_the_lock_then_the_package_then_says_ready(clone: Path) -> None:
    code, said, calls = run_setup(clone, programs=("dot", "chromium"))
    assert code == 0, said
    installs = [call for call in calls if "pip install" in call]
    assert [("-r requirements.lock" in call, "--no-deps" in call) for call in installs] == [
        (True, False),
        (False, True),
    ]
    assert (clone / ".venv" / ".ready").exists()
    assert "ready" in said
    assert "graphviz" not in said
    assert "chromium" not in said


def test_set_up_names_missing_system_packages_and_goes_on(clone: Path) -> None:
    code, said, _ = run_setup(clone)
    assert code == 0, said
    assert "apt-get install graphviz" in said
    assert "built-in layout" in said
    assert "apt-get install chromium" in said
    assert "browser tests are skipped" in said


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
def test_set_up_stops_with_what_to_do(clone: Path, trouble: dict[str, str], messages: list[str]) -> None:
    (clone.parent / "calls").touch()
    code, said, _ = run_setup(clone, **trouble)
    assert code == 1
    assert [message for message in messages if message not in said] == []
    assert not (clone / ".venv" / ".ready").exists()


@pytest.mark.parametrize("script", ["scripts/setup.sh", ".ci/run"])
def test_shell_scripts_parse(script: str) -> None:
    done = subprocess.run(["bash", "-n", ROOT / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --- what conftest promises -------------------------------------------------------------------------------

BROWSER_TEST = "def test_needs_a_browser(chromium_path):\n    assert chromium_path.is_file()\n"


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_missing_chromium_skips_at_a_desk_and_fails_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_one.py").write_text(BROWSER_TEST, encoding="utf-8")
    settings = {**os.environ, "CI": ci, "NNAPI_LAB_CHROMIUM": str(tmp_path / "absent")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert outcome in done.stdout
    assert "no Chromium" in done.stdout


def test_one_thread_per_test_process() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed here")
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
