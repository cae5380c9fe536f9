"""doctor: finds what is there, names what is not, and how to get it; exit code 0 either way."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnapi_lab.cli import doctor as doctors
from nnapi_lab.cli import selftest
from nnapi_lab.cli.doctor import Check, chromium_check, doctor_text, package_check, pinned, program_check, python_check

NAMES = ("python", "torch", "quantized engines", "numba", "jupyterlab", "anywidget", "netron", "fast engine", "dot",
         "chromium", "C compiler")  # fmt: skip


def test_this_environment_runs_everything_that_is_required(cli: Callable) -> None:
    said = cli("doctor", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert found["ok"] is True
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert set(NAMES) <= set(states)
    assert states["fast engine"] == "ok"


def test_what_is_missing_is_named_with_the_way_to_get_it(
    cli: Callable, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(workplace))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(workplace))
    monkeypatch.delenv("NNAPI_LAB_CHROMIUM", raising=False)
    said = cli("doctor")
    assert said.code == 0
    lines = said.out.splitlines()
    for name, fix in (("dot", "apt-get install graphviz"), ("chromium", "apt-get install chromium"),
                      ("C compiler", "apt-get install gcc")):  # fmt: skip
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"– {name} ")]
        assert fix in lines[place + 1]
    assert lines[-1] == "all that is required is there; optional and not there: dot, chromium, C compiler"


def test_json_is_one_document_and_nothing_else(cli: Callable) -> None:
    said = cli("doctor", "--json")
    document, end = json.JSONDecoder().raw_decode(said.out)
    assert said.out[end:] == "\n"
    assert set(document["checks"][0]) == {"name", "state", "detail", "purpose", "fix", "required"}


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10), "wrong"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "wrong"), ((2, 7), "wrong")]
)
def test_python_versions(version: tuple[int, int], state: str) -> None:
    check = python_check(version)
    assert (check.state, check.required, bool(check.fix)) == (state, True, state != "ok")


def test_the_torch_that_is_tested_with_is_the_one_pyproject_pins() -> None:
    pyproject = tomllib.loads((Path(doctors.__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert f"torch=={pinned('torch')}" in pyproject["project"]["dependencies"]
    assert pinned("numpy") == ""


def test_packages_are_found_without_importing_them() -> None:
    absent = package_check("no-such-package", "no_such_package", "nothing", "notebook")
    assert absent == Check(
        "no-such-package", "missing", "not installed", "nothing", "make setup, or pip install no-such-package", False
    )
    assert package_check("no-such-package", "no_such_package", "nothing", "").required
    loaded = "antigravity" in sys.modules
    assert package_check("antigravity", "antigravity", "flight", "").detail == "unknown version"
    assert ("antigravity" in sys.modules) == loaded


def test_programs_are_found_under_any_of_their_names(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workplace))
    assert program_check("C compiler", ("gcc", "cc"), "building", "install one").state == "missing"
    program = workplace / "cc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert program_check("C compiler", ("gcc", "cc"), "building", "install one").detail == str(program)


def test_chromium_may_be_named_or_downloaded_by_playwright(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workplace))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(workplace))
    monkeypatch.delenv("NNAPI_LAB_CHROMIUM", raising=False)
    chrome = workplace / "chromium-1187" / "chrome-linux" / "chrome"
    assert chromium_check().state == "missing"
    chrome.parent.mkdir(parents=True)
    chrome.touch()
    assert chromium_check().detail == str(chrome)
    monkeypatch.setenv("NNAPI_LAB_CHROMIUM", str(workplace / "gone"))
    assert chromium_check().state == "wrong"
    monkeypatch.setenv("NNAPI_LAB_CHROMIUM", str(chrome))
    assert chromium_check().state == "ok"


def test_what_is_required_and_broken_comes_first() -> None:
    checks = [Check("torch", "wrong", "1.0, tested with 2.0", "capture", "pip install torch==2.0", True),
              Check("dot", "missing", "not on the PATH", "pictures", "apt-get install graphviz")]  # fmt: skip
    text = doctor_text(checks).splitlines()
    assert text[0] == "✗ torch  1.0, tested with 2.0  (capture)"
    assert text[1].strip() == "to get it: pip install torch==2.0"
    assert text[-1] == "torch must be mended first; optional and not there: dot"


def test_the_self_test_tells_right_from_wrong_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    good, detail = selftest.fast_engine_verdict()
    assert good
    assert detail.startswith("exact with ")

    def saturating(model: object, inputs: object, engine: str) -> tuple[np.ndarray]:
        (out,) = simulate(model, inputs, engine)
        return (out if engine == "reference" else np.where(out > 200, 200, out).astype(out.dtype),)

    simulate = selftest.simulate
    monkeypatch.setattr(selftest, "simulate", saturating)
    assert selftest.fast_engine_verdict() == (
        False,
        "differs from the reference in CONV_2D 3×3, CONV_2D 1×1, FULLY_CONNECTED",
    )
    assert doctors.fast_engine_check().state == "wrong"


def test_the_self_test_uses_the_whole_range() -> None:
    """A model whose outputs all saturate would agree whatever the sums are."""
    for model in (selftest.convolution(3, np.random.default_rng(7)), selftest.matrix_product(np.random.default_rng(7))):
        shape = tuple(int(size) for size in model["x"].type.shape or ())
        (out,) = selftest.simulate(model, [selftest.extremes(np.random.default_rng(1), shape)], "reference")
        assert np.unique(out).size > 20
