"""Torch values against NNAPI operands, aligned by Placement: how far apart, in units one can read.

Accumulated error: the simulator runs on its own values from the inputs on. Isolated error: every operation is fed
PyTorch's values, so what remains is the operation's own doing.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from nnapi_lab.errors import MissingDependency
from nnapi_lab.ir.model import Operation
from nnapi_lab.ir.operand_types import Quant, static_shape
from nnapi_lab.numerics.quantize import dequantize
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.placement import Placement
from nnapi_lab.simulate import Engine, compile_model
from nnapi_lab.torchscript.capture import Captured
from nnapi_lab.torchscript.execute import execute
from nnapi_lab.torchscript.tensors import stored_elements

# float32: differences up to this share of a value's range are what another summation order gives.
FLOAT_TOLERANCE = 1e-4
# quantized: one step is what two ways of rounding give; a single operation should not do worse.
STEP_TOLERANCE = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One torch value held against its operand.

    Real values throughout (quantized ones dequantized); steps are differences in units of the value's `scale`.
    `range` is max - min of the torch value. `isolated_*` is None for values no operation computes (inputs).
    """

    value: str
    operand: str
    node: str
    operation: str
    scope: str
    dtype: str
    shape: tuple[int, ...]
    max_abs: float
    mean_abs: float
    rmse: float
    range: float
    relative: float
    cosine: float
    sqnr_db: float
    scale: float | None
    max_steps: int | None
    within_one: float | None
    differing: int
    elements: int
    saturated: float | None
    not_finite: int
    isolated_max_abs: float | None = None
    isolated_max_steps: int | None = None
    isolated_differing: int | None = None
    isolated_relative: float | None = None

    @property
    def is_bad(self) -> bool:
        """True when the operation alone, fed PyTorch's values, is further off than rounding explains."""
        if self.isolated_max_steps is not None:
            return self.isolated_max_steps > STEP_TOLERANCE
        return self.isolated_relative is not None and self.isolated_relative > FLOAT_TOLERANCE


@dataclass(frozen=True, slots=True)
class Metrics:
    """Distances between two arrays of the same shape."""

    max_abs: float
    mean_abs: float
    rmse: float
    range: float
    relative: float
    cosine: float
    sqnr_db: float
    not_finite: int


def measure(reference: np.ndarray, actual: np.ndarray) -> Metrics:
    """Distances of `actual` from `reference` (real values of any shape, compared in float64).

    Elements that are the same infinity, or NaN on both sides, count as equal; `not_finite` counts the elements
    where only one side is finite. `relative` is max_abs over the reference's range (over its largest magnitude
    when the range is 0).
    """
    left = reference.astype(np.float64).reshape(-1)
    right = actual.astype(np.float64).reshape(-1)
    finite = np.isfinite(left) & np.isfinite(right)
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    not_finite = int(np.count_nonzero(~finite & ~alike))
    a, b = left[finite], right[finite]
    if a.size == 0:
        worst = math.inf if not_finite else 0.0
        return Metrics(worst, worst, worst, 0.0, worst, 1.0 if not not_finite else 0.0, math.inf, not_finite)
    error = np.abs(a - b)
    spread = float(a.max() - a.min())
    unit = spread or float(np.abs(a).max()) or 1.0
    noise, signal = float(np.mean(error**2)), float(np.mean(a**2))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(np.dot(a, b) / norms) if norms else float(np.array_equal(a, b))
    sqnr = math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal else -math.inf
    largest = math.inf if not_finite else float(error.max())
    return Metrics(largest, float(error.mean()), math.sqrt(noise), spread, largest / unit, cosine, sqnr, not_finite)


