"""Whatever a user holds becomes a flat graph, or one clear sentence."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnapi_lab.errors import CaptureError, FormatError
from nnapi_lab.torchscript import capture as capturing
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph
from nnapi_lab.torchscript.recorder import Recorder

X = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))  # the line a node must name


LINE = next(
    number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "a node must name" in text
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


# --- three ways in ---------------------------------------------------------------------------------------------


def test_module_script_and_file_give_one_graph(tmp_path: Path) -> None:
    net = Net().eval()
    traced = torch.jit.trace(net, X)
    traced.save(tmp_path / "net.pt")
    torch.jit.script(net).save(tmp_path / "scripted.pt")
    wanted = ["aten::_convolution", "aten::relu"] * 2
    for model in (net, traced, tmp_path / "net.pt", str(tmp_path / "net.pt")):
        assert [node.kind for node in capture(model, X).graph] == wanted
    for model in (torch.jit.script(net), tmp_path / "scripted.pt"):
        assert [node.kind for node in capture(model, X).graph] == ["aten::conv2d", "aten::relu"] * 2
    assert capture(tmp_path / "net.pt", X).graph.name == "net"


@pytest.mark.parametrize("make", [lambda net: net, torch.jit.script], ids=["traced", "scripted"])
def test_nodes_know_their_line(make: Callable[[nn.Module], nn.Module]) -> None:
    graph = capture(make(Net().eval()), X).graph
    relu = [node for node in graph if node.kind == "aten::relu"]
    assert [node.python for node in relu] == [f"test_capture.py:{LINE}"] * 2


def test_nodes_know_their_module() -> None:
    graph = capture(Net().eval(), X).graph
    assert [node.scope for node in graph] == ["body.0.conv", "body.0", "body.1.conv", "body.1"]
    assert graph[graph.nodes[0].argument("weight")].origin == "body.0.conv.weight"


def test_types_are_exact() -> None:
    graph = capture(Net().eval(), X).graph
    assert str(graph[graph.inputs[0]].type) == "float32[2,4,6,8]"
    assert all(graph[node.name].type.shape == (2, 4, 6, 8) for node in graph)


# --- refusals, each one sentence --------------------------------------------------------------------------------


class Mistaken(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.convv(x)


def part_in_training() -> nn.Module:
    net = Net().eval()
    net.body[1].train()
    return net


BAD: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "training": (lambda: Net().train(), X, "eval"),
    "part_in_training": (part_in_training, X, "eval"),
    "meta_device": (lambda: Net().eval().to("meta"), X, "meta"),
    "no_module": (lambda: 3, X, "int"),
    "function": (lambda: F.relu, X, "nn.Module"),
    "number_input": (lambda: Net().eval(), 3, "int"),
    "text_input": (lambda: Net().eval(), "image.png", "str"),
    "none_in_tuple": (lambda: Net().eval(), (None,), "NoneType"),
    "list_in_tuple": (lambda: Net().eval(), ([X],), "list"),
    "meta_input": (lambda: Net().eval(), X.to("meta"), "meta"),
    "sparse_input": (lambda: Net().eval(), X.to_sparse(), "sparse"),
    "complex_input": (lambda: Net().eval(), X.to(torch.complex64), "complex64"),
    "bfloat16_input": (lambda: Net().eval(), X.to(torch.bfloat16), "bfloat16"),
    "wrong_channels": (lambda: Net().eval(), X[:, :3], "[2, 3, 6, 8]"),
    "wrong_type": (lambda: Net().eval(), X.int(), "int32"),
    "too_many": (lambda: Net().eval(), (X, X), "failed"),
    "too_many_scripted": (lambda: torch.jit.script(Net().eval()), (X, X), "takes 1 inputs (x.1) but 2"),
    "too_few_scripted": (lambda: torch.jit.script(Net().eval()), (), "but 0"),
    "own_mistake": (lambda: Mistaken().eval(), X, "convv"),
    "no_inputs": (lambda: Net().eval(), (), "missing 1 required"),
    "wrong_channels_scripted": (lambda: torch.jit.script(Net().eval()), X[:, :3], "aten::conv2d"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_model_or_input(name: str) -> None:
    make, inputs, told = BAD[name]
    with pytest.raises(CaptureError) as caught:
        capture(make(), inputs)
    message = str(caught.value)
    assert told in message
    assert "\n" not in message
    assert len(message) < 400


def archive() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Net().eval()), buffer)
    return buffer.getvalue()


def state_dict() -> bytes:
    buffer = io.BytesIO()
    torch.save(Net().state_dict(), buffer)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"model net {\n}\n",
    "truncated": lambda: archive()[:2000],
    "truncated_at_the_end": lambda: archive()[:-30],
    "state_dict": state_dict,
    "overwritten_inside": lambda: archive()[:300] + bytes(400) + archive()[700:],
}


@pytest.mark.parametrize("name", FILES)
def test_foreign_or_damaged_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(FILES[name]())
    with pytest.raises(FormatError) as caught:
        capture(path, X)
    assert "net.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        capture(tmp_path / "nowhere.pt", X)


# --- what is left alone -----------------------------------------------------------------------------------------


class WritesInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu_() + 1.0


@pytest.mark.parametrize("make", [lambda net: net, torch.jit.script], ids=["traced", "scripted"])
def test_example_inputs_are_not_changed(make: Callable[[nn.Module], nn.Module]) -> None:
    x = X.clone()
    capture(make(WritesInput().eval()), x)
    assert torch.equal(x, X)


def test_settings_of_torch_are_as_before() -> None:
    fastpath, engine = torch.backends.mha.get_fastpath_enabled(), torch.backends.quantized.engine
    capture(Net().eval(), X)
    with pytest.raises(CaptureError):
        capture(Net().eval(), X[:, :3])
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.quantized.engine) == (fastpath, engine)


# --- what tracing turns into constants --------------------------------------------------------------------------


class BakesIn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = x * 2.0
        return x * x.mean().item()


def test_numbers_python_took_from_tensors_are_told() -> None:
    first, second = capture(BakesIn().eval(), X).warnings
    assert first.startswith("test_capture.py:")
    assert "boolean" in first
    assert "number" in second


def test_torch_modules_own_traces_are_not_told() -> None:
    assert capture(nn.Upsample(scale_factor=2, mode="bilinear").eval(), X).warnings == ()


# --- linear time ------------------------------------------------------------------------------------------------


def seconds_for(layers: int) -> float:
    """Recording and lowering a chain of conv + relu; torch's own tracing is not ours to bound."""
    chain = nn.Sequential(*[part for _ in range(layers) for part in (nn.Conv2d(1, 1, 1), nn.ReLU())]).eval()
    x = torch.ones(1, 1, 2, 2)
    with capturing.quiet(), torch.no_grad():
        traced = capturing.trace(chain, (x,), [])
        start = time.perf_counter()
        graph = Recorder(traced, "chain").record((x,))
        lowered = lower_graph(graph)
    assert len(lowered.model.operations) == layers
    return time.perf_counter() - start


def test_time_is_linear_in_depth() -> None:
    """Four times the layers: 4 times the time, 16 times if anything were quadratic. `torch.jit.freeze` takes 100 s."""
    short, long = min(seconds_for(300) for _ in range(2)), seconds_for(1200)
    assert long / short < 9
