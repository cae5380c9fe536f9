"""Random uses of quantized operations for the witness: geometry, scales and codes from a seed.

`ties=True` takes scales from powers of two times 1, 3/4, 5/4, 5/8, whose products and quotients meet exact ties:
random scales alone hide rounding mistakes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import PerChannel, Quant
from nnapi_lab.ops import use as by_hand
from nnapi_lab.ops.spec import Call

U8, I8 = np.dtype(np.uint8), np.dtype(np.int8)
_ATTEMPTS = 200


@dataclass
class Draw:
    """Random choices for one use."""

    rng: np.random.Generator
    dtype: np.dtype
    ties: bool
    snapped: bool = False  # scales of 11 bits, so that a product of two is exact in float32

    def size(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def scale(self, low: float = 2**-9, high: float = 2**-2) -> float:
        if self.ties:
            exponent = self.size(round(np.log2(low)), round(np.log2(high)))
            return 2.0**exponent * float(self.rng.choice([1.0, 0.75, 1.25, 0.625]))
        scale = np.float32(np.exp(self.rng.uniform(np.log(low), np.log(high))))
        if self.snapped:
            mantissa, exponent = np.frexp(scale)
            scale = np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent)
        return float(np.float32(scale))

    def quant(self, low: float = 2**-9, high: float = 2**-2) -> Quant:
        info = np.iinfo(self.dtype)
        return Quant(self.scale(low, high), self.size(int(info.min), int(info.max)))

    def codes(self, *shape: int, dtype: np.dtype | None = None) -> np.ndarray:
        info = np.iinfo(dtype or self.dtype)
        return self.rng.integers(info.min, info.max + 1, shape).astype(dtype or self.dtype)

    def tensor(self, *shape: int, **limits: float) -> tuple[np.ndarray, Quant]:
        return self.codes(*shape), self.quant(**limits)

    def image(self, depth: int | None = None) -> tuple[np.ndarray, Quant]:
        return self.tensor(self.size(1, 2), self.size(3, 8), self.size(3, 8), depth or self.size(1, 12))

    def window(self) -> dict[str, Any]:
        return {"padding": str(self.rng.choice(["SAME", "VALID"])), "stride_w": self.size(1, 2),
                "stride_h": self.size(1, 2)}  # fmt: skip

    @property
    def fuse(self) -> int:
        return self.size(0, 3)


# --- convolutions --------------------------------------------------------------------------------------


def _weighted(d: Draw, shape: tuple[int, ...], axis: int, scale_in: float, per_channel: bool) -> dict[str, Any]:
    """filter and bias; per-tensor weights of signed codes have zero point 0, all that LiteRT takes."""
    outs = shape[axis]
    bias = d.rng.integers(-(2**12), 2**12, outs).astype(np.int32)
    if per_channel:
        scales = tuple(d.scale() for _ in range(outs))
        return {"filter": (d.codes(*shape, dtype=I8), PerChannel(scales, axis)), "bias": (bias, Quant(0.0))}
    quant = Quant(d.scale(), d.size(0, 255) if d.dtype == U8 else 0)
    bias_quant = Quant(float(np.float32(scale_in) * np.float32(quant.scale)))
    return {"filter": (d.codes(*shape), quant), "bias": (bias, bias_quant)}


def _out(d: Draw, scale_in: float, depth: int) -> Quant:
    """A scale that spreads the results of a sum of `depth` products over the codes."""
    return d.quant(scale_in * 2**-5, scale_in * 2**-1 * max(depth, 2) ** 0.5)


def convolution(d: Draw, per_channel: bool = False, groups: int = 1) -> Call:
    depth = d.size(1, 8)
    x, quant = d.image(depth * groups)
    h, w = d.size(1, 3), d.size(1, 3)
    shape = (d.size(1, 6) * groups, h, w, depth)
    more = {"num_groups": groups} if groups > 1 else {"dilation_w": d.size(1, 2), "dilation_h": d.size(1, 2)}
    return by_hand.use(
        "GROUPED_CONV_2D" if groups > 1 else "CONV_2D", quant=_out(d, quant.scale, h * w * depth), input=(x, quant),
        **_weighted(d, shape, 0, quant.scale, per_channel), **d.window(), fuse=d.fuse, nchw=False, **more,
    )  # fmt: skip


def depthwise(d: Draw, per_channel: bool = False) -> Call:
    x, quant = d.image(d.size(1, 6))
    multiplier, h, w = d.size(1, 2), d.size(1, 3), d.size(1, 3)
    shape = (1, h, w, x.shape[3] * multiplier)
    return by_hand.use(
        "DEPTHWISE_CONV_2D", quant=_out(d, quant.scale, h * w), input=(x, quant),
        **_weighted(d, shape, 3, quant.scale, per_channel), **d.window(), depth_multiplier=multiplier, fuse=d.fuse,
        nchw=False, dilation_w=d.size(1, 2), dilation_h=d.size(1, 2),
    )  # fmt: skip


def transposed(d: Draw, per_channel: bool = False) -> Call:
    depth = d.size(1, 6)
    x, quant = d.image(depth)
    h, w, outs = d.size(1, 3), d.size(1, 3), d.size(1, 4)
    window = d.window()
    stride_h, stride_w = window["stride_h"], window["stride_w"]
    same = window["padding"] == "SAME"
    rows = x.shape[1] * stride_h if same else (x.shape[1] - 1) * stride_h + h
    columns = x.shape[2] * stride_w if same else (x.shape[2] - 1) * stride_w + w
    output_shape = np.array([x.shape[0], rows, columns, outs], np.int32)
    return by_hand.use(
        "TRANSPOSE_CONV_2D", quant=_out(d, quant.scale, h * w * depth), input=(x, quant), output_shape=output_shape,
        **_weighted(d, (outs, h, w, depth), 0, quant.scale, per_channel), **window, fuse=0, nchw=False,
    )  # fmt: skip


def fully_connected(d: Draw) -> Call:
    depth, units = d.size(1, 40), d.size(1, 8)
    x, quant = d.tensor(d.size(1, 4), depth)
    weighted = _weighted(d, (units, depth), 0, quant.scale, False)
    weights, bias = weighted["filter"], weighted["bias"]
    return by_hand.use("FULLY_CONNECTED", quant=_out(d, quant.scale, depth), input=(x, quant), weights=weights,
                       bias=bias, fuse=d.fuse)  # fmt: skip


def matrices(d: Draw) -> Call:
    batch, rows, depth, columns = d.size(1, 3), d.size(1, 6), d.size(1, 12), d.size(1, 6)
    adj_x, adj_y = d.flag(), d.flag()
    x, quant = d.tensor(batch, *((depth, rows) if adj_x else (rows, depth)))
    y = d.tensor(batch, *((columns, depth) if adj_y else (depth, columns)))
    return by_hand.use("BATCH_MATMUL", quant=_out(d, quant.scale, depth), input0=(x, quant), input1=y, adj_x=adj_x,
                       adj_y=adj_y)  # fmt: skip


# --- element by element --------------------------------------------------------------------------------

EVERY = np.arange(256, dtype=np.uint8)


def every_code(d: Draw) -> np.ndarray:
    return EVERY.view(d.dtype).reshape(1, 16, 16, 1)


def pair(d: Draw, kind: str) -> Call:
    """Every pair of codes, broadcast from a column and a row."""
    first, second = EVERY.view(d.dtype).reshape(256, 1), EVERY.view(d.dtype).reshape(1, 256)
    if kind in ("MAXIMUM", "MINIMUM"):
        quant = d.quant()
        return by_hand.use(kind, quant=quant, input0=(first, quant), input1=(second, quant))
    return by_hand.use(kind, quant=d.quant(2**-10, 2), input0=(first, d.quant()), input1=(second, d.quant()),
                       fuse=d.fuse)  # fmt: skip


def prelu(d: Draw) -> Call:
    alpha = d.tensor(256)
    x = np.repeat(EVERY.view(d.dtype), 256).reshape(1, 1, 256, 256)
    return by_hand.use("PRELU", quant=d.quant(2**-10, 2), input=(x, d.quant()), alpha=(alpha[0].reshape(1, 1, 256),
                       alpha[1]))  # fmt: skip


def unary(d: Draw, kind: str) -> Call:
    signed = d.dtype == I8
    prescribed = {"LOGISTIC": Quant(1 / 256, -128 if signed else 0), "TANH": Quant(1 / 128, 0 if signed else 128)}
    out = prescribed.get(kind) or d.quant()
    return by_hand.use(kind, quant=out, input=(every_code(d), d.quant(2**-10, 1)))


def softmax(d: Draw) -> Call:
    x = d.codes(d.size(1, 4), d.size(1, 60))
    quant = Quant(1 / 256, -128 if d.dtype == I8 else 0)
    return by_hand.use("SOFTMAX", quant=quant, input=(x, d.quant(2**-8, 1)), beta=float(d.rng.choice([0.5, 1.0, 2.0])))


def quantize(d: Draw) -> Call:
    out = d.quant()
    halves = (d.rng.integers(-700, 700, 200) / 2).astype(np.float32)  # every other one a tie
    x = np.concatenate([halves * np.float32(out.scale), d.rng.normal(size=56).astype(np.float32) * 60 * out.scale])
    call = by_hand.use("QUANTIZE", quant=out, input=x.astype(np.float32))
    type_ = by_hand.tensor_argument((d.codes(256), out))[0]
    return Call(call.spec, call.form, call.types, call.params, call.values, call.given, (type_,))


def concatenation(d: Draw, same: bool = False) -> Call:
    out = d.quant()
    parts = [(d.codes(2, 64, d.size(1, 3)), out if same else d.quant()) for _ in range(d.size(1, 3))]
    return by_hand.use("CONCATENATION", quant=out, inputs=parts, axis=2)


# --- windows, sizes ------------------------------------------------------------------------------------


def pool(d: Draw, kind: str) -> Call:
    return by_hand.use(kind, input=d.image(), **d.window(), filter_w=d.size(1, 3), filter_h=d.size(1, 3), fuse=d.fuse)


def resize(d: Draw, kind: str) -> Call:
    flags = [{}, {"align_corners": True}, {"half_pixel_centers": True}][d.size(0, 2)]
    return by_hand.use(kind, input=d.image(), out_width=d.size(1, 12), out_height=d.size(1, 12), nchw=False, **flags)


def mean(d: Draw) -> Call:
    return by_hand.use("MEAN", input=d.image(), axes=np.array([1, 2], np.int32), keep_dims=1)


# --- drawing -------------------------------------------------------------------------------------------


def drawn(make: Callable[[Draw], Call], dtype: np.dtype, ties: bool, seed: int, snapped: bool = False) -> Call:
    """The first use of a seed that NNAPI takes (a drawn geometry or scale may break a rule or suit no kernel)."""
    d = Draw(np.random.default_rng([seed, ties, dtype == I8]), dtype, ties, snapped)
    for _ in range(_ATTEMPTS):
        call = make(d)
        if not broken_rules(call, "drawn"):
            try:
                by_hand.run(call)
            except ValueError:  # a multiplier the kernel has no form of
                continue
            return call
    raise RuntimeError(f"no use that NNAPI takes in {_ATTEMPTS} draws")
