"""Facts → parts: a lowering, its level report and its differences as the data every view shows.

Ids: torch nodes `ts:<n>`, torch constants and inputs `v:<name>`, operations `op:<result>`, other operands
`o:<name>`. A result is shown in the operation that makes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nnapi_lab.compare import Diff, Row
from nnapi_lab.ir.findings import Finding, Refusal
from nnapi_lab.ir.model import Model, Operand, Operation
from nnapi_lab.ir.operand_types import OperandType, PerChannel, Quant, shape_text
from nnapi_lab.ir.torch_graph import PackedParams, TensorData, TorchGraph, TorchNode, TorchType, TorchValue
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.rule import Side, Step
from nnapi_lab.text import call_text
from nnapi_lab.validate import Report
from nnapi_lab.validate.levels import level_text
from nnapi_lab.views.parts import (
    DiffRowPart,
    EdgePart,
    GraphPart,
    LinkPart,
    NodePart,
    ProblemPart,
    Rewrite,
    Rows,
    StepPart,
    TensorPart,
    WorkbenchPart,
)

_STORED = {
    "layout.oihw_to_ohwi": "OHWI",
    "layout.depthwise_1hwc": "1HWC",
    "layout.iohw_to_ohwi": "OHWI",
    "layout.linear_columns": "HWC columns",
}


def workbench_part(lowered: Lowered, report: Report | None = None, diff: Diff | None = None) -> WorkbenchPart:
    """Everything the workbench shows of one lowering; `report` adds level and findings, `diff` the error columns."""
    left, right = _LeftSide(lowered), _RightSide(lowered)
    return WorkbenchPart(
        title=lowered.model.name,
        left=left.graph(),
        right=right.graph(),
        links=tuple(_links(lowered, left, right)),
        summary=summary_rows(lowered, report, diff),
        steps=tuple(_step(step, left, right) for step in lowered.steps),
        diff_rows=() if diff is None else tuple(_diff_row(row, left, right) for row in diff.rows),
        error_key="relative",
        problems=tuple(_problems(lowered.refusals, report, left, right)),
    )


def summary_rows(lowered: Lowered, report: Report | None, diff: Diff | None) -> Rows:
    """The figures at the top: sizes of both graphs, rewrites by kind, level and why, the worst differences."""
    model = lowered.model
    kinds = Counter(operation.kind for operation in model.operations)
    rewrites = Counter(step.rule.kind for step in lowered.steps)
    rows = [
        ("TorchScript nodes", str(len(lowered.graph.nodes))),
        ("NNAPI operations", f"{len(model.operations)} ({_counted(kinds)})"),
        ("NNAPI operands", f"{model.operand_count} ({len(model.operands)} named, {model.scalar_count} scalar values)"),
        ("rewrites", f"{len(lowered.steps)} ({_counted(rewrites)})"),
    ]
    if report is not None and report.feature_level is not None:
        rows.append(("needs", f"{level_text(report.feature_level)}: {'; '.join(report.because[:3])}"))
    if diff is not None:
        rows += _diff_summary(diff)
    return tuple(rows)


def _counted(counts: Mapping[Any, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ranked)


def _diff_summary(diff: Diff) -> list[tuple[str, str]]:
    summary = diff.summary()
    rows = []
    if summary["float"]["values"]:
        worst = summary["float"]
        rows.append(
            (
                "float difference",
                f"{worst['worst_relative']:.2e} of the value's range at most, {worst['values']} values",
            )
        )
    if summary["quantized"]["values"]:
        steps = summary["quantized"]
        rows.append(
            (
                "quantized difference",
                f"{steps['worst_steps']} steps at most; one operation alone {steps['worst_isolated_steps']}, in "
                f"{steps['isolated_differing']} of {steps['elements']} elements",
            )
        )
    bad = diff.first_bad()
    rows.append(("first bad operation", "none" if bad is None else f"{bad.node} {bad.value}"))
    return rows


# --- the two sides -------------------------------------------------------------------------------------------


class _LeftSide:
    """The TorchScript graph: which node of the picture stands for which value."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.torch: TorchGraph = lowered.graph
        self.rewrites = _rewrites_by_name(lowered, lambda step: step.values)
        self._shown = {
            name
            for names in (*(node.inputs for node in self.torch.nodes), self.torch.outputs)
            for name in names
            if isinstance(self.torch[name].constant, TensorData | PackedParams)
        }
        self._refused = {refusal.node.split(" ")[-1] for refusal in lowered.refusals}

    def id_of(self, name: str) -> str | None:
        """The node that stands for a value: its producer, or the value itself for inputs and tensor constants."""
        node = self.torch.producer(name)
        if node is not None:
            return f"ts:{node.id}"
        return f"v:{name}" if name in self._shown or name in self.torch.inputs else None

    def graph(self) -> GraphPart:
        nodes = [self._value(self.torch[name], "input") for name in self.torch.inputs]
        edges: list[EdgePart] = []
        placed: set[str] = set()
        for node in self.torch.nodes:
            for name in node.inputs:
                if name in self._shown and name not in placed:
                    placed.add(name)
                    nodes.append(self._value(self.torch[name], "constant"))
            nodes.append(self._node(node))
            names = node.schema or ("",) * len(node.inputs)
            for argument, name in zip(names, node.inputs, strict=False):
                source = self.id_of(name)
                if source is not None:
                    edges.append(EdgePart(source, f"ts:{node.id}", argument))
        for position, name in enumerate(self.torch.outputs):
            source = self.id_of(name)
            if name in self._shown and name not in placed:
                placed.add(name)
                nodes.append(self._value(self.torch[name], "constant"))
            if source is not None:
                nodes.append(NodePart(f"out:{position}", "output", _short(self.torch[name].type), "output"))
                edges.append(EdgePart(source, f"out:{position}"))
        return GraphPart("TorchScript", tuple(nodes), tuple(edges))

    def _value(self, value: TorchValue, kind: Any) -> NodePart:
        type = value.type
        packed = value.constant if isinstance(value.constant, PackedParams) else None
        if packed is not None:
            type = packed.weight.type
        rank = len(type.shape or ())
        return NodePart(
            f"v:{value.name}",
            value.origin or value.name,
            f"{type.dtype}{shape_text(type.shape)}",
            kind,
            ("OIHW" if kind == "constant" else "NCHW") if rank == 4 else "",
            quant_text(type.quant),
            shape_text(type.shape),
            str(type.dtype),
            self.rewrites.get(value.name, ()),
            text=f"{value.name} : {type}",
            attributes=(("value", value.name), ("type", str(type))),
        )

    def _node(self, node: TorchNode) -> NodePart:
        type = self.torch[node.outputs[0]].type if node.outputs else None
        rewrites: list[Rewrite] = []
        for name in node.outputs:
            rewrites += self.rewrites.get(name, ())
        attributes = [("kind", node.kind), ("result", ", ".join(node.outputs))]
        attributes += [
            (argument, str(list(held) if isinstance(held, tuple) else held))
            for argument, name in zip(node.schema, node.inputs, strict=False)
            if self.torch[name].is_constant
            and not isinstance(held := self.torch[name].constant, TensorData | PackedParams)
        ]
        failed = any(name in self._refused for name in node.outputs)
        return NodePart(
            f"ts:{node.id}",
            node.kind,
            _short(type),
            "torch",
            "NCHW" if type is not None and type.rank == 4 else "",
            "" if type is None else quant_text(type.quant),
            "" if type is None else shape_text(type.shape),
            "" if type is None else str(type.dtype),
            tuple(dict.fromkeys(rewrites)),
            node.scope,
            node.python,
            self.torch.line(node),
            tuple(attributes),
            "failed" if failed else "",
        )


