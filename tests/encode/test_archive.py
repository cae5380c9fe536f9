"""read_torch: our files and PyTorch's own converter's, and anything else refused without running it."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nnapi_lab.encode import read_torch
from nnapi_lab.encode.archive import Archive
from nnapi_lab.encode.pickled import Name, Stored, TensorPlan
from nnapi_lab.errors import FormatError, InvalidModel
from nnapi_lab.ir.model import Model
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.simulate import simulate
from nnapi_lab.text import show

# --- files that are read -------------------------------------------------------------------------------------


def test_our_own_file_gives_an_equal_model(saved: Path, network: Lowered) -> None:
    assert read_torch(saved) == network.model


def peer_file(path: Path, module: torch.nn.Module, example: torch.Tensor) -> None:
    """Save what PyTorch's own converter makes of a module."""
    from torch.backends._nnapi.prepare import convert_model_to_nnapi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module.eval(), example)
        torch.jit.save(convert_model_to_nnapi(traced, [example]), path)


def channels_last(example: torch.Tensor) -> torch.Tensor:
    """An example that PyTorch's converter keeps in NHWC."""
    example = example.contiguous(memory_format=torch.channels_last)
    example.nnapi_nhwc = True
    return example


def test_a_file_of_pytorchs_converter_is_the_same_network(tmp_path: Path, lower: Callable[..., Lowered]) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    example = torch.randn(1, 3, 6, 6)
    peer_file(tmp_path / "peer.pt", module, channels_last(example))
    peer, ours = read_torch(tmp_path / "peer.pt"), lower(module, example).model
    assert kinds(peer) == ["CONV_2D", "RELU"]  # PyTorch's converter leaves the activation apart
    assert kinds(ours) == ["CONV_2D"]
    array = example.permute(0, 2, 3, 1).contiguous().numpy()
    assert np.array_equal(simulate(peer, [array])[0], simulate(ours, [array])[0])


def kinds(model: Model) -> list[str]:
    return [operation.kind for operation in model.operations]


def test_the_text_of_a_file_of_pytorchs_converter(tmp_path: Path) -> None:
    peer_file(tmp_path / "peer.pt", torch.nn.ReLU(), torch.zeros(2, 3))
    assert show(read_torch(tmp_path / "peer.pt")) == (
        "model model {\n  input  %in2 : f32[2,3]\n  %t3 = RELU(input=%in2) : f32[2,3]\n  output %t3\n}\n"
    )


def test_a_quantized_file_of_pytorchs_converter(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = channels_last(torch.quantize_per_tensor(torch.zeros(1, 2, 4, 4), 0.5, 10, torch.quint8))
    peer_file(tmp_path / "peer.pt", torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.Sigmoid()), example)
    lines = show(read_torch(tmp_path / "peer.pt")).splitlines()
    assert lines[1] == "  input  %in2 : q8a[1,4,4,2] scale=0.5 zp=10"
    assert lines[-3].endswith(": q8a[1,2,2,2] scale=0.00390625 zp=0")


def test_words_kept_as_bytes_are_read(saved: Path, tmp_path: Path, network: Lowered) -> None:
    module = torch.jit.load(saved)
    module.mod.ser_model = module.mod.ser_model.view(torch.uint8)
    torch.jit.save(module, tmp_path / "old.pt")
    assert kinds(read_torch(tmp_path / "old.pt")) == kinds(network.model)


def test_weights_with_other_strides_are_read(saved: Path, tmp_path: Path) -> None:
    module = torch.jit.load(saved)
    first, *others = module.mod.weights
    module.mod.weights = [first.contiguous(memory_format=torch.channels_last), *others]
    torch.jit.save(module, tmp_path / "strided.pt")
    before, after = read_torch(saved), read_torch(tmp_path / "strided.pt")
    held = [[c.value.tobytes() for c in model.constants] for model in (before, after)]
    assert sorted(held[0]) == sorted(held[1])


# --- files that are not --------------------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="there is no such file"):
        read_torch(tmp_path / "gone.pt")


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), path)


