"""install, the command line and the life of a process: threads, forks, Ctrl-C, errors told, exit codes."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import nnapi_lab as lab
from nnapi_lab.cli.doctor import compiler_check
from nnapi_lab.device import library as libraries
from nnapi_lab.errors import MissingDependency

ROOT = Path(__file__).resolve().parents[2]


class Pick(torch.nn.Module):
    """Rows by number: a number that is too large fails while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(4, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.table(rows)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as a file, and its input and output."""
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5))
    x = torch.randn(1, 3, 6, 6)
    lowered = lab.lower(net.eval(), x)
    lowered.save(folder / "m.pt")
    torch.save((x, lowered.run(x)), folder / "io.pt")
    return folder


LOADED = """
import os, sys, threading, torch
folder = sys.argv[1]
x, expected = torch.load(folder + "/io.pt")
held = torch.jit.load(folder + "/m.pt")
"""

# --- threads and forks ---------------------------------------------------------------------------------------

BESIDE = {
    # One call first: a saved module compiles itself on its first forward by setting TorchScript attributes, and torch
    # does not guard them. Eight threads racing for that first call crashed torch in 5 of 12 runs; after it, never.
    "8 threads, 50 runs each, after a first call": """
assert torch.equal(held(x), expected)
wrong, gate = [], threading.Barrier(8)
def work(number):
    gate.wait()
    for turn in range(50):
        if not torch.equal(held(x), expected):
            wrong.append((number, turn))
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong, wrong
""",
    "jit.fork": """
futures = [torch.jit.fork(held, x) for _ in range(8)]
assert all(torch.equal(torch.jit.wait(future), expected) for future in futures)
""",
    "os.fork": """
assert torch.equal(held(x), expected)
child = os.fork()
if child == 0:
    again = torch.jit.load(folder + "/m.pt")
    os._exit(0 if torch.equal(held(x), expected) and torch.equal(again(x), expected) else 3)
assert os.waitpid(child, 0)[1] == 0
assert torch.equal(held(x), expected)
""",
    "models that die in any order, and at exit": """
models = [torch.jit.load(folder + "/m.pt") for _ in range(5)]
[model(x) for model in models]
models[3] = None
del models[0]
import gc; gc.collect()
torch.kept_until_the_very_end = models
""",
}


@pytest.mark.parametrize("case", BESIDE)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_beside_each_other(run_program: Callable, saved: Path, case: str, threads: str) -> None:
    done = run_program(LOADED + BESIDE[case], saved, OMP_NUM_THREADS=threads)
    assert (done.code, done.err) == (0, "")


CTRL_C = (
    LOADED
    + """
import nnapi_lab.device.executions as executions
def compute(self):
    print("computing", flush=True)
    while True:
        pass
executions.Execution.compute = compute
held(x)
"""
)


@contextmanager
def computing(program: str, saved: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program under `nnapi-lab device` that has begun to compute; gone when the block ends.

    Ctrl-C means in it what it means at a terminal, also where our own parent ignores it (nohup, a CI runner).
    """
    (folder / "p.py").write_text(program, encoding="utf-8")
    started = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "nnapi_lab", "device", "p.py", saved], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "computing\n"
        yield started
    finally:
        started.kill()


def test_ctrl_c_ends_the_program_as_it_ends_any(saved: Path, tmp_path: Path) -> None:
    with computing(CTRL_C, saved, tmp_path) as started:
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "KeyboardInterrupt" in errors
    assert "Exception ignored" not in errors


def test_a_program_that_catches_everything_hears_of_ctrl_c(saved: Path, tmp_path: Path) -> None:
    program = (
        CTRL_C.replace("held(x)\n", "")
        + """
import time
try:
    try:
        held(x)
    except RuntimeError as error:
        time.sleep(5)
except KeyboardInterrupt:
    print("heard")
"""
    )
    with computing(program, saved, tmp_path) as started:
        start = time.monotonic()
        started.send_signal(signal.SIGINT)
        said, errors = started.communicate(timeout=60)
    assert (started.returncode, said) == (0, "heard\n"), errors
    assert time.monotonic() - start < 4  # the program's own sleep of 5 s was cut short


