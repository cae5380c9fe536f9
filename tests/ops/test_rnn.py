"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN, BIDIRECTIONAL_SEQUENCE_RNN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
RNN, SEQUENCE, BOTH = "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"
NONE, RELU, TANH = 0, 1, 4

Arguments = dict[str, Any]


def array(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def step(**changes: Any) -> Arguments:
    """x = [1, 2], h = [10, 20]: W x = [5, -1], U h = [20, 10], b = [0.5, -100]."""
    plain = {
        "input": array([1, 2]),
        "weights": array([1, 2], [1, -1]),
        "recurrent_weights": array([0, 1], [1, 0]),
        "bias": array(0.5, -100),
        "hidden_state_in": array([10, 20]),
        "activation": NONE,
    }
    return {**plain, **changes}


VALUES: dict[str, tuple[Callable[[], Arguments], list[float]]] = {
    "sum": (step, [25.5, -91]),
    "relu": (lambda: step(activation=RELU), [25.5, 0]),
    "relu1": (lambda: step(activation=2), [1, -1]),
    "relu6": (lambda: step(activation=3), [6, 0]),
    "sigmoid": (lambda: step(activation=6, bias=array(-25, 200)), [0.5, 1]),
    "tanh": (lambda: step(activation=TANH), [1, -1]),
    "batch": (
        lambda: step(input=array([1, 2], [0, 0]), hidden_state_in=array([10, 20], [0, 0])),
        [25.5, -91, 0.5, -100],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    assert broken_rules(use(RNN, **make()), "here") == []
    state, output = run(RNN, **make())
    np.testing.assert_array_equal(output.ravel(), array(*expected))
    np.testing.assert_array_equal(state, output)


def test_float16_rounds_after_every_product_and_sum() -> None:
    """2048 + 1 is 2048 in float16, twice; summed wider it would be 2050."""
    half = step(
        input=np.ones((1, 2), np.float16), weights=np.ones((1, 2), np.float16), bias=np.array([2048], np.float16),
        recurrent_weights=np.zeros((1, 1), np.float16), hidden_state_in=np.zeros((1, 1), np.float16),
    )  # fmt: skip
    np.testing.assert_array_equal(run(RNN, **half)[1], np.array([[2048]], np.float16))


def test_float16_overflows_to_infinity_on_the_way() -> None:
    half = step(
        input=np.full((1, 2), 60000, np.float16), weights=np.array([[1, 1]], np.float16), activation=RELU,
        recurrent_weights=np.ones((1, 1), np.float16), hidden_state_in=np.full((1, 1), -60000, np.float16),
        bias=np.zeros(1, np.float16),
    )  # fmt: skip
    np.testing.assert_array_equal(run(RNN, **half)[1], [[np.inf]])


# --- sequences ---------------------------------------------------------------------------------------------


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def cell(seed: int, features: int, units: int, prefix: str = "") -> Arguments:
    return {
        f"{prefix}weights": normal(seed, units, features),
        f"{prefix}recurrent_weights": normal(seed + 1, units, units),
        f"{prefix}bias": normal(seed + 2, units),
        f"{prefix}hidden_state_in": normal(seed + 3, 2, units),
    }


def sequence(**changes: Any) -> Arguments:
    return {"input": normal(1, 2, 5, 3), **cell(10, 3, 4), "activation": TANH, "time_major": 0, **changes}


def both(aux: bool | None = False, **changes: Any) -> Arguments:
    """Two cells, batch first; `aux`: True crosswise, None parallel, False no linking."""
    arguments = {"input": normal(1, 2, 5, 3), **cell(10, 3, 4, "fw_"), **cell(20, 3, 6, "bw_")}
    if aux is not False:
        arguments["aux_input"] = normal(2, 2, 5, 3)
    if aux:
        arguments |= {"fw_aux_weights": normal(3, 4, 3), "bw_aux_weights": normal(4, 6, 3)}
    return {**arguments, "activation": TANH, "time_major": False, "merge_outputs": False, **changes}


def one_way(arguments: Arguments, prefix: str, input: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    named = {name: arguments[prefix + name] for name in ("weights", "recurrent_weights", "bias", "hidden_state_in")}
    results: tuple[np.ndarray, np.ndarray] = run(
        SEQUENCE, quant=[None] * 2, input=input, **named, activation=arguments["activation"], time_major=0
    )
    return results


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_sequence_is_a_chain_of_steps(dtype: Any) -> None:
    arguments = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in sequence().items()}
    whole, last = run(SEQUENCE, quant=[None] * 2, **arguments)
    named = {name: arguments[name] for name in ("weights", "recurrent_weights", "bias", "activation")}
    state = arguments["hidden_state_in"]
    for t in range(5):
        state, output = run(RNN, input=arguments["input"][:, t], hidden_state_in=state, **named)
        np.testing.assert_array_equal(whole[:, t], output)
    np.testing.assert_array_equal(last, state)
    major = run(SEQUENCE, **{**arguments, "input": arguments["input"].swapaxes(0, 1), "time_major": 1})
    np.testing.assert_array_equal(major.swapaxes(0, 1), whole)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_sequences_agree_with_torch(nonlinearity: str) -> None:
    torch.manual_seed(2)
    layer = torch.nn.RNN(3, 4, nonlinearity=nonlinearity, batch_first=True, bidirectional=True)
    x, h = torch.randn(2, 5, 3), torch.randn(2, 2, 4)
    parts = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    arguments: Arguments = {}
    for index, (prefix, suffix) in enumerate((("fw_", "l0"), ("bw_", "l0_reverse"))):
        arguments |= {
            f"{prefix}weights": parts[f"weight_ih_{suffix}"],
            f"{prefix}recurrent_weights": parts[f"weight_hh_{suffix}"],
            f"{prefix}bias": parts[f"bias_ih_{suffix}"] + parts[f"bias_hh_{suffix}"],
            f"{prefix}hidden_state_in": h[index].numpy(),
        }
    ours = run(
        BOTH, quant=[None] * 3, input=x.numpy(), **arguments, activation=TANH if nonlinearity == "tanh" else RELU,
        time_major=False, merge_outputs=True,
    )  # fmt: skip
    with torch.no_grad():
        output, last = layer(x, h)
    for mine, theirs in zip(ours, (output, last[0], last[1]), strict=True):
        # Sums of eight products around 1, in another order, over five steps.
        np.testing.assert_allclose(mine, theirs.numpy(), atol=2e-6)


def test_two_directions_are_two_sequences() -> None:
    arguments = both()
    ours = run(BOTH, quant=[None] * 4, **arguments)
    forward = one_way(arguments, "fw_", arguments["input"])
    backward = one_way(arguments, "bw_", arguments["input"][:, ::-1])
    for mine, other in zip(ours, (forward[0], backward[0][:, ::-1], forward[1], backward[1]), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_merged_outputs_lie_side_by_side() -> None:
    np.testing.assert_array_equal(
        run(BOTH, **both(merge_outputs=True))[0], np.concatenate(run(BOTH, quant=[None] * 2, **both()), axis=2)
    )


def test_an_auxiliary_input_alone_is_what_the_backward_cell_reads() -> None:
    linked, apart = both(None), both()
    forward, backward = run(BOTH, **linked)
    np.testing.assert_array_equal(forward, run(BOTH, **apart)[0])
    np.testing.assert_array_equal(backward, run(BOTH, **{**apart, "input": linked["aux_input"]})[1])


@pytest.mark.parametrize("features", [3, 7])
def test_auxiliary_weights_are_wider_weights(features: int) -> None:
    aux = {"aux_input": normal(2, 2, 5, features), "fw_aux_weights": normal(3, 4, features),
           "bw_aux_weights": normal(4, 6, features)}  # fmt: skip
    arguments = both(True, **aux)
    wide = both(input=np.concatenate([arguments["input"], aux["aux_input"]], axis=2))
    wide |= {f"{p}weights": np.concatenate([arguments[f"{p}weights"], aux[f"{p}aux_weights"]], axis=1)
             for p in ("fw_", "bw_")}  # fmt: skip
    for mine, other in zip(run(BOTH, **arguments), run(BOTH, **wide), strict=True):
        # Sums of up to sixteen products around 1/4 in another order, over five steps.
        np.testing.assert_allclose(mine, other, atol=2e-6)


# --- rules, types, levels ----------------------------------------------------------------------------------

BROKEN: dict[str, Callable[[], Call]] = {
    "RNN.C1": lambda: use(RNN, **step(bias=array(1, 2, 3))),
    "RNN.C2": lambda: use(RNN, **step(activation=5)),
    f"{SEQUENCE}.C1": lambda: use(SEQUENCE, **sequence(hidden_state_in=normal(0, 5, 4))),
    f"{SEQUENCE}.C2": lambda: use(SEQUENCE, **sequence(activation=-1)),
    f"{SEQUENCE}.C3": lambda: use(SEQUENCE, **sequence(time_major=2)),
    f"{BOTH}.C1": lambda: use(BOTH, **both(bw_weights=normal(0, 6, 4))),
    f"{BOTH}.C2": lambda: use(BOTH, **both(activation=7)),
    f"{BOTH}.C3": lambda: use(BOTH, **both(True, aux_input=None)),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "recurrent_not_square": ("RNN.C1", lambda: use(RNN, **step(recurrent_weights=array([1, 2, 3], [4, 5, 6])))),
    "state": ("RNN.C1", lambda: use(RNN, **step(hidden_state_in=array([1, 2], [3, 4])))),
    "aux_time": (f"{BOTH}.C1", lambda: use(BOTH, **both(None, aux_input=normal(0, 2, 4, 3)))),
    "aux_size_parallel": (f"{BOTH}.C1", lambda: use(BOTH, **both(None, aux_input=normal(0, 2, 5, 4)))),
    "aux_size_crosswise": (f"{BOTH}.C1", lambda: use(BOTH, **both(True, aux_input=normal(0, 2, 5, 4)))),
    "aux_weights_one_direction": (f"{BOTH}.C3", lambda: use(BOTH, **both(True, bw_aux_weights=None))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


@pytest.mark.parametrize("aux", [True, None, False])
def test_uses_in_order_break_no_rule(aux: bool | None) -> None:
    assert broken_rules(use(BOTH, **both(aux)), "here") == []
    assert broken_rules(use(SEQUENCE, **sequence()), "here") == []


def halves(arguments: Arguments) -> Arguments:
    return {name: v.astype(np.float16) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "step": (lambda: use(RNN, **step()), 1),
    "float16": (lambda: use(RNN, **halves(step())), 3),
    "sequence": (lambda: use(SEQUENCE, **sequence()), 3),
    "sequence_state": (lambda: use(SEQUENCE, quant=[None] * 2, **sequence()), 4),
    "both": (lambda: use(BOTH, quant=[None] * 2, **both()), 3),
    "both_states": (lambda: use(BOTH, quant=[None] * 4, **both()), 4),
    "merged": (lambda: use(BOTH, **both(merge_outputs=True)), 3),
    "merged_states": (lambda: use(BOTH, quant=[None] * 3, **both(merge_outputs=True)), 4),
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels(name: str) -> None:
    make, level = LEVELS[name]
    assert required_level(make())[0] == level


def test_unknown_sizes_stay_unknown() -> None:
    n, unknown = Dim("n"), Dim("?")
    fed = {"input": OperandType(F32, (n, 5, 3)), "hidden_state_in": OperandType(F32, (n, 4))}
    assert use(SEQUENCE, **sequence(**fed)).out.shape == (n, 5, 4)
    late = use(SEQUENCE, **sequence(**fed, time_major=OperandType(OperandCode.INT32)))
    assert late.out.shape == (unknown, unknown, 4)
    anything = {name: OperandType(F32, None) for name in ("weights", "recurrent_weights", "bias", "hidden_state_in")}
    assert use(SEQUENCE, **sequence(**{**fed, **anything})).out.shape == (n, 5, unknown)
