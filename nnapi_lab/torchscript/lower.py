"""TorchGraph → Lowered: visit the nodes in order, call the rule of each, collect every refusal, run the passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from nnapi_lab.build import Builder
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.operand_types import OperandType, static_shape
from nnapi_lab.ir.torch_graph import TorchGraph, TorchNode, TorchValue
from nnapi_lab.passes.pipeline import run_passes
from nnapi_lab.rewrites.layout import NHWC_PLACEMENT
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.operation import INPUT, ON_HOST
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout
from nnapi_lab.rewrites.shapes import COPIED_OUT
from nnapi_lab.torchscript import lowerings  # noqa: F401  registers every rule
from nnapi_lab.torchscript.collector import collector_paused
from nnapi_lab.torchscript.layouts import wants_nhwc
from nnapi_lab.torchscript.refuse import Inherited, Refused, from_invalid
from nnapi_lab.torchscript.registry import LOWERINGS, arguments_for
from nnapi_lab.torchscript.sides import operand_side, torch_side
from nnapi_lab.torchscript.site import Lowering, Site
from nnapi_lab.torchscript.unsupported import refuse_kind

LayoutChoice = Literal["auto", "nhwc", "nchw"]
QuantizeAt = Literal["inside", "outside"]
QuantTarget = Literal["uint8", "int8"]
Progress = Callable[[str, int, int], None]
TURNED_MOST = 4  # inputs whose other order is tried


@collector_paused()
def lower_graph(
    graph: TorchGraph,
    layout: LayoutChoice = "auto",
    relaxed: bool = False,
    progress: Progress | None = None,
    quantize_at: QuantizeAt = "inside",
    quant: QuantTarget = "uint8",
) -> Lowered:
    """Lower every node that can be; what cannot is in `refusals` of the result, which is then only partial.

    A refused node's results are stood in for by model inputs, so that everything behind it is tried too.
    `quant="int8"` keeps quantized values as TENSOR_QUANT8_ASYMM_SIGNED (level 4) instead of unsigned.
    `quantize_at="outside"` leaves quantize nodes at the inputs and dequantize nodes at the outputs to the host.
    """
    lower = partial(_lowered, graph, layout, relaxed, progress, quantize_at, quant)
    lowered = lower(frozenset())
    return lowered if layout != "auto" or lowered.refusals else _cheaper(lowered, lower)


def elements_transposed(lowered: Lowered) -> int:
    """What the layouts of a model cost: the elements its TRANSPOSE operations move."""
    model = lowered.model
    moved = [operation.reads[0] for operation in model.operations if operation.kind == "TRANSPOSE"]
    return sum(model[name].type.element_count or 0 for name in moved)


def _cheaper(lowered: Lowered, lower: Callable[[frozenset[str]], Lowered]) -> Lowered:
    """The same graph with one 4-D input after the other kept the other way, where that costs less.

    Only asked where TRANSPOSEs remain, and of few inputs: lowering stays linear in the number of nodes.
    """
    asked = [name for name in lowered.inputs if len(lowered.graph[name].type.shape or ()) == 4][:TURNED_MOST]
    turned: frozenset[str] = frozenset()
    for name in asked:
        cost = elements_transposed(lowered)
        if cost == 0:
            break
        other = lower(turned | {name})
        if not other.refusals and elements_transposed(other) < cost:
            lowered, turned = other, turned | {name}
    return lowered


def _channels_last(graph: TorchGraph, name: str, layout: LayoutChoice, turned: frozenset[str]) -> bool:
    return layout == "nhwc" or (layout == "auto" and wants_nhwc(graph, name) != (name in turned))


def _lowered(
    graph: TorchGraph, layout: LayoutChoice, relaxed: bool, progress: Progress | None, quantize_at: QuantizeAt,
    quant: QuantTarget, turned: frozenset[str],
) -> Lowered:  # fmt: skip
    """One lowering. `turned`: inputs kept in the other order than the one auto would choose."""
    lowering = Lowering(graph, Builder(graph.name, relaxed), signed=quant == "int8")
    refusals: list[Refusal] = []
    head, tail = _border(graph) if quantize_at == "outside" else ((), ())
    inputs = tuple(_replaced(graph.inputs, {node.inputs[0]: node.outputs[0] for node in head}))
    outputs = tuple(_replaced(graph.outputs, {node.outputs[0]: node.inputs[0] for node in tail}))
    lowering.absorbed.update(node.id for node in (*head, *tail))
    for name in inputs:
        last = _channels_last(graph, name, layout, turned)
        _attempt(lowering, _input_node(name), refusals, partial(_input, value=graph[name], channels_last=last))
    for count, node in enumerate(graph.nodes, 1):
        if progress is not None and (count % 64 == 0 or count == len(graph.nodes)):
            progress("lower", count, len(graph.nodes))
        if node.id not in lowering.absorbed:
            with lowering.builder.on_behalf_of(*node.outputs):
                _attempt(lowering, node, refusals, _lower_node)
    for position, name in enumerate(outputs):
        node = graph.producer(name) or _input_node(name)
        finish = partial(_output, value=graph[name], choice=layout, position=position)
        with lowering.builder.on_behalf_of(name):
            _attempt(lowering, node, refusals, finish)
    _log_border(lowering, head, tail)
    builder = lowering.builder
    lowered = Lowered(
        graph, builder.build(), builder.log.steps, lowering.placements, builder.origins, builder.made_by,
        tuple(refusals), tuple(lowering.warnings), inputs, outputs, head, tail, tuple(lowering.returned),
    )  # fmt: skip
    return lowered if refusals else run_passes(lowered)


def _border(graph: TorchGraph) -> tuple[tuple[TorchNode, ...], tuple[TorchNode, ...]]:
    """Quantize nodes that alone read an input, dequantize nodes whose result is only returned."""
    head = tuple(
        node
        for node in graph.nodes
        if node.kind == "aten::quantize_per_tensor"
        and node.inputs[0] in graph.inputs
        and len(graph.consumers(node.inputs[0])) == 1
    )
    tail = tuple(
        node
        for node in graph.nodes
        if node.kind == "aten::dequantize" and node.outputs[0] in graph.outputs and not graph.consumers(node.outputs[0])
    )
    return head, tail


def _log_border(lowering: Lowering, head: Sequence[TorchNode], tail: Sequence[TorchNode]) -> None:
    """An entry for every node left to the host, at the operand where NNAPI begins or ends."""
    for node, border in [*((node, node.outputs[0]) for node in head), *((node, node.inputs[0]) for node in tail)]:
        held = lowering.placements.get(border)
        lowering.log.add(
            ON_HOST,
            values=[node.inputs[0], *node.outputs],
            operands=[held.operand] if held is not None else [],
            facts={"node": node.kind},
            node=node.name,
        )


def _replaced(names: Sequence[str], by: Mapping[str, str]) -> Iterator[str]:
    return (by.get(name, name) for name in names)


def _attempt(lowering: Lowering, node: TorchNode, refusals: list[Refusal], action: Callable[[Site], None]) -> None:
    """Run one action on a node; whatever it refuses is noted and stood in for."""
    site = Site(lowering, node)
    try:
        action(site)
    except Refused as refused:
        if not isinstance(refused, Inherited):
            refusals.append(refused.at(node))
        _stand_in(site)
    except InvalidModel as error:
        refusals.extend(from_invalid(error, node))
        _stand_in(site)


def _lower_node(site: Site) -> None:
    node, graph = site.node, site.graph
    if node.kind.startswith("prim::"):
        return  # lists and tuples are read where they are used
    rule = LOWERINGS.get(node.kind)
    if rule is None:
        refuse_kind(node)
        return
    unexpanded = site.lowering.unexpanded
    given = tuple(_argument(graph, graph[unexpanded.get(name, name)]) for name in node.inputs)
    rule.run(site, **arguments_for(rule, node.schema, given))


def _argument(graph: TorchGraph, value: TorchValue) -> Any:
    """How a rule sees an argument: tensors as TorchValue, lists of tensors as tuples, everything else as data."""
    if value.is_constant and not value.type.is_tensor:
        return value.constant
    producer = graph.producer(value.name)
    if producer is not None and producer.kind in ("prim::ListConstruct", "prim::TupleConstruct"):
        return tuple(_argument(graph, graph[name]) for name in producer.inputs)
    return value


def _input_node(name: str) -> TorchNode:
    """Inputs are handled like nodes so that refusals have a place to point at."""
    return TorchNode(-1, "input", (), (name,))


def _input(site: Site, value: TorchValue, channels_last: bool) -> None:
    shape = value.type.shape or ()
    if len(shape) > 4:
        site.forbid("RANK", f"input {value.name} has rank {len(shape)}; NNAPI's operations take at most rank 4",
                    fix="reshape it outside the model", source="NNAPI operand rank limits")  # fmt: skip
    if any(size == 0 for size in shape):
        site.forbid("ZERO_SIZE", f"input {value.name} {list(shape)} has a dimension of size 0",
                    fix="give an example input with at least one element along every dimension",
                    source="PyTorch's NNAPI format writes 0 for a size filled in at load time")  # fmt: skip
    channels_last = channels_last and len(shape) == 4
    layout = Layout.nhwc(shape) if channels_last else Layout.plain(shape)
    # A 0-d tensor lives in shape [1]: rank 0 means "unknown rank" in NNAPI.
    type = OperandType(site.code_of(value), layout.stored_dims or (1,), site.quant_of(value))
    step = site.log(
        NHWC_PLACEMENT if channels_last else INPUT,
        before=[torch_side(value)],
        after=[operand_side(value.name.lstrip("%"), type, ("N", "H", "W", "C") if channels_last else ())],
        facts={"perm": layout.perm} if channels_last else {},
        values=[value.name],
    )
    name = site.builder.input(value.name, type, [value.name], [step, *site.shift_step(value)])
    site.note_operands(step, name)
    site.place(name, layout, value)


def _output(site: Site, value: TorchValue, choice: LayoutChoice, position: int) -> None:
    if not value.type.is_tensor:
        site.forbid("OUTPUT", f"output {position} is a {value.type}, not a tensor", fix="return tensors only",
                    source="NNAPI models return operands")  # fmt: skip
    placement = site.held(value)
    if placement.operand in site.lowering.stand_ins:
        return
    shape = placement.shape
    layout = placement.layout
    if len(shape) == 4 and choice == "nhwc":
        layout = Layout.nhwc(shape)
    elif choice == "nchw" or layout.dims != shape or layout.name not in ("NHWC", "NCHW", "plain"):
        layout = Layout.plain(shape)
    operand = site.read(value, layout)
    builder = site.builder
    if len(shape) > RANK_LIMIT and builder.type_of(operand).shape != shape:
        operand = site.reshape_exactly(operand, shape, value, f"{operand}.unfolded")
    if operand in builder.model_inputs or operand in builder.model_outputs or builder[operand].is_constant:
        operand = _copied(site, value, operand)
    builder.output(operand)
    site.lowering.returned.append(site.placement(value, operand, layout))


def _copied(site: Site, value: TorchValue, operand: str) -> str:
    """No operand may be input and output at once, nor a constant an output: a RESHAPE to its own shape copies it."""
    type = site.builder.type_of(operand)
    step = site.log(COPIED_OUT, before=[operand_side(operand, type)], values=[value.name])
    shape = site.int32(static_shape(type), f"{operand}.shape", "shape")
    name = site.builder.add("RESHAPE", input=operand, shape=shape, name=f"{operand}.copy", step=step,
                            values=[value.name])  # fmt: skip
    site.note_operands(step, name)
    return name


def _stand_in(site: Site) -> None:
    """Give a refused node's tensors operands all the same, so that what follows is looked at as well."""
    outputs = [site.graph[name] for name in site.node.outputs]
    members = [site.graph[name] for value in outputs for name in value.items]
    for value in (*outputs, *members):
        name = value.name
        if name in site.lowering.placements or not value.type.is_tensor or value.is_constant:
            continue
        try:
            code = site.code_of(value)
        except Refused:
            site.lowering.unknown.add(name)
            continue
        shape = value.type.shape or ()
        operand = site.builder.input(f"refused.{name}", OperandType(code, shape or (1,), site.quant_of(value)), [name])
        site.lowering.stand_ins.add(operand)
        site.place(operand, Layout.plain(shape), value)
