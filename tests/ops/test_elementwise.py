"""Element-by-element operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
NAN, INF = float("nan"), float("inf")
LARGEST = float(np.finfo(np.float32).max)
SMALLEST_INT = -(2**31)


def real(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def half(*values: float) -> np.ndarray:
    return np.array(values, np.float16)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def u8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.uint8), Quant(scale, zp)


def i8(*values: int, scale: float = 1.0, zp: int = 0) -> tuple[np.ndarray, Quant]:
    return np.array(values, np.int8), Quant(scale, zp)


def pair(kind: str, a: Any, b: Any, fuse: str = "NONE", quant: Quant | None = None) -> Call:
    return use(kind, input0=a, input1=b, fuse=fuse, quant=quant)


def extremum(kind: str, a: Any, b: Any, quant: Quant | None = None) -> Call:
    return use(kind, input0=a, input1=b, quant=quant)


EXACT: dict[str, tuple[Callable[[], Call], Any]] = {
    "add": (lambda: pair("ADD", real(1, 2), real(3)), [4, 5]),
    "add_columns_to_rows": (
        lambda: pair("ADD", np.ones((2, 1), np.float32), real(1, 2)),
        [[2, 3], [2, 3]],
    ),
    "add_relu": (lambda: pair("ADD", real(1, -3), real(1), "RELU"), [2, 0]),
    "add_relu1": (lambda: pair("ADD", real(1, -3), real(1), "RELU1"), [1, -1]),
    "add_relu6": (lambda: pair("ADD", real(6, -3), real(1), "RELU6"), [6, 0]),
    "add_infinity_is_clamped": (lambda: pair("ADD", real(INF, -INF), real(1)), [LARGEST, -LARGEST]),
    "add_nan_stays": (lambda: pair("ADD", real(NAN), real(1), "RELU"), [NAN]),
    "add_int32_wraps": (lambda: pair("ADD", ints(2**31 - 1), ints(1)), [SMALLEST_INT]),
    # 10 * 0.5 + 3 * 0.5 = 6.5 steps of 1: away from zero.
    "add_codes_tie": (lambda: pair("ADD", u8(10, scale=0.5), u8(3, scale=0.5), quant=Quant(1)), [7]),
    "add_codes_negative_tie": (
        lambda: pair("ADD", u8(7, scale=0.5, zp=20), u8(0, scale=0.5), quant=Quant(1, 100)),
        [93],
    ),
    "add_codes_other_scales": (
        lambda: pair("ADD", u8(8, scale=0.25), u8(4, scale=2.0, zp=1), quant=Quant(0.5, 3)),
        [19],
    ),
    "add_codes_saturate": (lambda: pair("ADD", u8(255), u8(255), quant=Quant(1)), [255]),
    "add_codes_relu_clamps_at_zero_point": (
        lambda: pair("ADD", u8(0, 90, zp=50), u8(0), "RELU", Quant(1, 30)),
        [30, 70],
    ),
    "add_codes_signed": (lambda: pair("ADD", i8(-100, 5, zp=-28), i8(-3), quant=Quant(1, 0)), [-75, 30]),
    "sub": (lambda: pair("SUB", real(1, 2), real(3)), [-2, -1]),
    "sub_int32_wraps": (lambda: pair("SUB", ints(SMALLEST_INT), ints(1)), [2**31 - 1]),
    "sub_codes": (
        lambda: pair("SUB", u8(8, scale=0.25), u8(5, scale=2.0, zp=1), quant=Quant(0.5, 100)),
        [88],
    ),
    "mul": (lambda: pair("MUL", real(2, -3), real(4, 5)), [8, -15]),
    "mul_overflow_is_clamped": (lambda: pair("MUL", real(3e38), real(10)), [LARGEST]),
    "mul_int32_wraps": (lambda: pair("MUL", ints(2**16), ints(2**16)), [0]),
    # 3 * 5 / 4 = 3.75, 2 * 3 / 4 = 1.5.
    "mul_codes": (
        lambda: pair("MUL", u8(3, 2, scale=0.5), u8(5, 3, scale=0.5), quant=Quant(1)),
        [4, 2],
    ),
    # 5 / 4 = 1.25, but R rounds twice: 5/2 to 3, then 3/2 to 2.
    "mul_codes_round_twice": (lambda: pair("MUL", u8(5, scale=0.5), u8(1, scale=0.5), quant=Quant(1)), [2]),
    "div": (lambda: pair("DIV", real(1, -7), real(2)), [0.5, -3.5]),
    "div_by_zero_is_clamped": (lambda: pair("DIV", real(1, -1, 0), real(0)), [LARGEST, -LARGEST, NAN]),
    "div_int32_floors": (lambda: pair("DIV", ints(7, -7, 7, -7), ints(2, 2, -2, -2)), [3, -4, -4, 3]),
    "div_int32_by_zero": (lambda: pair("DIV", ints(7, -7), ints(0)), [0, 0]),
    "div_int32_smallest": (lambda: pair("DIV", ints(SMALLEST_INT), ints(-1)), [SMALLEST_INT]),
    "maximum": (lambda: extremum("MAXIMUM", real(1, 5), real(3)), [3, 5]),
    "maximum_nan_second_is_dropped": (lambda: extremum("MAXIMUM", real(1), real(NAN)), [1]),
    "maximum_nan_first_stays": (lambda: extremum("MAXIMUM", real(NAN), real(1)), [NAN]),
    "maximum_int32": (lambda: extremum("MAXIMUM", ints(-1, 5), ints(3)), [3, 5]),
    # 2.0 against 1.0, then 0.5 against 1.0, in steps of 1; 0.5 alone rounds to 1.
    "maximum_codes": (
        lambda: extremum("MAXIMUM", u8(4, 1, scale=0.5), u8(1, 0), Quant(1, 10)),
        [12, 11],
    ),
    "minimum": (lambda: extremum("MINIMUM", real(1, 5), real(3)), [1, 3]),
    "minimum_nan_second_is_dropped": (lambda: extremum("MINIMUM", real(1), real(NAN)), [1]),
    "minimum_nan_first_stays": (lambda: extremum("MINIMUM", real(NAN), real(1)), [NAN]),
    "minimum_codes_saturate": (lambda: extremum("MINIMUM", u8(255, scale=4.0), u8(200, scale=4.0), Quant(1)),
                               [255]),
    "pow": (lambda: use("POW", base=real(2, -2, 9), exponent=real(3, 3, 0.5)), [8, -8, 3]),
    "pow_broadcasts": (lambda: use("POW", base=real(2, 3), exponent=np.array([[1], [2]], np.float32)),
                       [[2, 3], [4, 9]]),
    "pow_of_negative_base": (lambda: use("POW", base=real(-2), exponent=real(0.5)), [NAN]),
    "abs": (lambda: use("ABS", input=real(-1.5, 2)), [1.5, 2]),
    "abs_int32": (lambda: use("ABS", input=ints(-7, SMALLEST_INT)), [7, SMALLEST_INT]),
    "exp": (lambda: use("EXP", input=real(0, -INF, 100)), [1, 0, INF]),
    "floor": (lambda: use("FLOOR", input=real(1.5, -1.5, -0.25)), [1, -2, -1]),
    "log": (lambda: use("LOG", input=real(1, 0, -1)), [0, -INF, NAN]),
    "neg": (lambda: use("NEG", input=real(1, -2)), [-1, 2]),
    "neg_int32": (lambda: use("NEG", input=ints(1, SMALLEST_INT)), [-1, SMALLEST_INT]),
    "rsqrt": (lambda: use("RSQRT", input=real(4, 0, -1)), [0.5, INF, NAN]),
    # 1/sqrt(4) = 0.5 is 2 steps of 0.25; zero and below give the largest code.
    "rsqrt_codes": (lambda: use("RSQRT", input=u8(9, 5, 4, zp=5), quant=Quant(0.25, 7)), [9, 255, 255]),
    "rsqrt_signed": (lambda: use("RSQRT", input=i8(-124, -128, zp=-128), quant=Quant(0.25, -9)), [-7, 127]),
    "sin": (lambda: use("SIN", input=real(0)), [0]),
    "sqrt": (lambda: use("SQRT", input=real(9, -1)), [3, NAN]),
    "nothing": (lambda: pair("ADD", np.zeros((0, 2), np.float32), real(1)), np.zeros((0, 2))),
}  # fmt: skip

# Within one unit in the last place of the math library: 2^-23 relative, or absolute around 0.
CLOSE: dict[str, tuple[Callable[[], Call], Any]] = {
    "exp_of_one": (lambda: use("EXP", input=real(1)), [2.718281828]),
    "log_of_ten": (lambda: use("LOG", input=real(10)), [2.302585093]),
    "sin_of_one": (lambda: use("SIN", input=real(1, -1)), [0.841470985, -0.841470985]),
    "rsqrt_of_two": (lambda: use("RSQRT", input=real(2)), [0.707106781]),
    "pow_of_real": (lambda: use("POW", base=real(2), exponent=real(0.5)), [1.414213562]),
}


@pytest.mark.parametrize("row", EXACT)
def test_values(row: str) -> None:
    make, expected = EXACT[row]
    np.testing.assert_array_equal(run(make()), expected)


@pytest.mark.parametrize("row", CLOSE)
def test_close_values(row: str) -> None:
    make, expected = CLOSE[row]
    np.testing.assert_allclose(run(make()), expected, rtol=2**-22, atol=2**-23)


def test_float16_is_computed_in_float32_and_rounded_once() -> None:
    # 65504 + 65504 leaves float16, not float32: infinity, not the clamp's largest float.
    np.testing.assert_array_equal(run(pair("ADD", half(65504, 1), half(65504, 2))), half(INF, 3))


BROKEN: dict[str, Callable[[], Call]] = {
    **{
        f"{kind}.{rule}": make
        for kind in ("ADD", "SUB", "MUL", "DIV")
        for rule, make in {
            "C1": lambda kind=kind: pair(kind, real(1, 2), real(1, 2, 3)),
            "C2": lambda kind=kind: use(kind, input0=real(1), input1=real(1), fuse=4),
            "C3": lambda kind=kind: pair(kind, ints(1), ints(1), "RELU"),
        }.items()
    },
    "ADD.C4": lambda: pair("ADD", u8(1), u8(1)),
    "SUB.C4": lambda: pair("SUB", u8(1), u8(1)),
    "MUL.C4": lambda: pair("MUL", u8(1), u8(1)),
    "ADD.C5": lambda: pair("ADD", u8(1, scale=2.0), u8(1), quant=Quant(2**-18)),
    "SUB.C5": lambda: pair("SUB", u8(1), u8(1, scale=2.0), quant=Quant(2**-18)),
    "MUL.C5": lambda: pair("MUL", u8(1, scale=0.5), u8(1, scale=0.25), quant=Quant(0.125)),
    "MAXIMUM.C1": lambda: extremum("MAXIMUM", real(1, 2), real(1, 2, 3)),
    "MINIMUM.C1": lambda: extremum("MINIMUM", real(1, 2), real(1, 2, 3)),
    "MAXIMUM.C2": lambda: extremum("MAXIMUM", u8(1), u8(1)),
    "MINIMUM.C2": lambda: extremum("MINIMUM", i8(1), i8(1), Quant(0.0)),
    "POW.C1": lambda: use("POW", base=real(1, 2), exponent=real(1, 2, 3)),
    "RSQRT.C1": lambda: use("RSQRT", input=u8(1)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_mul_tells_the_scales_that_do_not_go_together() -> None:
    (finding,) = broken_rules(BROKEN["MUL.C5"](), "%y")
    assert finding.message == (
        "the result's scale 0.125 is not above 0.125, the product of the input scales 0.5 and 0.25"
    )


JUST_ABOVE: dict[str, Callable[[], Call]] = {
    "ADD": lambda: pair("ADD", u8(1, scale=2.0), u8(1), quant=Quant(2**-18 + 2**-41)),
    "MUL": lambda: pair("MUL", u8(1, scale=0.5), u8(1, scale=0.25), quant=Quant(0.125 + 2**-26)),
}


@pytest.mark.parametrize("kind", JUST_ABOVE)
def test_a_scale_one_float_above_the_limit_is_fine(kind: str) -> None:
    call = JUST_ABOVE[kind]()
    assert broken_rules(call, "here") == []
    run(call)


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL", "DIV", "FLOOR"])
def test_rank_ends_at_4(kind: str) -> None:
    type_ = OperandType(F32, (1,) * 5)
    call = use(kind, input=type_) if kind == "FLOOR" else pair(kind, type_, type_)
    assert [finding.rule for finding in broken_rules(call, "here")] == [f"{kind}.RANK"]


def test_two_types_do_not_mix() -> None:
    with pytest.raises(InvalidModel, match=r"input1 is TENSOR_INT32, expected TENSOR_FLOAT32"):
        pair("ADD", real(1), ints(1))


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "add_float": (lambda: pair("ADD", real(1), real(1)), 1),
    "add_codes": (lambda: pair("ADD", u8(1), u8(1), quant=Quant(1)), 1),
    "add_half": (lambda: pair("ADD", half(1), half(1)), 3),
    "add_int32": (lambda: pair("ADD", ints(1), ints(1)), 4),
    "sub_float": (lambda: pair("SUB", real(1), real(1)), 2),
    "sub_codes": (lambda: pair("SUB", u8(1), u8(1), quant=Quant(1)), 3),
    "mul_signed": (lambda: pair("MUL", i8(1), i8(1), quant=Quant(2)), 4),
    "div_float": (lambda: pair("DIV", real(1), real(1)), 2),
    "floor": (lambda: use("FLOOR", input=real(1)), 1),
    "abs": (lambda: use("ABS", input=real(1)), 3),
    "abs_int32": (lambda: use("ABS", input=ints(1)), 4),
    "neg_int32": (lambda: use("NEG", input=ints(1)), 3),
    "rsqrt_codes": (lambda: use("RSQRT", input=u8(1), quant=Quant(1)), 7),
    "maximum_int32": (lambda: extremum("MAXIMUM", ints(1), ints(1)), 3),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level


RESULTS: dict[str, tuple[Callable[[], Call], OperandType]] = {
    "unknown_size": (
        lambda: pair("ADD", OperandType(F32, (Dim("n"), 3)), OperandType(F32, (1, 3))),
        OperandType(F32, (Dim("n"), 3)),
    ),
    "unknown_rank": (
        lambda: pair("ADD", OperandType(F32, None), OperandType(F32, (3,))),
        OperandType(F32, None),
    ),
    "chosen_scale": (
        lambda: pair("MUL", u8(1, scale=0.5), u8(1, scale=0.5), quant=Quant(0.3, 5)),
        OperandType(Q8, (1,), Quant(0.3, 5)),
    ),
    "one_operand": (lambda: use("SQRT", input=OperandType(F32, None)), OperandType(F32, None)),
    "real_results_have_no_scale": (
        lambda: pair("ADD", real(1), real(1), quant=Quant(1)),
        OperandType(F32, (1,)),
    ),
}


@pytest.mark.parametrize("row", RESULTS)
def test_result_types(row: str) -> None:
    make, expected = RESULTS[row]
    call = make()
    assert call.out == expected
    assert broken_rules(call, "here") == []


# --- laws ----------------------------------------------------------------------------------------------------

# Powers of two times a few small factors make ties, where roundings differ; random scales would hide them.
tie_prone = st.builds(
    lambda power, factor: 2.0**power * factor, st.integers(-6, 2), st.sampled_from([1, 0.75, 1.25, 0.625])
)
quants = st.builds(Quant, tie_prone, st.integers(0, 255))
codes = st.lists(st.integers(0, 255), min_size=1, max_size=8).map(lambda values: np.array(values, np.uint8))


def reals(array: np.ndarray, quant: Quant) -> np.ndarray:
    return quant.scale * (array.astype(np.float64) - quant.zero_point)


@pytest.mark.parametrize(("kind", "exact"), [("ADD", np.add), ("SUB", np.subtract), ("MUL", np.multiply)])
@given(a=codes, quant_a=quants, b=st.integers(0, 255), quant_b=quants, quant=quants)
def test_codes_are_within_a_step_of_the_real_result(
    kind: str, exact: Any, a: np.ndarray, quant_a: Quant, b: int, quant_b: Quant, quant: Quant
) -> None:
    call = pair(kind, (a, quant_a), (np.array([b], np.uint8), quant_b), quant=quant)
    if broken_rules(call, "here"):
        return  # a result scale too small for the multiplier
    wanted = exact(reals(a, quant_a), reals(np.array([b]), quant_b)) / quant.scale + quant.zero_point
    # Half a step for rounding to codes; R's first rounding adds up to another half.
    assert np.all(np.abs(run(call).astype(float) - np.clip(wanted, 0, 255)) <= 1.0 + 1e-6)


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
@given(a=codes, quant_a=quants, b=st.integers(0, 255), quant_b=quants, quant=quants)
def test_addition_and_multiplication_commute(
    kind: str, a: np.ndarray, quant_a: Quant, b: int, quant_b: Quant, quant: Quant
) -> None:
    left, right = (a, quant_a), (np.array([b], np.uint8), quant_b)
    if broken_rules(pair(kind, left, right, quant=quant), "here"):
        return
    np.testing.assert_array_equal(run(pair(kind, left, right, quant=quant)), run(pair(kind, right, left, quant=quant)))


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
@given(a=codes, quant_a=quants, b=st.integers(0, 255), quant_b=quants, quant=quants)
def test_signed_codes_are_unsigned_codes_less_128(
    kind: str, a: np.ndarray, quant_a: Quant, b: int, quant_b: Quant, quant: Quant
) -> None:
    def signed(array: np.ndarray, held: Quant) -> tuple[np.ndarray, Quant]:
        return (array.astype(int) - 128).astype(np.int8), Quant(held.scale, held.zero_point - 128)

    other = np.array([b], np.uint8)
    call = pair(kind, (a, quant_a), (other, quant_b), "RELU6", quant)
    if broken_rules(call, "here"):
        return
    signed_quant = Quant(quant.scale, quant.zero_point - 128)
    twin = pair(kind, signed(a, quant_a), signed(other, quant_b), "RELU6", signed_quant)
    np.testing.assert_array_equal(run(twin).astype(int) + 128, run(call))


def test_extrema_round_codes_with_their_zero_point_so_signed_twins_differ_at_ties() -> None:
    # Half a step: 0.5 goes up to 1, while -127.5 goes away from zero to -128.
    unsigned = run(extremum("MAXIMUM", u8(0, zp=1), u8(0, zp=1), Quant(2, 1)))
    signed = run(extremum("MAXIMUM", i8(-128, zp=-127), i8(-128, zp=-127), Quant(2, -127)))
    assert (unsigned.item(), signed.item()) == (1, -128)
