"""QUANTIZED_16BIT_LSTM: fixed-point gates, the pairing of values and weights, prescribed scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.quantized_16bit_lstm import CELL_QUANT, IO_QUANT, log2_of_scale
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

KIND = "QUANTIZED_16BIT_LSTM"
GATES = ("input", "forget", "cell", "output")
ZERO = 100  # zero point of the weights

# Weights of scale 1/32 give biases of scale 2^-12: a bias is a gate's Q3.12 word, the multiplier is 1.
SCALE = 1 / 32


def lstm(units: int = 1, features: int = 1, scale: float = SCALE, **changes: Any) -> dict[str, Any]:
    """A cell with weights 0, biases 0 and states 0; `changes` give codes, or (codes, quantization)."""
    quant = {"weights": Quant(scale, ZERO), "bias": Quant(scale / 128), "io": IO_QUANT, "cell": CELL_QUANT}
    arrays: dict[str, tuple[np.ndarray, Quant]] = {
        "input": (np.full((1, features), 128, np.uint8), quant["io"]),
        "prev_output": (np.full((1, units), 128, np.uint8), quant["io"]),
        "prev_cell_state": (np.zeros((1, units), np.int16), quant["cell"]),
    }
    for gate in GATES:
        arrays[f"input_to_{gate}_w"] = np.full((units, features), ZERO, np.uint8), quant["weights"]
        arrays[f"recurrent_to_{gate}_w"] = np.full((units, units), ZERO, np.uint8), quant["weights"]
        bias = "cell_bias" if gate == "cell" else f"{gate}_gate_bias"
        arrays[bias] = np.zeros(units, np.int32), quant["bias"]
    for name, value in changes.items():
        old, its_quant = arrays[name]
        arrays[name] = value if isinstance(value, tuple) else (np.array(value, old.dtype), its_quant)
    return arrays


OPEN, SHUT = [10**6], [-(10**6)]  # far beyond ±8, where the gates' words saturate

# An open gate is logistic(8) = 32757.01 / 32768, in 16-bit arithmetic 32756; a shut one 10.99, here 11.
VALUES: dict[str, tuple[dict[str, Any], int, int]] = {
    # 4000 / 2 = 2000 (0.977); tanh 0.7516 halved is 48.1 / 128.
    "half_open": (lstm(prev_cell_state=[[4000]]), 2000, 128 + 48),
    "negative": (lstm(prev_cell_state=[[-4000]]), -2000, 128 - 48),
    # A candidate of 1 halved is 1024 words of 2^-11; tanh(0.5) / 2 = 29.6 / 128.
    "candidate": (lstm(cell_bias=OPEN), 1024, 128 + 30),
    "input_gate_shut": (lstm(cell_bias=OPEN, input_gate_bias=SHUT), 1, 128),
    "forget_gate_shut": (lstm(prev_cell_state=[[30000]], forget_gate_bias=SHUT), 10, 128),
    # tanh saturates the state at 8 and the output at 127.
    "output_saturates": (lstm(prev_cell_state=[[32767]], forget_gate_bias=OPEN, output_gate_bias=OPEN), 32755, 255),
    # Both features weigh 32 codes of 1/32, 1 in all: (64 + 64) / 128 of the candidate's sum, tanh(1) = 0.7616.
    "input_weights_and_recurrent_weights_change_places": (
        lstm(2, 2, input=[[192, 192]], recurrent_to_cell_w=[[132, 132], [ZERO, ZERO]]),
        780,
        128 + 23,
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    arguments, state, output = VALUES[name]
    assert broken_rules(use(KIND, **arguments), "here") == []
    cell_out, out = run(KIND, **arguments)
    assert (int(cell_out.flat[0]), int(out.flat[0])) == (state, output)


def real(arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: (codes.astype(np.float64) - q.zero_point) * q.scale for name, (codes, q) in arguments.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-x))
    return result


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([SCALE, 0.0041, 1 / 96]))
def test_follows_the_real_formula(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    arguments = lstm(3, 2, scale)
    for name, (codes, quant) in arguments.items():
        low, high = (-3000, 3000) if codes.dtype == np.int32 else (0, 256) if codes.dtype == np.uint8 else (-9000, 9000)
        arguments[name] = generator.integers(low, high, codes.shape).astype(codes.dtype), quant
    x = real(arguments)
    values = np.concatenate([x["input"], x["prev_output"]], axis=1)
    sums = {}
    for gate in GATES:
        weights = np.concatenate([x[f"recurrent_to_{gate}_w"], x[f"input_to_{gate}_w"]], axis=1)
        bias = x["cell_bias" if gate == "cell" else f"{gate}_gate_bias"]
        sums[gate] = np.clip(values @ weights.T + bias, -8, 8)
    state = sigmoid(sums["forget"]) * x["prev_cell_state"] + sigmoid(sums["input"]) * np.tanh(sums["cell"])
    output = sigmoid(sums["output"]) * np.tanh(state)
    cell_out, out = run(KIND, **arguments)
    # 16-bit logistic and tanh are good to some 2^-11; times a state below 4.5 that is 5 words of 2^-11 and more.
    assert np.max(np.abs(cell_out / 2048 - state)) <= 12 / 2048
    # Half a code of rounding, and the 12 words above are another 0.75 codes.
    assert np.max(np.abs((out.astype(np.float64) - 128) / 128 - np.clip(output, -1, 127 / 128))) <= 1.3 / 128


def _requantized(name: str, quant: Quant) -> tuple[np.ndarray, Quant]:
    return lstm()[name][0], quant


BROKEN: dict[str, Callable[[], Call]] = {
    f"{KIND}.C1": lambda: use(KIND, **lstm(prev_cell_state=[[1, 2]])),
    f"{KIND}.C2": lambda: use(KIND, **lstm(input=_requantized("input", Quant(1 / 128, 127)))),
    f"{KIND}.C3": lambda: use(KIND, **lstm(input_to_cell_w=_requantized("input_to_cell_w", Quant(SCALE, 99)))),
    f"{KIND}.C4": lambda: use(KIND, **lstm(cell_bias=_requantized("cell_bias", Quant(SCALE / 64)))),
    f"{KIND}.C5": lambda: use(KIND, **lstm(prev_cell_state=_requantized("prev_cell_state", Quant(2**-12)))),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "prev_output": ("C2", lambda: use(KIND, **lstm(prev_output=_requantized("prev_output", Quant(1 / 64, 128))))),
    "weights_without_scale": ("C3", lambda: use(KIND, **lstm(scale=0.0))),
    "bias_zero_point": ("C4", lambda: use(KIND, **lstm(cell_bias=_requantized("cell_bias", Quant(SCALE / 128, 1))))),
    "weights": ("C1", lambda: use(KIND, **lstm(2, recurrent_to_forget_w=[[1, 2, 3], [4, 5, 6]]))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [f"{KIND}.{rule}"]


SCALES = [(2**-11, -11), (2**-11 * 1.0005, -11), (2**-11 * 1.002, None), (1.0, 0), (0.0, None), (-1.0, None)]


@pytest.mark.parametrize(("scale", "exponent"), SCALES)
def test_scales_near_a_power_of_two_count_as_it(scale: float, exponent: int | None) -> None:
    assert log2_of_scale(scale) == exponent


def test_types_and_level() -> None:
    n = Dim("n")
    arguments: dict[str, Any] = lstm(2)
    arguments["prev_output"] = OperandType(OperandCode.TENSOR_QUANT8_ASYMM, (n, 2), IO_QUANT)
    arguments["input"] = OperandType(OperandCode.TENSOR_QUANT8_ASYMM, (n, 1), IO_QUANT)
    arguments["prev_cell_state"] = OperandType(OperandCode.TENSOR_QUANT16_SYMM, (n, 2), CELL_QUANT)
    call = use(KIND, **arguments)
    assert call.results == (arguments["prev_cell_state"], arguments["prev_output"])
    assert required_level(call)[0] == 3
