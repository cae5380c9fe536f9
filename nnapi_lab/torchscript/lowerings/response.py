"""Local response normalization: eight nodes of F.local_response_norm, one NNAPI operation."""

from __future__ import annotations

from dataclasses import dataclass

from nnapi_lab.ir.torch_graph import TensorData, TorchNode, TorchValue
from nnapi_lab.rewrites.normalization import RESPONSE
from nnapi_lab.torchscript.site import Site

_FORWARD = ("aten::view", "aten::pad", "aten::avg_pool3d", "aten::squeeze", "aten::view", "aten::mul", "aten::add",
            "aten::pow", "aten::div")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Response:
    """F.local_response_norm as it was written: window over channels, alpha, beta, k, and the last node."""

    size: int
    alpha: float
    beta: float
    k: float
    nodes: tuple[TorchNode, ...]


def response_normalization(site: Site, input: TorchValue) -> bool:
    """Called at x · x: the whole pattern behind it as LOCAL_RESPONSE_NORMALIZATION, False if it is not one."""
    found = _pattern(site, input)
    if found is None:
        return False
    result = site.graph[found.nodes[-1].outputs[0]]
    names = [site.out.name, *(name for node in found.nodes for name in node.outputs)]
    operand, layout, axis = site.along(input, 1)
    facts = {"size": found.size, "radius": (found.size - 1) // 2, "alpha": found.alpha / found.size}
    step = site.log(RESPONSE, values=names, facts=facts)
    (name,) = site.add_all(
        "LOCAL_RESPONSE_NORMALIZATION", input=operand, radius=(found.size - 1) // 2, bias=found.k,
        alpha=found.alpha / found.size, beta=found.beta, axis=axis, names=[result.name], rule=RESPONSE, steps=[step],
        facts=facts,
    )  # fmt: skip
    site.builder.also_from(name, names)
    for node in found.nodes:
        site.absorb(node)
    site.place(name, layout, result)
    return True


def _pattern(site: Site, input: TorchValue) -> Response | None:
    nodes: list[TorchNode] = []
    value = site.out
    for kind in _FORWARD:
        users = [node for node in site.graph.consumers(value.name) if node.kind not in ("aten::size", "prim::shape")]
        if len(users) != 1 or users[0].kind != kind or value.name in site.graph.outputs:
            return None
        nodes.append(users[0])
        value = site.graph[users[0].outputs[0]]
    view, pad, pool, _, _, mul, add, power, div = nodes
    numbers = [_number(site, node) for node in (mul, add, power)]
    shape = input.type.shape or ()
    if None in numbers or div.inputs[0] != input.name or value.type.shape != shape or len(shape) != 4:
        return None
    size = _given(site, pool, "kernel_size")
    if not isinstance(size, tuple) or size[1:] != (1, 1) or size[0] % 2 == 0:
        return None
    half = size[0] // 2
    viewed = (shape[0], 1, shape[1], shape[2], shape[3])
    as_written = (
        site.graph[view.outputs[0]].type.shape == viewed
        and _given(site, pad, "pad") == (0, 0, 0, 0, half, half)
        and _given(site, pool, "stride") in ((1, 1, 1), ())
        and site.graph[pool.outputs[0]].type.shape == viewed
    )
    alpha, k, beta = (float(number or 0.0) for number in numbers)
    return Response(size[0], alpha, beta, k, tuple(nodes)) if as_written else None


def _given(site: Site, node: TorchNode, name: str) -> object:
    """A list argument as a tuple of its numbers."""
    value = site.graph[node.inputs[node.schema.index(name)]]
    producer = site.graph.producer(value.name)
    if producer is not None and producer.kind == "prim::ListConstruct":
        return tuple(site.graph[item].constant for item in producer.inputs)
    return tuple(value.constant) if isinstance(value.constant, list | tuple) else value.constant


def _number(site: Site, node: TorchNode) -> float | None:
    """The number a node adds, multiplies or raises by."""
    held = site.graph[node.inputs[1]].constant
    if isinstance(held, TensorData):
        return float(held.array.reshape(-1)[0]) if held.array.size == 1 else None
    return float(held) if isinstance(held, int | float) else None
