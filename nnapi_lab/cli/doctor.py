"""`doctor`: what is installed, what is missing, what it is for and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from nnapi_lab.cli.outcome import one_document
from nnapi_lab.errors import NnapiLabError

State = Literal["ok", "missing", "wrong"]

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MARKS: dict[State, str] = {"ok": "✓", "missing": "–", "wrong": "✗"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for. `detail`: version, place or what is wrong; `purpose`: who misses it."""

    name: str
    state: State
    detail: str
    purpose: str
    fix: str = ""
    required: bool = False


# Package as distributed, what it is imported as, purpose, the extra that brings it ("" = always installed).
PACKAGES = (
    ("numpy", "numpy", "arrays, the reference engine", ""),
    ("numba", "numba", "the fast engine's integer loops", ""),
    ("flatbuffers", "flatbuffers", ".tflite files", ""),
    ("typer", "typer", "the command line", ""),
    ("rich", "rich", "progress bars", ""),
    ("pandas", "pandas", "diff.to_pandas()", ""),
    ("matplotlib", "matplotlib", "diff.plot()", ""),
    ("graphviz", "graphviz", "graph pictures", ""),
    ("jupyterlab", "jupyterlab", "notebooks: make lab", "notebook"),
    ("anywidget", "anywidget", "the workbench in a notebook", "notebook"),
    ("ipywidgets", "ipywidgets", "the workbench in a notebook", "notebook"),
    ("netron", "netron", "lab.netron()", "notebook"),
    ("scikit-learn", "sklearn", "the sample models' photograph and digits", "samples"),
    ("pillow", "PIL", "the sample models' photograph", "samples"),
    ("pytest", "pytest", "make test", "test"),
    ("playwright", "playwright", "browser tests", "test"),
)


def doctor(as_json: bool = typer.Option(False, "--json", help="Print one JSON document.")) -> None:
    """Say what is installed, what is missing, and how to get it."""
    with one_document(as_json) as document:
        checks = tuple(examine())
        document.value = {
            "ok": all(check.state == "ok" for check in checks if check.required),
            "checks": [asdict(check) for check in checks],
        }
        if not as_json:
            typer.echo(doctor_text(checks))


def examine() -> Iterator[Check]:
    """Look at everything, the required things first. Never raises: a broken installation is a result."""
    yield python_check()
    yield from torch_checks()
    yield from (package_check(*package) for package in PACKAGES)
    yield fast_engine_check()
    yield program_check("dot", ("dot",), "graphs laid out by Graphviz; without it the built-in layout is used",
                        "apt-get install graphviz (conda: graphviz)")  # fmt: skip
    yield chromium_check()
    yield compiler_check()


def doctor_text(checks: Sequence[Check]) -> str:
    """A line per check; under what is missing, what to do."""
    wide = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{MARKS[check.state]} {check.name:<{wide}}  {check.detail}  ({check.purpose})")
        if check.state != "ok" and check.fix:
            lines.append(f"  {'':<{wide}}  to get it: {check.fix}")
    broken = [check.name for check in checks if check.required and check.state != "ok"]
    missing = [check.name for check in checks if not check.required and check.state != "ok"]
    verdict = f"{', '.join(broken)} must be mended first" if broken else "all that is required is there"
    optional = f"; optional and not there: {', '.join(missing)}" if missing else ""
    return "\n".join([*lines, "", f"{verdict}{optional}"])


# --- one thing each ------------------------------------------------------------------------------------------


