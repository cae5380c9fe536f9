"""Rounding to whole numbers, and the divisions defined by it; FLOOR is all NNAPI has."""

from __future__ import annotations

from typing import Any

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.approximation import FLOORED_QUOTIENT
from nnapi_lab.rewrites.rule import Rule
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.lowerings.chain import INT, Chain
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


@lowers("aten::floor", "aten::floor_")
def floor(site: Site, self: TorchValue) -> None:
    if site.code_of(self) == INT:
        drop(site, self)
        return
    held = site.held(self)
    site.place(site.add("FLOOR", input=held.operand), held.layout)


@lowers("aten::ceil", "aten::ceil_")
def ceil(site: Site, self: TorchValue) -> None:
    if site.code_of(self) == INT:
        drop(site, self)
        return
    chain = Chain(site, [self], "ceil(x) = -FLOOR(-x)")
    chain.done("NEG", chain("FLOOR", chain("NEG", chain.read(self))))


@lowers("aten::trunc", "aten::trunc_", "aten::fix")
def trunc(site: Site, self: TorchValue) -> None:
    if site.code_of(self) == INT:
        drop(site, self)
        return
    chain = Chain(site, [self], _TRUNC)
    chain.done("SUB", *_trunc_parts(chain, chain.read(self)))


@lowers("aten::frac", "aten::frac_")
def frac(site: Site, self: TorchValue) -> None:
    chain = Chain(site, [self], f"frac(x) = x - trunc(x); {_TRUNC}")
    x = chain.read(self)
    chain.done("SUB", x, chain("SUB", *_trunc_parts(chain, x)))


_TRUNC = "trunc(x) = FLOOR(RELU(x)) - FLOOR(RELU(-x))"


def _trunc_parts(chain: Chain, x: Any) -> tuple[str, str]:
    """The two terms whose difference is x without its fraction."""
    return chain("FLOOR", chain("RELU", x)), chain("FLOOR", chain("RELU", chain("NEG", x)))


@lowers("aten::round", "aten::round_")
def round_(site: Site, self: TorchValue, decimals: int = 0) -> None:
    """Halves to the even neighbour, exactly: the distance to FLOOR decides, never an added half."""
    if site.code_of(self) == INT:
        if decimals < 0:
            site.not_yet("ROUND_INT", f"round of integers to {decimals} decimals")
        drop(site, self)
        return
    chain = Chain(
        site, [self],
        "f = FLOOR(x); d = x - f; SELECT(d = 0.5, 2·FLOOR((f + 1)/2), SELECT(d > 0.5, f + 1, f))",
    )  # fmt: skip
    x = chain.read(self)
    power = float(10 ** abs(decimals))
    if decimals:
        x = chain("MUL" if decimals > 0 else "DIV", x, power)
    floor = chain("FLOOR", x)
    rest, above = chain("SUB", x, floor), chain("ADD", floor, 1.0)
    even = chain("MUL", chain("FLOOR", chain("MUL", above, 0.5)), 2.0)
    nearest = chain("SELECT", chain("GREATER", rest, 0.5), above, floor)
    if not decimals:
        chain.done("SELECT", chain("EQUAL", rest, 0.5), even, nearest)
        return
    rounded = chain("SELECT", chain("EQUAL", rest, 0.5), even, nearest)
    chain.done("DIV" if decimals > 0 else "MUL", rounded, power)


# --- divisions -----------------------------------------------------------------------------------------------


def divided(site: Site, left: Any, right: Any, rounding_mode: str | None) -> None:
    """Division rounded down ("floor") or towards zero ("trunc"), in the result's type."""
    if rounding_mode == "floor":
        chain = _division(site, left, right, "FLOOR(a/b)")
        a, b = chain.read(left), chain.read(right)
        if chain.code == INT:
            chain.done("DIV", a, b)  # int32 DIV floors
            return
        chain.done("FLOOR", chain("DIV", a, b))
        return
    chain = _division(site, left, right, f"trunc(a/b); {_TRUNC}", DECOMPOSED)  # PyTorch rounds the quotient as well
    a, b = chain.read(left), chain.read(right)
    if chain.code == INT:
        chain.done("SELECT", *_int_trunc_parts(chain, a, b))
        return
    chain.done("SUB", *_trunc_parts(chain, chain("DIV", a, b)))


def _division(site: Site, left: Any, right: Any, formula: str, rule: Rule = FLOORED_QUOTIENT) -> Chain:
    tensors = [value for value in (left, right) if isinstance(value, TorchValue)]
    chain = Chain(site, tensors, formula)
    chain.rule = DECOMPOSED if chain.code == INT else rule
    return chain


def _int_trunc_parts(chain: Chain, a: Any, b: Any) -> tuple[str, str, str]:
    """(signs differ, -(|a| / |b|), |a| / |b|): int32 DIV floors, so magnitudes are divided."""
    quotient = chain("DIV", _magnitude(chain, a), _magnitude(chain, b))
    if isinstance(b, str) and isinstance(a, str):
        differ = chain("NOT_EQUAL", chain("LESS", a, 0), chain("LESS", b, 0))
    elif isinstance(a, str):
        differ = chain("LESS" if b > 0 else "GREATER", a, 0)
    else:
        differ = chain("LESS" if a > 0 else "GREATER", b, 0)
    return differ, chain("NEG", quotient), quotient


def _magnitude(chain: Chain, term: Any) -> Any:
    return chain("ABS", term) if isinstance(term, str) else abs(term)


@lowers("aten::floor_divide", "aten::floor_divide_")
def floor_divide(site: Site, self: TorchValue, other: Any) -> None:
    divided(site, self, other, "floor")


@lowers("aten::remainder", "aten::remainder_")
def remainder(site: Site, self: Any, other: Any) -> None:
    """a - b·floor(a/b): the sign of the divisor, as Python's %."""
    chain = _division(site, self, other, "a - b·FLOOR(a/b)")
    a, b = chain.read(self), chain.read(other)
    quotient = chain("DIV", a, b)
    whole = quotient if chain.code == INT else chain("FLOOR", quotient)
    chain.done("SUB", a, chain("MUL", whole, b))


@lowers("aten::fmod", "aten::fmod_")
def fmod(site: Site, self: Any, other: Any) -> None:
    """a - b·trunc(a/b): the sign of the dividend, as C's fmod."""
    chain = _division(site, self, other, f"a - b·trunc(a/b); {_TRUNC}")
    a, b = chain.read(self), chain.read(other)
    if chain.code == INT:
        whole = chain("SELECT", *_int_trunc_parts(chain, a, b))
    else:
        whole = chain("SUB", *_trunc_parts(chain, chain("DIV", a, b)))
    chain.done("SUB", a, chain("MUL", whole, b))