# --- install -------------------------------------------------------------------------------------------------

INSTALL = """
import ctypes, os, sys, torch
import nnapi_lab as lab
x, expected = torch.load(sys.argv[1] + "/io.pt")
try:
    torch.jit.load(sys.argv[1] + "/m.pt")(x)
    sys.exit("a library was there before")
except RuntimeError as error:
    assert "Failed to load libneuralnetworks.so" in str(error)
path = lab.device.install()
assert os.environ["LIBNEURALNETWORKS_PATH"] == path == lab.device.install()
ctypes.cdll.LoadLibrary(path)
assert torch.equal(torch.jit.load(sys.argv[1] + "/m.pt")(x), expected)
assert torch.equal(lab.device.run(sys.argv[1] + "/m.pt", x), expected)
lab.device.install(api_level=28)
try:
    torch.jit.load(sys.argv[1] + "/m.pt")(x)
    sys.exit("an Android 9 phone has no Execution_compute")
except RuntimeError as error:
    assert "failed with error 9" in str(error)
    assert "new in API level 29" in str(lab.device.last_error())
lab.device.install(engine="reference")
assert torch.allclose(torch.jit.load(sys.argv[1] + "/m.pt")(x), expected, atol=1e-5)
"""


def test_install_takes_effect_in_this_process_and_can_be_changed(run_program: Callable, saved: Path) -> None:
    done = run_program(INSTALL, saved, command="")
    assert (done.code, done.err) == (0, "")


ORIGINALS = """
import sys, torch
import nnapi_lab as lab
x, _ = torch.load(sys.argv[1] + "/io.pt")
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Softmax(1)).eval()
lowered = lab.lower(net, x)
lab.device.install(refuse=["SOFTMAX"])
for source in (lowered, sys.argv[1] + "/s.pt"):
    if isinstance(source, str):
        lowered.save(source)
    try:
        lab.device.run(source, x)
    except lab.InvalidModel as error:
        print(error.findings[0].rule, error.findings[0].where, *getattr(error, "__notes__", ["no node"]), sep="|")
        assert "failed with error 4" in str(error.__cause__)
try:
    with lab.device.original_errors():
        raise RuntimeError("something else failed with error 4")
except RuntimeError:
    print("left alone")
"""


def test_run_raises_the_original_with_operation_and_torchscript_node(run_program: Callable, saved: Path) -> None:
    done = run_program(ORIGINALS, saved, command="")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("DEVICE.REFUSED|%")
    assert "aten::softmax" in lines[0]
    assert lines[1].startswith(lines[0].split("|TorchScript")[0])
    assert lines[2] == "left alone"


DAMAGED = """
import sys, nnapi_lab as lab
try:
    lab.device.run(sys.argv[1])
except lab.FormatError:
    print(lab.device.last_error())
"""


