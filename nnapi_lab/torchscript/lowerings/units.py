"""Activation units NNAPI has no operation for: exponential, gated, Gaussian and shrinking ones."""

from __future__ import annotations

import math
from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.approximation import GELU_TAIL
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.torchscript.lowerings.activation import leaky_relu, stored_axis
from nnapi_lab.torchscript.lowerings.chain import Chain
from nnapi_lab.torchscript.lowerings.elementwise import log_one_plus_exp
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # torch.nn.functional.selu
SOFTPLUS_EXACT = 15.0  # log(1 + e^-15) = 3e-7: from here on torch's linear branch makes no difference in float32
# Abramowitz and Stegun 7.1.26: erfc(z) = t(a1 + t(a2 + …))·exp(-z²), t = 1/(1 + p·z), within 1.5e-7 for z >= 0
ERFC_P = 0.3275911
ERFC_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


# --- exponential ---------------------------------------------------------------------------------------------


@lowers("aten::elu", "aten::elu_")
def elu(site: Site, self: TorchValue, alpha: float, scale: float, input_scale: float) -> None:
    exponential(site, self, float(alpha), float(scale), float(input_scale))


@lowers("aten::celu", "aten::celu_")
def celu(site: Site, self: TorchValue, alpha: float) -> None:
    exponential(site, self, float(alpha), 1.0, 1.0 / float(alpha))


@lowers("aten::selu", "aten::selu_")
def selu(site: Site, self: TorchValue) -> None:
    exponential(site, self, SELU_ALPHA, SELU_SCALE, 1.0)


def exponential(site: Site, input: TorchValue, alpha: float, scale: float, input_scale: float) -> None:
    """scale · (x if x > 0 else alpha · (e^(input_scale · x) - 1)): ELU, with a factor before or behind it."""
    chain = Chain(site, [input], f"{scale:g}·(x > 0 ? x : {alpha:g}·(EXP({input_scale:g}·x) - 1))")
    x = chain.read(input)
    if input_scale == 1:
        if scale == 1:
            chain.done("ELU", x, alpha=alpha)
        else:
            chain.done("MUL", chain("ELU", x, alpha=alpha), scale)
        return
    below = chain("EXP", chain("MUL", chain("MINIMUM", x, 0.0), input_scale))
    bent = chain("MUL", chain("SUB", below, 1.0), alpha * scale)
    line = chain("RELU", x)
    chain.done("ADD", line if scale == 1 else chain("MUL", line, scale), bent)


@lowers("aten::softplus")
def softplus(site: Site, self: TorchValue, beta: float = 1, threshold: float = 20) -> None:
    """log(1 + e^(beta·x)) / beta without overflow; beyond `threshold` torch gives x itself."""
    chain = Chain(site, [self], "(RELU(b·x) + LOG(1 + EXP(-|b·x|))) / b")
    x = chain.read(self)
    scaled = x if beta == 1 else chain("MUL", x, float(beta))
    parts = _softplus_parts(chain, scaled)
    if beta == 1 and threshold >= SOFTPLUS_EXACT:
        chain.done("ADD", *parts)
        return
    bent = chain("ADD", *parts)
    if threshold >= SOFTPLUS_EXACT:
        chain.done("MUL", bent, 1.0 / beta)
        return
    bent = bent if beta == 1 else chain("MUL", bent, 1.0 / beta)
    chain.done("SELECT", chain("GREATER", scaled, float(threshold)), x, bent)


def _softplus_parts(chain: Chain, x: Any) -> tuple[str, str]:
    return chain("RELU", x), log_one_plus_exp(chain, chain("NEG", chain("ABS", x)))


@lowers("aten::mish", "aten::mish_")
def mish(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], "x·TANH(RELU(x) + LOG(1 + EXP(-|x|)))")
    x = chain.read(self)
    chain.done("MUL", x, chain("TANH", chain("ADD", *_softplus_parts(chain, x))))


@lowers("aten::log_sigmoid")
def log_sigmoid(site: Site, self: TorchValue) -> None:
    """LOG(LOGISTIC(x)) would be -infinity below -88."""
    chain = Chain(site, [self], "MINIMUM(x, 0) - LOG(1 + EXP(-|x|))")
    x = chain.read(self)
    tail = log_one_plus_exp(chain, chain("NEG", chain("ABS", x)))
    chain.done("SUB", chain("MINIMUM", x, 0.0), tail)


# --- gated and Gaussian --------------------------------------------------------------------------------------


