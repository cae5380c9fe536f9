"""Operations with weights and a bias: what their types, scales, accumulators and results have in common.

CONV_2D, DEPTHWISE_CONV_2D, GROUPED_CONV_2D, TRANSPOSE_CONV_2D and FULLY_CONNECTED sum products of inputs and
weights, add a bias, and clamp; on codes the sum is an int32 that wraps, scaled back by R.
Source: AOSP 13 `Conv2D.cpp`, `FullyConnected.cpp`, `OperationsExecutionUtils.cpp`
(GetQuantizedConvolutionMultiplier).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import (
    Dim,
    OperandCode,
    OperandType,
    PerChannel,
    Quant,
    float32_text,
    shape_text,
)
from nnapi_lab.numerics.activation_range import clamp_float, quantized_range
from nnapi_lab.numerics.requantize import (
    ChannelMultipliers,
    Multiplier,
    product_multiplier,
    product_multipliers,
    quantize_multiplier,
    requantize_accumulator,
)
from nnapi_lab.numerics.rounding import wrap
from nnapi_lab.ops.spec import Call, Constraint, LevelRule

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
Q8PC, I32 = OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL, OperandCode.TENSOR_INT32

# The reference takes |s_b - s_in s_w| up to this part of the smaller of the two.
BIAS_SCALE_TOLERANCE = 1e-6


def filter_types(key: OperandCode) -> tuple[OperandCode, ...]:
    """Types of a filter: the input's, or per-channel int8 for a quantized input."""
    return (key, Q8PC) if key in (Q8, Q8S) else (key,)


def bias_types(key: OperandCode) -> tuple[OperandCode, ...]:
    """Types of a bias: int32 for a quantized input, else the input's."""
    return (I32,) if key in (Q8, Q8S) else (key,)


# --- arithmetic --------------------------------------------------------------------------------------------


def factors(array: np.ndarray, type_: OperandType | None) -> np.ndarray:
    """Numbers to multiply: float32 as they are, codes as float64 distances from their zero point.

    A product of two distances is below 2^16, so float64 sums up to 2^37 of them exactly, and fast; the sum is
    cut to int32 at the end, where a C int32 would have wrapped on the way to the same bits.
    """
    if array.dtype == np.float32:
        return array
    return array.astype(np.float64) - (0 if type_ is None else type_.zero_point)


def activated(acc: np.ndarray, bias: np.ndarray, fuse: int, call: Call | None) -> np.ndarray:
    """Bias and activation of a float sum; bias, scaling by R and activation of an integer one.

    acc [..., channels]; bias [channels]. Codes: clamp(zp + R(acc + b; f32(s_in s_w) / s_out)), one s_w per
    channel where the filter has them; `call` tells the scales.
    """
    if acc.dtype == np.float32:
        return clamp_float(acc + bias, fuse)
    if call is None:
        raise TypeError("codes cannot be summed without the call that tells their scales")
    out, scale_in, filter_quant = call.out, call["input"].scale, filter_type(call).quant
    total = wrap(acc.astype(np.int64) + bias)
    multiplier: Multiplier | ChannelMultipliers
    if isinstance(filter_quant, PerChannel):
        multiplier = product_multipliers(scale_in, filter_quant.scales, out.scale)
    else:
        multiplier = quantize_multiplier(product_multiplier(scale_in, filter_type(call).scale, out.scale))
    low, high = quantized_range(fuse, out.scale, out.zero_point, *out.code.code_range)
    return requantize_accumulator(total, multiplier, out.zero_point, low, high, out.code.numpy)


# --- rules -------------------------------------------------------------------------------------------------


def filter_type(call: Call) -> OperandType:
    """The type of the weights, whatever the operation calls them."""
    held: OperandType = call["filter"] if "filter" in call.types else call["weights"]
    return held


def bias_scale_seen(call: Call) -> str | None:
    """A bias with a zero point, or with another scale than input scale * filter scale (0 for per-channel)."""
    if not call.is_quantized:
        return None
    bias, weights = call["bias"], filter_type(call)
    if bias.zero_point != 0:
        return f"bias has zero point {bias.zero_point}, not 0"
    if isinstance(weights.quant, PerChannel):
        return None if bias.scale == 0 else f"bias has scale {float32_text(bias.scale)}, not 0"
    product = scale_product(call)
    if abs(product - bias.scale) <= BIAS_SCALE_TOLERANCE * min(product, bias.scale):
        return None
    return (
        f"bias has scale {float32_text(bias.scale)}, input scale {float32_text(call['input'].scale)} times "
        f"filter scale {float32_text(weights.scale)} is {float32_text(product)}"
    )


