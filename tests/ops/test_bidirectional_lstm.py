"""BIDIRECTIONAL_SEQUENCE_LSTM: two sequences in one, their linking, their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.bidirectional_lstm import AUX_WEIGHTS, INPUTS
from nnapi_lab.ops.lstm_cell import LAYER_NORMS, WEIGHTS
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
KIND, ONE_WAY = "BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"
BATCH, TIME, FEATURES = 2, 3, 4
UNITS = {"fw_": 5, "bw_": 6}
OUTPUTS = {"fw_": 2, "bw_": 3}

Arguments = dict[str, Any]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


def layer(aux: bool | None = False, **changes: Any) -> Arguments:
    """Every variant at once, batch first; `aux`: True crosswise, None parallel, False no linking."""
    arguments: Arguments = {"input": normal(1, BATCH, TIME, FEATURES)}
    seed = 10
    for prefix in ("fw_", "bw_"):
        size = {"units": UNITS[prefix], "features": FEATURES, "outputs": OUTPUTS[prefix]}
        for name, axes in {**WEIGHTS, **LAYER_NORMS}.items():
            seed += 1
            arguments[prefix + name] = normal(seed, *(size[axis] for axis in axes))
        arguments[f"{prefix}activation_state_in"] = normal(seed + 100, BATCH, OUTPUTS[prefix])
        arguments[f"{prefix}cell_state_in"] = normal(seed + 200, BATCH, UNITS[prefix])
        for name in AUX_WEIGHTS[prefix] if aux else ():
            seed += 1
            arguments[name] = normal(seed, UNITS[prefix], FEATURES)
    if aux is not False:
        arguments["aux_input"] = normal(2, BATCH, TIME, FEATURES)
    plain = {"activation": 4, "cell_clip": 0.9, "proj_clip": 0.8, "merge_outputs": False, "time_major": False}
    return {**arguments, **plain, **changes}


def without(*names: str, aux: bool | None = False, **changes: Any) -> Arguments:
    """A layer without these slots, named for both directions."""
    return layer(aux, **{prefix + name: None for prefix in UNITS for name in names}, **changes)


def one_way(arguments: Arguments, prefix: str, input: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same cell as a UNIDIRECTIONAL_SEQUENCE_LSTM."""
    named = {name: arguments[prefix + name] for name in (*WEIGHTS, *LAYER_NORMS)}
    shared = {name: arguments[name] for name in ("activation", "cell_clip", "proj_clip", "time_major")}
    states = {
        "output_state_in": arguments[f"{prefix}activation_state_in"],
        "cell_state_in": arguments[f"{prefix}cell_state_in"],
    }
    outputs: tuple[np.ndarray, np.ndarray, np.ndarray] = run(
        ONE_WAY, quant=[None] * 3, input=input, **named, **shared, **states
    )
    return outputs


