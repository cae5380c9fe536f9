"""The digits network is really trained: its accuracy on pictures training never saw, float32 and int8."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sample_models import train_digits
from sample_models.digits import WEIGHTS, test_set, train_set
from sample_models.quantization import engine
from sample_models.train_digits import accuracy, save, train

# Not a test, whatever its name looks like to pytest.
test_set.__test__ = False


def test_split_is_fixed_complete_and_disjoint() -> None:
    train_images, train_labels = train_set()
    images, labels = test_set()
    assert (tuple(train_images.shape), tuple(images.shape)) == ((1347, 1, 8, 8), (450, 1, 8, 8))
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert labels[:10].tolist() == test_set()[1][:10].tolist()
    assert sorted(set(labels.tolist())) == sorted(set(train_labels.tolist())) == list(range(10))
    trained_on = {picture.numpy().tobytes() for picture in train_images}
    assert not any(picture.numpy().tobytes() in trained_on for picture in images)


def test_committed_weights_are_small_and_hold_no_pickle() -> None:
    assert WEIGHTS.stat().st_size < 200_000
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        assert {stored[name].dtype.name for name in stored.files} == {"float32", "int64"}


@pytest.mark.parametrize("name", ["float32", "quantized"])
def test_accuracy(name: str, sample) -> None:
    module, _ = sample(f"sample_models.digits:{name}")
    with engine("qnnpack"):
        # Measured 0.9844 (443 of 450) for both.
        assert accuracy(module, *test_set()) >= 0.97


def test_lost_column_order_costs_the_accuracy(fresh) -> None:
    """Flatten's columns read as [4·4, 24] instead of [24, 4·4]: the mistake the sample is there to catch."""
    module, _ = fresh("sample_models.digits:float32")
    weight = module.classifier[0].weight
    with torch.no_grad():
        weight.copy_(weight.reshape(-1, 24, 16).transpose(1, 2).reshape(weight.shape))
    assert accuracy(module, *test_set()) < 0.5


def test_saved_weights_read_back(tmp_path, sample) -> None:
    module, _ = sample("sample_models.digits:float32")
    save(module, tmp_path / "again.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["again.npz"]
    with np.load(tmp_path / "again.npz") as again, np.load(WEIGHTS) as committed:
        assert again.files == committed.files
        assert all(np.array_equal(again[name], committed[name]) for name in committed.files)


def test_a_failing_save_leaves_the_old_file(tmp_path, sample, monkeypatch) -> None:
    module, _ = sample("sample_models.digits:float32")
    (tmp_path / "old.npz").write_bytes(b"old")

    def fail(file, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(train_digits.np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save(module, tmp_path / "old.npz")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("old.npz", b"old")]


@pytest.mark.sweep
def test_training_again_gives_a_network_as_good() -> None:
    # Accuracy and not bits: another processor may add in another order.
    assert accuracy(train(), *test_set()) >= 0.97


def test_a_short_training_already_learns() -> None:
    random_state = torch.get_rng_state()
    # Guessing gives 0.1.
    assert accuracy(train(epochs=2), *test_set()) > 0.5
    assert torch.equal(torch.get_rng_state(), random_state)
