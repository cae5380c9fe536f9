"""Predict, run, check: what a lesson asks, held against the lowered model itself.

No answer is written down anywhere: each is computed from the model the reader lowered, so a changed model
changes the answer, and a wrong prediction gets the hint that fits the way it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from nnapi_lab.ir.model import Model, Operation, Scalar
from nnapi_lab.ir.operand_types import shape_text
from nnapi_lab.lab import LoweredModel

State = Literal["open", "right", "wrong"]
MARKS: dict[State, str] = {"open": "…", "right": "✓", "wrong": "✗"}
# Okabe and Ito; the mark says the same without colour.
COLOURS: dict[State, str] = {"open": "#7c8896", "right": "#009e73", "wrong": "#d55e00"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one prediction. True in a condition only when it was right."""

    name: str
    state: State
    message: str

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        return f"{MARKS[self.state]} {self.name}: {self.message}"

    def _repr_html_(self) -> str:
        return (
            f'<div style="border-left:4px solid {COLOURS[self.state]};padding:4px 10px">'
            f"<strong>{MARKS[self.state]} {escape(self.name)}</strong><br>{escape(self.message)}</div>"
        )


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answer, why it is right, and what is behind some wrong ones."""

    answer: Any
    because: str
    mistakes: tuple[tuple[Any, str], ...] = ()
    hint: str = ""


@dataclass
class Checker:
    """`check("operations", 3)` for one lowered model.

    Questions: "torch nodes", "operations", "TRANSPOSE operations" (any kind), "operands", "constants",
    "shape of conv.weight" (any operand), "feature level". A placeholder (`...` or None) is "not answered yet".
    """

    lowered: LoweredModel
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def __call__(self, name: str, answer: Any = ...) -> Verdict:
        """Hold a prediction against the model. Raises KeyError for a question that is not one."""
        truth = self._truth(name)
        if answer is ... or answer is None:
            verdict = Verdict(name, "open", "not answered yet: replace the ... by your prediction and run it again")
        else:
            verdict = _judged(name, answer, truth)
        self.verdicts[name] = verdict
        return verdict

    def solution(self, name: str) -> str:
        """The answer and its reason, for when you have tried."""
        truth = self._truth(name)
        return f"{name}: {_text(truth.answer)}. {truth.because}"

    def _truth(self, name: str) -> Truth:
        for pattern, ask in QUESTIONS:
            found = re.fullmatch(pattern, name)
            if found is not None:
                return ask(self.lowered, *found.groups())
        raise KeyError(f"no question is called {name!r}; there are: {', '.join(shown for shown, _ in QUESTIONS)}")


def _judged(name: str, answer: Any, truth: Truth) -> Verdict:
    given = _plain(answer)
    if type(given) is not type(truth.answer):
        wanted = "a tuple of numbers, such as (1, 2, 3)" if isinstance(truth.answer, tuple) else "a number"
        return Verdict(name, "wrong", f"{answer!r} is a {type(answer).__name__}; this question wants {wanted}")
    if given == truth.answer:
        return Verdict(name, "right", f"{_text(given)} is right. {truth.because}")
    reason = next((why for wrong, why in truth.mistakes if wrong == given), truth.hint)
    return Verdict(name, "wrong", f"{_text(given)} is not it. {reason}".rstrip())


def _plain(answer: Any) -> Any:
    """Lists and torch.Size are tuples; a number is an int where it is whole. True is no number."""
    if isinstance(answer, bool):
        return answer
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return tuple(_plain(part) for part in answer)
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)
    return answer


def _text(value: Any) -> str:
    return shape_text(value) if isinstance(value, tuple) else str(value)


# --- the questions -------------------------------------------------------------------------------------------


def _torch_nodes(lowered: LoweredModel) -> Truth:
    kinds = [node.kind for node in lowered.graph.nodes]
    return Truth(len(kinds), f"TorchScript says {_listed(kinds)}.", hint="Count the calls in forward, one by one.")


def _operations(lowered: LoweredModel) -> Truth:
    kinds = [operation.kind for operation in lowered.model.operations]
    fused = [step.rule.title.lower() for step in lowered.steps if step.rule.kind == "fusion"]
    nodes = len(lowered.graph.nodes)
    return Truth(
        len(kinds),
        f"NNAPI is told {_listed(kinds)}." + (f" The rest went in by fusion: {_listed(fused)}." if fused else ""),
        ((nodes, "That is the number of TorchScript nodes. Which of them could a convolution carry along?"),),
        "Which of the TorchScript nodes multiply, add or clamp, and could be part of the operation before them?",
    )


def _operations_of(lowered: LoweredModel, kind: str) -> Truth:
    count = sum(operation.kind == kind for operation in lowered.model.operations)
    nodes = sum(node.kind.rpartition("::")[2].rstrip("_").upper() == kind for node in lowered.graph.nodes)
    reason = f"{kind} occurs {count} times among {len(lowered.model.operations)} operations."
    if kind == "TRANSPOSE":
        reason += " Layout is settled once, where values enter, and the weights are reordered ahead of time."
        inputs = sum(len(lowered.graph[name].type.shape or ()) == 4 for name in lowered.graph.inputs)
        return Truth(
            count,
            reason,
            ((inputs, "A transposed input need not be an operation: whoever calls the model can hand it over so."),),
            "Ask of each value who could reorder it ahead of time, so that no operation has to.",
        )
    mistakes = ((nodes, "That is how often TorchScript has it; NNAPI differs."),) if nodes != count else ()
    return Truth(count, reason, mistakes, "Look at the summary's first lines.")


def _operands(lowered: LoweredModel) -> Truth:
    model = lowered.model
    named, scalars, uses = len(model.operands), model.scalar_count, _scalar_uses(model)
    mistakes = [
        (
            len(model.operations),
            "That is the number of operations. An operand is whatever an operation reads or writes.",
        ),
        (
            named,
            "You have the tensors. Pads, strides and the fuse code are operands too, one per distinct number.",
        ),
        (named + uses, "Close: equal numbers of one type share an operand. Count distinct numbers only."),
        (uses + sum(len(operation.reads) for operation in model.operations), "The results are operands, too."),
    ]
    listed = ", ".join(model.operands) if named <= 6 else "see the listing"
    values = f" ({', '.join(str(scalar.value) for scalar in dict.fromkeys(_scalars(model)))})" if scalars <= 6 else ""
    return Truth(
        named + scalars,
        f"{named} named tensors ({listed}) and {scalars} distinct scalar values{values}; {uses} arguments share them.",
        tuple((wrong, why) for wrong, why in mistakes if wrong != named + scalars),
        "Inputs, weights, biases and results are operands, and so is every distinct number among the arguments.",
    )


def _constants(lowered: LoweredModel) -> Truth:
    names = [operand.name for operand in lowered.model.constants]
    return Truth(
        len(names),
        f"NNAPI is given {', '.join(names[:6])}{' …' if len(names) > 6 else ''}.",
        hint="Weights and biases. A folded batch norm leaves no constant of its own, but it may leave a bias.",
    )


def _shape_of(lowered: LoweredModel, name: str) -> Truth:
    model = lowered.model
    if name not in model.operands:
        raise KeyError(f"no operand is called {name!r}; there are {', '.join(list(model.operands)[:8])} …")
    shape = tuple(model[name].type.shape or ())
    steps = [step for step in lowered.steps if name in step.operands and step.before and step.after]
    mistakes = [
        (tuple(side.shape), f"That is PyTorch's order, {' '.join(side.axes)}." + _moved(step.rule.why))
        for step in steps for side in step.before if tuple(side.shape) != shape and len(side.axes) == len(side.shape)
    ]  # fmt: skip
    axes = next((side.axes for step in reversed(steps) for side in step.after if tuple(side.shape) == shape), ())
    return Truth(
        shape,
        f"In NNAPI's order, {' '.join(axes)}." if axes else f"%{name} is {model[name].type}.",
        tuple(mistakes),
        "NNAPI keeps channels last: N H W C for feature maps, O H W I for filters, 1 H W C for depthwise ones.",
    )


def _moved(why: str) -> str:
    return f" {why}" if why else ""


def _feature_level(lowered: LoweredModel) -> Truth:
    because = "; ".join(lowered.report.because[:3])
    return Truth(lowered.feature_level, f"Because: {because}.", hint="lab.check(lowered.model) gives the reasons.")


def _listed(names: Sequence[str]) -> str:
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())


def _scalars(model: Model) -> Iterator[Scalar]:
    def of(operation: Operation) -> Iterator[Scalar]:
        return (argument for argument in operation.inputs if isinstance(argument, Scalar))

    return (scalar for operation in model.operations for scalar in of(operation))


def _scalar_uses(model: Model) -> int:
    return sum(1 for _ in _scalars(model))


QUESTIONS: tuple[tuple[str, Callable[..., Truth]], ...] = (
    ("torch nodes", _torch_nodes),
    ("operations", _operations),
    ("operands", _operands),
    ("constants", _constants),
    ("feature level", _feature_level),
    (r"([A-Z][A-Z0-9_]*) operations", _operations_of),
    (r"shape of %?(.+)", _shape_of),
)
