"""Every declared NNAPI operation, by kind and by code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nnapi_lab.ops import (
    activation,
    bidirectional_lstm,
    boxes,
    compare,
    control,
    conv,
    densify,
    detection,
    elementwise,
    keypoints,
    linear,
    lookup,
    lstm,
    normalize,
    order,
    padding,
    pool,
    quantize,
    quantized_16bit_lstm,
    quantized_lstm,
    random,
    reduce,
    resize,
    rnn,
    roi,
    shape,
    slicing,
    softmax,
    space,
    svdf,
    transpose_conv,
)
from nnapi_lab.ops.spec import OpSpec

FAMILIES = (
    activation, bidirectional_lstm, boxes, compare, control, conv, densify, detection, elementwise, keypoints,
    linear, lookup, lstm, normalize, order, padding, pool, quantize, quantized_16bit_lstm, quantized_lstm, random,
    reduce, resize, rnn, roi, shape, slicing, softmax, space, svdf, transpose_conv,
)  # fmt: skip


def _registry() -> Mapping[str, OpSpec]:
    specs: dict[str, OpSpec] = {}
    for family in FAMILIES:
        for spec in family.SPECS:
            if spec.kind in specs:
                raise TypeError(f"{spec.kind} is declared twice")
            specs[spec.kind] = spec
    return MappingProxyType(specs)


OPS = _registry()
BY_CODE: Mapping[int, OpSpec] = MappingProxyType({spec.code: spec for spec in OPS.values()})
