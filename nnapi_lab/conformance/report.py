"""The outcome of a conformance run: totals, a row per operation, every failure with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One example's verdict; `reason` says why it failed or was skipped."""

    name: str
    file: str
    ops: tuple[str, ...]
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    name: str
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of examples; an example with several operations under test counts for each of them."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def with_verdict(self, verdict: Verdict) -> Tally:
        return Tally(
            self.total + 1,
            self.passed + (verdict == "passed"),
            self.failed + (verdict == "failed"),
            self.skipped + (verdict == "skipped"),
        )

    def to_json(self) -> dict[str, int]:
        return {"total": self.total, "passed": self.passed, "failed": self.failed, "skipped": self.skipped}


@dataclass(frozen=True, slots=True)
class Report:
    """All outcomes of a run, counted once in `tally` and per operation in `operations` (sorted by name)."""

    engine: str
    tally: Tally
    operations: Mapping[str, Tally]
    failures: tuple[Failure, ...]

    @property
    def is_clean(self) -> bool:
        return self.tally.failed == 0

    def to_json(self) -> dict[str, Any]:
        """`{total, passed, failed, skipped, operations: {OP: {…}}, failures: [{name, file, reason}]}`."""
        return {
            **self.tally.to_json(),
            "operations": {name: tally.to_json() for name, tally in self.operations.items()},
            "failures": [{"name": f.name, "file": f.file, "reason": f.reason} for f in self.failures],
        }

    def table(self) -> str:
        """A line per operation, the total last."""
        rows: Sequence[tuple[str, Tally]] = [*self.operations.items(), ("all examples", self.tally)]
        width = max(len(name) for name, _ in rows)
        lines = [f"{'operation':<{width}}  {'total':>6} {'passed':>6} {'failed':>6} {'skipped':>7}"]
        for name, tally in rows:
            counts = f"{tally.total:>6} {tally.passed:>6} {tally.failed:>6} {tally.skipped:>7}"
            lines.append(f"{name:<{width}}  {counts}")
        return "\n".join(lines)


def report_of(engine: str, outcomes: Iterable[Outcome]) -> Report:
    """Count outcomes into a report; the order of failures is the order of outcomes."""
    tally = Tally()
    operations: dict[str, Tally] = {}
    failures = []
    for outcome in outcomes:
        tally = tally.with_verdict(outcome.verdict)
        for op in outcome.ops:
            operations[op] = operations.get(op, Tally()).with_verdict(outcome.verdict)
        if outcome.verdict == "failed":
            failures.append(Failure(outcome.name, outcome.file, outcome.reason))
    return Report(engine, tally, dict(sorted(operations.items())), tuple(failures))
