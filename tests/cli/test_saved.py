"""`show`, `check`, `run`, `export` on saved NNAPI models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnapi_lab import text

POOL = """\
model pool {
  input  %x : f32[1,2,2,3]
  %y = AVERAGE_POOL_2D.explicit_padding(input=%x, pad_left=0, pad_right=0, pad_top=0, pad_bottom=0, stride_w=1, \
stride_h=1, filter_w=2, filter_h=2, fuse=NONE) : f32[1,1,1,3]
  output %y
}
"""
TWO = """\
model two {
  input  %a : f32[2]
  input  %b : f32[2]
  %sum = ADD(input0=%a, input1=%b, fuse=NONE) : f32[2]
  %product = MUL(input0=%a, input1=%b, fuse=RELU) : f32[2]
  output %sum
  output %product
}
"""
# ADD of a float32 and an int32 tensor: no type it takes has both.
INVALID = TWO.replace("input  %b : f32[2]", "input  %b : i32[2]")


@pytest.fixture
def models(workplace: Path) -> Path:
    Path("pool.nn").write_text(POOL)
    Path("two.nn").write_text(TWO)
    Path("invalid.nn").write_text(INVALID)
    np.save("x.npy", np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3))
    np.save("a.npy", np.array([1, -2], np.float32))
    np.save("b.npy", np.array([10, 20], np.float32))
    return workplace


# --- show ----------------------------------------------------------------------------------------------------


def test_show_prints_the_text_form(cli: Callable, models: Path) -> None:
    assert cli("show", "pool.nn") == (0, POOL, "")


def test_show_of_an_invalid_model_shows_it_all_the_same(cli: Callable, models: Path) -> None:
    said = cli("show", "invalid.nn")
    assert said.code == 0
    assert "i32[2]" in said.out


def test_show_leaves_the_data_of_large_constants_out(cli: Callable, models: Path) -> None:
    values = " ".join(map(str, range(100)))
    Path("large.nn").write_text(f"model m {{\n  const  %c : i32[100] = {values}\n  output %c\n}}\n")
    said = cli("show", "large.nn")
    assert "i32[100] = sha256:" in said.out
    assert "data sha256" not in said.out


# --- check ---------------------------------------------------------------------------------------------------


def test_check_of_a_valid_model(cli: Callable, models: Path) -> None:
    said = cli("check", "two.nn")
    assert said.code == 0
    assert said.out.startswith("model two: valid\nneeds feature level 1 (API 27, Android 8.1)")
    found = json.loads(cli("check", "two.nn", "--json").out)
    assert (found["valid"], found["feature_level"], found["api_level"], found["findings"]) == (True, 1, 27, [])
    assert [use["kind"] for use in found["levels"]] == ["ADD", "MUL"]


def test_check_of_an_invalid_model_lists_the_findings_and_exits_with_1(cli: Callable, models: Path) -> None:
    said = cli("check", "invalid.nn")
    assert said.code == 1
    assert said.out.startswith("model two: invalid")
    assert "ADD" in said.out
    said = cli("check", "invalid.nn", "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert found["valid"] is False
    assert found["findings"]
    assert set(found["findings"][0]) == {"rule", "severity", "where", "message", "because", "source"}


# --- run -----------------------------------------------------------------------------------------------------


def test_run_writes_what_the_model_computes(cli: Callable, models: Path) -> None:
    said = cli("run", "pool.nn", "--input", "x.npy", "-o", "y.npy")
    assert said.code == 0, said.err
    # means over the four pixels of channels 0, 1, 2
    assert np.load("y.npy").tolist() == [[[[4.5, 5.5, 6.5]]]]
    assert said.out.splitlines() == [
        "%y : f32[1,1,1,3]  min 4.5, max 6.5, first 4.5 5.5 6.5",
        "wrote y.npy (140 bytes)",
    ]


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_run_without_an_output_file_tells_the_gist(cli: Callable, models: Path, engine: str) -> None:
    said = cli("run", "two.nn", "--input", "a.npy", "--input", "b.npy", "--engine", engine)
    assert said.code == 0
    assert said.out.splitlines() == [
        "%sum : f32[2]  min 11, max 18, first 11 18",
        "%product : f32[2]  min 0, max 10, first 10 0",
    ]


def test_several_outputs_go_into_numbered_files_or_one(cli: Callable, models: Path) -> None:
    given = ("--input", "b=b.npy", "--input", "a=a.npy")
    assert cli("run", "two.nn", *given, "-o", "y{n}.npy").code == 0
    assert [np.load(f"y{n}.npy").tolist() for n in (0, 1)] == [[11, 18], [10, 0]]
    assert cli("run", "two.nn", *given, "-o", "y.npz").code == 0
    with np.load("y.npz") as held:
        assert {name: held[name].tolist() for name in held.files} == {"sum": [11, 18], "product": [10, 0]}
    said = cli("run", "two.nn", *given, "-o", "y.npy")
    assert "the model has 2 outputs and y.npy takes one" in said.sentence
    assert not Path("y.npy").exists()


def test_an_image_in_pytorchs_layout_is_recognised(cli: Callable, models: Path) -> None:
    np.save("nchw.npy", np.zeros((1, 3, 2, 2), np.float32))
    said = cli("run", "pool.nn", "--input", "nchw.npy")
    assert "given [1, 3, 2, 2], which looks like PyTorch's N,C,H,W; transpose it" in said.sentence


WRONG_RUNS = {
    "no_input": (("two.nn",), "takes 2 inputs (%a : f32[2], %b : f32[2]), not 0"),
    "wrong_shape": (("pool.nn", "--input", "a.npy"), "has shape [2], expected [1,2,2,3]"),
    "unknown_name": (("two.nn", "--input", "a=a.npy"), "lacks b"),
    "no_file": (("pool.nn", "--input", "z.npy"), "z.npy: there is no such file"),
    "engine": (("pool.nn", "--input", "x.npy", "--engine", "quick"), "--engine quick: it is fast or reference"),
    "no_folder": (("pool.nn", "--input", "x.npy", "-o", "no/y.npy"), "there is no folder"),
    "suffix": (("pool.nn", "--input", "x.npy", "-o", "y.txt"), "it is one of .npy, .npz"),
}


@pytest.mark.parametrize("case", WRONG_RUNS)
def test_a_run_that_cannot_be(cli: Callable, models: Path, case: str) -> None:
    arguments, words = WRONG_RUNS[case]
    assert words in cli("run", *arguments).sentence


def test_an_invalid_model_is_not_run(cli: Callable, models: Path) -> None:
    said = cli("run", "invalid.nn", "--input", "a.npy", "--input", "b.npy")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("nnapi-lab: this is no valid NNAPI model: 1 finding\n     - ADD")


# --- export --------------------------------------------------------------------------------------------------


def test_export_writes_text_that_reads_back_equal(cli: Callable, models: Path) -> None:
    said = cli("export", "two.nn", "-o", "again.nn")
    assert said.code == 0
    assert said.out.startswith("wrote again.nn (")
    assert text.read_nn("again.nn") == text.read_nn("two.nn")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("m.tflite", "export to .tflite is not there yet"),
        ("m.cpp", "export to .cpp is not there yet"),
        ("m.pt", "`nnapi-lab lower MODEL -o m.pt` writes one"),
        ("m.onnx", "the suffix says what is written"),
        ("no/m.nn", "there is no folder"),
    ],
)
def test_formats_that_are_not_written(cli: Callable, models: Path, output: str, words: str) -> None:
    assert words in cli("export", "two.nn", "-o", output).sentence


def test_a_read_only_folder_is_one_sentence_and_stays_empty(in_read_only_folder: Callable) -> None:
    said = in_read_only_folder({"two.nn": TWO}, "export", "two.nn", "-o", "out/again.nn")
    assert said.out == "[]\n"
    (line,) = said.err.splitlines()
    assert said.code == 2
    assert line.startswith("nnapi-lab: out/again.nn cannot be written: the folder ")
    assert line.endswith("is read-only for you; choose another place")


# --- files that are none -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "check", "run", "export"])
def test_files_that_cannot_be_read(cli: Callable, models: Path, command: str) -> None:
    more = ("-o", "out.nn") if command == "export" else ()
    Path("cut.pt").write_bytes(b"PK\x03\x04" + bytes(40))
    Path("empty.pt").write_bytes(b"")
    Path("typo.nn").write_text(POOL.replace("output %y", "output y"))
    Path("m.bin").write_bytes(b"1")
    Path("folder.nn").mkdir()
    for file, words in (
        ("gone.nn", "gone.nn: there is no such file"),
        ("nets.small:good", "`nnapi-lab lower nets.small:good -o m.pt` makes one"),
        ("cut.pt", "cut.pt"),
        ("empty.pt", "empty.pt"),
        ("typo.nn", "typo.nn, line 4, column 10: expected an operand"),
        ("m.bin", "m.bin"),
        ("folder.nn", "folder.nn is a folder"),
    ):
        assert words in cli(command, file, *more).sentence, file
