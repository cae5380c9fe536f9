"""Refusals made on the way: raised by a rule, collected by the loop, never lost."""

from __future__ import annotations

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Refusal, RefusalKind
from nnapi_lab.ir.torch_graph import TorchNode

# What to do where a rule has nothing better to say.
FIXES: dict[RefusalKind, str] = {
    "FORBIDDEN": "write the model with arguments NNAPI takes, or keep this operation outside it",
    "NOT_YET": "write it with other operations, or add it to the lowering (CONTRIBUTING.md, 'a TorchScript lowering')",
    "LOSSY": "write it with operations that keep the numbers, or keep it outside the model",
}


class Refused(Exception):
    """Raised inside a lowering rule; the loop turns it into a Refusal and goes on with the next node."""

    def __init__(self, kind: RefusalKind, rule: str, message: str, fix: str = "", source: str = "") -> None:
        self.kind: RefusalKind = kind
        self.rule = rule
        self.message = message
        self.fix = fix
        self.source = source
        super().__init__(message)

    def at(self, node: TorchNode) -> Refusal:
        return Refusal(
            self.kind, self.rule, f"{node.kind} {node.name}", self.message, self.fix or FIXES[self.kind],
            self.source, node.python, node.scope,
        )  # fmt: skip


class Inherited(Refused):
    """Raised where a value is read that an earlier refusal left without an operand: no obstacle of its own."""

    def __init__(self, value: str) -> None:
        super().__init__("NOT_YET", "INHERITED", f"{value} was refused")


def from_invalid(error: InvalidModel, node: TorchNode) -> list[Refusal]:
    """What the standard forbade while the rule was building, said at the TorchScript node."""
    return [
        Refusal(
            "FORBIDDEN", finding.rule, f"{node.kind} {node.name}",
            f"{finding.message}" + (f" ({finding.because})" if finding.because else ""),
            FIXES["FORBIDDEN"], finding.source, node.python, node.scope,
        )
        for finding in error.findings
    ]  # fmt: skip
