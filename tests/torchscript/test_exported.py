"""ExportedProgram in, the same NNAPI model out: traced and exported give equal numbers and operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nnapi_lab import lab
from nnapi_lab.compare import compare
from nnapi_lab.errors import CaptureError, FormatError
from nnapi_lab.torchscript.capture import Captured, capture
from nnapi_lab.torchscript.lower import lower_graph
from tests.lowering.against_torch import accounted_for, kinds_of

pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    """Norm, in-place activation, residual, channel split."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.conv(x)))
        left, right = y.chunk(2, 1)
        y += torch.cat([right, left], 1)
        return F.max_pool2d(y + x * 0.5, 2)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4 * 2 * 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.body(x), 1)).softmax(-1)


class Recogniser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, bidirectional=True, batch_first=True)
        self.register_buffer("gain", torch.tensor(0.5), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y, (h, _) = self.lstm(x)
        return {"steps": y * self.gain + torch.ones(12), "last": (h[-1], [y.reshape(x.shape[0], -1)])}


class Leaves(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(tree_leaves(self.module(*inputs)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        return self.layer(self.embed(ids)).mean(1)


class Upsampler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 2, 2)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        up = F.interpolate(self.up(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return F.hardswish(up) + y, F.adaptive_avg_pool2d(up, 1)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "classifier": (Classifier, (torch.randn(2, 4, 8, 8),)),
    "recogniser": (Recogniser, (torch.randn(2, 5, 4),)),
    "encoder": (Encoder, (torch.randint(0, 11, (2, 6)),)),
    "upsampler": (Upsampler, (torch.randn(1, 3, 4, 5), torch.randn(1, 4, 16, 20))),
}


def made(name: str) -> tuple[nn.Module, tuple[Tensor, ...], torch.export.ExportedProgram]:
    torch.manual_seed(0)
    make, inputs = NETS[name]
    module = make().eval()
    return module, inputs, torch.export.export(module, inputs)


@pytest.mark.parametrize("name", NETS)
def test_exported_equals_traced(name: str) -> None:
    module, inputs, program = made(name)
    # A dict of tensors and tuples is what torch.export takes and tracing does not: there, its leaves.
    plain = Leaves(module).eval() if name == "recogniser" else module
    traced, exported = lab.lower(plain, inputs), lab.lower(program, inputs)
    assert kinds_of(exported.result) == kinds_of(traced.result)
    accounted_for(exported.result)
    assert all(row.relative <= 1e-5 for row in exported.diff().rows)
    leaves = tree_leaves(exported.run(*inputs)), tree_leaves(traced.run(*inputs))
    torch.testing.assert_close(*leaves, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_structure_is_the_models(name: str) -> None:
    module, inputs, program = made(name)
    torch.testing.assert_close(lab.lower(program, inputs).run(*inputs), module(*inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_decomposed_to_core_aten(name: str) -> None:
    """run_decompositions() rewrites to the core operators; what is lowered is right."""
    _, inputs, program = made(name)
    captured = capture(program.run_decompositions(), inputs)
    lowered = lower_graph(captured.graph)
    assert not lowered.refusals, lowered.refusals
    assert all(row.relative <= 1e-5 for row in compare(lowered, captured, inputs, "reference").rows)


@pytest.mark.parametrize("name", ["classifier", "recogniser"])
def test_functionalised(name: str) -> None:
    _, inputs, program = made(name)
    captured = capture(program.run_decompositions({}), inputs)
    lowered = lower_graph(captured.graph)
    assert not lowered.refusals, lowered.refusals
    assert all(row.relative <= 1e-5 for row in compare(lowered, captured, inputs, "reference").rows)


def test_scopes_lines_and_parameters_have_names() -> None:
    _, inputs, program = made("classifier")
    graph = capture(program, inputs).graph
    (conv, *_) = [node for node in graph if node.kind == "aten::conv2d"]
    assert conv.scope == "body.0.conv"
    assert conv.python.startswith("test_exported.py:")
    assert graph[conv.argument("weight")].origin == "body.0.conv.weight"


def test_example_inputs_may_be_those_of_the_export() -> None:
    module, inputs, program = made("classifier")
    torch.testing.assert_close(lab.lower(program, None).run(), module(*inputs), rtol=1e-4, atol=1e-5)


def test_symbolic_sizes_take_other_examples() -> None:
    module, _, _ = made("classifier")
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (torch.randn(3, 4, 8, 8),), dynamic_shapes={"x": {0: batch}})
    x = torch.randn(5, 4, 8, 8)
    torch.testing.assert_close(lab.lower(program, (x,)).run(x), module(x), rtol=1e-4, atol=1e-5)


def test_saved_program(tmp_path: Path) -> None:
    module, inputs, program = made("classifier")
    torch.export.save(program, tmp_path / "net.pt2")
    lowered = lab.lower(tmp_path / "net.pt2", inputs)
    assert lowered.graph.name == "net"
    torch.testing.assert_close(lowered.run(*inputs), module(*inputs), rtol=1e-4, atol=1e-5)


def test_diagnosis_of_a_program() -> None:
    class Sampler(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)

    x = torch.randn(1, 3, 4, 4)
    found = lab.diagnose(torch.export.export(Sampler(), (x,)), (x,))
    assert "FORBIDDEN" in str(found)


# --- refused -------------------------------------------------------------------------------------------------


def test_other_sizes_than_exported() -> None:
    _, _, program = made("classifier")
    with pytest.raises(CaptureError, match=r"x is torch.float32\[2, 4, 10, 8\]; the program was exported for"):
        capture(program, (torch.randn(2, 4, 10, 8),))


def test_other_number_of_inputs() -> None:
    _, inputs, program = made("upsampler")
    with pytest.raises(CaptureError, match=r"exported for 2 inputs \(x, y\) but 1"):
        capture(program, inputs[:1])


def test_a_changed_buffer() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count.add_(1)
            return x + self.count

    program = torch.export.export(Counter().eval(), (torch.randn(2),))
    for version in (program, program.run_decompositions({})):
        with pytest.raises(CaptureError, match="count"):
            capture(version, (torch.randn(2),))


def test_control_flow() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))

    program = torch.export.export(Branch(), (torch.randn(2),))
    with pytest.raises(CaptureError, match="cond"):
        capture(program, (torch.randn(2),))


def test_block_without_gradients_is_read() -> None:
    class Frozen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = x.relu() * 2.0
            return y + x

    x = torch.randn(3, 4)
    captured: Captured = capture(torch.export.export(Frozen(), (x,)), (x,))
    lowered = lower_graph(captured.graph)
    assert kinds_of(lowered) == ["RELU", "MUL", "ADD"]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        capture(tmp_path / "absent.pt2", (torch.randn(1),))
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(FormatError, match="zip"):
        capture(tmp_path / "text.pt2", (torch.randn(1),))
    module = torch.jit.script(nn.ReLU())
    torch.jit.save(module, tmp_path / "script.pt2")
    with pytest.raises(FormatError, match=r"torch\.export\.load cannot read it"):
        capture(tmp_path / "script.pt2", (torch.randn(1),))
