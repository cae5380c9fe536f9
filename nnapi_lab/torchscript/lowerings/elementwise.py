"""Elementwise functions NNAPI has no operation for: exponentials, powers, interpolations, signs, bounds."""

from __future__ import annotations

import math
from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.approximation import COSINE_SHIFTED
from nnapi_lab.torchscript.lowerings.arithmetic import binary
from nnapi_lab.torchscript.lowerings.chain import INT, Chain, one_number
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site

HALF_PI = math.pi / 2


# --- trigonometric, exponential, logarithmic -----------------------------------------------------------------


@lowers("aten::cos", "aten::cos_")
def cos(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], COSINE_SHIFTED.formula, rule=COSINE_SHIFTED)
    chain.done("SIN", chain("ADD", chain.read(self), HALF_PI))


@lowers("aten::tan", "aten::tan_")
def tan(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], COSINE_SHIFTED.formula, rule=COSINE_SHIFTED)
    x = chain.read(self)
    chain.done("DIV", chain("SIN", x), chain("SIN", chain("ADD", x, HALF_PI)))


@lowers("aten::cosh", "aten::cosh_")
def cosh(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], _COSH)
    chain.done("MUL", _doubled_cosh(chain, chain.read(self)), 0.5)


@lowers("aten::sinh", "aten::sinh_")
def sinh(site: Site, self: TorchValue) -> None:
    """tanh · cosh: the difference of two exponentials would lose every digit near 0."""
    chain = Chain(site, [self], f"sinh(x) = TANH(x)·cosh(x); {_COSH}")
    x = chain.read(self)
    chain.done("MUL", chain("TANH", x), chain("MUL", _doubled_cosh(chain, x), 0.5))


_COSH = "cosh(x) = (EXP(x) + EXP(-x))/2"


def _doubled_cosh(chain: Chain, x: Any) -> str:
    return chain("ADD", chain("EXP", x), chain("EXP", chain("NEG", x)))


@lowers("aten::exp2", "aten::exp2_", "aten::special_exp2")
def exp2(site: Site, self: TorchValue) -> None:
    """POW(2, x) is exact at whole numbers, EXP(x·ln 2) is not."""
    chain = Chain(site, [self], "POW(2, x)")
    chain.done("POW", 2.0, chain.read(self))


@lowers("aten::expm1", "aten::expm1_", "aten::special_expm1")
def expm1(site: Site, self: TorchValue) -> None:
    """Exact near 0, where EXP(x) - 1 loses every digit."""
    chain = Chain(site, [self], "expm1(x) = TANH(x/2)·(EXP(x) + 1)")
    x = chain.read(self)
    chain.done("MUL", chain("TANH", chain("MUL", x, 0.5)), chain("ADD", chain("EXP", x), 1.0))


@lowers("aten::log1p", "aten::log1p_", "aten::special_log1p")
def log1p(site: Site, self: TorchValue) -> None:
    """The rounding of 1 + x is divided out again, so that small x keep their digits."""
    chain = Chain(site, [self], "u = 1 + x; log1p(x) = SELECT(u = 1, x, LOG(u)·(x/(u - 1)))")
    x = chain.read(self)
    moved = chain("ADD", x, 1.0)
    ratio = chain("DIV", x, chain("SUB", moved, 1.0))
    chain.done("SELECT", chain("EQUAL", moved, 1.0), x, chain("MUL", chain("LOG", moved), ratio))


@lowers("aten::log2", "aten::log2_")
def log2(site: Site, self: TorchValue) -> None:
    _scaled_log(site, self, 2.0)


@lowers("aten::log10", "aten::log10_")
def log10(site: Site, self: TorchValue) -> None:
    _scaled_log(site, self, 10.0)


def _scaled_log(site: Site, input: TorchValue, base: float) -> None:
    chain = Chain(site, [input], f"LOG(x)·(1/ln {base:g})")
    chain.done("MUL", chain("LOG", chain.read(input)), 1 / math.log(base))


@lowers("aten::logaddexp")
def logaddexp(site: Site, self: TorchValue, other: TorchValue) -> None:
    chain = Chain(site, [self, other], "MAXIMUM(a, b) + LOG(1 + EXP(-|a - b|))")
    a, b = chain.read(self), chain.read(other)
    distance = chain("ABS", chain("SUB", a, b))
    chain.done("ADD", chain("MAXIMUM", a, b), log_one_plus_exp(chain, chain("NEG", distance)))


def log_one_plus_exp(chain: Chain, x: Any) -> str:
    """LOG(1 + EXP(x)) for x <= 0: absolute error 6e-8, no overflow."""
    return chain("LOG", chain("ADD", chain("EXP", x), 1.0))


# --- powers --------------------------------------------------------------------------------------------------


@lowers("aten::reciprocal", "aten::reciprocal_")
def reciprocal(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], "1 / x")
    chain.done("DIV", 1.0, chain.read(self))


@lowers("aten::square", "aten::square_")
def square(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], "x · x")
    x = chain.read(self)
    chain.done("MUL", x, x)


