"""Run NNAPI models on NumPy arrays: one short loop over kernels, engines `reference` and `fast`, probes."""

from __future__ import annotations

from nnapi_lab.simulate.execute import (
    ENGINES,
    Engine,
    Executable,
    Probe,
    Trace,
    compile_model,
    simulate,
    trace,
)

__all__ = ["ENGINES", "Engine", "Executable", "Probe", "Trace", "compile_model", "simulate", "trace"]