def test_a_damaged_file_never_reaches_the_loader(run_program: Callable, saved: Path, tmp_path: Path) -> None:
    data = (saved / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(data[: len(data) // 2])
    assert run_program(DAMAGED, tmp_path / "m.pt", command="").out == "None\n"


# --- the command line ----------------------------------------------------------------------------------------


def test_an_error_is_told_beneath_pytorchs(run_program: Callable, saved: Path) -> None:
    done = run_program(LOADED + "held(x)\n", saved, options=("--refuse", "CONV_2D"))
    assert done.code == 1
    before, _, after = done.err.partition("nnapi_lab: behind this number is the simulator's own error:")
    assert "failed with error 4" in before
    assert "CONV_2D is refused by nnapi_lab" in after
    assert "nnapi_lab/cli" not in before


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--api-level", "29"), 0), (("--api-level", "28"), 1),
                                               (("--refuse", "SOFTMAX"), 0), (("--engine", "reference"), 0),
                                               (("--refuse", "CONV_2D", "--cpu-fallback"), 0)])  # fmt: skip
def test_a_virtual_phone(run_program: Callable, saved: Path, options: tuple[str, ...], code: int) -> None:
    assert run_program(LOADED + "held(x)\n", saved, options=options).code == code


SEEN = """
import pickle, sys, os
class Mine: pass
assert isinstance(pickle.loads(pickle.dumps(Mine())), Mine)
assert sys.modules["__main__"].Mine is Mine
print([__name__, os.path.basename(__file__), sys.argv, os.path.samefile(sys.path[0], "."),
       "LIBNEURALNETWORKS_PATH" in os.environ])
"""


def test_a_program_sees_what_python_would_show_it(run_program: Callable) -> None:
    done = run_program(SEEN, "-h", "--engine", "x", "--", "-m")
    assert done.code == 0, done.err
    argv = ["program.py", "-h", "--engine", "x", "--", "-m"]
    assert ast.literal_eval(done.out) == ["__main__", "program.py", argv, True, True]


ENDS = {
    "nothing": ("pass", 0, ""),
    "a number": ("import sys; sys.exit(7)", 7, ""),
    "a sentence": ("import sys; sys.exit('no')", 1, "no\n"),
    "None": ("raise SystemExit", 0, ""),
    "an error": ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    "a syntax error": ("1 +", 1, "SyntaxError: invalid syntax\n"),
}


@pytest.mark.parametrize("case", ENDS)
def test_exit_codes_are_the_programs(run_program: Callable, case: str) -> None:
    source, code, last = ENDS[case]
    done = run_program(source)
    assert done.code == code
    assert done.err.endswith(last)
    assert ("Traceback" in done.err) == (case == "an error")


def test_modules_are_run(run_program: Callable) -> None:
    """`-m program`: the test's own file, as a module of the current folder."""
    done = run_program("import os, sys\nprint([__name__, __spec__.name, os.path.basename(sys.argv[0]), *sys.argv[1:]])",
                       options=("-m", "program", "-m", "x", "--api-level"))  # fmt: skip
    assert done.code == 0, done.err
    assert ast.literal_eval(done.out) == ["__main__", "program", "program.py", "-m", "x", "--api-level", "program.py"]
    assert run_program("", options=("-m", "no_such_module")).code == 1


@pytest.mark.parametrize("arguments", [(), ("nowhere.py",), ("--engine", "none", "x.py"), ("--refuse", "NO", "x.py"),
                                       ("--api-level", "33", "x.py")])  # fmt: skip
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nnapi_lab", "device", *arguments], cwd=tmp_path, text=True,
        capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("nnapi-lab: ")


# --- making the library --------------------------------------------------------------------------------------


def test_without_a_compiler_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingDependency, match="install gcc"):
        libraries.build(tmp_path / "lib.so")
    check = compiler_check()
    assert (check.state, "gcc" in check.fix) == ("missing", True)


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gcc").write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no headers here')\n", encoding="utf-8")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingDependency, match=r"gcc failed: no headers here"):
        libraries.build(tmp_path / "cache" / "lib.so")
    assert list((tmp_path / "cache").iterdir()) == []


def test_it_is_made_once_and_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = libraries.built_at()
    assert tmp_path in target.parents
    assert "library made on first use" in compiler_check().detail
    assert libraries.build(target) == target
    assert [file.name for file in target.parent.iterdir()] == [libraries.SONAME]
    assert compiler_check().detail.endswith("library made")


def test_where_the_cache_takes_no_files_a_folder_of_the_process_does(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    made = libraries.build(tmp_path / "file" / "lib.so")
    assert made.exists()
    assert tmp_path not in made.parents
