"""The complete, immutable result of a lowering, before anything is run or shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.torch_graph import TorchGraph, TorchNode
from nnapi_lab.rewrites.placement import Placement
from nnapi_lab.rewrites.rule import Step


@dataclass(frozen=True, eq=False)
class Lowered:
    """TorchGraph and Model with everything that links them.

    `placements`: torch value name → where it lives (values that vanished in a fusion have none).
    `origins`: operand name → torch value names it comes from; every operand has an entry.
    `made_by`: operand name → ids of the Steps that made or changed it; every operand has an entry.
    `inputs`, `outputs`: torch values that stand at the NNAPI model's inputs and outputs, in its order. They are the
    graph's own unless `head` (quantize nodes at the inputs) or `tail` (dequantize nodes at the outputs) are left to
    the host. `returned`: how to read each NNAPI output as the torch value it stands for; a value may live in one
    operand and be returned in another (a copy, or another layout).
    """

    graph: TorchGraph
    model: Model
    steps: tuple[Step, ...]
    placements: Mapping[str, Placement]
    origins: Mapping[str, tuple[str, ...]]
    made_by: Mapping[str, tuple[int, ...]]
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    head: tuple[TorchNode, ...] = ()
    tail: tuple[TorchNode, ...] = ()
    returned: tuple[Placement, ...] = ()

    def __post_init__(self) -> None:
        for name in ("placements", "origins", "made_by"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def steps_for(self, name: str) -> tuple[Step, ...]:
        """The rewrites behind one torch value ("%7") or one operand."""
        wanted = set(self.made_by.get(name, ()))
        return tuple(step for step in self.steps if step.id in wanted or name in step.values or name in step.operands)