class _RightSide:
    """The NNAPI graph: operations with their results, and the operands no operation makes."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.model: Model = lowered.model
        self.rewrites = _rewrites_by_name(lowered, lambda step: step.operands)
        self._layouts = {held.operand: held.layout.name for held in lowered.placements.values()}
        for step in lowered.steps:
            if step.rule.id in _STORED:
                for name in step.operands:
                    if name in self.model.operands and self.model[name].is_constant:
                        self._layouts[name] = _STORED[step.rule.id]

    def id_of(self, name: str) -> str | None:
        """The node that shows an operand; None for one that is gone."""
        operation = self.model.producer(name)
        if operation is not None:
            return f"op:{operation.name}"
        return f"o:{name}" if name in self.model.operands else None

    def graph(self) -> GraphPart:
        nodes = [self._operand(self.model[name], "input") for name in self.model.inputs]
        edges: list[EdgePart] = []
        placed = set(self.model.inputs)
        for operation in self.model.operations:
            for name in operation.reads:
                if self.model.producer(name) is None and name not in placed:
                    placed.add(name)
                    nodes.append(self._operand(self.model[name], "constant"))
            nodes.append(self._operation(operation))
            edges += [
                EdgePart(source, f"op:{operation.name}")
                for source in dict.fromkeys(self.id_of(name) for name in operation.reads)
                if source is not None
            ]
        nodes += [
            self._operand(operand, "operand")
            for name, operand in self.model.operands.items()
            if name not in placed and self.model.producer(name) is None
        ]
        for position, name in enumerate(self.model.outputs):
            source = self.id_of(name)
            if source is not None:
                type = self.model[name].type
                label = f"{type.code.short}{shape_text(type.shape)}"
                nodes.append(NodePart(f"out:{position}", "output", label, "output"))
                edges.append(EdgePart(source, f"out:{position}"))
        return GraphPart("NNAPI", tuple(nodes), tuple(edges))

    def _operand(self, operand: Operand, kind: Any) -> NodePart:
        return NodePart(
            f"o:{operand.name}",
            operand.name,
            f"{operand.type.code.short}{shape_text(operand.type.shape)}",
            kind,
            self._layout(operand.name, operand.type),
            quant_text(operand.type.quant),
            shape_text(operand.type.shape),
            operand.type.code.name,
            self.rewrites.get(operand.name, ()),
            text=f"%{operand.name} : {operand.type}",
            attributes=_operand_rows(operand),
        )

    def _operation(self, operation: Operation) -> NodePart:
        types = [self.model[name].type for name in operation.outputs]
        rewrites: list[Rewrite] = []
        for name in operation.outputs:
            rewrites += self.rewrites.get(name, ())
        attributes = [("operation", operation.kind)]
        for name in operation.outputs:
            attributes += _operand_rows(self.model[name])
        return NodePart(
            f"op:{operation.name}",
            operation.kind,
            ", ".join(f"{type.code.short}{shape_text(type.shape)}" for type in types),
            "operation",
            self._layout(operation.name, types[0]),
            quant_text(types[0].quant),
            shape_text(types[0].shape),
            types[0].code.name,
            tuple(dict.fromkeys(rewrites)),
            text=f"{', '.join(f'%{name}' for name in operation.outputs)} = {call_text(self.model, operation)}",
            attributes=tuple(attributes),
        )

    def _layout(self, name: str, type: OperandType) -> str:
        layout = self._layouts.get(name, "")
        return "" if layout == "plain" or (layout == "NCHW" and type.rank != 4) else layout


def _short(type: TorchType | None) -> str:
    """Element type and shape; the quantization has a line of its own."""
    if type is None or not type.is_tensor:
        return str(type or "")
    return f"{type.dtype}{shape_text(type.shape)}"


def _operand_rows(operand: Operand) -> Rows:
    rows = [("operand", operand.name), ("type", operand.type.code.name), ("shape", shape_text(operand.type.shape))]
    if isinstance(operand.type.quant, Quant):
        rows += [("scale", f"{operand.type.quant.scale:.9g}"), ("zero point", str(operand.type.quant.zero_point))]
    elif isinstance(operand.type.quant, PerChannel):
        rows.append(("scales", str(operand.type.quant)))
    if operand.type.byte_size is not None and operand.is_constant:
        rows.append(("bytes", f"{operand.type.byte_size:,}"))
    return tuple(rows)


def quant_text(quant: Quant | PerChannel | None) -> str:
    """`s 0.0235 zp 128`, short enough for a node."""
    if isinstance(quant, Quant):
        return f"s {quant.scale:.4g} zp {quant.zero_point}"
    return "" if quant is None else f"{len(quant.scales)} scales, axis {quant.axis}"


def _rewrites_by_name(lowered: Lowered, names: Any) -> dict[str, tuple[Rewrite, ...]]:
    """Kinds of rewrite per value or operand; the plain "same operation" entry is no rewrite worth a glyph."""
    found: dict[str, dict[Rewrite, None]] = {}
    for step in lowered.steps:
        if step.rule.kind == "operation":
            continue
        for name in names(step):
            found.setdefault(name, {})[step.rule.kind] = None
    return {name: tuple(kinds) for name, kinds in found.items()}


def _links(lowered: Lowered, left: _LeftSide, right: _RightSide) -> Iterable[LinkPart]:
    """Pairs from the operands' origins; the outputs of both graphs are linked by position."""
    seen: dict[tuple[str, str], None] = {}
    for operand in lowered.model.operands:
        other = right.id_of(operand)
        for value in lowered.origins.get(operand, ()):
            one = left.id_of(value)
            if one is not None and other is not None:
                seen[(one, other)] = None
    for step in lowered.steps:
        for value in step.values:
            for operand in step.operands:
                one, other = left.id_of(value), right.id_of(operand)
                if one is not None and other is not None:
                    seen[(one, other)] = None
    for node in lowered.graph.nodes:
        if node.kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            # A list is no operand of its own: its members go straight into the operation that reads it.
            for reader in lowered.graph.consumers(node.name):
                for operand in _made_from(lowered, reader.outputs):
                    other = right.id_of(operand)
                    if other is not None:
                        seen[(f"ts:{node.id}", other)] = None
    for position in range(min(len(lowered.graph.outputs), len(lowered.model.outputs))):
        seen[(f"out:{position}", f"out:{position}")] = None
    return (LinkPart(one, other) for one, other in seen)