def python_check(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    fits = (3, 11) <= version <= (3, 13)
    detail = f"{version[0]}.{version[1]}" if not fits else platform.python_version()
    fix = "" if fits else "make test PYTHON=/path/to/python3.12"
    return Check("python", "ok" if fits else "wrong", detail, "3.11 to 3.13 is needed", fix, True)


def pinned(package: str) -> str:
    """The exact version nnapi_lab is installed for; "" where it does not ask for one."""
    try:
        wanted = importlib.metadata.requires("nnapi_lab") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    return next((line.partition("==")[2].strip() for line in wanted if line.startswith(f"{package}==")), "")


def torch_checks() -> Iterator[Check]:
    """torch's version, its quantized engines, and its own NNAPI loader."""
    wanted = pinned("torch")
    fix = f"make setup, or pip install torch=={wanted} (the CPU build is enough)"
    purpose = "capture, reference values, the fast engine"
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("torch", "missing", _short(error), purpose, fix, True)
        return
    version = str(torch.__version__)
    fits = version.split("+")[0] == wanted
    yield Check("torch", "ok" if fits else "wrong", version if fits else f"{version}, tested with {wanted}", purpose,
                "" if fits else fix, True)  # fmt: skip
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    has_qnnpack = "qnnpack" in engines
    yield Check("quantized engines", "ok" if has_qnnpack else "missing", ", ".join(engines) or "none",
                "quantized models: qnnpack is NNAPI's nearest relative",
                "" if has_qnnpack else "a torch wheel for x86-64 or arm64 has qnnpack")  # fmt: skip
    yield _loader_check(torch)


def _loader_check(torch: object) -> Check:
    try:
        torch.classes._nnapi.Compilation  # type: ignore[attr-defined]  # noqa: B018  looked up by name in torch's C++ part
    except (AttributeError, RuntimeError) as error:
        return Check("NNAPI loader", "missing", _short(error), "torch.jit.load of saved models",
                     "use a torch wheel for Linux")  # fmt: skip
    return Check("NNAPI loader", "ok", "torch.classes._nnapi.Compilation", "torch.jit.load of saved models")


def package_check(package: str, module: str, purpose: str, extra: str) -> Check:
    """Installed, and where it would be imported from; nothing is imported."""
    fix = f"make setup, or pip install {package}"
    if importlib.util.find_spec(module) is None:
        return Check(package, "missing", "not installed", purpose, fix, not extra)
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown version"
    return Check(package, "ok", version, purpose, "", not extra)


def program_check(name: str, programs: Sequence[str], purpose: str, fix: str) -> Check:
    """The first of some programs on the PATH."""
    found = next(filter(None, map(shutil.which, programs)), None)
    return Check(name, "ok" if found else "missing", found or "not on the PATH", purpose, "" if found else fix)


def compiler_check() -> Check:
    """What makes the stand-in for libneuralnetworks.so, and whether it is made already; nothing is compiled here."""
    from nnapi_lab.device import library

    made = library.built_at().exists()
    program, purpose = library.compiler(), "lab.device: the stand-in for libneuralnetworks.so"
    if program is None:
        detail = "not on the PATH; the library made earlier is used" if made else "not on the PATH"
        return Check("C compiler", "missing", detail, purpose, "apt-get install gcc (conda: c-compiler)")
    return Check("C compiler", "ok", f"{program}, library {'made' if made else 'made on first use'}", purpose)


def chromium_check() -> Check:
    """Where the browser tests look: NNAPI_LAB_CHROMIUM, the PATH, what Playwright downloaded."""
    purpose, fix = "browser tests", "apt-get install chromium (or: playwright install chromium)"
    named = os.environ.get("NNAPI_LAB_CHROMIUM")
    if named and not Path(named).is_file():
        return Check("chromium", "wrong", f"NNAPI_LAB_CHROMIUM={named} is no file", purpose, fix)
    found = named or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None) or _playwright_chromium()
    return Check("chromium", "ok" if found else "missing", found or "not found", purpose, "" if found else fix)


def _playwright_chromium() -> str | None:
    cache = "Library/Caches/ms-playwright" if sys.platform == "darwin" else ".cache/ms-playwright"
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / cache)
    found = sorted(folder.glob("chromium-*/chrome-linux*/chrome"), reverse=True)
    return str(found[0]) if found else None


def fast_engine_check() -> Check:
    """The fast engine computes a quantized convolution whose sums overflow 16 bits, and is held to `reference`.

    Without VNNI instructions, oneDNN's integer kernels saturate such sums; the engine must not be fooled.
    """
    purpose = "simulation speed"
    try:
        from nnapi_lab.cli.selftest import fast_engine_verdict

        good, detail = fast_engine_verdict()
    except (ImportError, OSError, RuntimeError, NnapiLabError) as error:
        return Check("fast engine", "wrong", _short(error), purpose, 'use engine="reference"')
    return Check("fast engine", "ok" if good else "wrong", detail, purpose,
                 "" if good else 'use engine="reference" and report this processor')  # fmt: skip


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:120]}" if text else type(error).__name__
