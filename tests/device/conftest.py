"""The library under a name of its own, and programs run in a fresh process under `nnapi-lab device`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nnapi_lab.device import library as libraries
from nnapi_lab.device.library import Library
from nnapi_lab.device.virtual import phone
from tests.device.client import Client

ROOT = Path(__file__).resolve().parents[2]

if libraries.compiler() is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Linux there is nothing to stand in for."""
    for item in items:
        if not sys.platform.startswith("linux") and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="PyTorch opens libneuralnetworks.so on Linux only"))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library with another SONAME: this process's own torch goes on finding none."""
    folder = tmp_path_factory.mktemp("library")
    made = folder / "libnnapi_lab_test.so"
    program = libraries.compiler()
    assert program is not None
    flags = [flag.replace(libraries.SONAME, made.name) for flag in libraries.FLAGS]
    subprocess.run([program, *flags, "-Wall", "-Wextra", "-Werror", "-o", made, libraries.SOURCE], check=True)
    return Library(str(made))


@pytest.fixture
def client(library: Library) -> Iterator[Client]:
    yield Client(library, phone())
    library.clear()


@pytest.fixture
def client_of(library: Library) -> Iterator[Callable[..., Client]]:
    """`client_of(api_level=29, refuse=("ADD",))`"""
    yield lambda *args, **options: Client(library, phone(*args, **options))
    library.clear()


class Outcome(NamedTuple):
    """Exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """`run_program(source, *args, options=("--api-level", "29"))`: the source as a file, under `nnapi-lab device`."""
    folder = tmp_path_factory.mktemp("programs")

    def run(source: str, *args: str, options: tuple[str, ...] = (), command: str = "device", **env: str) -> Outcome:
        (folder / "program.py").write_text(source, encoding="utf-8")
        before = ["-m", "nnapi_lab", command, *options] if command else []
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *before, "program.py", *map(str, args)], cwd=folder, capture_output=True,
            text=True, timeout=600, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    yield run
    shutil.rmtree(folder, ignore_errors=True)
