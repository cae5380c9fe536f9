"""The errors, and the one warning, a user of nnapi_lab can meet; nothing else is raised on purpose.

Every one of them says which rule was broken, where, what was seen, what would do, and who says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnapi_lab.ir.findings import Finding, Refusal


class NnapiLabError(Exception):
    """Base of all errors that nnapi_lab raises for a user's mistake or a model's limits."""


class CaptureError(NnapiLabError):
    """The given thing is not a model we can read: training mode, wrong inputs, wrong device, not TorchScript."""


class LoweringError(NnapiLabError):
    """A model cannot be lowered; `.refusals` lists everything that stands in the way, in graph order."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        count = len(self.refusals)
        heading = f"{count} obstacle{'s' if count != 1 else ''} to lowering this model:"
        super().__init__("\n".join([heading, *(f"- {refusal}" for refusal in self.refusals)]))


class InvalidModel(NnapiLabError):
    """An NNAPI model breaks rules of the standard; `.findings` lists them."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


class FormatError(NnapiLabError):
    """A file is not what its name promises: truncated, damaged, of another version, or not ours to read."""


class OutputError(NnapiLabError):
    """A file cannot be written where it was asked for: no such folder, read-only, full. Nothing was changed there."""


class SimulationError(NnapiLabError):
    """A valid model could not be executed on the given inputs."""


class UndefinedInReference(RuntimeWarning):
    """A run met values on which Android's reference implementation has no defined result; ours is one of many."""


class MissingDependency(NnapiLabError):
    """Something optional is not installed; the message names it and how to get it."""


class NotThereYet(NnapiLabError):
    """A promise of the interface that is not written yet; the message says what works instead."""
