"""QUANTIZED_LSTM: variants on codes, the reference's ways where they differ from the documentation, rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.lstm_cell import GATES, LAYER_NORMS, PEEPHOLE, WEIGHTS
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

KIND = "QUANTIZED_LSTM"
Q8S, Q8_SYMM, Q16 = (
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    OperandCode.TENSOR_QUANT8_SYMM,
    OperandCode.TENSOR_QUANT16_SYMM,
)
I32 = OperandCode.TENSOR_INT32

# Gate words are Q3.12 when the intermediate scale is 2^-12. Input × weights gives 2^7 words per unit product,
# previous output × weights 1; a peephole 2^-9 words per unit of p c; a layer norm weight a quarter of a word.
INPUT, OUTPUT, CELL = Quant(1.0), Quant(1 / 128, -3), Quant(2**-11)
WEIGHT, PEEP, NORM, PROJECTION = Quant(2**-5), Quant(2**-10), Quant(2**-14), Quant(0.5)
WORD = 2.0**-12

Typed = tuple[OperandType, np.ndarray]


def typed(code: OperandCode, quant: Quant | None, values: Any) -> Typed:
    array = np.array(values, code.numpy)
    return OperandType(code, array.shape, quant), array


def weight(name: str, values: Any) -> Typed:
    """A weight of the type and scale its name has throughout these tests."""
    if name.endswith("bias"):
        return typed(I32, None, values)
    if name in LAYER_NORMS:
        return typed(Q16, NORM, values)
    if name in PEEPHOLE:
        return typed(Q16, PEEP, values)
    return typed(Q8_SYMM, PROJECTION if name == "projection_w" else WEIGHT, values)


def lstm(units: int = 1, outputs: int | None = None, batch: int = 1, **changes: Any) -> dict[str, Any]:
    """A cell of one feature with weights and states 0: no peephole, projection, layer norm or clip.

    `changes` are codes (None to omit), typed pairs, or scalars.
    """
    size = {"units": units, "features": 1, "outputs": outputs or units}
    plain = {name: axes for name, axes in WEIGHTS.items() if not name.startswith(("cell_to", "projection"))}
    given: dict[str, Any] = {name: np.zeros([size[axis] for axis in axes]) for name, axes in plain.items()}
    given |= {
        "input": np.ones((batch, 1)),
        "prev_output": np.full((batch, size["outputs"]), OUTPUT.zero_point),
        "prev_cell_state": np.zeros((batch, units)),
    }
    scalars = {"cell_clip": None, "proj_clip": None, "hidden_zero_point": 0, "hidden_scale": 1 / 128}
    scalars |= {f"{gate}_intermediate_scale": WORD for gate in GATES}
    given |= {**scalars, **changes}
    states = {"input": (Q8S, INPUT), "prev_output": (Q8S, OUTPUT), "prev_cell_state": (Q16, CELL)}
    for name, value in given.items():
        if name in states and not isinstance(value, tuple):
            given[name] = typed(*states[name], value)
        elif name not in scalars and not isinstance(value, tuple) and value is not None:
            given[name] = weight(name, value)
    return given


def cifg(**changes: Any) -> dict[str, Any]:
    return lstm(**{"input_to_input_w": None, "recurrent_to_input_w": None, "input_gate_bias": None, **changes})


KEPT = {"prev_cell_state": [[4000]]}  # half of it, 2000 words of 2^-11: tanh 0.7516, halved 48.1 / 128
OPEN = {"input": [[100]]}  # times a weight of 127 far beyond 8, where gate words saturate
PEEPHOLES = {name: [0] for name in PEEPHOLE}
NORMS = {name: [0, 0] for name in LAYER_NORMS}

# (arguments, cell state words, output codes). An open gate is 32756 / 32768, a shut one 11 / 32768.
VALUES: dict[str, tuple[Callable[[], dict[str, Any]], list[int], list[int]]] = {
    "half_open": (lambda: lstm(**KEPT), [2000], [48]),
    "biases_are_ignored": (lambda: lstm(**KEPT, cell_bias=[10**6], forget_gate_bias=[10**6]), [2000], [48]),
    # A candidate of 1 halved is 1024 words, one less after rounding 16384 × 32756 / 2^19; tanh(0.5) / 2 = 29.6.
    "input_weights": (lambda: lstm(**OPEN, input_to_cell_w=[[127]]), [1024], [30]),
    # x = 1 and w = 32 are 4096 words, tanh(1) / 2 = 0.3808: 780 words, and 23.3 codes.
    "input_word": (lambda: lstm(input_to_cell_w=[[32]]), [780], [23]),
    "input_zero_point": (
        lambda: lstm(input=typed(Q8S, Quant(1.0, 100), [[101]]), input_to_cell_w=[[32]]),
        [780],
        [23],
    ),
    # h = 64 codes above the zero point, w = 64: 4096 words.
    "recurrent_weights": (lambda: lstm(prev_output=[[61]], recurrent_to_cell_w=[[64]]), [780], [23]),
    "forget_gate_shut": (lambda: lstm(**KEPT, **OPEN, input_to_forget_w=[[-127]]), [1], [0]),
    "output_gate_open": (lambda: lstm(**KEPT, **OPEN, input_to_output_w=[[127]]), [2000], [96]),
    "hidden_zero_point_is_subtracted": (lambda: lstm(**KEPT, hidden_zero_point=5), [2000], [43]),
    "hidden_zero_point_is_a_byte": (lambda: lstm(**KEPT, hidden_zero_point=256 + 5), [2000], [43]),
    "hidden_codes_saturate": (lambda: lstm(**KEPT, hidden_scale=2**-10), [2000], [127]),
    "cell_clip": (lambda: lstm(**KEPT, cell_clip=0.5), [1024], [30]),
    "cell_clip_below_one_word": (lambda: lstm(**KEPT, cell_clip=2.0**-12), [2000], [48]),
    "cell_clip_of_zero": (lambda: lstm(**KEPT, cell_clip=0.0), [2000], [48]),
    "cell_scale": (
        lambda: lstm(prev_cell_state=typed(Q16, Quant(2**-13), [[16000]]), input_to_cell_w=[[0]]),
        [8000],
        [48],
    ),
    # 1 - 1/2 is 16383 words: 16383 × 32756 / 2^19 = 1023.6; with what is kept of 4000, 3024 (1.477, tanh 0.901).
    "cifg": (lambda: cifg(**KEPT, **OPEN, input_to_cell_w=[[127]]), [3024], [58]),
    "peephole_forget": (lambda: lstm(**KEPT, **{**PEEPHOLES, "cell_to_forget_w": [-32768]}), [1], [0]),
    "peephole_output_sees_the_new_state": (
        # 2000 × 1049 / 512 = 4098 words, logistic 0.7311 (the old 4000 would give 0.8808).
        lambda: lstm(**KEPT, **{**PEEPHOLES, "cell_to_output_w": [1049]}),
        [2000],
        [70],
    ),
    # (48 × 2) / 2 = 48, and the zero point -3.
    "projection": (lambda: lstm(**KEPT, projection_w=[[2]]), [2000], [45]),
    "projection_bias": (lambda: lstm(**KEPT, projection_w=[[2]], projection_bias=[10]), [2000], [50]),
    "projection_adds_the_zero_point": (lambda: lstm(**KEPT, projection_w=[[2]], hidden_zero_point=5), [2000], [45]),
    "proj_clip_counts_in_weights": (lambda: lstm(**KEPT, projection_w=[[2]], proj_clip=4.0), [2000], [8]),
    "proj_clip_needs_a_projection": (lambda: lstm(**KEPT, proj_clip=4.0), [2000], [48]),
    # bias / 1024 / 4 words: 4096, tanh(1) / 2.
    "layer_norm_bias": (
        lambda: lstm(2, **{**NORMS, "cell_bias": [4096 * 4 * 1024, 0]}),
        [780, 0],
        [23, 0],
    ),
    # Sums of ±32 × 128 words become ±1; 16384 quarters are 4096 words.
    "layer_norm_weights": (
        lambda: lstm(2, **{**NORMS, "cell_layer_norm_w": [16384, 16384]}, input_to_cell_w=[[32], [-32]]),
        [780, -780],
        [23, -23],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, state, output = VALUES[name]
    arguments = make()
    assert broken_rules(use(KIND, **arguments), "here") == []
    output_state, cell_out, out = run(KIND, **arguments)
    assert (cell_out.ravel().tolist(), out.ravel().tolist()) == (state, output)
    np.testing.assert_array_equal(output_state, out)


def test_peepholes_count_outputs_through_flat_arrays() -> None:
    """2 units, 1 output, 2 rows: the first two values get the first unit's weight, the second row nothing."""
    arguments = lstm(
        2, 1, 2, prev_cell_state=np.full((2, 2), 4000), projection_w=[[0, 0]],
        **{**PEEPHOLES, "cell_to_input_w": [0, 0], "cell_to_output_w": [0, 0], "cell_to_forget_w": [-32768, 0]},
    )  # fmt: skip
    assert broken_rules(use(KIND, **arguments), "here") == []
    np.testing.assert_array_equal(run(KIND, **arguments)[1], [[1, 1], [2000, 2000]])


