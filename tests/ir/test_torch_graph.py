"""The TorchScript side as plain data, printed as one line for each node; findings and refusals as sentences."""

from __future__ import annotations

import pytest

from nnapi_lab.ir.findings import Finding, Refusal
from nnapi_lab.ir.operand_types import Quant
from nnapi_lab.ir.torch_graph import TorchGraph, TorchNode, TorchType, TorchValue


def graph() -> TorchGraph:
    tensor = TorchType("Tensor", "float32", (1, 2))
    values = [
        TorchValue("%x", tensor), TorchValue("%y", tensor), TorchValue("%z", tensor),
        TorchValue("%1", TorchType("int"), 3, True), TorchValue("%2", TorchType("NoneType"), None, True),
    ]  # fmt: skip
    nodes = (
        TorchNode(0, "aten::softmax", ("%x", "%1", "%2"), ("%y",), "head", "net.py:7", ("self", "dim", "dtype")),
        TorchNode(1, "aten::add", ("%y", "%x"), ("%z",), schema=("self", "other")),
    )
    return TorchGraph("net", {value.name: value for value in values}, nodes, ("%x",), ("%z",))


def test_links() -> None:
    held = graph()
    first, second = held.nodes
    assert held.producer("%y") is first
    assert held.producer("%x") is None
    assert held.consumers("%x") == (first, second)
    assert first.argument("dim") == "%1"
    with pytest.raises(KeyError, match=r"aten::softmax has no argument axis; it has self, dim, dtype"):
        first.argument("axis")


def test_lines() -> None:
    held = graph()
    line = held.line(held.nodes[0])
    assert line == "%y : float32[1,2] = aten::softmax(%x, dim=3, dtype=None)  # head, net.py:7"
    assert str(held).splitlines()[0] == "graph net(%x : float32[1,2]):"


@pytest.mark.parametrize(
    ("type", "text"),
    [
        (TorchType("Tensor", "float32", (1, 2)), "float32[1,2]"),
        (TorchType("Tensor"), "Tensor[?]"),
        (TorchType("int[]"), "int[]"),
        (TorchType("Tensor", "quint8", (3,), Quant(0.5, 10)), "quint8[3] scale=0.5 zp=10"),
    ],
)
def test_types(type: TorchType, text: str) -> None:
    assert str(type) == text


def test_a_refusal_says_what_where_why_and_what_to_do() -> None:
    refusal = Refusal("NOT_YET", "PAD_MODE", "aten::pad %7", "padding mode 'x'", "use zeros", "NNAPI", "net.py:7", "a")
    assert str(refusal) == (
        "NOT_YET PAD_MODE at aten::pad %7, a, net.py:7: padding mode 'x'. What to do: use zeros. Source: NNAPI."
    )


def test_a_finding_names_rule_place_and_source() -> None:
    finding = Finding("CONCATENATION.C2", "error", "%y", "(1,2) and (1,3) differ", "equal outside the axis", "AOSP 13")
    text = str(finding)
    assert text.startswith("CONCATENATION.C2 at %y: (1,2) and (1,3) differ (equal outside the axis).")
    assert text.endswith("Source: AOSP 13.")