@lowers("aten::silu", "aten::silu_")
def silu(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], "x · LOGISTIC(x)")
    x = chain.read(self)
    chain.done("MUL", x, chain("LOGISTIC", x))


@lowers("aten::glu")
def glu(site: Site, self: TorchValue, dim: int = -1) -> None:
    """The first half times the LOGISTIC of the second, halves taken along the stored axis."""
    operand, layout, axis = stored_axis(site, self, dim)
    chain = Chain(site, [], "a · LOGISTIC(b), [a, b] = SPLIT(x)", layout=Layout(site.out_shape, layout.perm))
    names = [f"{site.out.name}.{part}" for part in ("value", "gate")]
    left, right = site.add_all("SPLIT", input=operand, axis=axis, num_splits=2, names=names)
    chain.done("MUL", left, chain("LOGISTIC", right))


@lowers("aten::gelu", "aten::gelu_")
def gelu(site: Site, self: TorchValue, approximate: str = "none") -> None:
    """The tanh form as torch computes it; the exact form by the tail of the normal distribution."""
    if approximate == "tanh":
        _gelu_tanh(site, self)
        return
    chain = Chain(site, [self], GELU_TAIL.formula, rule=GELU_TAIL)
    x = chain.read(self)
    size = chain("ABS", x)
    t = chain("DIV", 1.0, chain("ADD", chain("MUL", size, ERFC_P / math.sqrt(2)), 1.0))
    sum = chain("ADD", chain("MUL", t, ERFC_A[4] / 2), ERFC_A[3] / 2)
    for coefficient in (ERFC_A[2], ERFC_A[1], ERFC_A[0]):
        sum = chain("ADD", chain("MUL", sum, t), coefficient / 2)
    bell = chain("EXP", chain("MUL", chain("MUL", x, x), -0.5))
    tail = chain("MUL", chain("MUL", sum, t), bell)
    chain.done("SUB", chain("RELU", x), chain("MUL", size, tail))


def _gelu_tanh(site: Site, input: TorchValue) -> None:
    chain = Chain(site, [input], "x/2 · (1 + TANH(sqrt(2/pi)·(x + 0.044715·x³)))")
    x = chain.read(input)
    cubic = chain("ADD", chain("MUL", chain("MUL", x, x), 0.044715), 1.0)
    inner = chain("MUL", chain("MUL", x, math.sqrt(2 / math.pi)), cubic)
    gate = chain("ADD", chain("TANH", inner), 1.0)
    chain.done("MUL", chain("MUL", x, 0.5), gate)


# --- shrinking -----------------------------------------------------------------------------------------------


@lowers("aten::hardshrink")
def hardshrink(site: Site, self: TorchValue, lambd: float = 0.5) -> None:
    chain = Chain(site, [self], "SELECT(|x| > lambda, x, 0)")
    x = chain.read(self)
    beyond = chain("GREATER", chain("ABS", x), float(lambd))
    chain.done("SELECT", beyond, *chain.spread(beyond, x, 0.0))


@lowers("aten::softshrink")
def softshrink(site: Site, self: TorchValue, lambd: float = 0.5) -> None:
    chain = Chain(site, [self], "RELU(x - lambda) - RELU(-x - lambda)")
    x = chain.read(self)
    above = chain("SUB", x, float(lambd), fuse="RELU")
    below = chain("SUB", chain("NEG", x), float(lambd), fuse="RELU")
    chain.done("SUB", above, below)


@lowers("aten::threshold", "aten::threshold_")
def threshold(site: Site, self: TorchValue, threshold: float, value: float) -> None:
    replaced_below(site, self, threshold, value)


def replaced_below(site: Site, input: TorchValue, bound: float, value: float) -> None:
    """x above `bound`, `value` everywhere else."""
    chain = Chain(site, [input], "SELECT(x > threshold, x, value)")
    x = chain.read(input)
    above = chain("GREATER", x, bound)
    chain.done("SELECT", above, *chain.spread(above, x, value))


@lowers("aten::rrelu", "aten::rrelu_", ignores=("generator",))
def rrelu(site: Site, self: TorchValue, lower: float, upper: float, training: bool = False) -> None:
    """In eval mode a leaky ReLU with the mean of the two slopes."""
    if training:
        site.forbid("RRELU", "rrelu in training mode draws random slopes", fix="call model.eval() first",
                    source="torch.nn.functional.rrelu")  # fmt: skip
    leaky_relu(site, self, (float(lower) + float(upper)) / 2)
