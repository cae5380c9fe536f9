"""The house stands as DESIGN.md section 3 draws it: packages import only packages above them in the list."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent / "nnapi_lab"

# Top to bottom. A line is a floor: packages on it import the floors above, and not each other.
FLOORS = (
    ("numerics",),
    ("ir",),
    ("ops",),
    ("rewrites",),
    ("text",),
    ("build",),
    ("validate",),
    ("simulate",),
    ("passes",),
    ("conformance",),
    ("partition",),
    ("encode",),
    ("device",),
    ("torchscript",),
    ("compare",),
    ("diagnosis",),
    ("views",),
    ("lab",),
    ("cli",),
    ("notebook",),
)
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}

# Open to every floor; `errors` names findings for type checkers only, `files` needs nothing but `errors`.
COMMON = {"errors", "files"}
DOORS = {"__init__", "__main__"}  # the package's own front: may look at anything below

# Libraries that only their owners may import (at any depth of a function).
OWNED = {
    "IPython": {"notebook"},
    "ipywidgets": {"notebook"},
    "anywidget": {"notebook"},
    "torch": {"torchscript", "simulate", "encode", "device", "compare", "diagnosis", "lab", "cli", "notebook"},
    "numba": {"simulate"},
    "flatbuffers": {"encode"},
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(path for path in HOUSE.rglob("*.py") if package_of(path) not in COMMON)


def package_of(path: Path) -> str:
    """`ops` for nnapi_lab/ops/pool.py, `build` for nnapi_lab/build.py."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            elif node.module == "nnapi_lab":
                names = [alias.name for alias in node.names if not alias.name.startswith("__")]  # __version__
                yield from ((node.lineno, f"nnapi_lab.{name}") for name in names)
            elif node.module:
                yield node.lineno, node.module


def violations(package: str, tree: ast.AST) -> list[str]:
    """What a module of `package` imports although it lies below, beside it, or belongs to another owner."""
    found = []
    for line, name in imports(tree):
        if name.startswith("."):
            found.append(f"line {line}: relative import {name}")
        top, _, rest = name.partition(".")
        if top in OWNED and package not in OWNED[top]:
            found.append(f"line {line}: {package} imports {top}, which belongs to {', '.join(sorted(OWNED[top]))}")
        if top != "nnapi_lab" or not rest or package in DOORS:
            continue
        other = rest.partition(".")[0]
        if other in COMMON or other == package:
            continue
        if other not in FLOOR_OF:
            found.append(f"line {line}: {other} has no floor")
        elif FLOOR_OF[other] >= FLOOR_OF[package]:
            found.append(f"line {line}: {package} imports {other}, which is not above it")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_module_imports_only_what_is_above_it(path: Path) -> None:
    package = package_of(path)
    assert package in FLOOR_OF or package in DOORS, f"{package} has no floor: add it to DESIGN's list and here"
    assert violations(package, ast.parse(path.read_text("utf-8"))) == []


def test_errors_import_nothing_at_run_time() -> None:
    tree = ast.parse((HOUSE / "errors.py").read_text("utf-8"))
    at_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in at_top for _, name in imports(node) if name.startswith("nnapi_lab")]


WRONG = {
    "a floor below": ("ops", "from nnapi_lab.build import Builder"),
    "a floor below, by its package": ("ir", "from nnapi_lab import simulate"),
    "a floor below, inside a function": ("numerics", "def f():\n    import nnapi_lab.ir.model"),
    "a package without a floor": ("ops", "import nnapi_lab.utils"),
    "someone else's library": ("views", "import IPython.display"),
    "a relative import": ("ops", "from .spec import OpSpec"),
}


@pytest.mark.parametrize("case", WRONG)
def test_violations_are_seen(case: str) -> None:
    package, code = WRONG[case]
    assert len(violations(package, ast.parse(code))) == 1


RIGHT = {
    "a floor above": ("build", "from nnapi_lab.ops.registry import OPS"),
    "itself": ("ops", "from nnapi_lab.ops.spec import Call"),
    "errors": ("ir", "from nnapi_lab.errors import FormatError"),
    "the owner": ("notebook", "import anywidget"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_allowed_passes(case: str) -> None:
    package, code = RIGHT[case]
    assert violations(package, ast.parse(code)) == []


def test_the_simulator_starts_without_torch_and_numba() -> None:
    """The reference engine is plain NumPy; torch takes seconds to load, so only `fast` loads it."""
    program = (
        "import sys, nnapi_lab.conformance, nnapi_lab.simulate, nnapi_lab.validate;"
        "print([name for name in ('torch', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=HOUSE.parent, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