def test_peepholes_reach_every_unit_when_there_are_more_outputs() -> None:
    arguments = lstm(
        1, 3, 2, prev_cell_state=np.full((2, 1), 4000), projection_w=[[0], [0], [0]],
        **{**PEEPHOLES, "cell_to_forget_w": [-32768]},
    )  # fmt: skip
    np.testing.assert_array_equal(run(KIND, **arguments)[1], [[1], [1]])


def real(argument: Typed) -> np.ndarray:
    type_, codes = argument
    result: np.ndarray = (codes.astype(np.float64) - type_.zero_point) * type_.scale
    return result


def sigmoid(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-x))
    return result


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([WORD, 2.0**-12 * 1.3]))
def test_follows_the_real_formula(seed: int, hidden: float) -> None:
    generator = np.random.default_rng(seed)
    units = 3
    small = {name: [0] * units for name in PEEPHOLE}
    arguments = lstm(units, batch=2, **small, hidden_scale=hidden * 32)
    bounds = {"input": 4, "prev_output": 90, "prev_cell_state": 3000, **dict.fromkeys(PEEPHOLE, 400)}
    for name, value in arguments.items():
        if isinstance(value, tuple) and not name.endswith("bias"):
            bound = bounds.get(name, 40)
            codes = generator.integers(-bound, bound + 1, value[1].shape).astype(value[1].dtype)
            arguments[name] = value[0], codes
    x = {name: real(value) for name, value in arguments.items() if isinstance(value, tuple)}

    def gate(name: str, cell: np.ndarray) -> np.ndarray:
        total = x["input"] @ x[f"input_to_{name}_w"].T + x["prev_output"] @ x[f"recurrent_to_{name}_w"].T
        total = total + x.get(f"cell_to_{name}_w", 0) * cell
        return np.clip(total, -8, 8)

    before = x["prev_cell_state"]
    state = sigmoid(gate("forget", before)) * before
    state = state + sigmoid(gate("input", before)) * np.tanh(gate("cell", before))
    output = sigmoid(gate("output", state)) * np.tanh(state) / arguments["hidden_scale"]
    _, cell_out, out = run(KIND, **arguments)
    # 16-bit logistic and tanh are good to some 2^-11, times a state below 2.5; gate words to a few 2^-12.
    assert np.max(np.abs(cell_out / 2048 - state)) <= 12 / 2048
    # Half a code of rounding, and 12 words of 2^-11 in codes of at least 2^-7.
    assert np.max(np.abs(out - np.clip(output, -128, 127))) <= 1.3


