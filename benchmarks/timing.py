"""Rivals timed in turns, so that a busy machine is busy for all of them; medians and ratios."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """What `mine` should cost: at most `most` times `peer`'s time, or, the other way round, `least` times less."""

    mine: str
    peer: str
    most: float | None = None
    least: float | None = None

    def verdict(self, race: Race) -> dict[str, Any]:
        """The ratio reached (median over rounds), the goal in words, and whether it is met."""
        mine, peer = race.seconds[self.mine], race.seconds[self.peer]
        ratio = statistics.median(a / b for a, b in zip(mine, peer, strict=True))
        if self.most is not None:
            return {"claim": f"{ratio:.2f} × {self.peer} (goal: at most {self.most:g})", "met": ratio <= self.most}
        faster = 1 / ratio
        return {"claim": f"{faster:.1f} × faster than {self.peer} (goal: at least {self.least:g})",
                "met": faster >= (self.least or 0)}  # fmt: skip


@dataclass(frozen=True)
class Race:
    """What was measured: seconds of each round by rival; the first rival is what the others are held to."""

    title: str
    seconds: Mapping[str, tuple[float, ...]]
    note: str = ""
    goals: Sequence[Goal] = ()

    @property
    def medians(self) -> dict[str, float]:
        return {name: statistics.median(times) for name, times in self.seconds.items()}

    @property
    def ratios(self) -> dict[str, float]:
        """Median over rounds of (rival / first rival in the same round)."""
        first = next(iter(self.seconds.values()))
        return {
            name: statistics.median(mine / theirs for mine, theirs in zip(times, first, strict=True))
            for name, times in self.seconds.items()
        }

    @property
    def data(self) -> dict[str, Any]:
        verdicts = [goal.verdict(self) for goal in self.goals]
        return {"title": self.title, "median_seconds": self.medians, "ratios": self.ratios, "goals": verdicts}

    def __str__(self) -> str:
        wide = max(len(name) for name in self.seconds)
        lines = [self.title, f"  {'':<{wide}}  {'median':>10}  {'fastest':>10}  {'ratio':>7}"]
        for name, times in self.seconds.items():
            median, fastest = self.medians[name] * 1000, min(times) * 1000
            lines.append(f"  {name:<{wide}}  {median:>7.1f} ms  {fastest:>7.1f} ms  {self.ratios[name]:>7.2f}")
        lines += [f"  {self.note}"] if self.note else []
        verdicts = (goal.verdict(self) for goal in self.goals)
        lines += [f"  {'met   ' if one['met'] else 'MISSED'}  {one['claim']}" for one in verdicts]
        return "\n".join(lines)


@dataclass(frozen=True)
class Figure:
    """One measured number that is no race."""

    title: str
    claim: str
    value: float
    met: bool

    @property
    def data(self) -> dict[str, Any]:
        return {"title": self.title, "value": self.value, "goals": [{"claim": self.claim, "met": self.met}]}

    def __str__(self) -> str:
        return f"{self.title}\n  {'met   ' if self.met else 'MISSED'}  {self.claim}"


def race(
    title: str, rivals: Mapping[str, Callable[[], object]], rounds: int, note: str = "", goals: Sequence[Goal] = ()
) -> Race:
    """Time every rival once per round, after a round that does not count; who starts changes from round to round."""
    for run in rivals.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    names = list(rivals)
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            turn = number % len(names)
            for name in (*names[turn:], *names[:turn]):
                gc.collect()
                start = time.perf_counter()
                rivals[name]()
                seconds[name].append(time.perf_counter() - start)
    finally:
        if was_collecting:
            gc.enable()
    return Race(title, {name: tuple(times) for name, times in seconds.items()}, note, goals)
