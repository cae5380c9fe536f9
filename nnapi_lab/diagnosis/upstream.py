"""What PyTorch's own converter would do with a model: its first error, or the wrong result it would give in silence.

Facts: `torch.backends._nnapi.serializer` of torch 2.13, as its behaviour was measured; no code of it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnapi_lab.ir.torch_graph import TorchGraph, TorchNode
from nnapi_lab.torchscript.capture import Captured


@dataclass(frozen=True, slots=True)
class Upstream:
    """`converts`: no error; `error`: its first one; `silent`: places where the result would be wrong without one."""

    converts: bool
    error: str
    silent: tuple[str, ...]

    def __str__(self) -> str:
        if not self.converts:
            return f"stops at its first error: {self.error}"
        return "converts" + (f", silently wrong: {'; '.join(self.silent)}" if self.silent else "")


def upstream_verdict(captured: Captured) -> Upstream:
    """Try PyTorch's converter on the captured module."""
    from torch.backends._nnapi.prepare import convert_model_to_nnapi

    if captured.scripted is None:
        return Upstream(False, "it takes TorchScript modules only, no ExportedProgram", ())
    inputs = [tensor.contiguous() for tensor in captured.example_inputs]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            convert_model_to_nnapi(captured.scripted, inputs)
    except Exception as error:  # noqa: BLE001  whatever it raises is the answer
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return Upstream(False, f"{type(error).__name__}: {first[:200]}", ())
    return Upstream(True, "", tuple(silent_faults(captured.graph)))


def silent_faults(graph: TorchGraph) -> list[str]:
    """Nodes that PyTorch's converter accepts and gets wrong."""
    found = []
    for node in graph.nodes:
        for kinds, fault, applies in _FAULTS:
            if node.kind in kinds and applies(graph, node):
                found.append(f"{node.kind} {node.name}: {fault}")
    return found


def _constant(graph: TorchGraph, node: TorchNode, name: str, default: Any = None) -> Any:
    return graph[node.argument(name)].constant if name in node.schema else default


def _padded_average(graph: TorchGraph, node: TorchNode) -> bool:
    padded = any(_constant(graph, node, "padding", ()) or ())
    return bool(padded and _constant(graph, node, "count_include_pad", True))


def _changes_dtype(graph: TorchGraph, node: TorchNode) -> bool:
    return graph[node.inputs[0]].type.dtype != graph[node.outputs[0]].type.dtype


def _changes_shape(graph: TorchGraph, node: TorchNode) -> bool:
    return (_constant(graph, node, "step", 1) or 1) != 1


Applies = Callable[[TorchGraph, TorchNode], bool]
_FAULTS: tuple[tuple[tuple[str, ...], str, Applies], ...] = (
    (("aten::avg_pool2d",), "padding is not counted by NNAPI, PyTorch counts it", _padded_average),
    (
        ("aten::avg_pool2d", "aten::max_pool2d"),
        "ceil_mode is ignored",
        lambda graph, node: bool(_constant(graph, node, "ceil_mode", False)),
    ),
    (("aten::to",), "the conversion is dropped", _changes_dtype),
    (("aten::slice",), "the step is ignored or the length floors", _changes_shape),
    (
        ("aten::_convolution",),
        "output_padding is ignored",
        lambda graph, node: any(_constant(graph, node, "output_padding", ()) or ()),
    ),
    (
        ("aten::_convolution",),
        "a grouped transposed convolution becomes a forward depthwise one",
        lambda graph, node: (
            bool(_constant(graph, node, "transposed", False)) and (_constant(graph, node, "groups", 1) or 1) > 1
        ),
    ),
    (
        ("aten::div",),
        "integer division is true division in PyTorch, floor division in NNAPI",
        lambda graph, node: (graph[node.inputs[0]].type.dtype or "").startswith("int"),
    ),
)
