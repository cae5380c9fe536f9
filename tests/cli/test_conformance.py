"""`conformance`: the report DESIGN promises, by the same function developers call."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nnapi_lab.conformance import run_conformance

FILE = "V1_2__sqrt.json.gz"


@pytest.fixture
def vectors(shared_dir: Path, workplace: Path) -> Path:
    """A folder with the vectors of one operation."""
    folder = workplace / "vectors"
    folder.mkdir()
    (found,) = (shared_dir / "nnapi" / "vectors").glob(FILE)
    shutil.copy(found, folder)
    return folder


def test_the_json_is_the_report(cli: Callable, vectors: Path) -> None:
    said = cli("conformance", "vectors", "--json", "--jobs", "1", "--engine", "reference")
    assert said.code == 0
    found = json.loads(said.out)
    assert found == run_conformance(vectors, engine="reference").to_json()
    assert set(found) == {"total", "passed", "failed", "skipped", "operations", "failures"}
    assert found["total"] == found["passed"] > 0
    assert set(found["operations"]) == {"SQRT"}


def test_the_table_has_a_row_per_operation(cli: Callable, vectors: Path) -> None:
    said = cli("conformance", "vectors", "--jobs", "1")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == ["operation", "SQRT", "all"]


def test_a_failing_vector_gives_exit_code_1_and_its_reason(cli: Callable, vectors: Path) -> None:
    with gzip.open(vectors / FILE, "rt") as stream:
        held = json.load(stream)
    held["cases"][0]["examples"][0]["outputs"][0][0] += 1
    with gzip.open(vectors / FILE, "wt") as stream:
        json.dump(held, stream)
    said = cli("conformance", "vectors", "--json", "--jobs", "1")
    assert said.code == 1
    found = json.loads(said.out)
    assert found["failed"] > 0
    assert set(found["failures"][0]) == {"name", "file", "reason"}
    said = cli("conformance", "vectors", "--jobs", "1", "--all")
    assert said.code == 1
    assert said.out.startswith(f"{FILE} ")


def test_bad_input_is_one_sentence(cli: Callable, vectors: Path) -> None:
    assert "no such" in cli("conformance", "nowhere").sentence
    assert "no case tests NOPE" in cli("conformance", "vectors", "--op", "NOPE", "--jobs", "1").sentence
    assert "there is no engine 'quick'" in cli("conformance", "vectors", "--engine", "quick").sentence
    (vectors / FILE).write_bytes((vectors / FILE).read_bytes()[:100])
    assert FILE in cli("conformance", "vectors", "--json", "--jobs", "1").sentence
