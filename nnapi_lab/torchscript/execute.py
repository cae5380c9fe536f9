"""Reference values: run a TorchGraph through PyTorch and keep what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.torch_graph import TorchNode
from nnapi_lab.torchscript.capture import Captured, checked_inputs, quiet, using_engine
from nnapi_lab.torchscript.interpret import evaluate, functional_twin


def execute(
    captured: Captured,
    inputs: Sequence[torch.Tensor],
    keep: Collection[str] | None = None,
    observe: Callable[[str, torch.Tensor], None] | None = None,
) -> dict[str, Any]:
    """Run the captured graph on `inputs` and return torch objects by value name.

    `keep`: names to return (None: the graph's outputs). `observe(name, tensor)` is called for every tensor as it
    is produced. Values are dropped after their last use. Raises SimulationError when the inputs do not fit.
    """
    graph = captured.graph
    tensors = checked_inputs(inputs)
    check_against_graph(captured, tensors)
    wanted = set(graph.outputs if keep is None else keep)
    last_use = {name: node.id for node in graph.nodes for name in node.inputs}
    env: dict[str, Any] = dict(captured.bindings)
    env.update(zip(graph.inputs, tensors, strict=True))
    kept = {name: held for name, held in env.items() if name in wanted}
    with quiet(), torch.no_grad(), using_engine(captured.engine):
        for node in graph.nodes:
            for name, held in _named_results(captured, node, _run_node(node, env)):
                env[name] = held
                if name in wanted:
                    kept[name] = held
                if observe is not None and isinstance(held, torch.Tensor):
                    observe(name, held)
            for name in node.inputs:
                if last_use[name] == node.id and name not in captured.bindings:
                    env.pop(name, None)
    return kept


def _named_results(captured: Captured, node: TorchNode, results: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Results under their names, the members of a returned list under theirs."""
    for name, held in zip(node.outputs, results, strict=True):
        yield name, held
        yield from zip(captured.graph[name].items, held if isinstance(held, list | tuple) else (), strict=False)


def run_border(captured: Captured, nodes: Sequence[TorchNode], values: dict[str, Any]) -> None:
    """Run the few nodes a lowering leaves to the host, adding their results to `values` (torch objects by name)."""
    with quiet(), torch.no_grad(), using_engine(captured.engine):
        for node in nodes:
            env = {**captured.bindings, **values}
            values.update(zip(node.outputs, _run_node(node, env), strict=True))


def _run_node(node: TorchNode, env: dict[str, Any]) -> tuple[Any, ...]:
    arguments = [env[name] for name in node.inputs]
    if node.kind in ("prim::ListConstruct", "prim::TupleConstruct"):
        return (arguments,)
    return evaluate(functional_twin(node.kind, node.overload), node.overload, arguments, len(node.outputs))


def check_against_graph(captured: Captured, inputs: Sequence[torch.Tensor]) -> None:
    """Raises SimulationError unless count, types and shapes are those the model was captured with."""
    graph = captured.graph
    if len(inputs) != len(graph.inputs):
        raise SimulationError(f"{graph.name} takes {len(graph.inputs)} inputs, {len(inputs)} were given")
    for name, tensor in zip(graph.inputs, inputs, strict=True):
        type = graph[name].type
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tuple(tensor.shape) != type.shape or dtype != type.dtype:
            raise SimulationError(
                f"input {name} is {dtype}{list(tensor.shape)}; the model was lowered for {type}: "
                "lower it again with an example input of this shape"
            )
