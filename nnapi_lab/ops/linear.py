"""Matrix products: FULLY_CONNECTED, BATCH_MATMUL.

Source: AOSP 13 `FullyConnected.cpp`, `BatchMatmul.cpp`.
"""

from __future__ import annotations

import math

import numpy as np

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, shape_text
from nnapi_lab.numerics.requantize import product_multiplier, quantize_multiplier, requantize_accumulator
from nnapi_lab.numerics.rounding import wrap
from nnapi_lab.ops.geometry import UNKNOWN, Size, codes_seen
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, fuse_slot, scalar, tensor
from nnapi_lab.ops.weighted import (
    F16,
    F32,
    I32,
    OUT_SCALE_LEVEL,
    Q8,
    Q8S,
    activated,
    bias_types,
    factors,
    weighted_constraints,
)

# --- FULLY_CONNECTED ---------------------------------------------------------------------------------------


def fully_connected_type(call: Call) -> tuple[OperandType, ...]:
    """[elements / input_size, units], rank 2 whatever the input has; the quantization is up to the caller."""
    weights = call["weights"].shape
    units = UNKNOWN if weights is None else weights[0]
    quant = call.wanted_quant() if call.is_quantized else None
    return (OperandType(call.key, (_rows(call), units), quant),)


def _rows(call: Call) -> Size:
    count, weights = call["input"].element_count, call["weights"].shape
    if count is None or weights is None or isinstance(weights[1], Dim) or weights[1] == 0:
        return UNKNOWN
    rows: int = count // weights[1]
    return rows


def fully_connected(
    input: np.ndarray, weights: np.ndarray, bias: np.ndarray, *, fuse: int, call: Call | None = None
) -> np.ndarray:
    """out[n, u] = sum over k of in[n, k] w[u, k] + b[u]; the input is read as rows of weights' length."""
    types = {} if call is None else call.types
    x = factors(input, types.get("input")).reshape(-1, weights.shape[1])
    w = factors(weights, types.get("weights"))
    return activated(x @ w.T, bias, fuse, call)


def _rows_seen(call: Call) -> str | None:
    input, weights = call["input"], call["weights"].shape
    if weights is None:
        return None
    if any(dim == 0 for dim in weights):
        return f"weights {shape_text(weights)} have a size of zero"
    if input.element_count is None or isinstance(weights[1], Dim) or input.element_count % weights[1] == 0:
        return None
    return (
        f"the {input.element_count} elements of input {shape_text(input.shape)} do not fill rows of "
        f"{weights[1]}, the length of weights {shape_text(weights)}"
    )


# --- BATCH_MATMUL ------------------------------------------------------------------------------------------


def batch_matmul_type(call: Call) -> tuple[OperandType, ...]:
    """[batch…, rows, columns]; the quantization is the caller's choice."""
    left, right = _matrix(call, "input0", "adj_x"), _matrix(call, "input1", "adj_y")
    shape = None
    if call["input0"].shape is not None:
        shape = (*call["input0"].shape[:-2], left[0], right[1])
    return (OperandType(call.key, shape, call.wanted_quant() if call.is_quantized else None),)


def _matrix(call: Call, name: str, adjoint: str) -> tuple[Size, Size]:
    """(rows, columns) of each matrix of an input, after the transposition its flag asks for."""
    shape = call[name].shape
    if shape is None or call[adjoint] is None:
        return UNKNOWN, UNKNOWN
    rows, columns = shape[-2:]
    return (columns, rows) if call[adjoint] else (rows, columns)


def batch_matmul(
    input0: np.ndarray, input1: np.ndarray, *, adj_x: bool, adj_y: bool, call: Call | None = None
) -> np.ndarray:
    """out[…, i, j] = sum over k of x[…, i, k] y[…, k, j]; no bias, no activation.

    float16 sums stay in float16, step by step; int32 sums wrap.
    """
    x = np.swapaxes(input0, -1, -2) if adj_x else input0
    y = np.swapaxes(input1, -1, -2) if adj_y else input1
    if input0.dtype == np.float16:
        return _matmul_in_float16(x, y)
    if input0.dtype == np.int32:
        return wrap(x.astype(np.int64) @ y.astype(np.int64))
    if call is None or input0.dtype == np.float32:
        product: np.ndarray = x @ y
        return product
    left, right, out = call["input0"], call["input1"], call.out
    acc = (factors(x, left) @ factors(y, right)).astype(np.int64)
    multiplier = quantize_multiplier(product_multiplier(left.scale, right.scale, out.scale))
    return requantize_accumulator(acc, multiplier, out.zero_point, *out.code.code_range, out.code.numpy)


