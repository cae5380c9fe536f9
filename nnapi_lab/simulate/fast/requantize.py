"""From accumulators to codes in one pass: bias, multiplier R, zero point, clamp.

The arithmetic is that of `numerics.requantize`, written for one element: with x the int32 sum,

    H = (x m + 2^30) >> 31      P = (H + 2^(r-1) - [H < 0]) >> r      code = clamp(P + zero_point)

in 64 bits, where `>>` rounds down: H is gemmlowp's rounding doubling high product (the constant 2^30 serves both
signs, because it truncates toward zero after adding 1 - 2^30 to a negative product), P its rounding shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnapi_lab.ir.operand_types import OperandType, PerChannel
from nnapi_lab.numerics.activation_range import quantized_range
from nnapi_lab.numerics.requantize import product_multiplier, quantize_multiplier
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.compiled import compiled


@dataclass(frozen=True, slots=True)
class Requantization:
    """Everything after the sum, one row per output channel. Multipliers of 1 and more are not for us."""

    bias: np.ndarray  # int32 [channels]
    mantissa: np.ndarray  # int64 [channels]
    shift: np.ndarray  # int64 [channels], r
    half: np.ndarray  # int64 [channels], 2^(r-1), 0 for r = 0
    odd: np.ndarray  # int64 [channels], -1 where a negative H is corrected, 0 for r = 0
    zero_point: int
    low: int
    high: int

    def apply(self, acc: np.ndarray, out: np.ndarray) -> None:
        """Write the codes of `acc` [rows, channels] (int32, or float32 holding integers) to `out`."""
        _requantize(
            acc, self.bias, self.mantissa, self.shift, self.half, self.odd, self.zero_point, self.low, self.high, out
        )


def requantization(call: Call, filter_type: OperandType, bias: np.ndarray) -> Requantization | None:
    """The last line of a convolution or matrix product; None when a multiplier shifts to the left.

    `bias` [channels] may hold corrections; it is an int32 and wraps.
    """
    quant, out = filter_type.quant, call.out
    scales = quant.scales if isinstance(quant, PerChannel) else (filter_type.scale,)
    pairs = [quantize_multiplier(product_multiplier(call["input"].scale, s, out.scale)) for s in scales]
    if any(pair.exponent > 0 or pair.mantissa < 0 for pair in pairs):
        return None
    channels = bias.size
    mantissa = np.array([pair.mantissa for pair in pairs], np.int64)
    shift = np.array([-pair.exponent for pair in pairs], np.int64)
    low, high = quantized_range(call["fuse"], out.scale, out.zero_point, *out.code.code_range)
    return Requantization(
        np.ascontiguousarray(bias, np.int32),
        np.broadcast_to(mantissa, (channels,)).copy(),
        np.broadcast_to(shift, (channels,)).copy(),
        np.broadcast_to(np.where(shift > 0, (1 << shift) >> 1, 0), (channels,)).copy(),
        np.broadcast_to(np.where(shift > 0, -1, 0), (channels,)).astype(np.int64),
        out.zero_point,
        low,
        high,
    )


@compiled
def _requantize(acc, bias, mantissa, shift, half, odd, zero_point, low, high, out):
    for row in range(acc.shape[0]):
        for channel in range(acc.shape[1]):
            total = np.int64(np.int32(np.int64(acc[row, channel]) + bias[channel]))  # an int32, as in C
            product = (total * mantissa[channel] + (1 << 30)) >> 31
            scaled = (product + half[channel] + ((product >> 63) & odd[channel])) >> shift[channel]
            out[row, channel] = min(max(scaled + zero_point, low), high)
