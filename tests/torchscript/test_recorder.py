"""The recorded graph computes what the model computes, on other inputs too; or the model is refused.

Every model here is run twice: by torch, and as its recorded graph on inputs it was not recorded with. What was
folded by mistake shows there.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnapi_lab.errors import CaptureError
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.execute import execute
from nnapi_lab.torchscript.lower import lower_graph

X = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.register_buffer("kept", torch.ones(4, 1, 1))


def flat(held: Any) -> list[Tensor]:
    if isinstance(held, Tensor):
        return [held]
    return [leaf for item in (held.values() if isinstance(held, dict) else held) for leaf in flat(item)]


def same_on_other_inputs(model: nn.Module, count: int = 1) -> None:
    """Raises CaptureError when the model is refused."""
    captured = capture(model, tuple(X.clone() for _ in range(count)))
    others = tuple(X * -1.5 + 0.25 * index for index in range(count))
    outputs = execute(captured, others)
    with torch.no_grad():
        expected = flat(model(*[other.clone() for other in others]))
    assert len(expected) == len(captured.graph.outputs)
    for name, value in zip(captured.graph.outputs, expected, strict=True):
        torch.testing.assert_close(outputs[name], value)


HOW = {"traced": lambda model: model, "scripted": torch.jit.script}
each_way = pytest.mark.parametrize("how", HOW)


# --- in place ---------------------------------------------------------------------------------------------------


class Residual(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        before = y + 1.0
        F.relu_(y)
        y += x
        return y * before


class DropoutAlias(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        same = F.dropout(y, 0.5, False).contiguous().detach()
        same.add_(1.0)
        return y * same


class CloneIsNoAlias(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        other = y.clone()
        other.mul_(2.0)
        return y + other


class Repeatedly(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y.relu_()
        y.mul_(y)
        y.sub_(x)
        return y.clamp_(-1.0, 0.5) + y


class ThroughPermutation(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).permute(0, 2, 3, 1)
        y += 1.0
        return y


class ViewAlone(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)[:, 1:2]
        y.relu_()
        return y + 1.0


class InList(Base):
    def forward(self, x: Tensor) -> Tensor:
        both = [self.conv(x), x * 2.0]
        both[0].relu_()
        return both[0] + both[1]


class OwnInput(Base):
    def forward(self, x: Tensor) -> Tensor:
        x.relu_()
        return self.conv(x) + x


class ShapeInPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        flat = y.view(2, -1)
        y.unsqueeze_(0)
        return y.squeeze(0).flatten(1) + flat


class LiveIntoKnown(Base):
    def forward(self, x: Tensor) -> Tensor:
        w = torch.zeros(2, 4, 6, 8)
        w.add_(x)
        return w * 2.0


class KnownIntoKnown(Base):
    """The sum must use the elements `w` had then, the product those it has now."""

    def forward(self, x: Tensor) -> Tensor:
        w = torch.zeros(8)
        y = x + w
        w += 1.0
        w[0] = 5.0
        return y * w


class BufferCopy(Base):
    def forward(self, x: Tensor) -> Tensor:
        mine = self.kept.clone()
        mine.add_(1.0)
        return x * mine


@each_way
@pytest.mark.parametrize(
    "model",
    [
        Residual, DropoutAlias, CloneIsNoAlias, Repeatedly, ThroughPermutation, ViewAlone, InList, OwnInput,
        ShapeInPlace, LiveIntoKnown, KnownIntoKnown, BufferCopy,
    ],
)  # fmt: skip
def test_in_place(model: type[Base], how: str) -> None:
    same_on_other_inputs(HOW[how](model().eval()))


class ViewOfBase(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y[:, 1:2].relu_()
        return y + 1.0


class BaseOfView(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        part = y[:, 1:2]
        y.relu_()
        return part + 1.0


class StaleInList(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        part = y.view(2, -1)
        part.relu_()
        return torch.cat([y, y], 1)


class StaleReturned(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y.view(2, -1).relu_()
        return y


class SetItem(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y[:, 0] = 0.0
        return y


class LiveIntoViewedKnown(Base):
    def forward(self, x: Tensor) -> Tensor:
        w = torch.zeros(2, 4, 6, 8)
        rows = w.view(2, -1)
        w.add_(x)
        return rows


@each_way
@pytest.mark.parametrize("model", [ViewOfBase, BaseOfView, StaleInList, StaleReturned, SetItem, LiveIntoViewedKnown])
def test_a_view_that_was_overwritten_is_refused(model: type[Base], how: str) -> None:
    with pytest.raises(CaptureError, match=r"test_recorder\.py:\d+ wrote through a view"):
        same_on_other_inputs(HOW[how](model().eval()))


class WritesBuffer(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.kept.add_(1.0)
        return x * self.kept


class WritesBufferLive(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.kept.mul_(x.mean())
        return x * self.kept


class WritesBufferView(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.kept.view(-1).detach().add_(1.0)
        return x * self.kept


class ReplacesBuffer(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.kept + 1.0
        return x * self.kept


@each_way
@pytest.mark.parametrize("model", [WritesBuffer, WritesBufferLive, WritesBufferView, ReplacesBuffer])
def test_state_is_refused(model: type[Base], how: str) -> None:
    module = model().eval()
    scripted = HOW[how](module)
    before = scripted.kept.clone()
    with pytest.raises(CaptureError, match="keeps nothing from one run to the next"):
        capture(scripted, X)
    if how == "scripted":  # tracing runs the model, recording must not write
        assert torch.equal(scripted.kept, before)


# --- folding ----------------------------------------------------------------------------------------------------


class ShapeArithmetic(Base):
    def forward(self, x: Tensor) -> Tensor:
        rows, channels, height, width = x.shape
        y = self.conv(x).view(x.size(0), channels, height * width).mean(2)
        return y.view(rows, -1) * float(width // 2) * x.size(1) ** -0.5 + torch.arange(4, dtype=torch.float32)


class Branches(Base):
    def __init__(self, doubled: bool = True, times: int = 3) -> None:
        super().__init__()
        self.doubled, self.times = doubled, times
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        if self.doubled:
            x = x * 2.0
        for index in range(self.times):
            x = x + float(index)
        for layer in self.layers:
            x = torch.relu(layer(x))
        steps = 0
        while steps < 2:
            x = self.conv(x)
            steps += 1
        if x.size(0) > 1 and x.dim() == 4:
            return x + 1.0
        return x


class Lists(Base):
    def forward(self, x: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for index in range(3):
            parts.append(x * float(index))
        parts[0] = parts[1] + 1.0
        last = parts.pop()
        parts.extend([last, x])
        named = {"sum": parts[0] + last}
        named["x"] = x
        y = named["sum"] if "sum" in named else x  # noqa: SIM401
        for position, part in enumerate(parts[1:]):
            y = y + part * float(position)
        return torch.cat([y] + parts, 1)  # noqa: RUF005, TorchScript has no star


class ConstantDropout(Base):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.dropout(self.kept, 0.5, False)


@each_way
@pytest.mark.parametrize("model", [ShapeArithmetic, Branches, Lists, ConstantDropout])
def test_known_values_are_folded(model: type[Base], how: str) -> None:
    module = HOW[how](model().eval())
    same_on_other_inputs(module)
    assert not {node.kind for node in capture(module, X).graph} & {"aten::size", "prim::If", "prim::Loop", "aten::Int"}


def test_constants_are_as_long_as_the_model_needs() -> None:
    assert "aten::dropout" not in {node.kind for node in capture(ConstantDropout().eval(), X).graph}


class Noise(Base):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.randn(4, 1, 1)


class NoiseInPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        w = torch.zeros(8)
        w.uniform_()
        return x * w


@each_way
@pytest.mark.parametrize("model", [Noise, NoiseInPlace])
def test_random_numbers_are_no_constants(model: type[Base], how: str) -> None:
    lowered = lower_graph(capture(HOW[how](model().eval()), X).graph)
    assert lowered.refusals


# --- control flow that stays -------------------------------------------------------------------------------------


class LiveBranch(Base):
    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 0.0:
            x = x + 1.0
        return x


class LiveLoop(Base):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.sum())):
            x = x + 1.0
        return x


class Endless(Base):
    def forward(self, x: Tensor) -> Tensor:
        n = 0
        while n < 3:
            n = n * 1
        return x * float(n)


class Raises(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 2:
            raise ValueError("two rows are one too many")
        return x


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (LiveBranch, "branch depends on the values"),
        (LiveLoop, "loop's length depends on the values"),
        (Endless, "goes on after"),
        (Raises, "two rows are one too many"),
    ],
)
def test_control_flow_that_cannot_be_folded(model: type[Base], told: str) -> None:
    with pytest.raises(CaptureError, match=told) as caught:
        capture(torch.jit.script(model().eval()), X)
    assert "test_recorder.py:" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- inputs and outputs ------------------------------------------------------------------------------------------


class TwoInputs(Base):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.conv(x) - y


class Optional(Base):
    def forward(self, x: Tensor, y: Tensor | None = None, times: float = 2.0) -> Tensor:
        if y is not None:
            x = x + y
        return x * times


@each_way
def test_several_inputs(how: str) -> None:
    same_on_other_inputs(HOW[how](TwoInputs().eval()), 2)


@each_way
@pytest.mark.parametrize("count", [1, 2])
def test_arguments_left_out_take_their_defaults(how: str, count: int) -> None:
    same_on_other_inputs(HOW[how](Optional().eval()), count)


class OneInList(Base):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x)]


class Pair(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), x + 1.0


class Named(Base):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(x), "aux": x + 1.0}


class Nested(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor]]:
        y = self.conv(x)
        return y, (x + 1.0, y), [y * 2.0]


@each_way
@pytest.mark.parametrize(
    ("model", "structure"),
    [
        (OneInList, ("list", (0,))),
        (Pair, ("tuple", (0, 1))),
        (Named, ("dict", (("out", 0), ("aux", 1)))),
        (Nested, ("tuple", (0, ("tuple", (1, 2)), ("list", (3,))))),
    ],
)
def test_structure_of_the_outputs(model: type[Base], structure: Any, how: str) -> None:
    module = HOW[how](model().eval())
    same_on_other_inputs(module)
    assert capture(module, X).graph.structure == structure
