"""A Rule is the *why* of a rewrite, written once; a Step is one time it happened, with the facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RewriteKind = Literal["layout", "quantization", "fusion", "decomposition", "constant", "identity", "shape", "operation"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Why a lowered model differs from the TorchScript graph in one particular way.

    `formula` states the rewrite so that one can compute with it; `source` says who says so (a header, a kernel,
    a torch function); `effect` what happens to the numbers if it is left out.
    """

    id: str
    kind: RewriteKind
    title: str
    why: str
    formula: str
    source: str
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One tensor as it stood before or after a rewrite.

    `axes` names the dimensions of `shape` ("O","I","H","W"); `sample` are the first values in storage order.
    """

    name: str
    shape: tuple[Any, ...] = ()
    axes: tuple[str, ...] = ()
    dtype: str = ""
    quant: str = ""
    sample: tuple[str, ...] = ()

    def __str__(self) -> str:
        dims = ",".join(
            f"{axis}={dim}" if axis else str(dim)
            for axis, dim in zip(self.axes or ("",) * len(self.shape), self.shape, strict=False)
        )
        parts = [f"{self.name} {self.dtype}[{dims}]", self.quant]
        if self.sample:
            parts.append("= " + " ".join(self.sample) + " …")
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Step:
    """One rewrite that happened.

    `values` are the torch values it starts from, `operands` the NNAPI operands it made or changed; `before` and
    `after` show tensors on both sides; `facts` are the numbers the formula was used with.
    """

    id: int
    rule: Rule
    values: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()
    before: tuple[Side, ...] = ()
    after: tuple[Side, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    node: str = ""

    def __str__(self) -> str:
        arrow = f"{', '.join(self.values) or '-'} → {', '.join(self.operands) or '-'}"
        facts = ", ".join(f"{key}={value}" for key, value in self.facts.items())
        return f"#{self.id} {self.rule.id}: {arrow}" + (f" ({facts})" if facts else "")
