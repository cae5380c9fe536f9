from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnapi_lab.lab import LoweredModel, lower
from nnapi_lab.notebook.exercise import Checker

# Counted by hand on TinyNet: see tests/notebook/conftest.py. CONV_2D reads input, filter, bias, four pads of 2, two
# strides of 2 and the fuse code RELU = 1: ten arguments, of which 2 and 1 are the distinct numbers.
RIGHT: dict[str, Any] = {
    "torch nodes": 3,
    "operations": 1,
    "CONV_2D operations": 1,
    "TRANSPOSE operations": 0,
    "operands": 6,
    "constants": 2,
    "feature level": 1,
    "shape of conv.weight": (8, 5, 5, 3),
    "shape of %conv.weight": [8, 5, 5, 3],
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_answer(tiny: LoweredModel, name: str) -> None:
    verdict = Checker(tiny)(name, RIGHT[name])
    assert verdict
    assert repr(verdict).startswith(f"✓ {name}: ")


WRONG = {
    # name: (question, answer, what the hint is about)
    "nodes for operations": ("operations", 3, "number of TorchScript nodes"),
    "anything for operations": ("operations", 17, "multiply, add or clamp"),
    "operations for operands": ("operands", 1, "number of operations"),
    "only the tensors": ("operands", 4, "one per distinct number"),
    "every argument its own": ("operands", 11, "share an operand"),
    "only what is read": ("operands", 10, "results are operands"),
    "PyTorch's order": ("shape of conv.weight", (8, 3, 5, 5), "PyTorch's order, O I H W"),
    "an order of nobody": ("shape of conv.weight", (5, 5, 3, 8), "O H W I for filters"),
    "a transpose per input": ("TRANSPOSE operations", 1, "whoever calls the model"),
    "not a number": ("operations", "one", "wants a number"),
    "a number for a shape": ("shape of conv.weight", 8, "wants a tuple"),
    "a shape for a number": ("operations", (1,), "wants a number"),
    "a truth for a number": ("operations", True, "wants a number"),
    "half an operation": ("operations", 1.5, "wants a number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_earns_its_hint(tiny: LoweredModel, case: str) -> None:
    name, answer, hint = WRONG[case]
    verdict = Checker(tiny)(name, answer)
    assert not verdict
    assert verdict.state == "wrong"
    assert hint in verdict.message


@pytest.mark.parametrize("nothing", [..., None])
def test_a_placeholder_is_not_wrong(tiny: LoweredModel, nothing: Any) -> None:
    verdict = Checker(tiny)("operations", nothing)
    assert verdict.state == "open"
    assert not verdict
    # The prompt does not spoil: it says neither number nor kind.
    assert "CONV" not in repr(verdict)
    assert not any(character.isdigit() for character in verdict.message)


def test_a_whole_float_is_a_number(tiny: LoweredModel) -> None:
    assert Checker(tiny)("operations", 1.0)


def test_a_torch_size_is_a_shape(tiny: LoweredModel) -> None:
    assert Checker(tiny)("shape of conv.weight", torch.Size([8, 5, 5, 3]))


def test_the_answer_follows_the_model(picture: torch.Tensor) -> None:
    two = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    check = Checker(lower(two.eval(), picture))
    assert check("operations", 2)
    assert check("shape of v2.weight", (5, 3, 3, 4))


@pytest.mark.parametrize("name", ["operation", "shape of nothing", "shape", ""])
def test_an_unknown_question_names_what_there_is(tiny: LoweredModel, name: str) -> None:
    with pytest.raises(KeyError, match=r"there are"):
        Checker(tiny)(name, 1)


def test_the_solution_says_why(tiny: LoweredModel) -> None:
    told = Checker(tiny).solution("operands")
    assert told.startswith("operands: 6. 4 named tensors (")
    assert "2 distinct scalar values (2, 1)" in told


def test_markup_in_an_answer_is_text(tiny: LoweredModel) -> None:
    html = Checker(tiny)("operations", "<script>alert(1)</script>")._repr_html_()
    assert "<script" not in html
    assert "&lt;script" in html


def test_verdicts_are_kept(tiny: LoweredModel) -> None:
    check = Checker(tiny)
    check("operations", 3)
    check("operations", 1)
    check("operands")
    assert {name: verdict.state for name, verdict in check.verdicts.items()} == {
        "operations": "right",
        "operands": "open",
    }
