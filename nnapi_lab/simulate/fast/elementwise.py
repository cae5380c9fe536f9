"""Twins of element-by-element operations: tables for 8-bit codes, one pass for QUANTIZE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.compiled import compiled
from nnapi_lab.simulate.fast.shapes import known_shape
from nnapi_lab.simulate.fast.tables import bits, look_up, look_up_pair, pair_table, unary_table
from nnapi_lab.simulate.fast.twins import twin

Results = tuple[np.ndarray, ...]
CODES = (OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED)


@twin("RELU", "RELU1", "RELU6", "LOGISTIC", "TANH", "HARD_SWISH", "RSQRT", "DEQUANTIZE")
def unary(call: Call) -> Callable[..., Results] | None:
    """One of 256 results per code; None for other types, and for float16 results."""
    if call.key not in CODES or call.out.code == OperandCode.TENSOR_FLOAT16:
        return None
    (name,) = call.types
    table = unary_table(call, name)

    def run(input: np.ndarray) -> Results:
        out = np.empty(input.shape, table.dtype)
        look_up(bits(input), table, out.reshape(-1))
        return (out,)

    return run


@twin("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "PRELU")
def pair(call: Call) -> Callable[..., Results] | None:
    """One of 65,536 results per pair of codes; None for other types."""
    first, second = call.types
    if call[first].code not in CODES or call[second].code not in CODES:
        return None
    table = pair_table(call, first, second)
    shape = known_shape(call.out)

    def run(left: np.ndarray, right: np.ndarray) -> Results:
        out = np.empty(shape, table.dtype)
        look_up_pair(bits(_spread(left, shape)), bits(_spread(right, shape)), table, out.reshape(-1))
        return (out,)

    return run


def _spread(codes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return codes if codes.shape == shape else np.broadcast_to(codes, shape)


@twin("QUANTIZE")
def quantize(call: Call) -> Callable[..., Results] | None:
    """clamp(zero_point + rha(f32(x / scale))) in one pass; None for float16."""
    if call.key != OperandCode.TENSOR_FLOAT32:
        return None
    out_type = call.out
    low, high = (np.float32(end) for end in out_type.code.code_range)
    scale, zero = np.float32(out_type.scale), np.float32(out_type.zero_point)

    def run(input: np.ndarray) -> Results:
        out = np.empty(input.shape, out_type.code.numpy)
        _quantize(np.ascontiguousarray(input).reshape(-1), scale, zero, low, high, out.reshape(-1))
        return (out,)

    return run


@compiled
def _quantize(x, scale, zero, low, high, out):
    for i in range(x.size):
        ratio = x[i] / scale
        whole = np.trunc(ratio)
        rounded = whole + np.copysign(np.float32(1), ratio) if abs(ratio - whole) >= np.float32(0.5) else whole
        shifted = zero + rounded
        bounded = shifted if shifted < high else high  # NaN gives the largest code, as in the reference
        out[i] = np.int32(max(bounded, low))
