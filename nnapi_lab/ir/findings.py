"""What is wrong with a model, said so that one can act on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
RefusalKind = Literal["FORBIDDEN", "NOT_YET", "LOSSY"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule of the standard, where it was looked at, and what was seen there.

    `rule` is a stable id such as `CONCATENATION.C2` or `MODEL.M3`; `because` is the rule's own sentence.
    """

    rule: str
    severity: Severity
    where: str
    message: str
    because: str = ""
    source: str = ""

    def __str__(self) -> str:
        tail = f" Source: {self.source}." if self.source else ""
        because = f" ({self.because})" if self.because else ""
        return f"{self.rule} at {self.where}: {self.message}{because}.{tail}".replace("..", ".")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one TorchScript node is not lowered, and what to do about it.

    FORBIDDEN: NNAPI cannot say it (at this level or at all). NOT_YET: NNAPI can, nnapi_lab does not write it
    yet. LOSSY: possible, but the numbers change; needs the user's word.
    """

    kind: RefusalKind
    rule: str
    node: str
    message: str
    fix: str = ""
    source: str = ""
    python: str = ""
    scope: str = ""

    @property
    def where(self) -> str:
        """Torch value, module path and Python line, as far as they are known."""
        return ", ".join(part for part in (self.node, self.scope, self.python) if part)

    def __str__(self) -> str:
        parts = [f"{self.kind} {self.rule} at {self.where}: {self.message}"]
        if self.fix:
            parts.append(f"What to do: {self.fix}")
        if self.source:
            parts.append(f"Source: {self.source}")
        return " ".join(part if part.endswith(".") else part + "." for part in parts)
