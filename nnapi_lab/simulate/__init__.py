"""Run NNAPI models on NumPy arrays: one short loop over kernels, engines `reference` and `fast`, probes."""

from __future__ import annotations

from nnapi_lab.simulate.execute import (
    ENGINES,
    Executable,
    Probe,
    Trace,
    compile_model,
    simulate,
    trace,
)

__all__ = ["ENGINES", "Executable", "Probe", "Trace", "compile_model", "simulate", "trace"]