def _matmul_in_float16(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    total = np.zeros((*x.shape[:-1], y.shape[-1]), np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(x.shape[-1]):
            total += x[..., :, k : k + 1] * y[..., k : k + 1, :]
    return total


def _product_seen(call: Call) -> str | None:
    left, right = call["input0"].shape, call["input1"].shape
    if left is None or right is None:
        return None
    texts = f"{shape_text(left)} and {shape_text(right)}"
    if len(left) != len(right):
        return f"inputs {texts} differ in rank"
    inner = (_matrix(call, "input0", "adj_x")[1], _matrix(call, "input1", "adj_y")[0])
    if all(isinstance(size, int) for size in inner) and inner[0] != inner[1]:
        return f"inputs {texts} cannot be multiplied: {inner[0]} columns meet {inner[1]} rows"
    if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(left[:-2], right[:-2], strict=True)):
        return f"inputs {texts} differ in their batch sizes"
    return None


def _empty_matrix_seen(call: Call) -> str | None:
    for name in ("input0", "input1"):
        shape = call[name].shape
        if shape is not None and any(size == 0 for size in shape):
            return f"{name} {shape_text(shape)} has a size of zero"
    return None


def _product_quant_seen(call: Call) -> str | None:
    if not call.is_quantized:
        return None
    wanted = call.wanted_quant()
    if not isinstance(wanted, Quant) or not wanted.scale > 0:
        return f"the scale of the {call.key.name} result is not given; the operation leaves it to the caller"
    ratio = product_multiplier(call["input0"].scale, call["input1"].scale, wanted.scale)
    if not math.isfinite(ratio) or ratio >= 2**31:
        return f"the product of the input scales / output scale is {ratio:.3g}, more than 31 bits can scale by"
    return None


# --- declarations ------------------------------------------------------------------------------------------

SPECS = (
    OpSpec(
        kind="FULLY_CONNECTED",
        code=9,
        since=1,
        summary="Multiply rows by a weight matrix and add a bias.",
        types={F32: 1, F16: 3, Q8: 1, Q8S: 4},
        forms=(
            Form(
                "only",
                (
                    tensor("input", rank=(2, 4)),
                    tensor("weights", rank=2),
                    tensor("bias", bias_types, rank=1),
                    fuse_slot(),
                ),
            ),
        ),
        result=fully_connected_type,
        kernel=fully_connected,
        source="AOSP 13 FullyConnected.cpp",
        constraints=(
            Constraint("C1", "the input's elements fill rows of the weights' length, which is not 0", _rows_seen),
            Constraint("C2", "fuse is a FuseCode", codes_seen),
            *weighted_constraints(3, channel_axis=0, per_channel=False),
        ),
        levels=(OUT_SCALE_LEVEL,),
        zero_sized=3,
        notes=("There are no per-channel weights: TENSOR_QUANT8_SYMM_PER_CHANNEL is for convolutions.",),
    ),
    OpSpec(
        kind="BATCH_MATMUL",
        code=102,
        since=6,
        summary="Multiply matrices pair by pair.",
        types={F32: 6, F16: 6, Q8S: 6, I32: 6},
        forms=(
            Form(
                "only",
                (
                    tensor("input0", rank=(2, 4)),
                    tensor("input1", rank=(2, 4)),
                    scalar("adj_x", OperandCode.BOOL),
                    scalar("adj_y", OperandCode.BOOL),
                ),
            ),
        ),
        result=batch_matmul_type,
        kernel=batch_matmul,
        source="AOSP 13 BatchMatmul.cpp",
        constraints=(
            Constraint("C1", "the inputs agree in rank, batch sizes and inner size", _product_seen),
            Constraint("C2", "no size is zero", _empty_matrix_seen),
            Constraint("C3", "quantized: the result's scale is given by the caller", _product_quant_seen),
        ),
        half="native",
        notes=(
            "The documentation calls adj_x and adj_y optional; the validator wants all 4 inputs.",
            "The reference does not compare batch sizes and repeats a batch of 1 of input1; the standard "
            "wants them equal.",
            "TENSOR_QUANT8_ASYMM is not among the types, TENSOR_QUANT8_ASYMM_SIGNED is.",
        ),
    ),
)