def scale_product(call: Call) -> float:
    """f32(input scale * filter scale)."""
    return float(np.float32(call["input"].scale) * np.float32(filter_type(call).scale))


def out_quant_seen(call: Call) -> str | None:
    """A quantized result without a scale, or with one so small that the multiplier leaves 31 bits."""
    if not call.is_quantized:
        return None
    wanted = call.wanted_quant()
    if not isinstance(wanted, Quant) or not wanted.scale > 0:
        return f"the scale of the {call.key.name} result is not given; the operation leaves it to the caller"
    weights = filter_type(call)
    scales = weights.quant.scales if isinstance(weights.quant, PerChannel) else (weights.scale,)
    largest = max((product_multiplier(call["input"].scale, scale, wanted.scale) for scale in scales), default=0)
    if largest >= 2**31:
        return f"input scale * filter scale / output scale is {largest:.3g}, more than 31 bits can scale by"
    return None


def per_channel_seen(call: Call, channel_axis: int) -> str | None:
    """Per-channel scales along another axis than the output channels, or not one for each of them."""
    weights = filter_type(call)
    if weights.code != Q8PC:
        return None
    if not isinstance(weights.quant, PerChannel):
        return "the per-channel filter has no scales"
    if weights.quant.axis != channel_axis:
        return f"the filter's scales run along axis {weights.quant.axis}, not {channel_axis}"
    channels = None if weights.shape is None else weights.shape[channel_axis]
    if isinstance(channels, int) and len(weights.quant.scales) != channels:
        return f"the filter has {len(weights.quant.scales)} scales for {channels} output channels"
    return None


def bias_length_seen(call: Call, channel_axis: int) -> str | None:
    """A bias that is not one number per output channel."""
    bias, weights = call["bias"].shape, filter_type(call).shape
    if bias is None or weights is None or len(bias) != 1:
        return None
    if isinstance(bias[0], Dim) or isinstance(weights[channel_axis], Dim) or bias[0] == weights[channel_axis]:
        return None
    return f"bias {shape_text(bias)} does not match the {weights[channel_axis]} outputs of {shape_text(weights)}"


def weighted_constraints(first: int, channel_axis: int, per_channel: bool = True) -> tuple[Constraint, ...]:
    """The rules on bias, scales and result that all weighted operations share, numbered from `first`."""
    rules: list[tuple[str, Callable[[Call], str | None]]] = [
        ("bias holds one number per output channel", lambda call: bias_length_seen(call, channel_axis)),
        (
            "quantized: bias zero point 0, bias scale = input scale * filter scale within 1e-6; "
            "0 for a per-channel filter",
            bias_scale_seen,
        ),
        ("quantized: the result's scale is given by the caller", out_quant_seen),
    ]
    if per_channel:
        rules.append(
            (
                f"a per-channel filter has one scale per output channel, channelDim {channel_axis}",
                lambda call: per_channel_seen(call, channel_axis),
            )
        )
    return tuple(Constraint(f"C{first + i}", rule, check) for i, (rule, check) in enumerate(rules))


# --- levels ------------------------------------------------------------------------------------------------


def out_scale_is_low(call: Call) -> bool:
    """TENSOR_QUANT8_ASYMM with an output scale that is not above input scale * filter scale."""
    wanted = call.wanted_quant()
    if call.key != Q8 or not isinstance(wanted, Quant):
        return False
    return not np.float32(wanted.scale) > np.float32(scale_product(call))


def filter_scale_is_high(call: Call) -> bool:
    """TENSOR_QUANT8_ASYMM with a filter scale of 1 or more: input scale not above its product with it."""
    return call.key == Q8 and not np.float32(call["input"].scale) > np.float32(scale_product(call))


OUT_SCALE_LEVEL = LevelRule(
    3, "below feature level 3 the output scale must be above input scale * filter scale", out_scale_is_low
)
FILTER_SCALE_LEVEL = LevelRule(
    3,
    "Android's validator compares the input's scale in place of the output's, so below feature level 3 it "
    "also wants a filter scale below 1",
    filter_scale_is_high,
)
