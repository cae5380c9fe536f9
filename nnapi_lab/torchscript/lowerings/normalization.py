"""Normalizations computed from the input: layer, group, instance, root mean square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.islands import FLOAT_ISLAND
from nnapi_lab.rewrites.normalization import MOMENTS, STANDARDIZED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.lowerings.arithmetic import scale_and_shift
from nnapi_lab.torchscript.lowerings.reduction import reduced
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side, torch_side
from nnapi_lab.torchscript.site import Site

_CUDNN = ("cudnn_enabled",)
_OUT = ("output_scale", "output_zero_point")
_RMS: dict[str, Any] = {"rule": DECOMPOSED, "facts": {"formula": "x · RSQRT(MEAN(x²) + eps)"}}


@lowers("aten::layer_norm", "quantized::layer_norm", ignores=("cudnn_enable", *_OUT))
def layer_norm(
    site: Site, input: TorchValue, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> None:  # fmt: skip
    """Over the last dimensions, wherever they lie together."""
    layout, view, dims = _viewed(site, input, len(normalized_shape))
    operand = _instance_norm(site, _read(site, input, layout, view), eps, nchw=False)
    _finish(site, operand, _over(dims, layout, view), (weight, bias), layout)


@lowers("aten::rms_norm")
def rms_norm(
    site: Site, input: TorchValue, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> None:
    """x / sqrt(mean of squares + eps); without eps torch takes the distance from 1 to the next float."""
    layout, view, dims = _viewed(site, input, len(normalized_shape))
    x = _read(site, input, layout, view)
    operand = _over_root(site, x, x, [1], float(np.finfo(np.float32).eps) if eps is None else eps, _RMS)
    _finish(site, operand, _over(dims, layout, view), (weight, None), layout)


def _viewed(site: Site, input: TorchValue, count: int) -> tuple[Layout, tuple[int, ...], tuple[int, ...]]:
    """Layout, the shape [outer, elements, 1, inner] in which the last `count` dims are the elements, those dims.

    They lie together in most layouts; otherwise they are brought to the end.
    """
    shape = input.type.shape or ()
    dims = tuple(range(len(shape) - count, len(shape)))
    layout = site.layout_of(input)
    if layout is None or layout.dims != shape:
        layout = Layout.plain(shape)
    places = [place for place, axis in enumerate(layout.perm) if axis in dims and shape[axis] != 1]
    between = layout.stored_dims[places[0] : places[-1] + 1] if places else ()
    if math.prod(between) != math.prod(shape[axis] for axis in dims):
        layout = Layout(shape, tuple(axis for axis in layout.perm if axis not in dims) + dims)
        places = list(range(len(shape) - count, len(shape)))
    first, last = (places[0], places[-1] + 1) if places else (len(shape), len(shape))
    stored = layout.stored_dims
    view = (math.prod(stored[:first]), math.prod(stored[first:last]), 1, math.prod(stored[last:]))
    return layout, view, dims


def _over(dims: tuple[int, ...], layout: Layout, view: tuple[int, ...]) -> tuple[Layout, tuple[int, ...]]:
    """How a parameter over `dims` is stored, and the shape it has beside `view`."""
    order = tuple(axis - dims[0] for axis in layout.perm if axis in dims)
    return Layout(tuple(layout.dims[axis] for axis in dims), order), (view[1], 1, 1)


# --- groups and channels -------------------------------------------------------------------------------------


@lowers("aten::group_norm", "quantized::group_norm", ignores=(*_CUDNN, *_OUT))
def group_norm(
    site: Site, input: TorchValue, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> None:
    _grouped(site, input, num_groups, weight, bias, eps)


def _grouped(site: Site, input: TorchValue, groups: int, weight: Any, bias: Any, eps: float) -> None:
    """Channels first, the elements of a group lie together; channels last, they are averaged over two dims."""
    shape = input.type.shape or ()
    layout = _channels_layout(site, input)
    batch, channels, pixels = shape[0], shape[1], math.prod(shape[2:])
    view = (batch, channels, pixels) if layout.is_plain else (batch, pixels, channels)
    if layout.is_plain or groups == 1:
        x = _read(site, input, layout, (batch * groups, channels // groups * pixels, 1, 1))
        operand = _instance_norm(site, x, eps, nchw=False)
    elif groups == channels:
        operand = _instance_norm(site, _read(site, input, layout, layout.stored_dims), eps, nchw=False)
    else:
        x = _read(site, input, layout, (batch, pixels, groups, channels // groups))
        operand = _moments(site, x, eps)
    if weight is not None or bias is not None:
        operand = site.reshape(operand, view, site.out)
    _finish(site, operand, _per_channel(layout, channels), (weight, bias), layout)


@lowers("aten::instance_norm", ignores=("momentum", *_CUDNN))
def instance_norm(
    site: Site, input: TorchValue, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool,
    eps: float,
) -> None:  # fmt: skip
    """Each channel of each image; with running statistics it is a batch norm."""
    if not use_input_stats:
        _by_running_statistics(site, input, (weight, bias, running_mean, running_var), eps)
        return
    _per_image(site, input, weight, bias, eps)


@lowers("quantized::instance_norm", ignores=_OUT)
def quantized_instance_norm(site: Site, input: TorchValue, weight: Any, bias: Any, eps: float) -> None:
    _per_image(site, input, weight, bias, eps)


def _per_image(site: Site, input: TorchValue, weight: Any, bias: Any, eps: float) -> None:
    shape = input.type.shape or ()
    if len(shape) < 3:
        site.not_yet("INSTANCE_NORM_RANK", f"instance_norm of {list(shape)}: no pixels to average over")
    layout = _channels_layout(site, input)
    if layout.is_plain:
        operand = _read(site, input, layout, (*shape[:2], math.prod(shape[2:]), 1))
        operand = _instance_norm(site, operand, eps, nchw=True)
        over: tuple[Layout, tuple[int, ...]] = Layout((shape[1],), (0,)), (shape[1], 1, 1)
    else:
        operand = _instance_norm(site, _read(site, input, layout, layout.stored_dims), eps, nchw=False)
        over = _per_channel(layout, shape[1])
    _finish(site, operand, over, (weight, bias), layout)


def _channels_layout(site: Site, input: TorchValue) -> Layout:
    """Channels last where the value is stored so already, plain otherwise."""
    shape = input.type.shape or ()
    layout = site.layout_of(input)
    if layout is not None and len(shape) == 4 and layout == Layout.nhwc(shape):
        return layout
    return Layout.plain(shape)


def _per_channel(layout: Layout, channels: int) -> tuple[Layout, tuple[int, ...]]:
    return Layout((channels,), (0,)), (channels, 1) if layout.is_plain else (channels,)


def _by_running_statistics(site: Site, input: TorchValue, parameters: Sequence[Any], eps: float) -> None:
    arrays = []
    for value in parameters:
        data = value.constant if isinstance(value, TorchValue) else None
        if isinstance(value, TorchValue) and not isinstance(data, TensorData):
            site.not_yet("INSTANCE_NORM_PARAMETERS", f"{value.name} is computed by the model")
        arrays.append(None if data is None else data.array.astype(np.float64))
    weight, bias, mean, variance = arrays
    if mean is None or variance is None:
        site.forbid("INSTANCE_NORM", "instance_norm without statistics of its own or of the input")
    gain = (1.0 if weight is None else weight) / np.sqrt(variance + eps)
    shift = (0.0 if bias is None else bias) - mean * gain
    shape = (1, -1, *(1 for _ in (input.type.shape or ())[2:]))
    values = [value.name for value in parameters if isinstance(value, TorchValue)]
    step = site.log(DECOMPOSED, values=[site.out.name, *values], facts={"formula": "x · gain + shift"})
    scale_and_shift(site, input, gain.reshape(shape).astype(np.float32), shift.reshape(shape).astype(np.float32),
                    values, [step])  # fmt: skip


# --- parts ---------------------------------------------------------------------------------------------------


def _read(site: Site, input: TorchValue, layout: Layout, view: tuple[int, ...]) -> str:
    """The operand as float32 under the shape the operation needs."""
    if input.type.dtype == "float16":
        site.not_yet("NORM_HALF", f"{site.node.kind} in float16: NNAPI would sum in float16, PyTorch sums in float32",
                     fix="convert to float32 around it, or lower with relaxed=True",
                     source="AOSP 13 InstanceNormalization.cpp")  # fmt: skip
    operand = site.read(input, layout)
    if input.type.quant is not None:
        step = site.log(FLOAT_ISLAND, before=[torch_side(input)], values=[input.name])
        operand = site.add("DEQUANTIZE", input=operand, suffix="real", steps=[step])
    return site.reshape(operand, view, input)


def _instance_norm(site: Site, operand: str, eps: float, nchw: bool) -> str:
    return site.add("INSTANCE_NORMALIZATION", input=operand, gamma=1.0, beta=0.0, epsilon=float(eps), nchw=nchw,
                    rule=STANDARDIZED, suffix="standard")  # fmt: skip


def _moments(site: Site, operand: str, eps: float) -> str:
    """[batch, pixels, groups, channels of a group]: mean and variance over pixels and channels."""
    name = site.out.name
    common: dict[str, Any] = {"rule": MOMENTS, "facts": {"formula": MOMENTS.formula}}
    mean = reduced(site, "MEAN", operand, [1, 3], keep=True, name=f"{name}.mean", **common)
    centred = site.add("SUB", input0=operand, input1=mean, fuse="NONE", suffix="centred", **common)
    return _over_root(site, centred, centred, [1, 3], eps, common)


def _over_root(site: Site, operand: str, measured: str, axes: list[int], eps: float, common: dict[str, Any]) -> str:
    """operand · RSQRT(MEAN(measured²) + eps)."""
    square = site.add("MUL", input0=measured, input1=measured, fuse="NONE", suffix="square", **common)
    mean = reduced(site, "MEAN", square, axes, keep=True, name=f"{site.out.name}.variance", **common)
    safe = site.add("ADD", input0=mean, input1=_constant(site, "eps", np.array([eps], np.float32), []), fuse="NONE",
                    suffix="safe", **common)  # fmt: skip
    root = site.add("RSQRT", input=safe, suffix="rsqrt", **common)
    return site.add("MUL", input0=operand, input1=root, fuse="NONE", suffix="standard", **common)


def _finish(
    site: Site, operand: str, over: tuple[Layout, tuple[int, ...]], parameters: tuple[Any, Any], layout: Layout
) -> None:
    """MUL by the weight, ADD the bias, back to the layout's shape, QUANTIZE a quantized result."""
    for kind, value, label in zip(("MUL", "ADD"), parameters, ("weighted", "shifted"), strict=True):
        if value is not None:
            parameter = _parameter(site, value, *over)
            operand = site.add(kind, input0=operand, input1=parameter, fuse="NONE", suffix=label, rule=STANDARDIZED)
    if site.out.type.quant is None:
        site.place(site.reshape(operand, layout.stored_dims, site.out, site.out.name), layout)
        return
    operand = site.reshape(operand, layout.stored_dims, site.out, f"{site.out.name}.shaped")
    steps = [site.log(FLOAT_ISLAND, after=[torch_side(site.out)]), *site.shift_step(site.out)]
    site.place(site.add("QUANTIZE", input=operand, quant=site.quant_of(site.out), steps=steps), layout)


def _parameter(site: Site, value: TorchValue, layout: Layout, shape: tuple[int, ...]) -> str:
    """A weight or bias in the order the elements lie, in the shape that broadcasts."""
    data = value.constant
    if isinstance(data, TensorData):
        return _constant(site, value.origin or value.name, layout.store(data.array).reshape(shape), [value.name])
    return site.reshape(site.read(value, layout), shape, value)


def _constant(site: Site, name: str, array: np.ndarray, values: list[str]) -> str:
    values = values or [site.out.name]
    step = site.log(PLACED, after=[array_side(name, array)], values=values)
    operand = site.builder.constant(name, array.astype(np.float32), values=values, steps=[step])
    site.note_operands(step, operand)
    return operand
