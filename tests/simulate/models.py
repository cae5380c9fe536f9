"""Small quantized networks built by hand: inverted residual blocks as in MobileNetV2, on random codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnapi_lab.build import Builder
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant

Q8, Q8S, Q8C, I32 = (
    OperandCode.TENSOR_QUANT8_ASYMM,
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL,
    OperandCode.TENSOR_INT32,
)
SCALE_IN, SCALE_W = 0.02, 0.005


class _Network:
    """Grows a network layer by layer; every activation has the same scale."""

    def __init__(self, code: OperandCode, per_channel: bool, shape: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(7)
        self.code, self.per_channel = code, per_channel
        self.middle = 128 if code == Q8 else 0
        self.quant = Quant(SCALE_IN, self.middle - 5)
        self.builder = Builder("network")
        self.last = self.builder.input("x", OperandType(code, shape, self.quant))
        self.depth = shape[3]

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[str, str]:
        """(filter, bias) constants."""
        outs = shape[axis]
        values = self.rng.integers(-60, 61, shape)
        if self.per_channel:
            quant = PerChannel(tuple(SCALE_W * (1 + self.rng.random(outs))), axis)
            filter = self.builder.constant("w", values.astype(np.int8), OperandType(Q8C, shape, quant))
            bias_quant = Quant(0.0)
        else:
            stored = (values + self.middle).astype(self.code.numpy)
            type_ = OperandType(self.code, shape, Quant(SCALE_W, self.middle))
            filter = self.builder.constant("w", stored, type_)
            bias_quant = Quant(float(np.float32(SCALE_IN) * np.float32(SCALE_W)))
        bias = self.rng.integers(-3000, 3000, outs).astype(np.int32)
        return filter, self.builder.constant("b", bias, OperandType(I32, (outs,), bias_quant))

    def conv(self, outs: int, size: int, fuse: str, stride: int = 1) -> str:
        filter, bias = self.weights((outs, size, size, self.depth), 0)
        self.last = self.builder.add(
            "CONV_2D", input=self.last, filter=filter, bias=bias, padding="SAME", stride_w=stride, stride_h=stride,
            fuse=fuse, quant=self.quant,
        )  # fmt: skip
        self.depth = outs
        return self.last

    def depthwise(self, stride: int) -> str:
        filter, bias = self.weights((1, 3, 3, self.depth), 3)
        self.last = self.builder.add(
            "DEPTHWISE_CONV_2D", input=self.last, filter=filter, bias=bias, pad_left=1, pad_right=1, pad_top=1,
            pad_bottom=1, stride_w=stride, stride_h=stride, depth_multiplier=1, fuse="RELU6", quant=self.quant,
        )  # fmt: skip
        return self.last

    def block(self, outs: int, stride: int) -> None:
        """Expand, filter each channel, project; add the input where the shapes allow."""
        before, depth = self.last, self.depth
        self.conv(depth * 4, 1, "RELU6")
        self.depthwise(stride)
        self.conv(outs, 1, "NONE")
        if stride == 1 and outs == depth:
            self.last = self.builder.add("ADD", input0=before, input1=self.last, fuse="NONE", quant=self.quant)

    def finish(self) -> tuple[Model, list[np.ndarray]]:
        self.builder.output(self.last)
        model = self.builder.build()
        type_ = model["x"].type
        low, high = type_.code.code_range
        return model, [self.rng.integers(low, high + 1, type_.shape).astype(type_.code.numpy)]


def mobile(code: OperandCode, per_channel: bool, size: int = 24) -> tuple[Model, list[np.ndarray]]:
    """A stem and four inverted residual blocks on [1, size, size, 3]."""
    network = _Network(code, per_channel, (1, size, size, 3))
    network.conv(8, 3, "RELU6", stride=2)
    for outs, stride in ((8, 1), (12, 2), (12, 1), (16, 2)):
        network.block(outs, stride)
    return network.finish()


def networks() -> dict[str, Callable[[], tuple[Model, list[np.ndarray]]]]:
    """Networks by name: (model, inputs)."""
    return {
        "uint8": lambda: mobile(Q8, per_channel=False),
        "uint8, per-channel weights": lambda: mobile(Q8, per_channel=True),
        "int8": lambda: mobile(Q8S, per_channel=False),
        "int8, per-channel weights": lambda: mobile(Q8S, per_channel=True),
    }
