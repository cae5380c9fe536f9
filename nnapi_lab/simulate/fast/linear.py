"""Twin of FULLY_CONNECTED on float32 and 8-bit codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.numerics.activation_range import float_range
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.conv import zero_point_correction
from nnapi_lab.simulate.fast.integer_sums import LEAST_DEPTH, Filter, matrix_product_is_exact, matrix_sums, tensor_of
from nnapi_lab.simulate.fast.requantize import requantization
from nnapi_lab.simulate.fast.twins import twin

Run = Callable[[np.ndarray], np.ndarray]  # rows [n, k] in, rows [n, units] out


@twin("FULLY_CONNECTED")
def fully_connected(call: Call) -> Callable[..., tuple[np.ndarray, ...]] | None:
    """A matrix product with its weights prepared; None where they are computed, or wider than int8."""
    weights, bias = call.value("weights"), call.value("bias")
    if call.key == OperandCode.TENSOR_FLOAT16 or weights is None or bias is None:
        return None
    run = _on_codes(call, weights, bias) if call.is_quantized else _on_floats(call, weights, bias)
    if run is None:
        return None
    depth = weights.shape[1]
    return lambda input, weights, bias: (run(np.ascontiguousarray(input).reshape(-1, depth)),)


def _on_floats(call: Call, weights: np.ndarray, bias: np.ndarray) -> Run:
    matrix, offset = torch.from_numpy(np.array(weights)), torch.from_numpy(np.array(bias))
    low, high = (float(end) for end in float_range(call["fuse"]))
    return lambda x: torch.nn.functional.linear(tensor_of(x), matrix, offset).clamp_(low, high).numpy()


def _on_codes(call: Call, weights: np.ndarray, bias: np.ndarray) -> Run | None:
    filter = Filter((weights.astype(np.int16) - np.int16(call["weights"].zero_point))[:, None, None, :])
    if weights.shape[1] < LEAST_DEPTH or not (filter.fits_int8 and matrix_product_is_exact()):
        return None
    matrix = filter.codes.reshape(weights.shape)
    finish = requantization(call, call["weights"], bias + zero_point_correction(call, matrix))
    if finish is None:
        return None
    prepared = torch.from_numpy(matrix.astype(np.int8)).t()
    units, dtype = weights.shape[0], call.out.code.numpy

    def run(x: np.ndarray) -> np.ndarray:
        out = np.empty((x.shape[0], units), dtype)
        finish.apply(matrix_sums(x, prepared), out)
        return out

    return run
