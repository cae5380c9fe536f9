"""Golden vectors held against the simulator: read, run, judge, report."""

from __future__ import annotations

from nnapi_lab.conformance.report import Failure, Report, Tally
from nnapi_lab.conformance.suite import run_conformance
from nnapi_lab.conformance.vectors import Case, Example, read_vectors, vector_files

__all__ = ["Case", "Example", "Failure", "Report", "Tally", "read_vectors", "run_conformance", "vector_files"]
