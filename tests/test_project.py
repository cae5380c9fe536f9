"""The project's own files agree with each other and with the machine-independent promise they make."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


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
    return [Requirement(line) for line in [*project["dependencies"], *extras, *PYPROJECT["build-system"]["requires"]]]


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
    "absolute path": re.compile(r"(?<![\w.+~$})-])/(?:[w]ork|[t]mp|[h]ome|[r]oot|[f]arm|[U]sers|[o]pt)/[\w.]"),
    "package host": re.compile(r"[i]ndex-url[ =]|--[f]ind-links|[t]rusted-host|download\.[p]ytorch"),
    "private address": re.compile(r"\b(?:10\.\d+|192\.[1]68|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b|[f]ile:///"),
    "workplace tool": re.compile(r"\b[f]arm-[a-z]+|[b]ash_jobs|[b]efore-stop"),
}


def tracked_texts() -> list[tuple[str, str]]:
    """(path, text) of every file git tracks that is UTF-8 text; skips outside a git checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the project's is not known")
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
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


# --- CONTRIBUTING.md --------------------------------------------------------------------------------------


def named_files() -> list[str]:
    """Paths in backquotes that name one file: no `<family>`, no bare folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"`((?:nnapi_lab|tests|scripts)/[\w/.-]+\.\w+)`", text)) - {"tests/goldens/case.nn"})


@pytest.mark.parametrize("path", named_files())
def test_recipes_name_files_that_exist(path: str) -> None:
    folder = (ROOT / path).parent
    if not any(file.name != "__init__.py" for file in folder.glob("*.*")):
        pytest.skip(f"{folder.relative_to(ROOT)} holds nothing yet")
    assert (ROOT / path).is_file()


# --- make -------------------------------------------------------------------------------------------------


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))


def test_help_lists_every_target() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", shown, flags=re.MULTILINE))
    assert set(described) == make_targets()
    assert {"lab", "test", "demo"} <= set(described)


def test_every_target_is_phony() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert set(phony.split()) == make_targets()


@pytest.mark.parametrize("script", ["scripts/setup.sh", ".ci/run"])
def test_shell_scripts_parse(script: str) -> None:
    done = subprocess.run(["bash", "-n", ROOT / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
