"""Twin of CONCATENATION on 8-bit codes: inputs of another scale go through a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.numerics.quantize import requantize_concat
from nnapi_lab.ops.spec import Call
from nnapi_lab.simulate.fast.elementwise import CODES
from nnapi_lab.simulate.fast.tables import bits, look_up
from nnapi_lab.simulate.fast.twins import twin


@twin("CONCATENATION")
def concatenation(call: Call) -> Callable[..., tuple[np.ndarray, ...]] | None:
    """None for other types, and where nothing needs another scale (the reference only copies then)."""
    out = call.out
    if call.key not in CODES or all(type_.quant == out.quant for type_ in call["inputs"]):
        return None
    every = np.arange(256, dtype=np.uint8).view(out.code.numpy)
    tables = [
        None if type_.quant == out.quant
        else requantize_concat(every, type_.scale, type_.zero_point, out.scale, out.zero_point)
        for type_ in call["inputs"]
    ]  # fmt: skip
    axis = call["axis"]

    def run(inputs: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        return (np.concatenate(list(map(_requantized, inputs, tables)), axis=axis),)

    return run


def _requantized(codes: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    if table is None:
        return codes
    out = np.empty(codes.shape, codes.dtype)
    look_up(bits(codes), table, out.reshape(-1))
    return out
