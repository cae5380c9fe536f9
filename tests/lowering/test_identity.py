"""Operations that change no value in inference leave no operation, and one entry in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.lowering.against_torch import Written, kinds_of, refusals, rules_of, same_numbers

ROWS: dict[str, Callable[[Tensor], Any]] = {
    "dropout": lambda x: F.dropout(x, 0.5, False),
    "dropout_in_place": lambda x: F.dropout(x.clone(), 0.5, False, inplace=True),
    "dropout2d": lambda x: F.dropout2d(x, 0.5, False),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "same_type": lambda x: x.to(torch.float32),
    "memory_format": lambda x: x.to(memory_format=torch.channels_last),
    "expand_nothing": lambda x: x.expand(2, 4, 6, 8),
    "slice_everything": lambda x: x[:, :],
}


@pytest.mark.parametrize("name", ROWS)
def test_dropped(name: str) -> None:
    lowered = same_numbers(Written(lambda x: ROWS[name](x) + 1.0), (torch.randn(2, 4, 6, 8),))
    assert kinds_of(lowered) == ["ADD"]
    dropped = {step.node for step in lowered.steps if step.rule.id == "identity.dropped"}
    removed = {node.name for node in lowered.graph if node.name not in {"%" + name for name in lowered.model.operands}}
    assert all(name in dropped for name in removed if lowered.graph.producer(name).kind != "aten::add")


ENDS: dict[str, Callable[[Tensor], Any]] = {
    # An operand cannot be input and output at once, nor a constant an output (defect B12 of PyTorch's converter).
    "input_returned": lambda x: x,
    "input_returned_too": lambda x: (x, x + 1.0),
    "returned_twice": lambda x: (lambda y: (y, y))(x + 1.0),
    "constant_returned": lambda x: (x + 1.0, torch.ones(3)),
    "nothing_computed": lambda x: F.dropout(x, 0.5, False),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends(name: str) -> None:
    lowered = same_numbers(Written(ENDS[name]), (torch.randn(2, 3),))
    model = lowered.model
    assert len(set(model.outputs)) == len(model.outputs)
    assert not set(model.outputs) & set(model.inputs)
    assert not any(model[name].is_constant for name in model.outputs)


def test_training_dropout_is_refused() -> None:
    found = refusals(Written(lambda x: F.dropout(x, 0.5, True)), (torch.randn(2, 3),))
    assert [(refusal.kind, refusal.rule) for refusal in found] == [("FORBIDDEN", "DROPOUT")]


@pytest.mark.parametrize("convert", [lambda x: (x * x).int().float(), lambda x: x.half().float()])
def test_a_conversion_is_never_an_identity(convert: Callable[[Tensor], Tensor]) -> None:
    """Defect B10 of PyTorch's own converter: the truncation vanished. Refused, or right."""
    module, x = Written(convert), torch.randn(2, 3) * 3
    if found := refusals(module, (x,)):
        assert set(rules_of(found)) == {"CAST"}
    else:
        same_numbers(module, (x,))
