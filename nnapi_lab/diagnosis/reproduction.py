"""The smallest program that meets the same obstacle: one operation on inputs of the same types."""

from __future__ import annotations

import math
from typing import Any

from nnapi_lab.ir.operand_types import PerChannel, Quant
from nnapi_lab.ir.torch_graph import PackedParams, TensorData, TorchGraph, TorchNode, TorchType, TorchValue
from nnapi_lab.torchscript.interpret import keyword_names

_INTEGERS = ("int32", "int64", "uint8", "int8", "int16")


def reproduction(graph: TorchGraph, node: TorchNode) -> str:
    """A stand-alone program of at most 15 lines that is refused for the same reason; "" when none can be written."""
    names: list[str] = []
    makers: list[str] = []
    arguments: list[str] = []
    for value in (graph[name] for name in node.inputs):
        if isinstance(value.constant, PackedParams):
            return ""
        if _is_list_of_tensors(graph, value):
            producer = graph.producer(value.name)
            members = [graph[name] for name in producer.inputs] if producer is not None else []
            parts = [_input(member, names, makers) for member in members]
            arguments.append(f"[{', '.join(parts)}]")
        elif (value.type.dtype or "").startswith("complex"):
            return ""  # no model input can be complex, so one operation alone cannot be given one
        elif value.type.is_tensor:
            arguments.append(_input(value, names, makers))
        else:
            arguments.append(_literal(value.constant))
    call = _call(node, arguments)
    given = f"{', '.join(makers)}{',' if len(makers) == 1 else ''}"
    lines = [
        "import torch",
        "import nnapi_lab as lab",
        "",
        "class Repro(torch.nn.Module):",
        f"    def forward(self{''.join(f', {name}' for name in names)}):",
        f"        return {call}",
        "",
        f"lab.lower(Repro().eval(), ({given}))  # {node.kind} {node.name}, {node.python or node.scope or 'inputs'}",
    ]
    return "\n".join(lines)


def _call(node: TorchNode, arguments: list[str]) -> str:
    """The operator by name and overload; arguments after the first positional ones go by name where torch wants it."""
    namespace, _, name = node.kind.partition("::")
    operator = f"torch.ops.{namespace}.{name}.{node.overload or 'default'}"
    keywords = keyword_names(node.kind, node.overload)
    named = [
        f"{argument}={text}" if argument in keywords else text
        for argument, text in zip(node.schema, arguments, strict=False)
    ]
    return f"{operator}({', '.join(named)})"


def _is_list_of_tensors(graph: TorchGraph, value: TorchValue) -> bool:
    producer = graph.producer(value.name)
    return producer is not None and producer.kind == "prim::ListConstruct"


def _input(value: TorchValue, names: list[str], makers: list[str]) -> str:
    name = f"x{len(names)}"
    names.append(name)
    makers.append(_tensor(value.type, value.constant))
    return name


def _tensor(type: TorchType, constant: Any = None) -> str:
    shape = list(type.shape or ())
    if isinstance(type.quant, Quant):
        return (
            f"torch.quantize_per_tensor(torch.randn({shape}), {type.quant.scale!r}, {type.quant.zero_point}, "
            f"torch.{type.dtype})"
        )
    if isinstance(type.quant, PerChannel):
        return f"torch.randn({shape})"
    if type.dtype in _INTEGERS:
        small = isinstance(constant, TensorData) and constant.array.size <= 16
        return f"torch.tensor({constant.array.tolist()})" if small else f"torch.ones({shape}, dtype=torch.{type.dtype})"
    if type.dtype == "bool":
        return f"torch.ones({shape}, dtype=torch.bool)"
    return f"torch.randn({shape})" if type.dtype == "float32" else f"torch.ones({shape}, dtype=torch.{type.dtype})"


def _literal(held: Any) -> str:
    if isinstance(held, tuple):
        return f"[{', '.join(_literal(item) for item in held)}]"
    if isinstance(held, float) and not math.isfinite(held):
        return f"float({str(held)!r})"
    return repr(held)
