"""Parts: what is shown, as plain data. Every renderer (text, HTML, SVG, live widget) reads these and nothing else.

Node ids are unique within their graph; the two graphs may use the same id. Everything is text or a number, ready
to be shown; a renderer never computes anything about the model. All text is untrusted: it comes from models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

NodeKind = Literal["torch", "operation", "operand", "constant", "scalar", "input", "output"]
Rewrite = Literal["layout", "quantization", "fusion", "decomposition", "constant", "identity", "shape", "operation"]
NodeState = Literal["", "failed", "unreached"]
Worse = Literal["high", "low", "none"]
Rows = tuple[tuple[str, str], ...]  # (key, value), shown as a two-column table

# In the order in which glyphs, legends and filters list them.
REWRITES: tuple[Rewrite, ...] = (
    "layout",
    "quantization",
    "fusion",
    "decomposition",
    "constant",
    "shape",
    "identity",
    "operation",
)


@dataclass(frozen=True, slots=True)
class NodePart:
    """One box of a graph.

    `label` is drawn bold, `sublabel` below it (usually type and shape), `quant` below that. `text` is the node as
    one line of TorchScript or `.nn`. `layout` names the storage order ("NCHW", "NHWC", "OIHW", "OHWI", "1HWC",
    "vector" or ""), `rewrites` the kinds of rewrite that made or changed it, `source` the Python line.
    `state`: "failed" where a conversion stopped, "unreached" for what comes after.
    """

    id: str
    label: str
    sublabel: str = ""
    kind: NodeKind = "operation"
    layout: str = ""
    quant: str = ""
    shape: str = ""
    dtype: str = ""
    rewrites: tuple[Rewrite, ...] = ()
    scope: str = ""
    source: str = ""
    text: str = ""
    attributes: Rows = ()
    state: NodeState = ""

    @property
    def is_constant(self) -> bool:
        """True for what is drawn beside its reader instead of above it: weights, biases, scalars."""
        return self.kind in ("constant", "scalar")


@dataclass(frozen=True, slots=True)
class EdgePart:
    """`src` feeds `dst`; `label` is the argument's name ("weight"), shown in the inspector."""

    src: str
    dst: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class GraphPart:
    """One pane: nodes in program order and the edges between them."""

    title: str
    nodes: tuple[NodePart, ...] = ()
    edges: tuple[EdgePart, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkPart:
    """A left node and a right node say the same thing; many-to-many, one pair each."""

    left: str
    right: str


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A tensor before or after a rewrite: dimension sizes, axis names ("O"), and the first values in storage order.

    `axes` is empty or as long as `shape`.
    """

    name: str
    shape: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    dtype: str = ""
    quant: str = ""
    sample: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.axes and len(self.axes) != len(self.shape):
            raise ValueError(f"tensor {self.name}: {len(self.axes)} axis names for {len(self.shape)} dimensions")


@dataclass(frozen=True, slots=True)
class StepPart:
    """One rewrite that happened: the rule's why and formula, tensors before and after, the facts, and who says so."""

    id: str
    rule: str
    kind: Rewrite
    title: str
    why: str = ""
    formula: str = ""
    effect: str = ""
    before: tuple[TensorPart, ...] = ()
    after: tuple[TensorPart, ...] = ()
    facts: Rows = ()
    source: str = ""
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricPart:
    """One column of the difference table. `worse`: which end of the scale is bad; `help` is its definition."""

    key: str
    title: str
    unit: str = ""
    worse: Worse = "high"
    help: str = ""


METRICS: tuple[MetricPart, ...] = (
    MetricPart("relative", "max |Δ| / range", help="largest absolute difference over the value's own range"),
    MetricPart("max_abs", "max |Δ|", help="largest absolute difference"),
    MetricPart("mean_abs", "mean |Δ|", help="mean absolute difference"),
    MetricPart("rmse", "RMSE", help="root of the mean squared difference"),
    MetricPart("rmse_steps", "RMSE/scale", "steps", help="RMSE in quantization steps; 0.289 is pure rounding"),
    MetricPart("max_steps", "max steps", "steps", help="largest difference in quantization steps"),
    MetricPart("within_one", "≤ 1 step", "%", "low", "share of elements within one quantization step"),
    MetricPart("sqnr_db", "SQNR", "dB", "low", "signal to quantization noise ratio, 10·log10(Σx²/ΣΔ²)"),
    MetricPart("cosine", "cosine", "", "low", "cosine of the angle between the two values as vectors"),
    MetricPart("saturated", "saturated", "%", "high", "share of elements at the ends of the code range"),
    MetricPart("isolated", "isolated max |Δ|", help="the same operation fed PyTorch's own values"),
)


@dataclass(frozen=True, slots=True)
class DiffRowPart:
    """One compared value. `metrics` maps MetricPart keys to numbers; a missing or None one is shown as a dash."""

    label: str
    left: str = ""
    right: str = ""
    detail: str = ""
    metrics: Mapping[str, float | int | None] = field(default_factory=dict)
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class ProblemPart:
    """What stands in the way or is wrong: FORBIDDEN, NOT_YET, LOSSY, error, warning or note; what to do about it."""

    kind: str
    where: str
    message: str
    fix: str = ""
    source: str = ""
    rule: str = ""
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkbenchPart:
    """The whole workbench. `error_key` names the metric behind the error overlay and the search term `err>0.1`.

    Raises ValueError for an id that occurs twice in a graph, or one that is referred to and does not exist.
    """

    title: str
    left: GraphPart
    right: GraphPart
    links: tuple[LinkPart, ...] = ()
    summary: Rows = ()
    steps: tuple[StepPart, ...] = ()
    metrics: tuple[MetricPart, ...] = METRICS
    diff_rows: tuple[DiffRowPart, ...] = ()
    error_key: str = "max_abs"
    problems: tuple[ProblemPart, ...] = ()

    def __post_init__(self) -> None:
        left, right = _ids(self.left), _ids(self.right)
        for what, name, side, known in self._references(left, right):
            if name not in known:
                raise ValueError(f"{what} refers to {name!r}, which is no node of the {side} graph")

    def _references(
        self, left: frozenset[str], right: frozenset[str]
    ) -> Iterable[tuple[str, str, str, frozenset[str]]]:
        for graph, side, known in ((self.left, "left", left), (self.right, "right", right)):
            for edge in graph.edges:
                yield "an edge", edge.src, side, known
                yield "an edge", edge.dst, side, known
        for link in self.links:
            yield "a link", link.left, "left", left
            yield "a link", link.right, "right", right
        items: tuple[StepPart | ProblemPart, ...] = (*self.steps, *self.problems)
        for item in items:
            what = f"step {item.id}" if isinstance(item, StepPart) else f"the problem at {item.where}"
            yield from ((what, name, "left", left) for name in item.left)
            yield from ((what, name, "right", right) for name in item.right)
        for row in self.diff_rows:
            what = f"difference row {row.label}"
            yield from ((what, name, "left", left) for name in (row.left,) if name)
            yield from ((what, name, "right", right) for name in (row.right,) if name)


def _ids(graph: GraphPart) -> frozenset[str]:
    seen: set[str] = set()
    for node in graph.nodes:
        if node.id in seen:
            raise ValueError(f"graph {graph.title!r} has two nodes with the id {node.id!r}")
        seen.add(node.id)
    return frozenset(seen)
