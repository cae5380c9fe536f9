"""One file per family of TorchScript operations; importing this package registers every rule."""

from __future__ import annotations

from nnapi_lab.torchscript.lowerings import (
    activation,
    arithmetic,
    borders,
    comparison,
    convolution,
    dtype,
    elementwise,
    identity,
    joining,
    linear,
    pooling,
    quantized,
    reduction,
    resizing,
    rounding,
    shape,
    shape_more,
    splitting,
    units,
)

FAMILIES = (
    activation, arithmetic, borders, comparison, convolution, dtype, elementwise, identity, joining, linear,
    pooling, quantized, reduction, resizing, rounding, shape, shape_more, splitting, units,
)  # fmt: skip