@dataclass(frozen=True)
class Diff:
    """A row per aligned value, worst first; `outputs` are the rows of the model's outputs."""

    model: str
    rows: tuple[Row, ...]
    outputs: tuple[Row, ...]
    unaligned: tuple[str, ...] = ()

    def worst(self, count: int = 5) -> tuple[Row, ...]:
        return self.rows[:count]

    def first_bad(self) -> Row | None:
        """The earliest value whose own operation is further off than rounding explains; None when none is."""
        order = {row.value: index for index, row in enumerate(self.in_order)}
        bad = [row for row in self.rows if row.is_bad]
        return min(bad, key=lambda row: order[row.value], default=None)

    @property
    def in_order(self) -> tuple[Row, ...]:
        """The rows in graph order."""
        return tuple(sorted(self.rows, key=lambda row: self._positions[row.value]))

    @property
    def _positions(self) -> Mapping[str, int]:
        return self.__dict__.setdefault("_order", {row.value: i for i, row in enumerate(self.rows)})

    def summary(self) -> dict[str, Any]:
        """The figures a test or a report wants, as plain data."""
        quantized = [row for row in self.rows if row.max_steps is not None]
        floats = [row for row in self.rows if row.max_steps is None]
        return {
            "model": self.model,
            "values": len(self.rows),
            "float": {
                "values": len(floats),
                "worst_relative": max((row.relative for row in floats), default=0.0),
                "worst_abs": max((row.max_abs for row in floats), default=0.0),
            },
            "quantized": {
                "values": len(quantized),
                "worst_steps": max((row.max_steps or 0 for row in quantized), default=0),
                "worst_isolated_steps": max((row.isolated_max_steps or 0 for row in quantized), default=0),
                "isolated_differing": sum(row.isolated_differing or 0 for row in quantized),
                "elements": sum(row.elements for row in quantized),
            },
            "outputs": [_plain(row) for row in self.outputs],
            "first_bad": getattr(self.first_bad(), "value", None),
        }

    def to_json(self) -> str:
        return json.dumps({"summary": self.summary(), "rows": [_plain(row) for row in self.rows]}, indent=1)

    def to_csv(self) -> str:
        text = io.StringIO()
        names = [field.name for field in fields(Row)]
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(_plain(row) for row in self.rows)
        return text.getvalue()

    def to_pandas(self) -> Any:
        """A DataFrame, one line per row. Raises MissingDependency without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise MissingDependency("pandas is not installed: pip install pandas") from error
        return pandas.DataFrame([_plain(row) for row in self.rows])

    def plot(self, rows: int | None = None) -> Any:
        """Relative error along the graph as a matplotlib figure: accumulated, and isolated where there is one."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependency("matplotlib is not installed: pip install matplotlib") from error
        shown = self.in_order[:rows]
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        floor = 1e-9
        axes.plot([max(row.relative, floor) for row in shown], label="accumulated", color="#0072B2", marker="o", ms=3)
        isolated = [math.nan if row.isolated_relative is None else max(row.isolated_relative, floor) for row in shown]
        axes.plot(isolated, label="isolated", color="#D55E00", marker="x", ms=4, ls="")
        axes.set_yscale("log")
        axes.set_xlabel("value, in graph order")
        axes.set_ylabel("max |Δ| / range")
        axes.set_title(f"{self.model}: NNAPI against PyTorch")
        axes.legend()
        return figure

    def __str__(self) -> str:
        summary = self.summary()
        lines = [f"{self.model}: {summary['values']} values compared, worst first"]
        for row in self.worst(10):
            steps = "" if row.max_steps is None else f", {row.max_steps} steps"
            lines.append(f"  {row.value} ({row.node} → {row.operation}): max |Δ| {row.max_abs:.3g}{steps}, "
                         f"{row.relative:.2e} of the range")  # fmt: skip
        return "\n".join(lines)


def _plain(row: Row) -> dict[str, Any]:
    """A row as JSON can carry it: infinities as text."""
    return {
        key: str(held) if isinstance(held, float) and not math.isfinite(held) else held
        for key, held in asdict(row).items()
    }


# --- running both sides --------------------------------------------------------------------------------------


def compare(
    lowered: Lowered,
    captured: Captured,
    inputs: Sequence[Any],
    engine: Engine = "fast",
    progress: Callable[[str, int, int], None] | None = None,
) -> Diff:
    """Run PyTorch and the simulator on the same inputs and hold every placed value against its operand."""
    placed = {name: held for name, held in lowered.placements.items() if not lowered.graph[name].is_constant}
    reference = execute(captured, inputs, keep=placed)
    expected = {name: stored_elements(reference[name]) for name in placed}
    program = compile_model(lowered.model, engine)
    fed = {placed[name].operand: _stored(placed[name], expected[name], lowered) for name in lowered.inputs}
    accumulated: dict[str, np.ndarray] = dict(fed)
    program.run([fed[name] for name in lowered.model.inputs], _collector(accumulated, progress))
    substitutes = {held.operand: (held, expected[name]) for name, held in placed.items()}
    isolated: dict[str, np.ndarray] = {}
    program.run([fed[name] for name in lowered.model.inputs], _substitute(isolated, substitutes, lowered))
    rows = [
        _row(lowered, held, expected[name], accumulated[held.operand], isolated.get(held.operand))
        for name, held in placed.items()
        if held.operand in accumulated
    ]
    order = {row.value: index for index, row in enumerate(rows)}
    ranked = sorted(rows, key=lambda row: (-row.relative, -(row.max_steps or 0), order[row.value]))
    outputs = tuple(
        _row(lowered, held, expected[held.value], accumulated[held.operand], isolated.get(held.operand))
        for held in lowered.returned
        if held.value in expected and held.operand in accumulated
    )
    unaligned = tuple(
        value.name for value in lowered.graph.values.values()
        if value.type.is_tensor and not value.is_constant and value.name not in placed
    )  # fmt: skip
    diff = Diff(lowered.model.name, tuple(ranked), outputs, unaligned)
    diff.__dict__["_order"] = order
    return diff


