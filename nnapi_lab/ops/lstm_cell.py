"""The float LSTM cell that LSTM and both sequence LSTMs share: slots, sizes, rules, one step, a sequence.

Gates are i(nput), f(orget), g (the "cell" gate, the candidate) and o(utput). With x the input, h the output
and c the cell state of the step before, c' the new one:

    i, f = sigmoid(W x + U h + p c + b)      g = act(W x + U h + b)      c' = clip(f c + i g)
    o    = sigmoid(W x + U h + p c' + b)     h' = clip(P (o act(c')) + b_P), or o act(c') without projection

CIFG (no input gate): i = 1 - f. Peephole: the p terms. Layer norm: the sum without b is normalized over the
units, scaled, and only then b is added. `aux` adds A a to every gate. Nothing is float16 inside.
Source: AOSP 13 `LSTM.cpp` (LSTMCell::LSTMStep, CheckInputTensorDimensions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnapi_lab.ir.operand_types import Dim
from nnapi_lab.numerics.recurrent import ACTIVATION_NAMES, NONE, activate, normalize_rows, sigmoid
from nnapi_lab.ops.axes import Size
from nnapi_lab.ops.by_name import (
    SizeTable,
    Tensors,
    given_all_or_none,
    is_given,
    is_surely_given,
    named_sizes,
    sizes_seen,
)
from nnapi_lab.ops.spec import Call, Constraint, Slot, real_scalar, scalar, tensor

Array = np.ndarray
TableOf = Callable[[Call], SizeTable]  # the sizes a use's slots share; they may depend on its scalars

GATES = ("input", "forget", "cell", "output")

# Axes of the weights in the order every LSTM lists them.
WEIGHTS: SizeTable = {
    **{f"input_to_{gate}_w": ("units", "features") for gate in GATES},
    **{f"recurrent_to_{gate}_w": ("units", "outputs") for gate in GATES},
    **{f"cell_to_{gate}_w": ("units",) for gate in ("input", "forget", "output")},
    "input_gate_bias": ("units",),
    "forget_gate_bias": ("units",),
    "cell_bias": ("units",),
    "output_gate_bias": ("units",),
    "projection_w": ("outputs", "units"),
    "projection_bias": ("outputs",),
}
LAYER_NORMS: SizeTable = {f"{gate}_layer_norm_w": ("units",) for gate in GATES}

CIFG = ("input_to_input_w", "recurrent_to_input_w", "input_gate_bias")
PEEPHOLE = ("cell_to_input_w", "cell_to_forget_w", "cell_to_output_w")
OPTIONAL = frozenset({*CIFG, *PEEPHOLE, "projection_w", "projection_bias", *LAYER_NORMS})


# --- slots -------------------------------------------------------------------------------------------------


def weight_slots(table: SizeTable = WEIGHTS, prefix: str = "") -> tuple[Slot, ...]:
    """A slot for each row of a table of weights, optional where some variant of the cell goes without."""
    return tuple(
        tensor(f"{prefix}{name}", rank=len(axes), optional=name in OPTIONAL, doc=f"[{', '.join(axes)}]")
        for name, axes in table.items()
    )


ACTIVATION_SLOT = scalar("activation", doc="0 NONE, 1 RELU, 2 RELU1, 3 RELU6, 4 TANH, 6 SIGMOID (not FuseCode)")
SCALARS = (
    ACTIVATION_SLOT,
    real_scalar("cell_clip", doc="bound on the cell state, 0 for none"),
    real_scalar("proj_clip", doc="bound on the projection, 0 for none"),
)


# --- sizes -------------------------------------------------------------------------------------------------


def cell_table(
    prefix: str = "",
    output_state: str = "output_state_in",
    cell_state: str = "cell_state_in",
    features: str = "features",
) -> dict[str, tuple[str, ...]]:
    """Axes of all weights and states of one cell; what no variant omits comes first and decides the sizes.

    Units and outputs are the cell's own ("fw_units"); `features` names the input it reads.
    """
    own = {"features": features, "units": f"{prefix}units", "outputs": f"{prefix}outputs"}
    named = {**WEIGHTS, **LAYER_NORMS}
    first = ("input_to_output_w", "recurrent_to_output_w")
    ordered = {name: named[name] for name in (*first, *(name for name in named if name not in first))}
    table = {prefix + name: tuple(own[axis] for axis in axes) for name, axes in ordered.items()}
    table[output_state] = ("batch", own["outputs"])
    table[cell_state] = ("batch", own["units"])
    return table


def input_axes(call: Call, features: str = "features") -> tuple[str, ...]:
    """Axes of a sequence [batch, time, features], or [time, batch, features] when it is time-major."""
    major = call["time_major"]
    if major not in (0, 1):
        return ("first", "second", features)
    return ("time", "batch", features) if major else ("batch", "time", features)


def sequence_shape(call: Call, size: Mapping[str, Size], depth: Size) -> tuple[Size, ...]:
    """Shape of an output sequence in the layout of the input; open while time_major is."""
    if call["time_major"] not in (0, 1):
        return (Dim("?"), Dim("?"), depth)
    batch, time = size["batch"], size["time"]
    return (time, batch, depth) if call["time_major"] else (batch, time, depth)


def has_state_results(call: Call) -> bool:
    """Whether a sequence operation also gives last states, the only results of rank 2."""
    return any(type_.rank == 2 for type_ in call.results)


# --- rules -------------------------------------------------------------------------------------------------


def uses_cifg(call: Call, prefix: str = "") -> bool:
    """Whether the input gate is left out and coupled to the forget gate."""
    return not is_given(call, f"{prefix}input_to_input_w")


def cifg_seen(call: Call, prefix: str = "") -> str | None:
    return given_all_or_none(call, [prefix + name for name in CIFG])


def peephole_seen(call: Call, prefix: str = "") -> str | None:
    # With CIFG the reference takes cell_to_input_w and does not use it.
    names = PEEPHOLE[1:] if uses_cifg(call, prefix) and is_given(call, f"{prefix}cell_to_output_w") else PEEPHOLE
    return given_all_or_none(call, [prefix + name for name in names])


def projection_seen(call: Call, prefix: str = "") -> str | None:
    if is_surely_given(call, f"{prefix}projection_bias") and not is_given(call, f"{prefix}projection_w"):
        return f"{prefix}projection_bias is given without {prefix}projection_w"
    return None


def layer_norm_seen(call: Call, prefix: str = "") -> str | None:
    gates = list(GATES)
    if uses_cifg(call, prefix):
        gates.remove("input")
        if is_surely_given(call, f"{prefix}input_layer_norm_w"):
            return f"{prefix}input_layer_norm_w is given, but there is no input gate (CIFG)"
    return given_all_or_none(call, [f"{prefix}{gate}_layer_norm_w" for gate in gates])


def unprojected_seen(call: Call, sizes: dict[str, Size], prefix: str = "") -> str | None:
    units, outputs = sizes[f"{prefix}units"], sizes[f"{prefix}outputs"]
    if is_given(call, f"{prefix}projection_w") or not (isinstance(units, int) and isinstance(outputs, int)):
        return None
    if units == outputs:
        return None
    return f"{units} units give {outputs} outputs ({prefix}recurrent_to_output_w) without {prefix}projection_w"


def clips_seen(call: Call) -> str | None:
    for name in ("cell_clip", "proj_clip"):
        clip = call[name]
        if clip is not None and not clip >= 0:
            return f"{name} is {clip:g}"
    return None


def activation_seen(call: Call) -> str | None:
    """An activation no cell knows, None when it is one (or unknown yet)."""
    code = call["activation"]
    if code is None or code in ACTIVATION_NAMES:
        return None
    return f"activation is {code}, not " + ", ".join(f"{c} {name}" for c, name in ACTIVATION_NAMES.items())


def variant_constraints(prefixes: Sequence[str], table_of: TableOf) -> tuple[Constraint, ...]:
    """C1…C6, the rules of every LSTM with variants; `prefixes` name its cells ("fw_", "bw_")."""

    def each(seen: Callable[[Call, str], str | None]) -> Callable[[Call], str | None]:
        return lambda call: next((told for prefix in prefixes if (told := seen(call, prefix))), None)

    return (
        Constraint("C1", "weights, biases, states and input agree in their sizes",
                   lambda call: sizes_seen(call, table_of(call))),
        Constraint("C2", f"{', '.join(CIFG)} are all given or all omitted (CIFG)", each(cifg_seen)),
        Constraint("C3", "peephole weights are all given or all omitted; CIFG goes without cell_to_input_w",
                   each(peephole_seen)),
        Constraint("C4", "projection_bias needs projection_w", each(projection_seen)),
        Constraint("C5", "layer norm weights are all given or all omitted; CIFG has no input_layer_norm_w",
                   each(layer_norm_seen)),
        Constraint("C6", "without projection_w there are as many outputs as units",
                   each(lambda call, prefix: unprojected_seen(call, named_sizes(call, table_of(call)), prefix))),
    )  # fmt: skip


def cell_constraints(prefixes: Sequence[str], table_of: TableOf) -> tuple[Constraint, ...]:
    """C1…C8, the rules of every float LSTM."""
    return (
        *variant_constraints(prefixes, table_of),
        Constraint("C7", "cell_clip and proj_clip are at least 0", clips_seen),
        Constraint("C8", "activation is one a cell knows", activation_seen),
    )


# --- arithmetic --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gate:
    """Weights of one gate, None where a variant omits them.

    input_w [units, features], recurrent_w [units, outputs], aux_w [units, features], the rest [units].
    """

    input_w: Array
    recurrent_w: Array
    bias: Array
    peephole_w: Array | None = None
    layer_norm_w: Array | None = None
    aux_w: Array | None = None

    def sum(self, x: Array, h: Array, c: Array, aux: Array | None) -> Array:
        """What the gate's activation sees [batch, units]."""
        total = x @ self.input_w.T + h @ self.recurrent_w.T
        if aux is not None and self.aux_w is not None:
            total = total + aux @ self.aux_w.T
        if self.peephole_w is not None:
            total = total + self.peephole_w * c
        if self.layer_norm_w is not None:
            total = normalize_rows(total) * self.layer_norm_w
        result: Array = total + self.bias
        return result