# --- rules, types, level -----------------------------------------------------------------------------------

BROKEN: dict[str, Callable[[], Call]] = {
    f"{KIND}.C1": lambda: use(KIND, **lstm(2, cell_bias=[1, 2, 3])),
    f"{KIND}.C2": lambda: use(KIND, **lstm(input_gate_bias=None)),
    f"{KIND}.C3": lambda: use(KIND, **lstm(**{**PEEPHOLES, "cell_to_input_w": None})),
    f"{KIND}.C4": lambda: use(KIND, **lstm(projection_bias=[0])),
    f"{KIND}.C5": lambda: use(KIND, **lstm(2, **{**NORMS, "forget_layer_norm_w": None})),
    f"{KIND}.C6": lambda: use(KIND, **lstm(2, 3)),
    f"{KIND}.C7": lambda: use(KIND, **lstm(forget_intermediate_scale=0.0)),
    f"{KIND}.C8": lambda: use(KIND, **lstm(prev_cell_state=typed(Q16, Quant(0.0007), [[0]]))),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "cifg_norm": ("C5", lambda: use(KIND, **cifg(units=2, **NORMS))),
    "hidden_scale": ("C7", lambda: use(KIND, **lstm(hidden_scale=0.0))),
    "tiny_scale": ("C7", lambda: use(KIND, **lstm(cell_intermediate_scale=1e-20))),
    "negative_scale": ("C7", lambda: use(KIND, **lstm(cell_intermediate_scale=-1.0))),
    "cell_scale_too_large": ("C8", lambda: use(KIND, **lstm(prev_cell_state=typed(Q16, Quant(2**-8), [[0]])))),
    "cell_scale_too_small": ("C8", lambda: use(KIND, **lstm(prev_cell_state=typed(Q16, Quant(2**-16), [[0]])))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [f"{KIND}.{rule}"]


def test_without_an_input_gate_its_scale_does_not_matter() -> None:
    assert broken_rules(use(KIND, **cifg(input_intermediate_scale=0.0)), "here") == []


def test_scalars_that_are_not_known_yet_break_no_rule() -> None:
    fed = OperandType(OperandCode.FLOAT32)
    assert broken_rules(use(KIND, **lstm(hidden_scale=fed, cell_intermediate_scale=fed)), "here") == []


def test_types_and_level() -> None:
    n = Dim("n")
    arguments = lstm(2, 3, projection_w=np.zeros((3, 2)))
    fed = {"input": (Q8S, 1, INPUT), "prev_output": (Q8S, 3, OUTPUT), "prev_cell_state": (Q16, 2, CELL)}
    arguments |= {name: OperandType(code, (n, size), quant) for name, (code, size, quant) in fed.items()}
    output, cell = arguments["prev_output"], arguments["prev_cell_state"]
    assert use(KIND, **arguments).results == (output, cell, output)
    assert required_level(use(KIND, **arguments))[0] == 4
    declared = use(KIND, quant=[Quant(0.5), Quant(0.25), Quant(2.0, 1)], **arguments).results
    assert [type_.quant for type_ in declared] == [Quant(0.5), Quant(0.25), Quant(2.0, 1)]
