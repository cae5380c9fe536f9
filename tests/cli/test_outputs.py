"""Output paths: refused before the work, written whole."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nnapi_lab.cli.outcome import BadInput
from nnapi_lab.cli.outputs import check_arrays_target, check_target, size_text, write_arrays

WRONG = {
    "no_folder": ("nowhere/m.pt", "there is no folder"),
    "a_folder": ("here.pt", "it is a folder"),
    "suffix": ("m.onnx", "the suffix says what is written; it is one of .pt, .nn"),
    "no_suffix": ("m", "it is one of .pt, .nn"),
}


@pytest.mark.parametrize("case", WRONG)
def test_targets_that_cannot_work_out(workplace: Path, case: str) -> None:
    Path("here.pt").mkdir()
    path, words = WRONG[case]
    with pytest.raises(BadInput) as caught:
        check_target(path, (".pt", ".nn"))
    assert words in str(caught.value)


def test_targets_that_can(workplace: Path) -> None:
    check_target(None)
    check_target("m.nn", (".pt", ".nn"))
    check_target(str(workplace / "m.pt"), (".pt", ".nn"))


def test_several_outputs_need_several_files(workplace: Path) -> None:
    with pytest.raises(BadInput, match=r"has 2 outputs and y\.npy takes one; write \{n\} into the name"):
        check_arrays_target("y.npy", 2)
    for path, count in (("y.npy", 1), ("y{n}.npy", 2), ("y.npz", 2), (None, 2)):
        check_arrays_target(path, count)
    with pytest.raises(BadInput, match="the suffix says what is written"):
        check_arrays_target("y.txt", 1)


def test_arrays_are_written_one_by_one_or_together(workplace: Path) -> None:
    arrays = [np.zeros(2, np.float32), np.ones(3, np.uint8)]
    assert write_arrays("y{n}.npy", ["a", "b"], arrays) == ["y0.npy", "y1.npy"]
    assert np.load("y1.npy").tolist() == [1, 1, 1]
    assert write_arrays("y.npz", ["file", "b.1/x"], arrays) == ["y.npz"]
    with np.load("y.npz") as held:
        assert {name: held[name].dtype for name in held.files} == {"file": np.float32, "b.1/x": np.uint8}
    assert sorted(os.listdir()) == ["y.npz", "y0.npy", "y1.npy"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (13_400_000, "13.4 MB")]
)
def test_sizes_to_read(workplace: Path, count: int, text: str) -> None:
    with open("f", "wb") as stream:
        stream.truncate(count)
    assert size_text("f") == text
