"""Twins: faster kernels for the operations that carry the time, integers equal to the reference."""

from __future__ import annotations

from collections.abc import Mapping

from nnapi_lab.simulate.kernels import Prepare

TWINS: Mapping[str, Prepare] = {}
