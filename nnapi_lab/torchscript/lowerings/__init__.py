"""One file per family of TorchScript operations; importing this package registers every rule."""

from __future__ import annotations

from nnapi_lab.torchscript.lowerings import (
    activation,
    arithmetic,
    attention,
    borders,
    comparison,
    convolution,
    dtype,
    elementwise,
    identity,
    indexing,
    joining,
    linear,
    matrix,
    normalization,
    norms,
    pooling,
    quantized,
    quantized_arithmetic,
    quantized_more,
    quantized_units,
    recurrent,
    reduction,
    reduction_more,
    resizing,
    rounding,
    shape,
    shape_more,
    splitting,
    units,
    unrolled,
)

FAMILIES = (
    activation, arithmetic, attention, borders, comparison, convolution, dtype, elementwise, identity,
    indexing, joining, linear, matrix, normalization, norms, pooling, quantized, quantized_arithmetic,
    quantized_more, quantized_units, recurrent, reduction, reduction_more, resizing, rounding, shape,
    shape_more, splitting, units, unrolled,
)  # fmt: skip