VARIANTS: dict[str, Callable[[], Arguments]] = {
    "all": layer,
    "cifg": lambda: without("input_to_input_w", "recurrent_to_input_w", "input_gate_bias", "input_layer_norm_w"),
    "no_peephole": lambda: without("cell_to_input_w", "cell_to_forget_w", "cell_to_output_w"),
    "no_norm": lambda: without(*LAYER_NORMS),
    "no_projection_bias": lambda: without("projection_bias"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_two_directions_are_two_sequences(name: str) -> None:
    arguments = VARIANTS[name]()
    ours = run(KIND, quant=[None] * 6, **arguments)
    forward = one_way(arguments, "fw_", arguments["input"])
    backward = one_way(arguments, "bw_", arguments["input"][:, ::-1])
    expected = (forward[0], backward[0][:, ::-1], *forward[1:], *backward[1:])
    for mine, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_merged_outputs_lie_side_by_side() -> None:
    apart = run(KIND, quant=[None] * 2, **layer())
    merged = run(KIND, **layer(merge_outputs=True))
    np.testing.assert_array_equal(merged[0], np.concatenate(apart, axis=2))
    with_states = run(KIND, quant=[None] * 5, **layer(merge_outputs=True))
    assert [array.shape for array in with_states] == [(2, 3, 5), (2, 2), (2, 5), (2, 3), (2, 6)]


def test_time_major_swaps_the_first_two_axes() -> None:
    major = layer(True, time_major=True)
    major |= {name: major[name].swapaxes(0, 1) for name in ("input", "aux_input")}
    for mine, other in zip(run(KIND, **major), run(KIND, **layer(True)), strict=True):
        np.testing.assert_array_equal(mine.swapaxes(0, 1), other)


def test_an_auxiliary_input_alone_is_what_the_backward_cell_reads() -> None:
    linked, apart = layer(None), layer()
    forward, backward = run(KIND, **linked)
    np.testing.assert_array_equal(forward, run(KIND, **apart)[0])
    np.testing.assert_array_equal(backward, run(KIND, **{**apart, "input": linked["aux_input"]})[1])


def test_the_backward_cell_reads_an_auxiliary_input_of_its_own_size() -> None:
    arguments = layer(None, aux_input=normal(3, BATCH, TIME, 7))
    arguments |= {name: normal(4, 6, 7) for name in arguments if name.startswith("bw_input_to_")}
    call = use(KIND, **arguments)
    assert broken_rules(call, "here") == []
    assert run(call)[1].shape == (BATCH, TIME, 3)


def test_auxiliary_weights_add_to_every_gate() -> None:
    """[W, A] on [x, a] as one wider input is the same sum."""
    arguments = layer(True)
    wide = {**arguments, "input": np.concatenate([arguments["input"], arguments["aux_input"]], axis=2)}
    wide |= dict.fromkeys(("aux_input", *AUX_WEIGHTS["fw_"], *AUX_WEIGHTS["bw_"]))
    for prefix in UNITS:
        for gate in ("input", "forget", "cell", "output"):
            name = f"{prefix}input_to_{gate}_w"
            aux = arguments[f"{prefix}aux_input_to_{gate}_w"]
            wide[name] = np.concatenate([arguments[name], aux], axis=1)
    for mine, other in zip(run(KIND, **arguments), run(KIND, **wide), strict=True):
        # Two sums of eight products around 1 in another order, over three steps with steep layer norms.
        np.testing.assert_allclose(mine, other, atol=2e-5)


# --- rules -------------------------------------------------------------------------------------------------

BAD: dict[str, Callable[[], Arguments]] = {
    "C1": lambda: layer(bw_cell_bias=normal(0, 5)),
    "C2": lambda: without("recurrent_to_input_w"),
    "C3": lambda: without("cell_to_forget_w"),
    "C4": lambda: without("projection_w", **{f"{p}activation_state_in": normal(0, BATCH, UNITS[p]) for p in UNITS},
                          **{f"{p}projection_bias": normal(0, UNITS[p]) for p in UNITS},
                          **{f"{p}recurrent_to_{g}_w": normal(0, UNITS[p], UNITS[p]) for p in UNITS
                             for g in ("input", "forget", "cell", "output")}),
    "C5": lambda: without("cell_layer_norm_w"),
    "C6": lambda: without("projection_w", "projection_bias"),
    "C7": lambda: layer(proj_clip=-0.5),
    "C8": lambda: layer(activation=5),
    "C9": lambda: layer(True, aux_input=None),
    "C10": lambda: layer(bw_projection_bias=None),
}  # fmt: skip
CIFG = ("input_to_input_w", "recurrent_to_input_w", "input_gate_bias", "input_layer_norm_w")
ALSO_BAD: dict[str, tuple[str, Callable[[], Arguments]]] = {
    "input": ("C1", lambda: layer(input=normal(0, BATCH, TIME, 5))),
    "aux_time": ("C1", lambda: layer(None, aux_input=normal(0, BATCH, 2, FEATURES))),
    "aux_size_crosswise": ("C1", lambda: layer(True, aux_input=normal(0, BATCH, TIME, 5))),
    "aux_size_parallel": ("C1", lambda: layer(None, aux_input=normal(0, BATCH, TIME, 5))),
    "aux_weights_one_direction": ("C9", lambda: layer(True, **dict.fromkeys(AUX_WEIGHTS["bw_"]))),
    "aux_weights_partly": ("C9", lambda: layer(True, fw_aux_input_to_cell_w=None)),
    "aux_input_gate_with_cifg": ("C9", lambda: without(*CIFG, aux=True)),
    "cifg_backward_only": ("C10", lambda: layer(**{f"bw_{name}": None for name in CIFG})),
}
BROKEN: dict[str, Callable[[], Call]] = {
    f"{KIND}.{rule}": lambda make=make: use(KIND, **make()) for rule, make in BAD.items()
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BAD)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BAD[name]
    assert [finding.rule for finding in broken_rules(use(KIND, **make()), "here")] == [f"{KIND}.{rule}"]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("aux", [None, False])
def test_uses_in_order_break_no_rule(name: str, aux: bool | None) -> None:
    arguments = {**VARIANTS[name](), **({"aux_input": normal(0, BATCH, TIME, FEATURES)} if aux is None else {})}
    assert broken_rules(use(KIND, **arguments), "here") == []


def test_crosswise_linking_breaks_no_rule() -> None:
    assert broken_rules(use(KIND, **layer(True)), "here") == []
    coupled = without(*CIFG, aux=True, fw_aux_input_to_input_w=None, bw_aux_input_to_input_w=None)
    assert broken_rules(use(KIND, **coupled), "here") == []


# --- types and levels --------------------------------------------------------------------------------------


def test_slots_are_listed_in_nnapis_order() -> None:
    names = [slot.name for slot in INPUTS]
    assert len(names) == 61
    places = {
        0: "input",
        17: "fw_projection_bias",
        18: "bw_input_to_input_w",
        35: "fw_activation_state_in",
        38: "bw_cell_state_in",
        39: "aux_input",
        44: "bw_aux_input_to_input_w",
        48: "activation",
        51: "merge_outputs",
        52: "time_major",
        53: "fw_input_layer_norm_w",
        60: "bw_output_layer_norm_w",
    }
    assert {place: names[place] for place in places} == places


@pytest.mark.parametrize(("merged", "count", "level"), [(False, 2, 3), (True, 1, 3), (False, 6, 4), (True, 5, 4)])
def test_levels(merged: bool, count: int, level: int) -> None:
    call = use(KIND, quant=[None] * count, **layer(merge_outputs=merged))
    assert len(call.results) == count
    assert required_level(call)[0] == level


def test_results_are_known_as_far_as_the_inputs() -> None:
    n = Dim("n")
    arguments = layer(input=OperandType(F32, (n, TIME, FEATURES)), merge_outputs=OperandType(OperandCode.BOOL))
    arguments |= {f"{p}{kind}_state_in": OperandType(F32, (n, 1)) for p in UNITS for kind in ("activation", "cell")}
    assert [type_.shape for type_ in use(KIND, quant=[None] * 2, **arguments).results] == [(n, 3, 2), (n, 3, 3)]
    assert [type_.shape for type_ in use(KIND, quant=[None], **arguments).results] == [(n, 3, 5)]
