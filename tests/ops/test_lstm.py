"""LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM: the cell's variants, its rules, the sequence as a chain of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nnapi_lab.build import Builder, broken_rules
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.lstm_cell import GATES, LAYER_NORMS, WEIGHTS
from nnapi_lab.ops.spec import Call, bind, required_level
from nnapi_lab.ops.use import run, use
from nnapi_lab.simulate import simulate

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
STEP, SEQUENCE = "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"
NONE, RELU, TANH = 0, 1, 4
OPEN, SHUT = 100.0, -100.0  # what makes a gate 1 and 0


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def cell(units: int = 1, features: int = 1, outputs: int | None = None, **changes: Any) -> dict[str, Any]:
    """A cell whose weights are 0 and whose gates are half open: no peephole, projection or layer norm."""
    size = {"units": units, "features": features, "outputs": outputs or units}
    plain = {name: axes for name, axes in WEIGHTS.items() if not name.startswith(("cell_to", "projection"))}
    weights = {name: np.zeros([size[axis] for axis in axes], np.float32) for name, axes in plain.items()}
    given = {
        "input": np.zeros((1, features), np.float32),
        "output_state_in": np.zeros((1, size["outputs"]), np.float32),
        "cell_state_in": np.zeros((1, units), np.float32),
        "activation": RELU,
        "cell_clip": 0.0,
        "proj_clip": 0.0,
    }
    return {**weights, **given, **changes}


def cifg(**changes: Any) -> dict[str, Any]:
    return cell(**{"input_to_input_w": None, "recurrent_to_input_w": None, "input_gate_bias": None, **changes})


def step(arguments: dict[str, Any]) -> tuple[list[float], list[float]]:
    """(output, cell state) of one step, flat."""
    _, state, cell_state, output = run(STEP, **arguments)
    np.testing.assert_array_equal(state, output)
    return output.ravel().tolist(), cell_state.ravel().tolist()


ONE = np.ones((1, 1), np.float32)
KEPT = {"cell_state_in": row(4), "cell_bias": row(2)[0]}  # half of 4 kept, half of 2 admitted: 3
PEEPHOLE = {f"cell_to_{gate}_w": np.zeros(1, np.float32) for gate in ("input", "forget", "output")}
NORMS = {name: np.ones(2, np.float32) for name in LAYER_NORMS}

VALUES: dict[str, tuple[Callable[[], dict[str, Any]], tuple[list[float], list[float]]]] = {
    "half_open": (lambda: cell(**KEPT), ([1.5], [3])),
    "forget_bias": (lambda: cell(**KEPT, forget_gate_bias=row(SHUT)[0]), ([0.5], [1])),
    "input_bias": (lambda: cell(**KEPT, input_gate_bias=row(SHUT)[0]), ([1], [2])),
    "output_bias": (lambda: cell(**KEPT, output_gate_bias=row(OPEN)[0]), ([3], [3])),
    "input_weights": (lambda: cell(input=row(6), input_to_cell_w=ONE * 2), ([3], [6])),
    "recurrent_weights": (lambda: cell(output_state_in=row(6), recurrent_to_cell_w=ONE * 2), ([3], [6])),
    "activation_of_both": (lambda: cell(cell_state_in=row(-4), cell_bias=row(-2)[0]), ([0], [-2])),
    "relu1": (lambda: cell(**KEPT, activation=2), ([0.5], [2.5])),
    # NONE leaves the candidate 2 where the state 3 should be.
    "activation_none": (lambda: cell(**KEPT, activation=NONE), ([1], [3])),
    "cifg_keeps": (lambda: cifg(**KEPT, forget_gate_bias=row(OPEN)[0]), ([2], [4])),
    "cifg_admits": (lambda: cifg(**KEPT, forget_gate_bias=row(SHUT)[0]), ([1], [2])),
    "peephole_forget": (lambda: cell(**KEPT, **{**PEEPHOLE, "cell_to_forget_w": row(SHUT)[0]}), ([0.5], [1])),
    "peephole_input": (lambda: cell(**KEPT, **{**PEEPHOLE, "cell_to_input_w": row(SHUT)[0]}), ([1], [2])),
    "peephole_output_sees_the_new_state": (
        lambda: cell(cell_bias=row(2)[0], **{**PEEPHOLE, "cell_to_output_w": row(OPEN)[0]}),
        ([1], [1]),
    ),
    "cifg_takes_no_input_peephole": (
        lambda: cifg(**KEPT, **{**PEEPHOLE, "cell_to_input_w": row(SHUT)[0]}),
        ([1.5], [3]),
    ),
    "cell_clip": (lambda: cell(**KEPT, cell_clip=1.0), ([0.5], [1])),
    "cell_clip_below": (lambda: cell(cell_state_in=row(-4), cell_clip=1.5), ([0], [-1.5])),
    "projection": (
        lambda: cell(**KEPT, outputs=2, projection_w=np.array([[2], [-3]], np.float32)),
        ([3, -4.5], [3]),
    ),
    "projection_bias_and_clip": (
        lambda: cell(
            **KEPT,
            outputs=2,
            projection_w=np.array([[2], [-3]], np.float32),
            proj_clip=3.5,
            projection_bias=np.array([1, 0], np.float32),
        ),
        ([3.5, -3.5], [3]),
    ),
    "proj_clip_needs_a_projection": (lambda: cell(**KEPT, proj_clip=1.0), ([1.5], [3])),
    # The candidate's sums 1 and 3 become -1 and 1; other gates' equal sums become 0.
    "layer_norm": (
        lambda: cell(
            2,
            input=row(1),
            input_to_cell_w=np.array([[1], [3]], np.float32),
            cell_bias=np.array([5, 1], np.float32),
            **{**NORMS, "cell_layer_norm_w": np.array([3, 7], np.float32)},
        ),
        ([0.5, 2], [1, 4]),
    ),
    "layer_norm_adds_the_bias_last": (
        lambda: cell(2, cell_state_in=row(4, 4), forget_gate_bias=np.array([OPEN, SHUT], np.float32), **NORMS),
        ([2, 0], [4, 0]),
    ),
    "batch": (
        lambda: cell(
            input=np.array([[2], [6]], np.float32),
            input_to_cell_w=ONE,
            output_state_in=np.zeros((2, 1), np.float32),
            cell_state_in=np.array([[0], [4]], np.float32),
        ),
        ([0.5, 2.5], [1, 5]),
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    # A shut gate is e^-100 or an exact 0, open and half open ones are exactly 1 and 1/2.
    output, state = step(make())
    np.testing.assert_allclose(output, expected[0], atol=1e-30)
    np.testing.assert_allclose(state, expected[1], atol=1e-30)


def test_scratch_has_a_column_for_each_gate() -> None:
    assert run(STEP, **cell(3))[0].shape == (1, 12)
    assert run(STEP, **cifg(units=3))[0].shape == (1, 9)


# --- rules -------------------------------------------------------------------------------------------------

BAD: dict[str, dict[str, Any]] = {
    "C1": cell(2, cell_bias=np.zeros(3, np.float32)),
    "C2": cell(recurrent_to_input_w=None),
    "C3": cell(**{**PEEPHOLE, "cell_to_forget_w": None}),
    "C4": cell(projection_bias=np.zeros(1, np.float32)),
    "C5": cell(2, **{**NORMS, "input_layer_norm_w": None}),
    "C6": cell(2, outputs=3),
    "C7": cell(cell_clip=-1.0),
    "C8": cell(activation=5),
}
ALSO_BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "state_sizes": ("C1", cell(2, cell_state_in=row(1, 2, 3))),
    "batch": ("C1", cell(output_state_in=np.zeros((2, 1), np.float32))),
    "cifg_with_bias": ("C2", cifg(input_gate_bias=np.zeros(1, np.float32))),
    "cifg_peephole": ("C3", cifg(**{**PEEPHOLE, "cell_to_output_w": None})),
    "cifg_norm": ("C5", cifg(units=2, **NORMS)),
    "proj_clip": ("C7", cell(proj_clip=float("nan"))),
    "activation": ("C8", cell(activation=7)),
}


def sequence(arguments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same cell on a sequence of one step, batch first."""
    return {**arguments, "input": arguments["input"][:, None], "time_major": False, **changes}


