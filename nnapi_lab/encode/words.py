"""The words of PyTorch's serialized NNAPI model: what they are called and how wide they are.

One little-endian int32 vector: header, operands, values, operations, dimensions, value data, operation arguments,
model inputs, model outputs. Source: PyTorch `aten/src/ATen/nnapi/nnapi_model_loader.cpp`, format version 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VERSION = 1
HEADER_WORDS, OPERAND_WORDS, VALUE_WORDS, OPERATION_WORDS = 6, 4, 3, 3
COUNT_LIMIT = 1 << 24  # the loader refuses a count from here on

IMMEDIATE, NUMBERED_BUFFER, NUMBERED_MEMORY = 0, 2, 3  # where the bytes of a value are
REFERENCE_BYTES = 12  # of a numbered buffer: buffer, offset, length

# How PyTorch's wrapper hands a tensor over: as it is, channels last, and (results only) as a vector or scalar.
CONTIGUOUS, CHANNELS_LAST, SCALAR_OR_VECTOR = 0, 1, 2


@dataclass(frozen=True, eq=False)
class EncodedModel:
    """A model in PyTorch's format.

    `words`: int32; `weights`: the buffers that values refer to by number; `names`: what the numbers of operands
    stand for (None: a scalar in place); `steps`: the Step of each operation.
    """

    words: np.ndarray
    weights: tuple[np.ndarray, ...]
    names: Names


@dataclass(frozen=True)
class Names:
    """What the format has no place for: names, the Steps behind operations, symbols of unknown sizes.

    `dims`: operand name → its sizes as text, for operands with unknown ones ("N", "H@load", "3").
    """

    model: str
    operands: tuple[str | None, ...]
    steps: tuple[int | None, ...]
    dims: dict[str, tuple[str, ...]]