def weights_only(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


def two_models(path: Path) -> None:
    """A model of two parts, each for NNAPI."""
    peer_file(path, torch.nn.ReLU(), torch.zeros(2, 3))
    parts = [torch.jit.load(path) for _ in range(2)]
    torch.jit.save(torch.jit.script(torch.nn.Sequential(*parts)), path)


FOREIGN = {
    "a folder": (lambda path: path.mkdir(), "Is a directory|not a TorchScript archive"),
    "an empty file": (lambda path: path.write_bytes(b""), "not a TorchScript archive"),
    "text": (lambda path: path.write_text("model m {}"), "not a TorchScript archive"),
    "TorchScript without NNAPI": (scripted, "a TorchScript file without an NNAPI model; lower it first"),
    "weights alone": (weights_only, "without an NNAPI model"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_named(name: str, tmp_path: Path) -> None:
    make, says = FOREIGN[name]
    make(tmp_path / "m.pt")
    with pytest.raises(FormatError, match=says):
        read_torch(tmp_path / "m.pt")


def repacked(saved: Path, path: Path, change: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    """A copy with other members (None: left out; "/name": added)."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", compression) as new:
        folder = old.namelist()[0].split("/")[0]
        for info in old.infolist():
            name = info.filename.removeprefix(f"{folder}/")
            data = change.get(name, old.read(info))
            if data is not None:
                new.writestr(f"{folder}/{name}", data)
        for name, data in change.items():
            if name.startswith("/") and data is not None:
                new.writestr(name[1:], data)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


CHANGED = {
    "no pickle": ({"data.pkl": None}, "it has 0 data.pkl"),
    "two pickles": ({"/other/data.pkl": b""}, "it has 2 data.pkl"),
    "no weights": ({"data/1": None}, "there is no data/1"),
    "a weight cut short": ({"data/1": b"\0" * 8}, "has 8 bytes"),
    "another pickle": ({"data.pkl": pickle.dumps(Evil(), protocol=2)}, "without an NNAPI model"),
    "a pickle of today": ({"data.pkl": pickle.dumps([1], protocol=5)}, "is none that TorchScript writes"),
    "names that are no JSON": ({"extra/nnapi_lab.json": b"{"}, "nnapi_lab.json: is not JSON"),
    "names of another format": ({"extra/nnapi_lab.json": b"{}"}, "expected the format"),
    "names of another model": (
        {"extra/nnapi_lab.json": b'{"format":"nnapi_lab names 1","model":"m","operands":[],"steps":[],"dims":{}}'},
        "do not belong to it",
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_member_is_said(name: str, saved: Path, tmp_path: Path) -> None:
    change, says = CHANGED[name]
    repacked(saved, tmp_path / "m.pt", change)
    with pytest.raises(FormatError, match=says):
        read_torch(tmp_path / "m.pt")


def test_two_models_are_told_apart(tmp_path: Path) -> None:
    two_models(tmp_path / "m.pt")
    with pytest.raises(FormatError, match="holds 2 NNAPI models; one was expected"):
        read_torch(tmp_path / "m.pt")


def test_compressed_members_are_refused(saved: Path, tmp_path: Path) -> None:
    repacked(saved, tmp_path / "m.pt", {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match="is compressed, which TorchScript does not do"):
        read_torch(tmp_path / "m.pt")


def test_a_member_twice_is_refused(saved: Path, tmp_path: Path) -> None:
    data = io.BytesIO(saved.read_bytes())
    with zipfile.ZipFile(data, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"")
    (tmp_path / "m.pt").write_bytes(data.getvalue())
    with pytest.raises(FormatError, match="two members have the same name"):
        read_torch(tmp_path / "m.pt")


def stored(key: object = "1", count: object = 108, kind: str = "FloatStorage", module: str = "torch") -> Stored:
    return Stored(("storage", Name(module, kind), key, "cpu", count))


PLANS = {
    # name: (a tensor of the network's convolution weights as a file might describe it, what is said)
    "beyond the end": (TensorPlan(stored(), 0, (5, 3, 3, 3), (27, 9, 3, 1)), "reaches beyond its 108 elements"),
    "an offset beyond the end": (TensorPlan(stored(), 108, (1,), (1,)), "reaches beyond its 108 elements"),
    "absurd sizes over one element": (TensorPlan(stored(), 0, (2**40, 2**40), (0, 0)), "reaches beyond its 108"),
    "strides backwards": (TensorPlan(stored(), 50, (2,), (-1,)), "are no sizes"),
    "an offset before the beginning": (TensorPlan(stored(), -1, (1,), (1,)), "are no sizes"),
    "more sizes than strides": (TensorPlan(stored(), 0, (2, 2), (1,)), "are no sizes"),
    "sizes that are no numbers": (TensorPlan(stored(), 0, ("2",), (1,)), "are no sizes"),
    "truth as a size": (TensorPlan(stored(), 0, (True,), (1,)), "are no sizes"),
    "too many dimensions": (TensorPlan(stored(), 0, (1,) * 65, (1,) * 65), "are no sizes"),
    "more elements than bytes": (TensorPlan(stored(count=109), 0, (1,), (1,)), "has 432 bytes, 109 × 4 were expected"),
    "another element type": (TensorPlan(stored(kind="DoubleStorage"), 0, (1,), (1,)), "108 × 8 were expected"),
    "a storage of another module": (TensorPlan(stored(module="os"), 0, (1,), (1,)), "not known here"),
    "a key that is a path": (TensorPlan(stored(key="../1"), 0, (1,), (1,)), "not known here"),
    "a key that is no text": (TensorPlan(stored(key=1), 0, (1,), (1,)), "not known here"),
    "no storage": (TensorPlan(None, 0, (1,), (1,)), "has no storage"),
    "no tensor": ([1, 2], "is no tensor"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_tensor_that_does_not_fit_its_storage_is_said(name: str, saved: Path) -> None:
    plan, says = PLANS[name]
    with Archive(str(saved)) as archive, pytest.raises(FormatError, match=says):
        archive.tensor(plan, "weights[0]")


# A string in the pickle's own old notation may come out of the dice; Python's reader warns of its escapes.
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_any_damage_is_one_of_our_errors(saved: Path, tmp_path: Path) -> None:
    """400 damaged files: read as they were, or refused by one of our errors."""
    good = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        pickled = archive.getinfo("archive/data.pkl")
    start, size = good.index(archive_data(saved)), pickled.file_size
    rng = np.random.default_rng(7)
    refused = 0
    for index in range(400):
        data = bytearray(good)
        low, high = (start, start + size) if index % 2 else (0, len(data))
        for place in rng.integers(low, high, rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        if index % 8 == 0:
            data = data[: rng.integers(0, len(data))]
        if index % 2:
            repacked(saved, tmp_path / "m.pt", {"data.pkl": bytes(data[start : start + size])})
        else:
            (tmp_path / "m.pt").write_bytes(bytes(data))
        try:
            read_torch(tmp_path / "m.pt")
        except (FormatError, InvalidModel):
            refused += 1
    assert refused > 250


def archive_data(saved: Path) -> bytes:
    with zipfile.ZipFile(saved) as archive:
        return archive.read("archive/data.pkl")


def test_every_truncation_is_refused(saved: Path, tmp_path: Path) -> None:
    good = saved.read_bytes()
    for count in range(0, len(good), 97):
        (tmp_path / "m.pt").write_bytes(good[:count])
        with pytest.raises(FormatError):
            read_torch(tmp_path / "m.pt")