BROKEN: dict[str, Callable[[], Call]] = {
    **{f"{STEP}.{rule}": lambda bad=bad: use(STEP, **bad) for rule, bad in BAD.items()},
    **{f"{SEQUENCE}.{rule}": lambda bad=bad: use(SEQUENCE, **sequence(bad)) for rule, bad in BAD.items()},
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BAD)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, arguments = ALSO_BAD[name]
    assert [finding.rule for finding in broken_rules(use(STEP, **arguments), "here")] == [f"{STEP}.{rule}"]


@pytest.mark.parametrize("name", VALUES)
def test_uses_in_order_break_no_rule(name: str) -> None:
    arguments = VALUES[name][0]()
    assert broken_rules(use(STEP, **arguments), "here") == []
    assert broken_rules(use(SEQUENCE, **sequence(arguments)), "here") == []


def test_the_number_of_steps_and_the_batch_are_told_apart() -> None:
    arguments = cell(input=np.zeros((5, 1, 1), np.float32), time_major=True)
    assert broken_rules(use(SEQUENCE, **arguments), "here") == []
    told = broken_rules(use(SEQUENCE, **{**arguments, "time_major": False}), "here")
    assert [finding.rule for finding in told] == [f"{SEQUENCE}.C1"]


def test_24_arguments_are_no_form() -> None:
    call = use(STEP, **cell(2, **NORMS))
    kinds = [call.types.get(slot.name) or OperandType(slot.types(F32)[0]) for slot in call.form.inputs]
    with pytest.raises(InvalidModel, match="takes 23 inputs; layer_norm: takes 27 inputs"):
        bind(call.spec, kinds[:24], [None] * 24)


