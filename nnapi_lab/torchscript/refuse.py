"""Refusals made on the way: raised by a rule, collected by the loop, never lost."""

from __future__ import annotations

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Refusal, RefusalKind
from nnapi_lab.ir.torch_graph import TorchNode


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
            self.kind, self.rule, f"{node.kind} {node.name}", self.message, self.fix, self.source, node.python,
            node.scope,
        )  # fmt: skip


def from_invalid(error: InvalidModel, node: TorchNode) -> list[Refusal]:
    """What the standard forbade while the rule was building, said at the TorchScript node."""
    return [
        Refusal(
            "FORBIDDEN", finding.rule, f"{node.kind} {node.name}",
            f"{finding.message}" + (f" ({finding.because})" if finding.because else ""),
            "", finding.source, node.python, node.scope,
        )
        for finding in error.findings
    ]  # fmt: skip
