"""Declarations to come: space."""

from __future__ import annotations

from nnapi_lab.ops.spec import OpSpec

SPECS: tuple[OpSpec, ...] = ()
