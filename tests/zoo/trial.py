"""One member tried: lowered and equal to PyTorch, refused and why, or wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

import nnapi_lab as lab
from nnapi_lab.compare import Diff, Row
from nnapi_lab.errors import CaptureError, LoweringError
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.lab import LoweredModel
from sample_models.quantization import engine
from sample_models.weights import seeded
from tests.zoo import attention, classic, int8, mobile, pixels, sequence  # noqa: F401  they fill MEMBERS
from tests.zoo.members import MEMBERS, Member, realise

# float32: sums of some thousand products in another order, through a dozen layers. The worst the zoo shows is
# 6e-6 of a value's range; a mistake in layout, padding or a coefficient moves values by 1e-2 and more.
FLOAT_TOLERANCE = 2e-5
# An argmax between neighbours closer than that may fall either way; integers are compared by how many differ.
INTEGERS_DIFFERING = 0.002


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one member in one layout.

    `worst`: largest |difference| over a value's range (float32 values, fed from the inputs on); `steps`: largest
    number of quantization steps an operation is off when it is fed PyTorch's values, None without quantized values.
    """

    member: Member
    layout: str
    verdict: Literal["lowered", "refused", "WRONG"]
    reason: str = ""
    refusals: tuple[Refusal, ...] = ()
    worst: float = 0.0
    steps: int | None = None
    operations: int = 0
    inside: int = 0
    level: int = 0
    seconds: float = 0.0


def attempt(name: str, layout: str) -> Outcome:
    """Lower, simulate with inputs the lowering has not seen, compare with the module itself and value by value."""
    chosen = MEMBERS[name]
    start = time.perf_counter()
    with engine(engine_of(name)), torch.no_grad():
        module, examples = realise(chosen)
        with seeded(1):
            inputs = chosen.inputs()
        try:
            lowered = lab.lower(module, examples, layout=layout)
        except CaptureError as error:
            return Outcome(chosen, layout, "refused", str(error).splitlines()[0])
        except LoweringError as error:
            reason = "; ".join(dict.fromkeys(f"{refusal.rule}: {refusal.message}" for refusal in error.refusals))
            return Outcome(chosen, layout, "refused", reason, tuple(error.refusals))
        diff = lowered.diff(*inputs)
        reason = difference(module, lowered, diff, inputs)
    quantized = [row.isolated_max_steps for row in diff.rows if row.isolated_max_steps is not None]
    floats = [off_by(row, bool(quantized)) for row in diff.rows if row.scale is None]
    return Outcome(
        chosen, layout, "WRONG" if reason else "lowered", reason, (),
        max((value for value in floats if value is not None), default=0.0), max(quantized, default=None),
        len(lowered.model.operations), transposes_inside(lowered), lowered.feature_level or 0,
        time.perf_counter() - start,
    )  # fmt: skip


def engine_of(name: str) -> str:
    """The engine a quantized member's weights are packed for; torch's default for the rest."""
    return next((known for known in int8.ENGINES if name.endswith(f"{known}]")), torch.backends.quantized.engine)


def difference(module: nn.Module, lowered: LoweredModel, diff: Diff, inputs: tuple[Tensor, ...]) -> str:
    """The first thing that is wrong, "" when nothing is."""
    quantized = any(row.max_steps is not None for row in diff.rows)
    for row in diff.outputs:
        if row.not_finite:
            return f"output {row.value} ({row.node} → {row.operation}): {row.not_finite} values are not finite"
    for row in diff.in_order:
        if row.isolated_max_steps is not None and row.isolated_max_steps > 1:
            return f"{row.value} ({row.node} → {row.operation}) alone is {row.isolated_max_steps} steps off"
        counted = row.dtype in ("int64", "int32", "bool")
        if row.max_steps is not None or (counted and few_differ(row.differing, row.elements)):
            continue
        share = off_by(row, quantized)
        if share is not None and share > FLOAT_TOLERANCE:
            return f"{row.value} ({row.node} → {row.operation}) is {share:.1e} of its range off"
    if not diff.outputs:
        return "no output was compared"
    # torch scrambles a quantized clamp under qnnpack; layers keep the engine they are packed for, clamps do not.
    scrambled = any("scrambles" in warning for warning in lowered.result.warnings)
    with engine("x86" if scrambled else torch.backends.quantized.engine):
        expected = flat(module(*inputs))
    given = flat(lowered.run(*inputs))
    return outputs_differ(expected, given, lenient=quantized)


def off_by(row: Row, quantized: bool) -> float | None:
    """How far a float value is off, as a share of its range; behind quantized ones, the operation's own doing.

    NNAPI's arithmetic ends at the largest float32: a mask of minus infinity that is added becomes -3.4e38. Inside a
    model that counts as the same, and the other elements are looked at; an output may not do that.
    """
    if quantized:
        return row.isolated_relative
    return row.mean_abs / (row.range or 1.0) if row.not_finite else row.relative


def few_differ(differing: int, elements: int) -> bool:
    return differing <= INTEGERS_DIFFERING * elements


def outputs_differ(expected: list[tuple[str, Tensor]], given: list[tuple[str, Tensor]], lenient: bool) -> str:
    """Structure, shape, type and numbers of what the module gives against what the lowered model gives.

    `lenient`: behind quantized layers, single steps add up; there the values only have to lie close.
    """
    if [place for place, _ in expected] != [place for place, _ in given]:
        return f"the outputs are {[place for place, _ in given]}, not {[place for place, _ in expected]}"
    for (place, want), (_, have) in zip(expected, given, strict=True):
        if want.shape != have.shape or want.dtype != have.dtype:
            return f"output {place} is {have.dtype}{list(have.shape)}, not {want.dtype}{list(want.shape)}"
        if not want.dtype.is_floating_point:
            if not few_differ(int((want != have).sum()), want.numel()):
                return f"output {place} differs in {int((want != have).sum())} of {want.numel()} elements"
            continue
        spread = float(want.max() - want.min()) or 1.0
        if lenient and float((want - have).pow(2).mean().sqrt()) > 0.05 * spread:
            return f"output {place}: its root mean square error is above 5% of its range"
        if not lenient and not torch.allclose(want, have, rtol=FLOAT_TOLERANCE, atol=FLOAT_TOLERANCE * spread):
            return f"output {place} is up to {float((want - have).abs().max()):.1e} off"
    return ""


def flat(value: Any, place: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor of a nested output, with where it stands: a list and a tuple count as the same."""
    if isinstance(value, Tensor):
        return [(place, value)]
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return [leaf for key, held in items for leaf in flat(held, f"{place}[{key!r}]")]


def transposes_inside(lowered: LoweredModel) -> int:
    """TRANSPOSE operations that neither read an input of the model nor write one of its outputs."""
    model = lowered.model
    return sum(
        operation.kind == "TRANSPOSE"
        and set(operation.reads).isdisjoint(model.inputs)
        and set(operation.outputs).isdisjoint(model.outputs)
        for operation in model.operations
    )