def _made_from(lowered: Lowered, values: Iterable[str]) -> Iterable[str]:
    """The operands that torch values live in."""
    return (held.operand for value in values if (held := lowered.placements.get(value)) is not None)


# --- entries -------------------------------------------------------------------------------------------------


def _step(step: Step, left: _LeftSide, right: _RightSide) -> StepPart:
    rule = step.rule
    return StepPart(
        str(step.id),
        rule.id,
        rule.kind,
        rule.title,
        rule.why,
        rule.formula,
        rule.effect,
        tuple(_tensor(side) for side in step.before),
        tuple(_tensor(side) for side in step.after),
        tuple((key, _fact_text(held)) for key, held in step.facts.items()),
        rule.source,
        _known(left.id_of(name) for name in step.values),
        _known(right.id_of(name) for name in step.operands),
    )


def _fact_text(held: Any) -> str:
    if isinstance(held, float):
        return f"{held:.9g}"
    return " ".join(map(str, held)) if isinstance(held, tuple | list) else str(held)


def _known(ids: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(id for id in ids if id is not None))


def _tensor(side: Side) -> TensorPart:
    axes = side.axes if len(side.axes) == len(side.shape) else ()
    return TensorPart(side.name, tuple(map(str, side.shape)), axes, side.dtype, side.quant, side.sample)


