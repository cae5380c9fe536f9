"""One file per family of TorchScript operations; importing this package registers every rule."""

from __future__ import annotations

from nnapi_lab.torchscript.lowerings import (
    activation,
    arithmetic,
    convolution,
    identity,
    joining,
    linear,
    pooling,
    quantized,
    reduction,
    resizing,
    shape,
    splitting,
)

FAMILIES = (
    activation, arithmetic, convolution, identity, joining, linear, pooling, quantized, reduction, resizing, shape,
    splitting,
)  # fmt: skip