# --- types and levels --------------------------------------------------------------------------------------


def typed(arguments: dict[str, Any], code: OperandCode = F32) -> dict[str, Any]:
    """Arrays as types whose content is unknown."""
    return {
        name: OperandType(code, value.shape) if isinstance(value, np.ndarray) else value
        for name, value in arguments.items()
    }


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "float32": (lambda: use(STEP, **cell()), 1),
    "float16": (lambda: use(STEP, **typed(cell(), F16)), 3),
    "layer_norm": (lambda: use(STEP, **cell(2, **NORMS)), 3),
    "layer_norm_all_omitted": (lambda: use(STEP, **cell(), **dict.fromkeys(LAYER_NORMS)), 3),
    "sequence": (lambda: use(SEQUENCE, **sequence(cell())), 3),
    "sequence_with_states": (lambda: use(SEQUENCE, quant=[None] * 3, **sequence(cell())), 4),
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels(name: str) -> None:
    make, level = LEVELS[name]
    assert required_level(make())[0] == level


def test_result_types() -> None:
    n, t = Dim("n"), Dim("t")
    arguments = typed(cell(2, outputs=3, projection_w=np.zeros((3, 2), np.float32)))
    arguments |= {"input": OperandType(F32, (n, t, 1)), "output_state_in": OperandType(F32, (n, 3)),
                  "cell_state_in": OperandType(F32, (n, 2))}  # fmt: skip

    def shapes(major: Any) -> list[Any]:
        call = use(SEQUENCE, quant=[None] * 3, **arguments, time_major=major)
        return [type_.shape for type_ in call.results]

    assert shapes(False) == [(n, t, 3), (n, 3), (n, 2)]
    assert shapes(True) == [(n, t, 3), (t, 3), (t, 2)]
    unknown = shapes(OperandType(OperandCode.BOOL))
    assert unknown == [(Dim("?"), Dim("?"), 3), (n, 3), (n, 2)]


def test_fed_weights_may_be_omitted_so_the_scratch_is_open() -> None:
    assert use(STEP, **typed(cell(2))).results[0].shape == (1, Dim("?"))
    assert use(STEP, **typed(cifg(units=2))).results[0].shape == (1, 6)
    assert use(STEP, **cell(2)).results[0].shape == (1, 8)


def test_a_model_asks_for_the_last_states_by_the_number_of_results() -> None:
    arguments = cell(2, cell_bias=np.array([2, 4], np.float32))
    builder = Builder("states")
    x = builder.input("x", OperandType(F32, (1, 3, 1)))
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray) and name != "input"}
    named = {name: builder.constant(name, value) for name, value in arrays.items()}
    scalars = {name: arguments[name] for name in ("activation", "cell_clip", "proj_clip")}
    ask = {**named, **scalars, "input": x, "time_major": False}
    assert len(builder.add_all(SEQUENCE, **ask)) == 1
    for name in builder.add_all(SEQUENCE, names=["y", "h", "c"], results=3, **ask):
        builder.output(name)
    y, h, c = simulate(builder.build(), [np.zeros((1, 3, 1), np.float32)], engine="reference")
    # Half of what was there and half of 2: 1, 1.5, 1.75; the output is half of it.
    np.testing.assert_array_equal(y[0], [[0.5, 1], [0.75, 1.5], [0.875, 1.75]])
    np.testing.assert_array_equal(h, [[0.875, 1.75]])
    np.testing.assert_array_equal(c, [[1.75, 3.5]])


# --- against a second implementation -----------------------------------------------------------------------


