"""What every test may ask for: the facts beside the checkout, a Chromium, one thread, repeatable examples.

A missing thing skips the tests that need it, and says why. Under `CI=true` a missing Chromium fails them
instead: a browser test that never runs proves nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# Before NumPy or torch is imported: one thread per test process. The processes are what runs in parallel, and
# float sums come out the same on every machine.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import hypothesis  # noqa: E402, after the variables above
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHOWN_VERSIONS = ("torch", "numpy", "numba", "jupyterlab", "playwright", "hypothesis")

# Several test processes share a machine, so time says nothing about a test: no deadline, no "too slow".
hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "explore",  # HYPOTHESIS_PROFILE=explore: new examples on every run, ten times as many
    parent=hypothesis.settings.get_profile("ci"),
    derandomize=False,
    max_examples=1000,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def under_ci() -> bool:
    """True when the environment variable CI says so, as the CI services set it."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def find_shared() -> Path | None:
    """The folder of facts: NNAPI_LAB_SHARED, or `shared` beside the checkout; None where there is none."""
    named = os.environ.get("NNAPI_LAB_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if (folder / "nnapi").is_dir() else None


def find_chromium() -> Path | None:
    """A Chromium to test with: NNAPI_LAB_CHROMIUM, the system's, or Playwright's own; or None."""
    named = os.environ.get("NNAPI_LAB_CHROMIUM")
    if named:
        return Path(named) if Path(named).is_file() else None
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return Path(found) if found else _playwright_chromium()


def _playwright_chromium() -> Path | None:
    """What `playwright install chromium` left behind, newest build first; Playwright is not started."""
    cache = {"darwin": "Library/Caches/ms-playwright"}.get(sys.platform, ".cache/ms-playwright")
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / cache)
    builds = sorted(folder.glob("chromium-*"), key=lambda build: build.stat().st_mtime, reverse=True)
    programs = (build / place for build in builds for place in ("chrome-linux/chrome", "chrome-linux64/chrome"))
    return next((program for program in programs if program.is_file()), None)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of facts (`nnapi/opcatalog.json`, `nnapi/vectors/`); skips the test where it is absent."""
    folder = find_shared()
    if folder is None:
        pytest.skip("no facts: set NNAPI_LAB_SHARED, or put the folder `shared` (holding `nnapi`) beside the checkout")
    return folder


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The Chromium to launch; without one the test is skipped, and fails under CI=true."""
    program = find_chromium()
    if program is None:
        _no_browser("no Chromium: install the package `chromium`, or name one with NNAPI_LAB_CHROMIUM")
    # A minimal system lacks a library the driver needs; Playwright itself would only say "Connection closed".
    driver = subprocess.run([sys.executable, "-m", "playwright", "--version"], capture_output=True, text=True)
    if driver.returncode != 0:
        _no_browser("Playwright does not start: " + driver.stderr.strip().rpartition("\n")[2])
    return program


def _no_browser(reason: str) -> NoReturn:
    if under_ci():
        pytest.fail(f"{reason} (CI=true: browser tests may not be skipped)", pytrace=False)
    pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--write-goldens`: goldens are written from what is seen, to be read before they are committed."""
    parser.addoption("--write-goldens", action="store_true", help="write tests/goldens/*.nn, do not compare")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(case, text)`: the text equals tests/goldens/<case>.nn, or becomes it under --write-goldens."""
    writing = request.config.getoption("--write-goldens")

    def compare(case: str, text: str) -> None:
        file = GOLDENS / f"{case}.nn"
        if writing:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.exists():
            pytest.fail(
                f"no goldens/{case}.nn: write it with --write-goldens, then read it",
                pytrace=False,
            )
        else:
            assert text == file.read_text(encoding="utf-8")

    return compare


def pytest_report_header() -> list[str]:
    """Name what the result depends on: versions, and which optional parts were found."""
    versions = " · ".join(f"{name} {_version(name)}" for name in SHOWN_VERSIONS)
    parts = {"dot": shutil.which("dot"), "chromium": find_chromium(), "shared": find_shared()}
    found = " · ".join(f"{name} {'found' if place else 'MISSING'}" for name, place in parts.items())
    return [f"nnapi_lab: python {platform.python_version()} · {versions}", f"nnapi_lab: {found}"]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
