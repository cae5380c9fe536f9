"""Convolutions: weights reordered, batch norm folded, bias made mandatory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PLACED, ZERO_BIAS
from nnapi_lab.rewrites.fusion import BATCH_NORM_FOLDED
from nnapi_lab.rewrites.layout import WEIGHT_1HWC, WEIGHT_IOHW, WEIGHT_OHWI
from nnapi_lab.rewrites.rule import Rule, Step
from nnapi_lab.rewrites.shapes import BLOCK_DIAGONAL, KERNEL_STUFFED, PAD_SEPARATED
from nnapi_lab.torchscript.lowerings.shape import padding_table
from nnapi_lab.torchscript.maps import check_map, map_dims, place_map, read_map, two
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side, torch_side
from nnapi_lab.torchscript.site import Site

_CUDNN = ("benchmark", "deterministic", "cudnn_enabled", "allow_tf32")


@dataclass(frozen=True)
class Filter:
    """Weights on their way into NNAPI: torch order, possibly folded, with the Steps that changed them."""

    weight: np.ndarray
    bias: np.ndarray | None
    name: str
    bias_name: str
    steps: tuple[Step, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """A convolution's numbers in torch's terms, height first."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, int] = (0, 0)
    tail: tuple[int, int] = field(default=(0, 0))  # extra padding at the end, for padding='same'

    def arguments(self) -> dict[str, Any]:
        """Pads and strides under NNAPI's names."""
        (pad_h, pad_w), (tail_h, tail_w) = self.padding, self.tail
        lost_h, lost_w = self.output_padding
        return {
            "pad_left": pad_w, "pad_right": pad_w + tail_w - lost_w, "pad_top": pad_h,
            "pad_bottom": pad_h + tail_h - lost_h, "stride_w": self.stride[1], "stride_h": self.stride[0],
        }  # fmt: skip