def random_cell(seed: int, units: int, features: int, outputs: int, **changes: Any) -> dict[str, Any]:
    """Seeded weights for every slot, without projection when there are as many outputs as units."""
    generator = np.random.default_rng(seed)
    size = {"units": units, "features": features, "outputs": outputs}
    table = {**WEIGHTS, **LAYER_NORMS}
    weights: dict[str, Any] = {
        name: generator.normal(0, 0.7, [size[axis] for axis in axes]).astype(np.float32) for name, axes in table.items()
    }
    if units == outputs:
        weights |= {"projection_w": None, "projection_bias": None}
    return {**weights, "activation": TANH, "cell_clip": 0.0, "proj_clip": 0.0, **changes}


def states(seed: int, batch: int, units: int, outputs: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "output_state_in": generator.normal(size=(batch, outputs)).astype(np.float32),
        "cell_state_in": generator.normal(size=(batch, units)).astype(np.float32),
    }


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("outputs", [4, 3])
def test_sequences_agree_with_torch(time_major: bool, outputs: int) -> None:
    torch.manual_seed(1)
    layer = torch.nn.LSTM(5, 4, batch_first=not time_major, proj_size=outputs % 4)
    x, h, c = torch.randn(2, 2, 5), torch.randn(1, 2, outputs), torch.randn(1, 2, 4)
    parts = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    arguments: dict[str, Any] = {"projection_w": parts.get("weight_hr_l0")}
    for gate, w, u, b in zip(
        GATES,  # torch's rows are i, f, g, o too
        np.split(parts["weight_ih_l0"], 4),
        np.split(parts["weight_hh_l0"], 4),
        np.split(parts["bias_ih_l0"] + parts["bias_hh_l0"], 4),
        strict=True,
    ):
        bias = "cell_bias" if gate == "cell" else f"{gate}_gate_bias"
        arguments |= {f"input_to_{gate}_w": w, f"recurrent_to_{gate}_w": u, bias: b}
    ours = run(
        SEQUENCE, quant=[None] * 3, input=x.numpy(), output_state_in=h[0].numpy(), cell_state_in=c[0].numpy(),
        activation=TANH, cell_clip=0.0, proj_clip=0.0, time_major=time_major, **arguments,
    )  # fmt: skip
    with torch.no_grad():
        output, (last_h, last_c) = layer(x, (h, c))
    for mine, theirs in zip(ours, (output, last_h[0], last_c[0]), strict=True):
        # Sums of ten products around 1, in another order: some 1e-7 each step.
        np.testing.assert_allclose(mine, theirs.numpy(), atol=2e-6)


@pytest.mark.parametrize("variant", [{}, dict.fromkeys(("input_to_input_w", "recurrent_to_input_w",
                                                          "input_gate_bias", "input_layer_norm_w"))])  # fmt: skip
@pytest.mark.parametrize("outputs", [4, 2])
def test_a_sequence_is_a_chain_of_steps(variant: dict[str, None], outputs: int) -> None:
    weights = random_cell(3, 4, 3, outputs, cell_clip=0.9, proj_clip=0.8, **variant)
    before = states(4, 2, 4, outputs)
    x = np.random.default_rng(5).normal(size=(2, 6, 3)).astype(np.float32)
    whole = run(SEQUENCE, quant=[None] * 3, input=x, time_major=False, **weights, **before)
    for t in range(6):
        _, h, c, output = run(STEP, input=x[:, t], **weights, **before)
        np.testing.assert_array_equal(whole[0][:, t], output)
        before = {"output_state_in": h, "cell_state_in": c}
    np.testing.assert_array_equal(whole[1], before["output_state_in"])
    np.testing.assert_array_equal(whole[2], before["cell_state_in"])
    major = run(SEQUENCE, input=x.swapaxes(0, 1), time_major=True, **weights, **states(4, 2, 4, outputs))
    np.testing.assert_array_equal(major.swapaxes(0, 1), whole[0])


def test_float16_is_rounded_once_at_the_end() -> None:
    weights, before = random_cell(6, 4, 3, 4), states(7, 2, 4, 4)
    x = np.random.default_rng(8).normal(size=(2, 6, 3)).astype(np.float32)
    single = {**weights, **before, "input": x}
    half = {name: v.astype(np.float16) if isinstance(v, np.ndarray) else v for name, v in single.items()}
    widened = {name: v.astype(np.float32) if isinstance(v, np.ndarray) else v for name, v in half.items()}
    expected = run(SEQUENCE, time_major=False, **widened).astype(np.float16)
    np.testing.assert_array_equal(run(SEQUENCE, time_major=False, **half), expected)
