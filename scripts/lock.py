"""Resolve pyproject.toml from nothing; write requirements.lock and environment.yml.

Run as `make lock`. Needs the network once, Python 3.11 or newer, and nothing else. The versions found
are those that `pip` picks today: read the difference and run `make test-all` before committing it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "build" / "lock"

LOCK_HEADER = """\
# Every package of the environment, transitive ones included, at the version that is tested.
# Written by `make lock`. Any build of torch at this version will do: where pip's index offers an accelerator
# build first (Linux x86-64), gigabytes of CUDA come along, unless PIP_FIND_LINKS names PyTorch's CPU wheel.
"""

ENVIRONMENT_HEADER = """\
# For conda users: conda env create -f environment.yml && conda activate nnapi_lab && python -m pytest
# The direct requirements of pyproject.toml, at the versions of requirements.lock. Written by `make lock`.
# Chromium, for the browser tests, does not come with it: use the system's, or `playwright install chromium`.
name: nnapi_lab
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - make
  - graphviz  # the program `dot`; pip's graphviz below only calls it
  - pip:
"""


def direct_requirements() -> list[str]:
    """Requirement lines of pyproject.toml: run time, then each extra, then what builds the package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [*project["dependencies"], *extras, *settings["build-system"]["requires"]]


def normal(name: str) -> str:
    """The spelling under which two names of one package are equal. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """`pytest-xdist>=3.6` → `pytest-xdist`."""
    return normal(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])


def oldest_python() -> str:
    """The oldest interpreter the package promises to run on, to the patch: `>=3.11,<3.14` → `3.11.0`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (floor,) = re.findall(r">=(\d+\.\d+)", settings["project"]["requires-python"])
    return f"{floor}.0"


def resolve(requirements: list[str]) -> dict[str, str]:
    """What pip would install on the oldest Python: name → version. Nothing is installed.

    The oldest, not this one: Debian 12 has Python 3.11.2, and some packages ask for 3.11.5.
    """
    shutil.rmtree(SCRATCH, ignore_errors=True)
    venv.create(SCRATCH, with_pip=True)
    pip = [str(SCRATCH / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    for_oldest = [
        "--python-version",
        oldest_python(),
        "--only-binary=:all:",
        "--target",
        str(SCRATCH / "unused"),
    ]
    report = SCRATCH / "report.json"
    plan = ["--dry-run", "--ignore-installed", "--report", str(report), *for_oldest, *requirements]
    subprocess.run([*pip, *plan], check=True)
    planned = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    # `+cpu` and the like name a build, not a version: the lock fits every machine.
    pins = {package["name"]: package["version"].partition("+")[0] for package in planned}
    return dict(sorted(pins.items(), key=lambda pin: normal(pin[0])))


def main() -> None:
    """Write both files, or neither: nothing is written before the resolution succeeded."""
    requirements = direct_requirements()
    pins = resolve(requirements)
    versions = {normal(name): version for name, version in pins.items()}
    lock = "".join(f"{name}=={version}\n" for name, version in pins.items())
    direct = "".join(f"      - {name}=={versions[name]}\n" for name in map(name_of, requirements))
    (ROOT / "requirements.lock").write_text(LOCK_HEADER + lock, encoding="utf-8")
    (ROOT / "environment.yml").write_text(ENVIRONMENT_HEADER + direct + "      - -e .\n", encoding="utf-8")
    shutil.rmtree(SCRATCH)
    print(f"{len(requirements)} direct requirements, {len(pins)} packages locked")


if __name__ == "__main__":
    main()