def _diff_row(row: Row, left: _LeftSide, right: _RightSide) -> DiffRowPart:
    metrics: dict[str, float | int | None] = {
        "relative": row.relative,
        "max_abs": row.max_abs,
        "mean_abs": row.mean_abs,
        "rmse": row.rmse,
        "rmse_steps": None if row.scale is None else row.rmse / row.scale,
        "max_steps": row.max_steps,
        "within_one": None if row.within_one is None else 100 * row.within_one,
        "sqnr_db": row.sqnr_db,
        "cosine": row.cosine,
        "saturated": None if row.saturated is None else 100 * row.saturated,
        "isolated": row.isolated_max_abs,
    }
    return DiffRowPart(
        row.value, left.id_of(row.value) or "", right.id_of(row.operand) or "", f"{row.node} → {row.operation}",
        metrics, verdict(row),
    )  # fmt: skip


def verdict(row: Row) -> str:
    """What a difference means, in a few words."""
    if row.max_abs == 0 and not row.not_finite:
        return "equal"
    if row.not_finite:
        return "infinite or NaN on one side"
    if row.is_bad:
        return "more than rounding: look here"
    if row.isolated_max_abs == 0:
        return "inherited"
    return "rounding only" if row.max_steps is None or row.max_steps <= 1 else "rounding, accumulated"


def _problems(
    refusals: Iterable[Refusal], report: Report | None, left: _LeftSide, right: _RightSide
) -> Iterable[ProblemPart]:
    for refusal in refusals:
        value = refusal.node.split(" ")[-1]
        yield ProblemPart(refusal.kind, refusal.where, refusal.message, refusal.fix, refusal.source, refusal.rule,
                          _known([left.id_of(value)]))  # fmt: skip
    for finding in report.findings if report is not None else ():
        yield _finding(finding, right)


def _finding(finding: Finding, right: _RightSide) -> ProblemPart:
    name = finding.where.lstrip("%").split(" ")[-1]
    return ProblemPart(finding.severity, finding.where, finding.message, "", finding.source, finding.rule, (),
                       _known([right.id_of(name)]))  # fmt: skip
