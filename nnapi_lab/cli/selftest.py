"""Small quantized models through both engines: does the fast one compute exactly on this processor?"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnapi_lab.build import Builder
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import OperandCode, OperandType, Quant, static_shape
from nnapi_lab.simulate import simulate

Q8 = OperandCode.TENSOR_QUANT8_ASYMM
DEPTH, SIZE, CHANNELS = 64, 8, 16
SIDES = ("left", "right", "top", "bottom")


def fast_engine_verdict() -> tuple[bool, str]:
    """(both engines agree to the bit, which integer kernels the fast engine trusts here).

    Raises what torch raises when its kernels are not there at all.
    """
    from nnapi_lab.simulate.fast.integer_sums import matrix_product_is_exact, quantized_convolution_is_exact

    kernels = {"_int_mm": matrix_product_is_exact(), "oneDNN qconv": quantized_convolution_is_exact()}
    trusted = [name for name, exact in kernels.items() if exact]
    speed = f"exact with {' and '.join(trusted)}" if trusted else "exact with float kernels only, which is slower"
    if len(trusted) == 1:
        (other,) = kernels.keys() - set(trusted)
        speed += f"; {other} saturates on this processor and is left alone"
    rng = np.random.default_rng(7)
    apart = [
        model.name for model in (convolution(3, rng), convolution(1, rng), matrix_product(rng)) if not _agree(model)
    ]
    return not apart, f"differs from the reference in {', '.join(apart)}" if apart else speed


def _agree(model: Model) -> bool:
    (name,) = model.inputs
    codes = extremes(np.random.default_rng(1), static_shape(model[name].type))
    (fast,), (reference,) = (simulate(model, [codes], engine) for engine in ("fast", "reference"))
    return bool(np.array_equal(fast, reference))


def extremes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 codes, mostly 0 and 255: products of pairs of them overflow 16 bits."""
    return rng.choice(np.array([0, 255, 255, 255, 128, 3], np.uint8), shape)


def convolution(filter_size: int, rng: np.random.Generator) -> Model:
    """A quantized CONV_2D over 64 channels whose sums need more than 16 bits."""
    builder = Builder(f"CONV_2D {filter_size}×{filter_size}")
    x = builder.input("x", OperandType(Q8, (1, SIZE, SIZE, DEPTH), Quant(0.5, 0)))
    shape = (CHANNELS, filter_size, filter_size, DEPTH)
    weights = builder.constant("w", extremes(rng, shape), OperandType(Q8, shape, Quant(0.25, 128)))
    pads: dict[str, Any] = {f"pad_{side}": filter_size // 2 for side in SIDES}
    y = builder.add("CONV_2D", input=x, filter=weights, bias=_bias(builder), stride_w=1, stride_h=1, fuse="NONE",
                    quant=Quant(450.0 * filter_size**2, 128), name="y", **pads)  # fmt: skip
    builder.output(y)
    return builder.build()


def matrix_product(rng: np.random.Generator) -> Model:
    """A quantized FULLY_CONNECTED over 512 elements."""
    builder = Builder("FULLY_CONNECTED")
    x = builder.input("x", OperandType(Q8, (4, 512), Quant(0.5, 0)))
    weights = builder.constant("w", extremes(rng, (CHANNELS, 512)), OperandType(Q8, (CHANNELS, 512), Quant(0.25, 128)))
    y = builder.add("FULLY_CONNECTED", input=x, weights=weights, bias=_bias(builder), fuse="NONE",
                    quant=Quant(2000.0, 128), name="y")  # fmt: skip
    builder.output(y)
    return builder.build()


def _bias(builder: Builder) -> str:
    codes = np.arange(CHANNELS, dtype=np.int32) * 1000
    return builder.constant("b", codes, OperandType(OperandCode.TENSOR_INT32, (CHANNELS,), Quant(0.125, 0)))
