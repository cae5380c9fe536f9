"""`diagnose` never raises on a model: what it cannot lower, it explains."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnapi_lab.diagnosis.reproduction import reproduction
from nnapi_lab.diagnosis.upstream import Upstream, upstream_verdict
from nnapi_lab.diagnosis.work import multiply_adds
from nnapi_lab.errors import CaptureError, FormatError
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.torch_graph import TorchGraph, TorchNode
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.torchscript.capture import Captured, capture
from nnapi_lab.torchscript.levels import level_refusals
from nnapi_lab.torchscript.lower import LayoutChoice, Progress, lower_graph
from nnapi_lab.validate import check
from nnapi_lab.validate.levels import NEWEST, feature_level_of, level_text


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing in the way: the refusal, a program that meets it, and its share of the model's multiply-adds."""

    refusal: Refusal
    reproduction: str = ""
    multiply_adds: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of nodes that would go to one place: "NNAPI" or "CPU"."""

    place: str
    nodes: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class LevelVerdict:
    """Whether the model can be lowered at a feature level, and how many operations are too new for it."""

    level: int
    text: str
    lowers: bool
    too_new: int


@dataclass(frozen=True)
class Diagnosis:
    """Everything that stands in the way of a model, and how much of it is affected. `ok` when nothing does."""

    model: str
    obstacles: tuple[Obstacle, ...]
    nodes: int
    affected_nodes: int
    affected_multiply_adds: float
    segments: tuple[Segment, ...]
    levels: tuple[LevelVerdict, ...]
    upstream: Upstream | None
    lowered: Lowered | None = None
    captured: Captured | None = None

    @property
    def ok(self) -> bool:
        return not self.obstacles

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return tuple(obstacle.refusal for obstacle in self.obstacles)

    @property
    def feature_level(self) -> int | None:
        """The lowest feature level the model lowers at; None while it does not lower."""
        return min((verdict.level for verdict in self.levels if verdict.lowers), default=None)

    def grouped(self) -> dict[str, list[Obstacle]]:
        """Obstacles by cause: "FORBIDDEN aten::erf", worst cause first."""
        groups: dict[str, list[Obstacle]] = {}
        for obstacle in self.obstacles:
            groups.setdefault(f"{obstacle.refusal.kind} {obstacle.refusal.rule}", []).append(obstacle)
        return dict(sorted(groups.items(), key=lambda item: -len(item[1])))

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "ok": self.ok,
            "feature_level": self.feature_level,
            "nodes": self.nodes,
            "affected_nodes": self.affected_nodes,
            "affected_multiply_adds": self.affected_multiply_adds,
            "obstacles": [
                {**asdict(obstacle.refusal), "reproduction": obstacle.reproduction,
                 "multiply_adds": obstacle.multiply_adds}
                for obstacle in self.obstacles
            ],
            "segments": [asdict(segment) for segment in self.segments],
            "levels": [asdict(verdict) for verdict in self.levels],
            "upstream": None if self.upstream is None else {**asdict(self.upstream), "text": str(self.upstream)},
        }  # fmt: skip

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self) -> str:
        if self.ok:
            needs = f"it needs feature level {self.feature_level}"
            lines = [f"{self.model}: nothing stands in the way; {needs} ({self.nodes} nodes)"]
        else:
            counts = Counter(obstacle.refusal.kind for obstacle in self.obstacles)
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            share = f"{self.affected_nodes} of {self.nodes} nodes, {self.affected_multiply_adds:.0%} of multiply-adds"
            count = f"{len(self.obstacles)} obstacle{'s' if len(self.obstacles) != 1 else ''} ({kinds})"
            lines = [f"{self.model}: the model cannot be lowered, {count}; {share}"]
        for cause, obstacles in self.grouped().items():
            lines.append(f"{cause} × {len(obstacles)}")
            lines += [f"  {obstacle.refusal}" for obstacle in obstacles]
        if len(self.segments) > 1:
            runs = " | ".join(f"{segment.place} {segment.nodes}" for segment in self.segments)
            lines.append(f"partitions in order: {runs}")
        lines += [f"{verdict.text}: {_level_words(verdict)}" for verdict in self.levels]
        if self.upstream is not None:
            lines.append(f"PyTorch's own converter {self.upstream}")
        return "\n".join(lines)

    __repr__ = __str__


def _level_words(verdict: LevelVerdict) -> str:
    return "lowers" if verdict.lowers else f"{verdict.too_new} operations are too new"


def diagnose(
    model: Any,
    example_inputs: Any,
    api_level: int | None = None,
    *,
    feature_level: int | None = None,
    layout: LayoutChoice = "auto",
    upstream: bool = True,
    name: str = "",
    progress: Progress | None = None,
) -> Diagnosis:
    """Everything that stands in the way of lowering `model`, in one pass; never raises on a model.

    `api_level` or `feature_level`: what is too new for that Android counts as an obstacle too (ValueError for a
    level there is not). `upstream=False` leaves PyTorch's own converter out (it takes long on deep models).
    """
    target = feature_level_of(api_level, feature_level)
    title = name or getattr(model, "original_name", "") or type(model).__name__
    try:
        captured = capture(model, example_inputs, name, progress)
    except (CaptureError, FormatError) as error:
        refusal = Refusal("FORBIDDEN", "CAPTURE", "the model", str(error))
        return Diagnosis(title, (Obstacle(refusal),), 0, 0, 0.0, (), (), None)
    lowered = lower_graph(captured.graph, layout, progress=progress)
    graph = captured.graph
    total = sum(multiply_adds(graph, node) for node in graph.nodes) or 1
    too_new = () if lowered.refusals else level_refusals(lowered, check(lowered.model), target)
    refused = _refused_nodes(graph, [*lowered.refusals, *too_new])
    obstacles = tuple(
        Obstacle(
            refusal,
            "" if node is None else reproduction(graph, node),
            0.0 if node is None else multiply_adds(graph, node) / total,
        )
        for refusal, node in refused
    )
    affected = {node.id for _, node in refused if node is not None}
    return Diagnosis(
        captured.graph.name,
        obstacles,
        len(graph.nodes),
        len(affected),
        sum(multiply_adds(graph, node) for node in graph.nodes if node.id in affected) / total,
        segments_of(graph, affected),
        level_verdicts(lowered),
        upstream_verdict(captured) if upstream else None,
        lowered,
        captured,
    )


def _refused_nodes(graph: TorchGraph, refusals: Sequence[Refusal]) -> list[tuple[Refusal, TorchNode | None]]:
    return [(refusal, graph.producer(refusal.node.split(" ")[-1])) for refusal in refusals]


def segments_of(graph: TorchGraph, affected: set[int]) -> tuple[Segment, ...]:
    """Runs of nodes in graph order that would stay on NNAPI or fall back to the CPU.

    A greedy reading of the order: a planner may merge runs that do not depend on each other.
    """
    runs: list[tuple[str, list[TorchNode]]] = []
    for node in graph.nodes:
        if node.kind.startswith("prim::"):
            continue
        place = "CPU" if node.id in affected else "NNAPI"
        if not runs or runs[-1][0] != place:
            runs.append((place, []))
        runs[-1][1].append(node)
    return tuple(Segment(place, len(nodes), nodes[0].name, nodes[-1].name) for place, nodes in runs)


def level_verdicts(lowered: Lowered) -> tuple[LevelVerdict, ...]:
    """Per feature level: does it lower there? Empty while the model does not lower at all."""
    if lowered.refusals:
        return ()
    report = check(lowered.model)
    verdicts = []
    for level in range(1, NEWEST):
        if level == 5:
            continue  # no new operations
        too_new = len(level_refusals(lowered, report, level))
        verdicts.append(LevelVerdict(level, level_text(level), too_new == 0, too_new))
    return tuple(verdicts)
