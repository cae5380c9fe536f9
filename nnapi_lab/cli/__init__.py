"""The command line: `nnapi-lab`, also `python -m nnapi_lab`. Nothing heavy is loaded before a command runs."""

from __future__ import annotations

from nnapi_lab.cli.app import main

__all__ = ["main"]