@lowers("aten::_convolution", ignores=_CUDNN)
def convolution(
    site: Site, input: TorchValue, weight: TorchValue, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> None:  # fmt: skip
    geometry = geometry_of(weight, stride, padding, dilation, groups, transposed, output_padding)
    _float_convolution(site, input, weight, bias, geometry)


@lowers("aten::conv2d", "aten::conv1d")
def conv2d(
    site: Site, input: TorchValue, weight: TorchValue, bias: Any, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> None:  # fmt: skip
    if isinstance(padding, str):
        _float_convolution(site, input, weight, bias, _named_padding(site, weight, padding, stride, dilation, groups))
        return
    _float_convolution(site, input, weight, bias, geometry_of(weight, stride, padding, dilation, groups))


@lowers("aten::_convolution_mode")
def convolution_mode(
    site: Site, input: TorchValue, weight: TorchValue, bias: Any, stride: Any, padding: str, dilation: Any,
    groups: int,
) -> None:  # fmt: skip
    _float_convolution(site, input, weight, bias, _named_padding(site, weight, padding, stride, dilation, groups))


@lowers("aten::conv_transpose2d", "aten::conv_transpose1d")
def conv_transpose2d(
    site: Site, input: TorchValue, weight: TorchValue, bias: Any, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> None:  # fmt: skip
    geometry = geometry_of(weight, stride, padding, dilation, groups, True, output_padding)
    _float_convolution(site, input, weight, bias, geometry)


def spatial_of(weight: TorchValue) -> int:
    """How many image dimensions a filter has."""
    return len(weight.type.shape or ()) - 2


def geometry_of(
    weight: TorchValue, stride: Any, padding: Any, dilation: Any, groups: int, transposed: bool = False,
    output_padding: Any = (0,),
) -> Geometry:  # fmt: skip
    """Height and width of every argument; a 1-D convolution has height 1."""
    spatial = spatial_of(weight)
    return Geometry(two(stride, spatial, 1), two(padding, spatial, 0), two(dilation, spatial, 1), groups, transposed,
                    two(output_padding, spatial, 0))  # fmt: skip


def pair(numbers: Sequence[int]) -> tuple[int, int]:
    """torch writes one number for both axes now and then."""
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[-1])


def _named_padding(site: Site, weight: TorchValue, padding: str, stride: Any, dilation: Any, groups: int) -> Geometry:
    """'same' puts the odd element at the tail, as NNAPI's SAME does at stride 1; written out explicitly."""
    spatial = spatial_of(weight)
    steps, spread = two(stride, spatial, 1), two(dilation, spatial, 1)
    if padding == "valid":
        return Geometry(steps, (0, 0), spread, groups)
    sizes = two((weight.type.shape or ())[2:], spatial, 1)
    totals = [step * (size - 1) for step, size in zip(spread, sizes, strict=True)]
    heads = (totals[0] // 2, totals[1] // 2)
    tails = (totals[0] - 2 * heads[0], totals[1] - 2 * heads[1])
    return Geometry(steps, heads, spread, groups, tail=tails)


def _float_convolution(site: Site, input: TorchValue, weight: TorchValue, bias: Any, geometry: Geometry) -> None:
    spatial = spatial_of(weight)
    if spatial > 2:
        site.forbid("CONV_3D", "NNAPI has no 3-D convolution", fix="split the depth into 2-D convolutions",
                    source="NNAPI CONV_2D: rank 4")  # fmt: skip
    held = weight.constant
    if not isinstance(held, TensorData):
        site.not_yet("CONV_WEIGHT", f"the weight {weight.name} is computed by the model, not a constant")
    plain_bias = bias.constant.array if isinstance(bias, TorchValue) and bias.is_constant else None
    if isinstance(bias, TorchValue) and plain_bias is None:
        site.not_yet("CONV_BIAS", f"the bias {bias.name} is computed by the model, not a constant")
    array = held.array[:, :, None, :] if spatial == 1 else held.array
    filter = Filter(
        array, plain_bias, weight.origin or weight.name,
        bias.origin or bias.name if isinstance(bias, TorchValue) else f"{weight.origin or weight.name}.bias",
        (), tuple(value.name for value in (weight, bias) if isinstance(value, TorchValue)),
    )  # fmt: skip
    channels = map_dims(input.type.shape or (), spatial)[1]
    filter, geometry = representable(site, filter, geometry, channels)
    result, filter = fold_batch_norm(site, filter, geometry)
    emit_float(site, input, filter, geometry, result, spatial)


def representable(site: Site, filter: Filter, geometry: Geometry, channels: int) -> tuple[Filter, Geometry]:
    """The same convolution without what NNAPI has no argument for: a dilated transposed, a grouped dilated one."""
    dilated = geometry.dilation != (1, 1)
    if geometry.transposed and dilated:
        weight = stuffed(filter.weight, geometry.dilation)
        step = _weight_step(site, KERNEL_STUFFED, filter, weight, dilation=geometry.dilation)
        filter = replace(filter, weight=weight, steps=(*filter.steps, step))
        geometry = replace(geometry, dilation=(1, 1))
    grouped = geometry.groups != 1 and (geometry.transposed or (dilated and geometry.groups != channels))
    if grouped:
        weight = dense(filter.weight, geometry.groups)
        step = _weight_step(site, BLOCK_DIAGONAL, filter, weight, groups=geometry.groups)
        filter = replace(filter, weight=weight, steps=(*filter.steps, step))
        geometry = replace(geometry, groups=1)
    return filter, geometry


def _weight_step(site: Site, rule: Rule, filter: Filter, weight: np.ndarray, **facts: Any) -> Step:
    return site.log(rule, before=[array_side(filter.name, filter.weight)], after=[array_side(filter.name, weight)],
                    facts=facts)  # fmt: skip


def stuffed(weight: np.ndarray, dilation: tuple[int, int]) -> np.ndarray:
    """A filter with zeros between its weights, which does undilated what `weight` does dilated."""
    height, width = ((size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True))
    wide = np.zeros((*weight.shape[:2], height, width), weight.dtype)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def dense(weight: np.ndarray, groups: int) -> np.ndarray:
    """A filter without groups that is zero between them. Shapes [O, I/g, …] or transposed [I, O/g, …]."""
    rows, columns = weight.shape[:2]
    wide = np.zeros((rows, columns * groups, *weight.shape[2:]), weight.dtype)
    per_group = rows // groups
    for group in range(groups):
        own = slice(group * per_group, (group + 1) * per_group)
        wide[own, group * columns : (group + 1) * columns] = weight[own]
    return wide


def fold_batch_norm(site: Site, filter: Filter, geometry: Geometry) -> tuple[TorchValue, Filter]:
    """Take in a following batch norm with constant statistics; returns the value that is then computed."""
    out = site.out
    node = site.sole_consumer(out)
    if node is None or node.kind != "aten::batch_norm" or node.inputs[0] != out.name:
        return out, filter
    gamma, beta, mean, var = (site.graph[node.argument(name)] for name in ("weight", "bias", "running_mean",
                                                                          "running_var"))  # fmt: skip
    arrays = [value.constant.array.astype(np.float64) if isinstance(value.constant, TensorData) else None
              for value in (gamma, beta, mean, var)]  # fmt: skip
    if arrays[2] is None or arrays[3] is None or site.graph[node.argument("training")].constant:
        return out, filter
    eps = float(site.graph[node.argument("eps")].constant)
    gain = (1.0 if arrays[0] is None else arrays[0]) / np.sqrt(arrays[3] + eps)
    shift = (0.0 if arrays[1] is None else arrays[1]) - arrays[2] * gain
    shaped = gain.reshape((1, -1, 1, 1) if geometry.transposed else (-1, 1, 1, 1))
    if geometry.transposed and geometry.groups != 1:
        return out, filter
    weight = (filter.weight.astype(np.float64) * shaped).astype(np.float32)
    bias = (shift if filter.bias is None else filter.bias * gain + shift).astype(np.float32)
    result = site.graph[node.outputs[0]]
    step = site.log(
        BATCH_NORM_FOLDED,
        values=[out.name, result.name],
        before=[array_side(filter.name, filter.weight, ("O", "I", "H", "W")), array_side("gamma/sqrt(var+eps)", gain)],
        after=[array_side(filter.name, weight, ("O", "I", "H", "W")), array_side("bias", bias)],
        facts={"eps": eps, "channels": len(gain), "batch norm": node.scope or node.name},
    )
    site.absorb(node)
    names = tuple(value.name for value in (gamma, beta, mean, var) if value.is_constant and value.type.is_tensor)
    return result, replace(filter, weight=weight, bias=bias, steps=(*filter.steps, step),
                           values=(*filter.values, *names))  # fmt: skip


def kind_and_weight(site: Site, weight: np.ndarray, geometry: Geometry, channels: int) -> tuple[
    str, np.ndarray, Rule, tuple[str, ...], tuple[str, ...]
]:  # fmt: skip
    """Which NNAPI convolution it is, and its weights in NNAPI's order with axis names before and after."""
    if geometry.transposed:
        if geometry.groups != 1:
            site.not_yet("CONV_TRANSPOSE_GROUPS", f"a transposed convolution with {geometry.groups} groups")
        return ("TRANSPOSE_CONV_2D", np.transpose(weight, (1, 2, 3, 0)), WEIGHT_IOHW, ("I", "O", "H", "W"),
                ("O", "H", "W", "I"))  # fmt: skip
    if geometry.groups == channels and channels > 1:
        return ("DEPTHWISE_CONV_2D", np.transpose(weight, (1, 2, 3, 0)), WEIGHT_1HWC, ("C·m", "1", "H", "W"),
                ("1", "H", "W", "C·m"))  # fmt: skip
    kind = "CONV_2D" if geometry.groups == 1 else "GROUPED_CONV_2D"
    return kind, np.transpose(weight, (0, 2, 3, 1)), WEIGHT_OHWI, ("O", "I", "H", "W"), ("O", "H", "W", "I")


def extra_arguments(site: Site, kind: str, weight: np.ndarray, geometry: Geometry, channels: int) -> dict[str, Any]:
    """Arguments only some of the convolutions have."""
    dilated = geometry.dilation != (1, 1)
    dilation = {"dilation_w": geometry.dilation[1], "dilation_h": geometry.dilation[0]} if dilated else {}
    if kind == "DEPTHWISE_CONV_2D":
        return {"depth_multiplier": weight.shape[3] // channels, **({"nchw": False} | dilation if dilated else {})}
    if kind == "CONV_2D":
        return {"nchw": False} | dilation if dilated else {}
    if dilated:
        site.not_yet("CONV_DILATION", f"{kind} has no dilation",
                     fix="use a dense or depthwise convolution", source="NNAPI signature")  # fmt: skip
    if kind == "GROUPED_CONV_2D":
        return {"num_groups": geometry.groups, "nchw": False}
    return {"nchw": False}


def padded_apart(site: Site, operand: str, geometry: Geometry, sizes: Sequence[int]) -> tuple[str, Geometry]:
    """Padding as wide as the filter becomes a PAD in front: the convolution itself takes only narrower ones."""
    extents = [step * (size - 1) + 1 for step, size in zip(geometry.dilation, sizes, strict=True)]
    widths = [head + tail for head, tail in zip(geometry.padding, geometry.tail, strict=True)]
    if geometry.transposed or all(width < extent for width, extent in zip(widths, extents, strict=True)):
        return operand, geometry
    amounts = list(zip(geometry.padding, widths, strict=True))
    table = padding_table(site, [(0, 0), *amounts, (0, 0)])
    padded = site.add("PAD", input=operand, paddings=table, suffix="padded", rule=PAD_SEPARATED,
                      facts={"pad": geometry.padding, "filter": tuple(extents)})  # fmt: skip
    return padded, replace(geometry, padding=(0, 0), tail=(0, 0))


def emit_float(
    site: Site, input: TorchValue, filter: Filter, geometry: Geometry, result: TorchValue, spatial: int = 2
) -> None:
    channels = map_dims(input.type.shape or (), spatial)[1]
    kind, weight, rule, before, after = kind_and_weight(site, filter.weight, geometry, channels)
    weight = np.ascontiguousarray(weight)
    step = site.log(
        rule,
        before=[array_side(filter.name, filter.weight, before)],
        after=[array_side(filter.name, weight, after)],
        facts={"weight": filter.name},
    )
    source, geometry = padded_apart(site, read_map(site, input, spatial), geometry, filter.weight.shape[2:])
    weight_name = site.builder.constant(filter.name, weight, values=filter.values, steps=[*filter.steps, step])
    site.note_operands(step, weight_name)
    bias_name = _float_bias(site, filter, weight.shape[3 if kind == "DEPTHWISE_CONV_2D" else 0])
    name = site.add(
        kind, input=source, filter=weight_name, bias=bias_name, fuse="NONE", steps=filter.steps,
        facts={"layout": "NHWC"}, suffix="" if result is site.out else "folded",
        **geometry.arguments(), **extra_arguments(site, kind, weight, geometry, channels),
    )  # fmt: skip
    for step in filter.steps:
        site.note_operands(step, weight_name, bias_name)
    site.builder.also_from(name, [result.name])
    place_map(site, name, result, spatial)


def _float_bias(site: Site, filter: Filter, channels: int) -> str:
    if filter.bias is None:
        bias = np.zeros(channels, np.float32)
        step = site.log(ZERO_BIAS, after=[array_side(filter.bias_name, bias)], facts={"channels": channels})
    else:
        bias = filter.bias
        step = site.log(PLACED, after=[array_side(filter.bias_name, bias)])
    name = site.builder.constant(filter.bias_name, bias, values=filter.values, steps=[*filter.steps, step])
    site.note_operands(step, name)
    return name


def check_shape(site: Site, operand: str, value: TorchValue) -> None:
    """The inferred NNAPI shape must be torch's, permuted."""
    check_map(site, operand, value)


@lowers("aten::batch_norm", ignores=("momentum", "cudnn_enabled"))
def batch_norm(
    site: Site, input: TorchValue, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
    eps: float,
) -> None:  # fmt: skip
    """A batch norm that no convolution precedes: one MUL and one ADD with constants."""
    from nnapi_lab.torchscript.lowerings.arithmetic import scale_and_shift

    if training or not isinstance(running_mean, TorchValue) or not isinstance(running_var, TorchValue):
        site.forbid("BATCH_NORM", "batch norm needs running statistics", fix="call model.eval() before lowering")
    rank = len(input.type.shape or ())
    mean, var = (value.constant.array.astype(np.float64) for value in (running_mean, running_var))
    gain = 1.0 / np.sqrt(var + eps)
    if isinstance(weight, TorchValue):
        gain = gain * weight.constant.array
    shift = -mean * gain
    if isinstance(bias, TorchValue):
        shift = shift + bias.constant.array
    shape = (1, -1, *[1] * (rank - 2))
    origins = [value.name for value in (weight, bias, running_mean, running_var) if isinstance(value, TorchValue)]
    step = site.log(BATCH_NORM_FOLDED, before=[torch_side(running_mean), torch_side(running_var)],
                    after=[array_side("gain", gain), array_side("shift", shift)], facts={"eps": eps})  # fmt: skip
    scale_and_shift(site, input, gain.astype(np.float32).reshape(shape), shift.astype(np.float32).reshape(shape),
                    origins, [step])  # fmt: skip
