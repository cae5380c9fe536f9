"""RANDOM_MULTINOMIAL draws by its seeds, with the probabilities it is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.numerics.philox import uniform_doubles
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32 = OperandCode.TENSOR_FLOAT32


def draw(logits: list[list[float]], samples: int, seeds: tuple[int, int] = (3, 4)) -> np.ndarray:
    rows = np.array(logits, np.float32)
    return run("RANDOM_MULTINOMIAL", input=rows, num_samples=samples, seeds=np.array(seeds, np.int32))


def test_shares_follow_softmax() -> None:
    wanted = np.array([0.1, 0.2, 0.7])
    drawn = draw([np.log(wanted).tolist()], 10_000)
    shares = np.bincount(drawn[0], minlength=3) / 10_000
    # The standard deviation of a share is at most 0.5 / sqrt(10000) = 0.005; four of them.
    assert np.all(np.abs(shares - wanted) < 0.02)


def test_a_draw_is_the_first_class_whose_bound_lies_above_chance() -> None:
    chance = uniform_doubles(8, 3, 4)
    drawn = draw([[0.0, 0.0]], 8)
    assert drawn[0].tolist() == (chance >= 0.5).astype(int).tolist()


def test_rows_take_turns_in_one_sequence() -> None:
    chance = uniform_doubles(8, 3, 4).reshape(2, 4)
    drawn = draw([[0.0, 0.0], [0.0, 0.0]], 4)
    assert drawn.tolist() == (chance >= 0.5).astype(int).tolist()


def test_the_same_seeds_draw_the_same_and_others_do_not() -> None:
    logits = [[0.0] * 100]
    assert np.array_equal(draw(logits, 20), draw(logits, 20))
    assert not np.array_equal(draw(logits, 20), draw(logits, 20, (3, 5)))


@pytest.mark.parametrize("hopeless", [-np.inf, np.inf, np.nan])
def test_infinite_logits_get_no_share(hopeless: float) -> None:
    assert set(draw([[hopeless, 0.0, hopeless]], 50)[0].tolist()) == {1}


def test_a_row_without_finite_logits_gives_the_number_of_classes() -> None:
    assert set(draw([[-np.inf, -np.inf]], 5)[0].tolist()) == {2}


def test_result_type() -> None:
    seeds = OperandType(OperandCode.TENSOR_INT32, (2,))
    call = use("RANDOM_MULTINOMIAL", input=OperandType(F32, (Dim("n"), 3)), num_samples=5, seeds=seeds)
    assert call.out == OperandType(OperandCode.TENSOR_INT32, (Dim("n"), 5))
    assert required_level(call)[0] == 3


BROKEN: dict[str, Callable[[], Call]] = {
    "RANDOM_MULTINOMIAL.C1": lambda: use(
        "RANDOM_MULTINOMIAL", input=np.zeros((1, 2), np.float32), num_samples=1, seeds=np.zeros(3, np.int32)
    ),
    "RANDOM_MULTINOMIAL.C2": lambda: use(
        "RANDOM_MULTINOMIAL", input=np.zeros((1, 2), np.float32), num_samples=-1, seeds=np.zeros(2, np.int32)
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]
