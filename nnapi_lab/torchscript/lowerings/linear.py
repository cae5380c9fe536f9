"""Fully connected layers: bias made mandatory, weight columns permuted after an NHWC flatten, rank restored."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PLACED, ZERO_BIAS
from nnapi_lab.rewrites.layout import WEIGHT_COLUMNS, WEIGHT_ROWS
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.rule import Step
from nnapi_lab.rewrites.shapes import RANK_RESTORED
from nnapi_lab.torchscript.layouts import wants_nhwc
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

# What may lie between a linear layer and the view of its result as a map: each takes the elements as they lie.
POINTWISE = frozenset({"aten::relu", "aten::relu6", "aten::tanh", "aten::sigmoid", "aten::dropout"})
VIEWS = frozenset({"aten::view", "aten::reshape", "aten::unflatten"})


@lowers("aten::linear")
def linear(site: Site, input: TorchValue, weight: TorchValue, bias: Any) -> None:
    fully_connected(site, input, weight, bias, transposed=False)


def fully_connected(site: Site, input: TorchValue, weight: TorchValue, bias: Any, transposed: bool) -> None:
    data = weight.constant
    if not isinstance(data, TensorData):
        site.not_yet("LINEAR_WEIGHT", f"the weight {weight.name} is computed by the model, not a constant")
    if isinstance(bias, TorchValue) and not isinstance(bias.constant, TensorData):
        site.not_yet("LINEAR_BIAS", f"the bias {bias.name} is computed by the model, not a constant")
    array = np.ascontiguousarray(data.array.T) if transposed else data.array
    operand, array, steps = flattened_input(site, input, array, weight.origin or weight.name)
    layout = map_wanted(site)
    if layout is not None:
        array = in_order(array, layout)
        steps = [*steps, site.log(WEIGHT_ROWS, facts={"dims": layout.dims[1:], "perm": layout.perm[1:]})]
    step = site.log(PLACED, values=[weight.name], after=[array_side(weight.name, array, ("out", "in"))])
    name = site.builder.constant(weight.origin or weight.name, array, values=[weight.name], steps=[*steps, step])
    for made in (*steps, step):
        site.note_operands(made, name)
    bias_name = _bias(site, bias, array.shape[0], f"{weight.origin or weight.name}.bias", layout)
    finish_linear(site, input, operand, steps, layout, weights=name, bias=bias_name)


def map_wanted(site: Site) -> Layout | None:
    """Channels last, when the result [n, units] is viewed as a map [n, c, h, w] of a channels-last operation.

    Activations may lie between; what else reads the vector needs it in its own order.
    """
    graph, reader = site.graph, site.sole_consumer(site.out)
    if len(site.out_shape) != 2:
        return None
    while reader is not None and reader.kind.removesuffix("_") in POINTWISE:
        reader = site.sole_consumer(graph[reader.outputs[0]])
    if reader is None or reader.kind not in VIEWS:
        return None
    view = graph[reader.outputs[0]]
    shape = view.type.shape or ()
    if len(shape) != 4 or shape[0] != site.out_shape[0] or not wants_nhwc(graph, view.name):
        return None
    return None if Layout.nhwc(shape).is_plain else Layout.nhwc(shape)


def in_order(rows: np.ndarray, layout: Layout) -> np.ndarray:
    """[units, …] with the units in the order a map of `layout` stores them in, one sample at a time."""
    units = np.arange(rows.shape[0]).reshape(layout.dims[1:])
    return np.ascontiguousarray(rows[np.transpose(units, [axis - 1 for axis in layout.perm[1:]]).reshape(-1)])


def _bias(site: Site, bias: Any, units: int, fallback: str, layout: Layout | None) -> str:
    if isinstance(bias, TorchValue):
        array, name, rule, values = bias.constant.array.reshape(-1), bias.origin or bias.name, PLACED, [bias.name]
        array = np.broadcast_to(array, (units,))
        array = array if layout is None else in_order(array, layout)
    else:
        array, name, rule, values = np.zeros(units, np.float32), fallback, ZERO_BIAS, []
    step = site.log(rule, after=[array_side(name, array)], values=values or [site.out.name])
    operand = site.builder.constant(name, array, values=values, steps=[step])
    site.note_operands(step, operand)
    return operand


def flattened_input(site: Site, input: TorchValue, weight: np.ndarray, name: str) -> tuple[str, np.ndarray, list[Step]]:
    """The input operand, and the [out, in] weight with its columns in the order the input lies in memory.

    A vector flattened from a channels-last feature map is taken as it lies: its layout's dims beyond the first
    tell how the columns are permuted.
    """
    held = site.held(input)
    layout = held.layout
    if layout.is_plain or len(input.type.shape or ()) != 2 or layout.perm[0] != 0 or layout.dims[0] != held.shape[0]:
        return site.plain(input), weight, []
    inner = tuple(axis for axis in layout.perm[1:])
    cube = weight.reshape(weight.shape[0], *layout.dims[1:])
    permuted = np.ascontiguousarray(np.transpose(cube, (0, *inner)).reshape(weight.shape))
    axes = ("out", *("CHW"[: len(inner)] if len(inner) == 3 else ("?",) * len(inner)))
    step = site.log(
        WEIGHT_COLUMNS,
        before=[array_side(name, cube, axes)],
        after=[array_side(name, permuted, ("out", "in"))],
        facts={"dims": layout.dims[1:], "perm": inner},
    )
    return held.operand, permuted, [step]


def finish_linear(
    site: Site, input: TorchValue, operand: str, steps: list[Step], layout: Layout | None = None, quant: Any = None,
    **arguments: Any,
) -> None:  # fmt: skip
    """FULLY_CONNECTED, then the leading dimensions back. `layout`: the order its weights' rows were put into."""
    shape = input.type.shape or ()
    if len(shape) > 4:
        operand = site.reshape(operand, (int(np.prod(shape[:-1])), shape[-1]), input)
    flat = len(shape) == 2
    name = site.add("FULLY_CONNECTED", input=operand, fuse=arguments.pop("fuse", "NONE"), steps=steps, quant=quant,
                    suffix="" if flat else "flat", **arguments)  # fmt: skip
    if not flat:
        step = site.log(RANK_RESTORED, facts={"rows": int(np.prod(shape[:-1])), "shape": site.out_shape})
        site.note_operands(step, name)
        name = site.reshape(name, site.out_shape, site.out, site.out.name)
        site.note_operands(step, name)
        site.builder.also_made_by(name, [step])
    site.place(name, layout or Layout.plain(site.out_shape))