@lowers("aten::pow", "aten::pow_", "aten::float_power")
def pow_(site: Site, self: Any, exponent: Any) -> None:
    """Small whole exponents become MUL, ±0.5 SQRT and RSQRT, everything else POW."""
    exponent = _number_of(exponent)
    tensors = [value for value in (self, exponent) if isinstance(value, TorchValue)]
    if isinstance(exponent, int | float) and exponent == 1 and self.type.dtype == site.out.type.dtype:
        drop(site, self)
        return
    chain = Chain(site, tensors, f"x ^ {'y' if isinstance(exponent, TorchValue) else exponent}")
    base, power = chain.read(self), chain.read(exponent)
    if not isinstance(power, str) and _by_multiplying(chain, base, power):
        return
    if chain.code == INT:
        site.not_yet("POW_INT", f"power of integers with exponent {exponent}: NNAPI's POW takes floats",
                     fix="convert the base with .float() first", source="NNAPI POW types")  # fmt: skip
    chain.done("POW", base, power)


def _number_of(value: Any) -> Any:
    """A constant exponent of one element and no dimensions is a number."""
    if isinstance(value, TorchValue) and value.type.shape == ():
        number = one_number(value)
        return value if number is None else number
    return value


def _by_multiplying(chain: Chain, x: Any, power: float) -> bool:
    """The power without POW, where PyTorch does the same; False where it takes POW."""
    if power == 2:
        chain.done("MUL", x, x)
    elif power == 3:
        chain.done("MUL", chain("MUL", x, x), x)
    elif power == 4 and chain.code == INT:
        squared = chain("MUL", x, x)
        chain.done("MUL", squared, squared)
    elif power == 0.5:
        chain.done("SQRT", x)
    elif power == -0.5:
        chain.done("RSQRT", x)
    elif power == -1 and chain.code != INT:
        chain.done("DIV", 1.0, x)
    else:
        return False
    return True


# --- interpolation and fused products ------------------------------------------------------------------------


@lowers("aten::lerp", "aten::lerp_")
def lerp(site: Site, self: TorchValue, end: TorchValue, weight: Any) -> None:
    tensors = [value for value in (self, end, weight) if isinstance(value, TorchValue)]
    chain = Chain(site, tensors, "a + w·(b - a)")
    a = chain.read(self)
    chain.done("ADD", a, chain("MUL", chain("SUB", chain.read(end), a), chain.read(weight)))


@lowers("aten::addcmul", "aten::addcmul_")
def addcmul(site: Site, self: TorchValue, tensor1: TorchValue, tensor2: TorchValue, value: float = 1) -> None:
    _add_combined(site, "MUL", self, tensor1, tensor2, value)


@lowers("aten::addcdiv", "aten::addcdiv_")
def addcdiv(site: Site, self: TorchValue, tensor1: TorchValue, tensor2: TorchValue, value: float = 1) -> None:
    _add_combined(site, "DIV", self, tensor1, tensor2, value)


def _add_combined(site: Site, kind: str, input: TorchValue, left: TorchValue, right: TorchValue, value: float) -> None:
    chain = Chain(site, [input, left, right], f"x + {value}·{kind}(a, b)")
    a = chain.read(left)
    combined = chain(kind, a if value == 1 else chain("MUL", a, value), chain.read(right))
    chain.done("ADD", chain.read(input), combined)


# --- signs and bounds ----------------------------------------------------------------------------------------


@lowers("aten::sign", "aten::sign_", "aten::sgn", "aten::sgn_")
def sign(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], "SELECT(x > 0, 1, SELECT(x < 0, -1, 0))")
    x = chain.read(self)
    below = chain.select(chain("LESS", x, 0), -1, 0)
    chain.done("SELECT", *_condition_first(chain, chain("GREATER", x, 0), 1, below))


def _condition_first(chain: Chain, condition: str, then: Any, otherwise: Any) -> tuple[Any, ...]:
    return (condition, *chain.spread(condition, then, otherwise))


@lowers("aten::clamp_min", "aten::clamp_min_")
def clamp_min(site: Site, self: TorchValue, min: Any) -> None:
    bounded(site, self, min, None)


@lowers("aten::clamp_max", "aten::clamp_max_")
def clamp_max(site: Site, self: TorchValue, max: Any) -> None:
    bounded(site, self, None, max)


def bounded(site: Site, input: TorchValue, low: Any, high: Any) -> None:
    """MINIMUM(MAXIMUM(x, low), high) with numbers or tensors as bounds; a missing bound costs nothing."""
    tensors = [value for value in (input, low, high) if isinstance(value, TorchValue)]
    chain = Chain(site, tensors, "MINIMUM(MAXIMUM(x, min), max)")
    x, low, high = chain.read(input), chain.read(low), chain.read(high)
    if high is None:
        chain.done("MAXIMUM", x, low)
        return
    chain.done("MINIMUM", x if low is None else chain("MAXIMUM", x, low), high)


@lowers("aten::fmax")
def fmax(site: Site, self: TorchValue, other: TorchValue) -> None:
    binary(site, "MAXIMUM", self, other)


@lowers("aten::fmin")
def fmin(site: Site, self: TorchValue, other: TorchValue) -> None:
    binary(site, "MINIMUM", self, other)
