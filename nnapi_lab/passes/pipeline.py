"""The passes in their order."""

from __future__ import annotations

from collections.abc import Callable

from nnapi_lab.build import StepLog
from nnapi_lab.passes.activation import fuse_activations
from nnapi_lab.passes.unused import drop_unused
from nnapi_lab.rewrites.lowered import Lowered

Pass = Callable[[Lowered, StepLog], Lowered]
PASSES: tuple[Pass, ...] = (fuse_activations, drop_unused)


def run_passes(lowered: Lowered, passes: tuple[Pass, ...] = PASSES) -> Lowered:
    """Apply each pass in turn; the log of the result holds their Steps behind the lowering's own."""
    for rewrite in passes:
        log = StepLog(lowered.steps)
        lowered = rewrite(lowered, log)
    return lowered