def _stored(placement: Placement, elements: np.ndarray, lowered: Lowered) -> np.ndarray:
    type = lowered.model[placement.operand].type
    return placement.store(elements, static_shape(type)).astype(type.code.numpy)


def _collector(
    values: dict[str, np.ndarray], progress: Callable[[str, int, int], None] | None
) -> Callable[[Operation, str, np.ndarray], None]:
    def probe(operation: Operation, name: str, array: np.ndarray) -> None:
        values[name] = array
        if progress is not None:
            progress("diff", len(values), 0)

    return probe


def _substitute(
    seen: dict[str, np.ndarray], substitutes: Mapping[str, tuple[Placement, np.ndarray]], lowered: Lowered
) -> Callable[[Operation, str, np.ndarray], np.ndarray | None]:
    """A probe that notes what an operation gives and goes on with PyTorch's value where there is one."""

    def probe(operation: Operation, name: str, array: np.ndarray) -> np.ndarray | None:
        seen[name] = array
        if name not in substitutes:
            return None
        placement, elements = substitutes[name]
        return _stored(placement, elements, lowered)

    return probe


def _real(elements: np.ndarray, quant: Any, shift: int = 0) -> np.ndarray:
    """Real values of stored elements; `shift` is what was added to the codes' zero point."""
    if isinstance(quant, Quant):
        return dequantize(elements, quant.scale, quant.zero_point + shift)
    return elements


def _row(
    lowered: Lowered, placement: Placement, expected: np.ndarray, actual: np.ndarray, isolated: np.ndarray | None
) -> Row:
    graph, value = lowered.graph, lowered.graph[placement.value]
    producer, operation = graph.producer(value.name), lowered.model.producer(placement.operand)
    codes = placement.read(actual)
    quant = value.type.quant
    metrics = measure(_real(expected, quant), _real(codes, quant))
    steps = _steps(expected, codes) if isinstance(quant, Quant) else None
    alone = None if isolated is None else placement.read(isolated)
    alone_metrics = None if alone is None else measure(_real(expected, quant), _real(alone, quant))
    saturated = None
    if isinstance(quant, Quant):
        info = np.iinfo(expected.dtype)
        saturated = float(np.mean((codes == info.min) | (codes == info.max)))
    return Row(
        value=value.name,
        operand=placement.operand,
        node=producer.kind if producer is not None else "input",
        operation=operation.kind if operation is not None else "input",
        scope=producer.scope if producer is not None else "",
        dtype=str(value.type.dtype),
        shape=placement.shape,
        max_abs=metrics.max_abs,
        mean_abs=metrics.mean_abs,
        rmse=metrics.rmse,
        range=metrics.range,
        relative=metrics.relative,
        cosine=metrics.cosine,
        sqnr_db=metrics.sqnr_db,
        scale=quant.scale if isinstance(quant, Quant) else None,
        max_steps=None if steps is None else int(steps.max(initial=0)),
        within_one=None if steps is None else float(np.mean(steps <= 1)),
        differing=int(np.count_nonzero(expected != codes)),
        elements=int(expected.size),
        saturated=saturated,
        not_finite=metrics.not_finite,
        isolated_max_abs=None if alone_metrics is None else alone_metrics.max_abs,
        isolated_max_steps=int(_steps(expected, alone).max(initial=0)) if steps is not None and alone is not None
        else None,
        isolated_differing=None if alone is None else int(np.count_nonzero(expected != alone)),
        isolated_relative=None if alone_metrics is None else alone_metrics.relative,
    )  # fmt: skip


def _steps(expected: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.abs(expected.astype(np.int64) - codes.astype(np.int64))
