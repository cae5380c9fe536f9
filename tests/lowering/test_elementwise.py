"""Elementwise functions NNAPI has no operation for, roundings, divisions and type promotion, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from nnapi_lab.torchscript.unsupported import FORBIDDEN
from tests.lowering.against_torch import Written, kinds_of, lowered_in, refusals, rules_of, same_numbers

X = (2, 4, 5, 3)

ROWS: dict[str, Callable[[Tensor], Any]] = {
    "cos": torch.cos, "tan": lambda x: torch.tan(x * 0.3), "cosh": torch.cosh, "sinh": torch.sinh,
    "exp2": torch.exp2, "expm1": torch.expm1, "reciprocal": lambda x: torch.reciprocal(x.abs() + 1.0),
    "square": torch.square, "number_over_x": lambda x: 2.0 / (x.abs() + 1.0),
    "pow_2": lambda x: x**2, "pow_3": lambda x: x**3, "pow_4": lambda x: x**4, "pow_1": lambda x: x**1,
    "pow_minus_1": lambda x: (x.abs() + 1.0) ** -1, "number_to_x": lambda x: 2.0**x, "float_power": lambda x: x**5.0,
    "lerp": lambda x: torch.lerp(x, x * 2.0, 0.3), "lerp_tensor": lambda x: torch.lerp(x, x * 2.0, x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=2.0), "addcmul_1": lambda x: torch.addcmul(x, x, x),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1.0, value=2.0),
    "logaddexp": lambda x: torch.logaddexp(x, x * 3.0),
    "sign": torch.sign, "sgn": torch.sgn, "ceil": torch.ceil, "floor": torch.floor, "trunc": torch.trunc,
    "frac": torch.frac, "round": lambda x: torch.round(x * 2.0), "round_2": lambda x: torch.round(x, decimals=2),
    "round_tens": lambda x: torch.round(x * 30.0, decimals=-1),
    "clamp_min": lambda x: torch.clamp_min(x, 0.1), "clamp_max": lambda x: torch.clamp_max(x, 0.1),
    "clamp_tensors": lambda x: x.clamp(torch.tensor(-0.5), x.abs() * 0.5),
    "clamp_upper_tensor": lambda x: x.clamp(max=x.abs() * 0.5),
    "fmax_fmin": lambda x: torch.fmax(x, -x) + torch.fmin(x, x * 2.0),
    "add_alpha": lambda x: torch.add(x, x.abs(), alpha=3), "sub_alpha": lambda x: torch.sub(x, x.abs(), alpha=0.5),
    "rsub_alpha": lambda x: torch.rsub(x, 2.0, alpha=2.0), "rsub_tensor": lambda x: torch.rsub(x, x.abs(), alpha=2.0),
    "floor_divide": lambda x: x // 0.7, "number_floor_divide": lambda x: 5.0 // (x.abs() + 1.0),
    "div_floor": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "div_trunc": lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
    "remainder": lambda x: x % 0.7, "remainder_negative": lambda x: x % -0.7,
    "remainder_of_number": lambda x: 5.0 % (x.abs() + 1.0), "remainder_tensor": lambda x: x % (x.abs() + 0.3),
    "fmod": lambda x: torch.fmod(x, 0.7), "fmod_width": lambda x: torch.fmod(x, torch.arange(1.0, 4.0)),
    "in_place": lambda x: (x * 1.0).square_().neg_().exp_().ceil_(),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_float_behind_a_convolution(name: str) -> None:
    module = Written(lambda conv, x: ROWS[name](conv(x)), nn.Conv2d(4, 4, 3, padding=1))
    same_numbers(module, (torch.randn(X),))


POSITIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "log1p": torch.log1p, "log2": torch.log2, "log10": torch.log10, "pow_half": lambda x: x**0.5,
    "pow_minus_half": lambda x: x**-0.5, "pow_fraction": lambda x: x**1.7, "pow_tensor": lambda x: x**x,
}  # fmt: skip


@pytest.mark.parametrize("name", POSITIVE)
def test_positive_numbers(name: str) -> None:
    same_numbers(Written(POSITIVE[name]), (torch.rand(2, 3, 4) + 0.01,))


@pytest.mark.parametrize("function", [torch.expm1, torch.log1p, torch.sinh])
def test_small_numbers_keep_their_digits(function: Callable[[Tensor], Tensor]) -> None:
    """EXP(x) - 1 and LOG(1 + x) would be 0 here: a relative error of 1. Ours is a few roundings, 1e-6."""
    x = torch.tensor([1e-8, -3e-7, 1e-5, -1e-3, 0.3])
    _, diff = lowered_in(Written(function).eval(), (x,), "auto")
    (row,) = diff.outputs
    assert torch.allclose(torch.tensor(row.max_abs), torch.tensor(0.0), atol=1e-7)
    for number in x:
        _, diff = lowered_in(Written(function).eval(), (number.reshape(1),), "auto")
        assert diff.outputs[0].max_abs <= 1e-6 * abs(float(number))


def test_halves_round_to_even_as_in_torch() -> None:
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 8388607.5, 4194304.5, 1e20, -0.49999997])
    _, diff = lowered_in(Written(torch.round).eval(), (x,), "auto")
    assert diff.outputs[0].max_abs == 0.0


INTEGERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "true_division": lambda a, b: a / b, "plus_float": lambda a, b: a + 1.5, "times_int": lambda a, b: a * 3,
    "floor_divide": lambda a, b: a // b, "floor_divide_number": lambda a, b: a // -3,
    "trunc": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "trunc_number": lambda a, b: torch.div(a, 2, rounding_mode="trunc"),
    "trunc_negative": lambda a, b: torch.div(a, -2, rounding_mode="trunc"),
    "remainder": lambda a, b: a % b, "remainder_negative": lambda a, b: a % -b, "fmod": torch.fmod,
    "neg_abs": lambda a, b: -(a.abs()), "cube": lambda a, b: a**3, "fourth": lambda a, b: a**4,
    "sign": lambda a, b: torch.sgn(a),
    "exp": lambda a, b: (a * 0.1).exp() + b.sqrt(), "mixed": lambda a, b: a * b.sqrt(),
    "clamp_float": lambda a, b: a.clamp(0.5, 3.5), "clamp_int": lambda a, b: a.clamp(-2, 3),
    "minimum": torch.minimum, "floor_of_int": lambda a, b: torch.floor(a) + torch.round(b) + torch.trunc(a),
    "alpha": lambda a, b: torch.add(a, b, alpha=2), "rsub": lambda a, b: 7 - a,
    "truth_as_number": lambda a, b: (a > 0) * 2.5 + b,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_promoted_as_torch_does(name: str, dtype: torch.dtype) -> None:
    left = torch.arange(-12, 12).reshape(2, 3, 4).to(dtype)
    right = (torch.arange(24) % 5 + 1).reshape(2, 3, 4).to(dtype)
    same_numbers(Written(INTEGERS[name]), (left, right))


@settings(max_examples=60)
@given(st.integers(-1000, 1000), st.integers(-50, 50).filter(bool))
def test_integer_divisions(left: int, right: int) -> None:
    """Every sign: floor, trunc, remainder and fmod."""
    module = Written(
        lambda a, b: (a // b, torch.div(a, b, rounding_mode="trunc"), a % b, torch.fmod(a, b)),
    ).eval()
    _, diff = lowered_in(module, (torch.tensor([left]), torch.tensor([right])), "auto")
    assert [row.max_abs for row in diff.outputs] == [0.0] * 4


def test_a_small_power_is_a_product_and_a_root_a_root() -> None:
    x = (torch.rand(2, 3) + 0.1,)
    for exponent, kinds in {2: ["MUL"], 3: ["MUL", "MUL"], 0.5: ["SQRT"], -0.5: ["RSQRT"], 1.5: ["POW"]}.items():
        assert kinds_of(same_numbers(Written(lambda x, e=exponent: x**e), x)) == kinds, exponent


def test_a_true_division_of_integers_converts_first() -> None:
    x = (torch.tensor([[7, -9]], dtype=torch.int32),)
    assert kinds_of(same_numbers(Written(lambda x: x / 2), x)) == ["CAST", "DIV"]


def test_the_floored_quotient_says_what_it_risks() -> None:
    lowered = same_numbers(Written(lambda x: x // 0.7), (torch.randn(3),))
    assert "approximation.floored_quotient" in {step.rule.id for step in lowered.steps}


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "erf": (torch.erf, "aten::erf", "FORBIDDEN"),
    "erfc": (torch.erfc, "aten::erfc", "FORBIDDEN"),
    "atan": (torch.atan, "aten::atan", "FORBIDDEN"),
    "asin": (torch.asin, "aten::asin", "FORBIDDEN"),
    "acos": (torch.acos, "aten::acos", "FORBIDDEN"),
    "asinh": (torch.asinh, "aten::asinh", "FORBIDDEN"),
    "atan2": (lambda x: torch.atan2(x, x + 1.0), "aten::atan2", "FORBIDDEN"),
    "lgamma": (torch.lgamma, "aten::lgamma", "FORBIDDEN"),
    "digamma": (torch.digamma, "aten::digamma", "FORBIDDEN"),
    "cumprod": (lambda x: torch.cumprod(x, 0), "aten::cumprod", "FORBIDDEN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, rule, kind = REFUSED[name]
    found = refusals(Written(formula), (torch.rand(2, 3),))
    assert rules_of(found) == [rule]
    assert found[0].kind == kind
    assert rule in FORBIDDEN


def test_a_power_of_integers_without_products_is_refused() -> None:
    found = refusals(Written(lambda x: x**7), (torch.ones(2, 3, dtype=torch.int32),))
    assert rules_of(found) == ["POW_INT"]
