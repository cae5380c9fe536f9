"""A program for `nnapi-lab device`: PyTorch alone loads a saved model, plainly and as the mobile interpreter does.

Arguments: the model; a file with its inputs and the expected outputs; how often to call. Exit code 0 when every bit
agrees.
"""

from __future__ import annotations

import io
import sys

import torch
from torch.jit.mobile import _load_for_lite_interpreter


def bits(held):
    """Every tensor of a result, as plain tensors of the stored elements with scale and zero point."""
    if isinstance(held, torch.Tensor):
        if held.is_quantized:
            return [held.int_repr(), torch.tensor(held.q_scale()), torch.tensor(held.q_zero_point())]
        return [held]
    parts = held.values() if isinstance(held, dict) else held
    return [tensor for part in parts for tensor in bits(part)]


def same(left, right):
    pairs = list(zip(bits(left), bits(right), strict=True))
    return all(a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def main(model, inputs_and_outputs, lite="lite"):
    inputs, expected = torch.load(inputs_and_outputs, weights_only=False)
    loaded = torch.jit.load(model)
    # Before the first call: a compiled model cannot be saved any more.
    data = io.BytesIO(loaded._save_to_buffer_for_lite_interpreter()) if lite == "lite" else None
    verdicts = {"torch.jit.load": same(loaded(*inputs), expected)}
    if data is not None:
        verdicts["lite interpreter"] = same(_load_for_lite_interpreter(data)(*inputs), expected)
    print(verdicts, "nnapi_lab.lab" in sys.modules)
    return 0 if all(verdicts.values()) else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
