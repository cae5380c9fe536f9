"""How much work a TorchScript node does: multiply-adds, from shapes alone."""

from __future__ import annotations

import math

from nnapi_lab.ir.torch_graph import PackedParams, TensorData, TorchGraph, TorchNode, TorchValue

_CONVOLUTIONS = ("convolution", "conv1d", "conv2d", "conv3d", "conv_transpose")
_PRODUCTS = ("linear", "addmm", "aten::mm", "matmul", "bmm")


def multiply_adds(graph: TorchGraph, node: TorchNode) -> int:
    """Multiply-adds of a convolution or a product; 0 for everything else and where shapes are unknown.

    Convolution: outputs · (weights per output); transposed: inputs · (weights per input); product: outputs · inner.
    """
    if not node.outputs:
        return 0
    out, name = graph[node.outputs[0]].type.shape, node.kind
    tensors = [graph[value] for value in node.inputs]
    weight = next((shape for value in tensors[1:] if (shape := _weight_shape(value))), None)
    if out is None or weight is None:
        return _plain_product(node, tensors, out) if any(word in name for word in _PRODUCTS) else 0
    if any(word in name for word in _CONVOLUTIONS):
        shape = tensors[0].type.shape
        moved = shape if _is_transposed(graph, node) and shape is not None else out
        return math.prod(moved) * math.prod(weight[1:])
    if any(word in name for word in _PRODUCTS):
        return math.prod(out) * (weight[-1] if "linear" in name else weight[0])
    return 0


def _is_transposed(graph: TorchGraph, node: TorchNode) -> bool:
    if "transposed" in node.schema:
        return bool(graph[node.argument("transposed")].constant)
    return "transpose" in node.kind


def _weight_shape(value: TorchValue) -> tuple[int, ...] | None:
    if isinstance(value.constant, PackedParams):
        return value.constant.weight.type.shape
    held = value.constant if isinstance(value.constant, TensorData) else None
    shape = held.type.shape if held is not None else None
    return shape if shape is not None and len(shape) >= 2 else None


def _plain_product(node: TorchNode, tensors: list[TorchValue], out: tuple[int, ...] | None) -> int:
    """Both factors computed by the model: the inner size is the first one's last dimension."""
    first = tensors[0].type.shape if tensors else None
    return math.prod(out) * first[-1] if out is not None and first else 0
