"""A command line to type into, and small models to give it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nnapi_lab.cli import main

ROOT = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """Exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What bad input gives: nothing on stdout, one line on stderr, exit code 2."""
        assert self.code == 2, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("nnapi-lab: ")
        assert "Traceback" not in line
        return line.removeprefix("nnapi-lab: ")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def cli(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`cli("check", "m.nn")` in an empty folder."""

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


# The command runs once where it may write, so that everything is imported; then the folder is closed, root becomes
# nobody (root may write everywhere), and it runs again.
TWICE = """
import os, sys
from nnapi_lab.cli import main
arguments = sys.argv[1:]
assert main(arguments) == 0
written = os.listdir("out")
assert written, "the command writes nothing into out/"
for name in written:
    os.remove(os.path.join("out", name))
os.chmod("out", 0o555)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print("-" * 8)
code = main(arguments)
print(os.listdir("out"))
sys.exit(code)
"""


@pytest.fixture
def in_read_only_folder() -> Iterator[Callable[..., Outcome]]:
    """`run({"m.nn": text}, "export", "m.nn", "-o", "out/m.nn")`, where out/ takes no files; stdout of that run only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)

        def run(files: dict[str, str], *arguments: str) -> Outcome:
            for file, text in files.items():
                (folder / file).write_text(text, encoding="utf-8")
            (folder / "out").mkdir()
            done = subprocess.run(
                [sys.executable, "-c", TWICE, *arguments], cwd=folder, capture_output=True, text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}, timeout=120,
            )  # fmt: skip
            (folder / "out").chmod(0o755)
            return Outcome(done.returncode, done.stdout.partition("-" * 8 + "\n")[2], done.stderr)

        yield run
