"""Peak memory of a run over what the built model takes: MobileNetV2 in the simulator against PyTorch float32 eager.

Each measurement is a process of its own: the high-water mark of resident memory (Linux's VmHWM) is reset when the
model is built and has run once, and read after five more runs.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import Figure

MODES = ("eager", "int8", "float32")


def run(rounds: int) -> list[Figure]:
    """MiB of each mode, the least of three processes; the simulator may not need more than PyTorch."""
    if not Path("/proc/self/clear_refs").exists():
        return []
    root = Path(__file__).resolve().parent.parent
    mib: dict[str, float] = {}
    for mode in MODES * 3:
        command = [sys.executable, "-m", "benchmarks.memory", mode]
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        mib[mode] = min(mib.get(mode, float("inf")), float(found.stdout.split()[-1]))
    return [_figure(mode, mib[mode], mib["eager"]) for mode in ("int8", "float32")]


def _figure(mode: str, mib: float, eager: float) -> Figure:
    claim = f"{mib:.1f} MiB (goal: at most PyTorch float32 eager's {eager:.1f})"
    return Figure(f"peak memory of MobileNetV2 {mode} over the built model", claim, mib, mib <= eager)


def _status(field: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def _built(mode: str) -> Callable[[], object]:
    from benchmarks.simulation import simulation
    from sample_models import mobilenet_v2
    from sample_models.quantization import engine

    if mode == "int8":
        whole, (image,) = mobilenet_v2.core_x86()
        with engine("x86"):
            return simulation(whole.core, whole.quant(image))[0]
    module, (image,) = mobilenet_v2.none()
    return (lambda: module(image)) if mode == "eager" else simulation(module, image)[0]


def main() -> None:
    """Print the MiB that five runs need over the built model."""
    import torch

    from nnapi_lab.torchscript.capture import quiet

    torch.set_num_threads(1)
    with quiet(), torch.no_grad():
        run_once = _built(sys.argv[1])
        run_once()  # loads what is loaded once: compiled loops, oneDNN's primitives
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what building the model left free would hide what a run takes
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # the high-water mark starts anew from here
        before = _status("VmRSS")
        for _ in range(5):
            run_once()
    print(_status("VmHWM") - before)


if __name__ == "__main__":
    main()