@dataclass(frozen=True, slots=True)
class Cell:
    """One LSTM cell: four gates (no input gate: CIFG), a projection or none, activation and clips."""

    input: Gate | None
    forget: Gate
    cell: Gate
    output: Gate
    projection_w: Array | None
    projection_bias: Array | None
    activation: int
    cell_clip: float
    proj_clip: float

    @staticmethod
    def from_tensors(
        tensors: Tensors, prefix: str = "", *, activation: int, cell_clip: float, proj_clip: float
    ) -> Cell:
        """The cell whose slots start with `prefix`."""
        return Cell(
            None if tensors[f"{prefix}input_to_input_w"] is None else _gate(tensors, prefix, "input"),
            _gate(tensors, prefix, "forget"),
            _gate(tensors, prefix, "cell"),
            _gate(tensors, prefix, "output"),
            tensors[f"{prefix}projection_w"],
            tensors[f"{prefix}projection_bias"],
            activation,
            cell_clip,
            proj_clip,
        )

    def step(self, x: Array, h: Array, c: Array, aux: Array | None = None) -> tuple[Array, Array]:
        """(output [batch, outputs], cell state [batch, units]) after one step; x [batch, features]."""
        forget = sigmoid(self.forget.sum(x, h, c, aux))
        candidate = activate(self.cell.sum(x, h, c, aux), self.activation)
        admit = np.float32(1) - forget if self.input is None else sigmoid(self.input.sum(x, h, c, aux))
        state = clipped(forget * c + admit * candidate, self.cell_clip)
        output = sigmoid(self.output.sum(x, h, state, aux))
        # The reference's NONE copies nothing: its buffer still holds the candidate, not the state.
        squashed = candidate if self.activation == NONE else activate(state, self.activation)
        return self._projected(output * squashed), state

    def _projected(self, hidden: Array) -> Array:
        if self.projection_w is None:
            return hidden
        bias = np.float32(0) if self.projection_bias is None else self.projection_bias
        return clipped(hidden @ self.projection_w.T + bias, self.proj_clip)

    def run(
        self, x: Array, h: Array, c: Array, *, time_major: bool, backward: bool = False, aux: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """(outputs, last output, last cell state) over a sequence, from its end when `backward`.

        x and aux [batch, time, features], or [time, batch, features] when time_major; outputs likewise.
        """
        time = 0 if time_major else 1
        steps = range(x.shape[time])
        outputs: list[Array] = []
        for t in reversed(steps) if backward else steps:
            h, c = self.step(x.take(t, time), h, c, None if aux is None else aux.take(t, time))
            outputs.append(h)
        return np.stack(outputs[::-1] if backward else outputs, axis=time), h, c


def _gate(tensors: Tensors, prefix: str, name: str) -> Gate:
    bias = "cell_bias" if name == "cell" else f"{name}_gate_bias"
    return Gate(
        tensors[f"{prefix}input_to_{name}_w"],
        tensors[f"{prefix}recurrent_to_{name}_w"],
        tensors[prefix + bias],
        tensors.get(f"{prefix}cell_to_{name}_w"),
        tensors.get(f"{prefix}{name}_layer_norm_w"),
        tensors.get(f"{prefix}aux_input_to_{name}_w"),
    )


def clipped(values: Array, bound: float) -> Array:
    """Values within ±bound; 0 is no bound."""
    return np.clip(values, np.float32(-bound), np.float32(bound)) if bound > 0 else values
