"""Activation units without an NNAPI operation of their own, float and quantized, against PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnapi_lab.rewrites.approximation import GELU_TAIL
from nnapi_lab.simulate import simulate
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph
from nnapi_lab.torchscript.lowerings.quantized_units import slope_quant
from tests.lowering.against_torch import Written, kinds_of, lowered_in, same_numbers

X = (2, 4, 5, 3)

ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "mish": F.mish,
    "softplus": F.softplus, "softplus_beta": lambda x: F.softplus(x, 2.0),
    "softplus_threshold": lambda x: F.softplus(x, 2.0, 0.5), "softplus_low": lambda x: F.softplus(x, 1.0, 0.1),
    "elu": lambda x: F.elu(x, 0.7), "selu": F.selu, "celu": lambda x: F.celu(x, 1.3),
    "elu_general": lambda x: torch.ops.aten.elu(x, 1.5, 2.0, 0.5), "log_sigmoid": F.logsigmoid,
    "glu": lambda x: F.glu(x, 1), "glu_batch": lambda x: F.glu(x, 0), "softsign": F.softsign,
    "softmin": lambda x: F.softmin(x, 1),
    "hardshrink": F.hardshrink, "softshrink": lambda x: F.softshrink(x, 0.3), "tanhshrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.1, 2.0), "rrelu": F.rrelu, "hardsigmoid": F.hardsigmoid,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "in_place": lambda x: F.elu(F.silu(x * 1.0, inplace=True), inplace=True),
    "softmax_typed": lambda x: F.softmax(x, 1, dtype=torch.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_float_behind_a_convolution(name: str) -> None:
    module = Written(lambda conv, x: ROWS[name](conv(x)), nn.Conv2d(4, 4, 3, padding=1))
    same_numbers(module, (torch.randn(X) * 3.0,))


@pytest.mark.parametrize(
    "function", [F.gelu, F.softplus, F.mish, F.logsigmoid, F.silu, F.selu, F.elu, lambda x: F.celu(x, 2.0)]
)
def test_far_from_zero(function: Callable[[Tensor], Tensor]) -> None:
    """Neither infinity nor cancellation up to ±100: 1e-6 is four roundings of a number of size 1."""
    x = torch.cat([torch.linspace(-100, 100, 401), torch.linspace(-1e-3, 1e-3, 41)])
    _, diff = lowered_in(Written(function).eval(), (x,), "auto")
    (row,) = diff.outputs
    assert not row.not_finite
    assert row.max_abs <= 1e-6 + 100 * 2.0**-23


def test_gelu_is_as_near_as_its_rule_says() -> None:
    """Against double precision: PyTorch's own float32 GELU is off by 1.1e-6 near 8."""
    x = torch.linspace(-8, 8, 4001)
    captured = capture(Written(F.gelu).eval(), (x,))
    lowered = lower_graph(captured.graph)
    (result,) = simulate(lowered.model, [x.numpy()], engine="reference")
    assert np.abs(result - F.gelu(x.double()).numpy()).max() <= 4e-7, "the rule says 4e-7"
    assert GELU_TAIL.id in {step.rule.id for step in lowered.steps}


def test_elu_is_one_operation_where_it_can_be() -> None:
    assert kinds_of(same_numbers(Written(F.elu), (torch.randn(3, 4),))) == ["ELU"]
    assert kinds_of(same_numbers(Written(F.selu), (torch.randn(3, 4),))) == ["ELU", "MUL"]


# --- quantized -----------------------------------------------------------------------------------------------

q = torch.ops.quantized
QUANTIZED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "leaky_relu": lambda x, zero: q.leaky_relu(x, 0.1, False, 0.04, zero),
    "aten_leaky_relu": lambda x, zero: F.leaky_relu(x, 0.1),
    "elu": lambda x, zero: q.elu(x, 0.03, zero, 1.0, 1.0, 1.0),
    "celu": lambda x, zero: q.celu(x, 0.03, zero, 1.3),
    "softmax": lambda x, zero: q.softmax(x, 1, 1 / 256, 0 if x.dtype == torch.quint8 else -128),
    "softmax_other": lambda x, zero: q.softmax(x, 1, 1 / 200, 3),
    "sigmoid": lambda x, zero: torch.sigmoid(x), "tanh": lambda x, zero: torch.tanh(x),
    "hardsigmoid": lambda x, zero: F.hardsigmoid(x), "threshold": lambda x, zero: F.threshold(x, 0.1, 2.0),
    "clamp": lambda x, zero: x.clamp(-1.0, 2.0), "gelu": lambda x, zero: F.gelu(x),
    "prelu": lambda x, zero: q.prelu(x, slopes(x.dtype), 0.03, zero),
    "aten_prelu": lambda x, zero: F.prelu(x, slopes(x.dtype)),
}  # fmt: skip


def slopes(dtype: torch.dtype) -> Tensor:
    return torch.quantize_per_tensor(torch.tensor([0.25, 0.1, 0.3, 0.2]), 0.01, 0, dtype)


@pytest.mark.parametrize(("dtype", "zero_point"), [(torch.quint8, 120), (torch.qint8, -3)])
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized(name: str, dtype: torch.dtype, zero_point: int) -> None:
    """At most one step from PyTorch's own kernel: NNAPI rounds ties away from zero, PyTorch to even."""

    def formula(x: Tensor) -> Tensor:
        return QUANTIZED[name](torch.quantize_per_tensor(x, 0.03, zero_point, dtype), zero_point).dequantize()

    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "qnnpack"
    try:
        lowered, diff = lowered_in(Written(formula).eval(), (torch.randn(X) * 1.5,), "auto")
    finally:
        torch.backends.quantized.engine = before
    quantized = [row for row in diff.rows if row.max_steps is not None]
    assert len(quantized) == 2
    assert all(row.max_steps <= 1 for row in quantized), quantized
    assert kinds_of(lowered)[0] == "QUANTIZE"


@pytest.mark.parametrize(
    ("slope", "scale", "zero_point"), [(0.1, 0.1 / 255, 0), (-0.5, 0.5 / 255, 255), (0.0, 1 / 255, 0)]
)
def test_one_slope_is_held_exactly(slope: float, scale: float, zero_point: int) -> None:
    quant = slope_quant(np.array([slope], np.float32))
    assert math.isclose(quant.scale, scale, rel_tol=1e-6)
    assert quant.zero_point == zero_point
