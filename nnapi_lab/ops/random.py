"""Chance: RANDOM_MULTINOMIAL.

The standard leaves the generator open and asks only for the distribution. Ours is the one Android's
reference uses, Philox 4×32-10 seeded by the operation's two seeds, so that a run can be repeated.
Source: AOSP 13 Multinomial.cpp.
"""

from __future__ import annotations

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.numerics.philox import uniform_doubles
from nnapi_lab.ops.axes import entry_count
from nnapi_lab.ops.shape import integers
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, scalar, tensor

F32, F16, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16, OperandCode.TENSOR_INT32


def sampled_type(call: Call) -> tuple[OperandType, ...]:
    """[batches, num_samples] class numbers."""
    shape, samples = call["input"].shape, call["num_samples"]
    batches = Dim("?") if shape is None else shape[0]
    return (OperandType(I32, (batches, Dim("?") if samples is None or samples < 0 else samples)),)


def random_multinomial(input: np.ndarray, seeds: np.ndarray, *, num_samples: int) -> np.ndarray:
    """Draw class numbers with probability softmax(input row): input [batches, classes] → [batches, num_samples].

    Sums run in double over finite logits; infinities and NaN get no share. A row without finite logits gives
    the number of classes, as the reference does.
    """
    batches = input.shape[0]
    chance = uniform_doubles(batches * num_samples, int(seeds[0]), int(seeds[1])).reshape(batches, num_samples)
    drawn = np.empty((batches, num_samples), np.int32)
    for batch, logits in enumerate(input.astype(np.float64)):
        finite = np.isfinite(logits)
        peak = logits[finite].max(initial=np.finfo(np.float32).min)
        shares = np.exp(np.where(finite, logits - peak, -np.inf))
        bounds = np.cumsum(shares)
        drawn[batch] = np.searchsorted(bounds, chance[batch] * bounds[-1], side="right")
    return drawn


def _two_seeds(call: Call) -> str | None:
    count = entry_count(call["seeds"])
    return None if count in (None, 2) else f"seeds has {count} entries, not 2"


def _negative_samples(call: Call) -> str | None:
    samples = call["num_samples"]
    return None if samples is None or samples >= 0 else f"num_samples={samples} is negative"


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="RANDOM_MULTINOMIAL",
        code=74,
        since=3,
        summary="Draw class numbers from unnormalised log-probabilities.",
        types={F32: 3, F16: 3},
        forms=(
            Form(
                "only",
                (tensor("input", rank=2), scalar("num_samples"), integers("seeds")),
                (Slot("out", fixed(I32)),),
            ),
        ),
        result=sampled_type,
        kernel=random_multinomial,
        source="AOSP 13 Multinomial.cpp",
        constraints=(
            Constraint("C1", "two seeds", _two_seeds),
            Constraint("C2", "the number of samples is not negative", _negative_samples),
        ),
        notes=(
            "The standard leaves the generator open; we draw with Philox 4×32-10, as AOSP does.",
            "With both seeds 0 AOSP seeds itself from the clock; we do not, so that runs can be repeated.",
        ),
    ),
)
