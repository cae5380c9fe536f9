"""MODEL and --input: what is taken, and one sentence for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nnapi_lab.cli.inputs import arrays_for, made_by, model_and_inputs, random_input, tensors_of
from nnapi_lab.cli.outcome import BadInput
from nnapi_lab.torchscript.capture import quiet

MODULE = """
import torch

def good():
    return torch.nn.ReLU().eval(), (torch.ones(1, 2),)

def _hidden():
    return None

def lonely():
    return torch.nn.ReLU()

def failing():
    raise LookupError("no weights here")

def leaving():
    raise SystemExit(3)

class Box:
    @staticmethod
    def good():
        return good()

NUMBER = 3
"""


@pytest.fixture
def module(workplace: Path) -> Path:
    (workplace / "nets").mkdir()
    (workplace / "nets" / "__init__.py").write_text("")
    (workplace / "nets" / "small.py").write_text(MODULE)
    (workplace / "nets" / "broken.py").write_text("def f(:\n")
    (workplace / "nets" / "needy.py").write_text("import a_library_nobody_has\n")
    return workplace


# --- package.module:function ---------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["nets.small:good", "nets.small:Box.good"])
def test_an_entry_is_imported_from_the_current_folder(module: Path, entry: str) -> None:
    made, (x,) = made_by(entry)
    assert isinstance(made, torch.nn.ReLU)
    assert x.tolist() == [[1.0, 1.0]]


WRONG_ENTRIES = {
    "no_package": ("nots.small:good", "there is no module nots, neither in the current folder"),
    "no_module": ("nets.large:good", "there is no module nets.large"),
    "no_function": ("nets.small:bad", "nets.small has no function bad; it has good, lonely, failing, leaving"),
    "no_callable": ("nets.small:NUMBER", "nets.small:NUMBER is a int"),
    "no_inputs": ("nets.small:lonely", "nets.small:lonely() returned a ReLU; it has to return (module, example_inp"),
    "fails": ("nets.small:failing", "nets.small:failing() failed: LookupError: no weights here (small.py:14)"),
    "leaves": ("nets.small:leaving", "nets.small:leaving() failed: SystemExit: 3 (small.py:17)"),
    "does_not_parse": ("nets.broken:f", "importing nets.broken failed: SyntaxError"),
    "needs_another": ("nets.needy:f", "importing nets.needy failed: ModuleNotFoundError: No module named"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_ENTRIES)
def test_an_entry_that_cannot_be_used_says_why(module: Path, case: str) -> None:
    entry, words = WRONG_ENTRIES[case]
    with pytest.raises(BadInput) as caught:
        made_by(entry)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_given_inputs_win_over_the_example(module: Path) -> None:
    _, (x,) = model_and_inputs("nets.small:good", ["2,3:int64"])
    assert (tuple(x.shape), x.dtype) == ((2, 3), torch.int64)


# --- files ---------------------------------------------------------------------------------------------------


def test_a_file_needs_inputs(workplace: Path) -> None:
    Path("m.pt").write_bytes(b"")
    with pytest.raises(BadInput, match=r"m\.pt is a file and says nothing of its inputs: add --input-shape"):
        model_and_inputs("m.pt")
    model, (x,) = model_and_inputs("m.pt", ["1,3,4,4"])
    assert (model, tuple(x.shape), x.dtype) == ("m.pt", (1, 3, 4, 4), torch.float32)


@pytest.mark.parametrize("model", ["m.pt", "nets/small:good", "1:2", ":f", "nets.small:"])
def test_what_is_neither_file_nor_entry(workplace: Path, model: str) -> None:
    with pytest.raises(BadInput, match="there is no such file; give a TorchScript file or package"):
        model_and_inputs(model)


def test_input_and_input_shape_exclude_each_other(workplace: Path) -> None:
    with pytest.raises(BadInput, match="not both"):
        model_and_inputs("m.pt", ["1"], ["x.npy"])


# --- shapes --------------------------------------------------------------------------------------------------

SHAPES = {
    "1,3,224,224": ((1, 3, 224, 224), torch.float32),
    "4": ((4,), torch.float32),
    "scalar": ((), torch.float32),
    "scalar:bool": ((), torch.bool),
    "2, 5:uint8": ((2, 5), torch.uint8),
    "1,7:float16": ((1, 7), torch.float16),
    "3:int8": ((3,), torch.int8),
}


@pytest.mark.parametrize("text", SHAPES)
def test_shapes(text: str) -> None:
    x = random_input(text)
    assert (tuple(x.shape), x.dtype) == SHAPES[text]


def test_random_inputs_are_the_same_every_time_and_differ_by_position(workplace: Path) -> None:
    Path("m.pt").write_bytes(b"")
    _, (a, b) = model_and_inputs("m.pt", ["100", "100"])
    _, (c, _) = model_and_inputs("m.pt", ["100", "100"])
    assert torch.equal(a, c)
    assert not torch.equal(a, b)


def test_integers_reach_both_ends_of_their_range() -> None:
    codes = random_input("10000:uint8")
    assert (int(codes.min()), int(codes.max())) == (0, 255)
    # int64 are indices more often than numbers
    assert set(random_input("100:int64").tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1x3", "is not a shape; write it like 1,3,224,224"),
        ("", "is not a shape"),
        ("-1,3", "is not a shape"),
        ("1,3:", "is not a shape"),
        ("1,3:float", "the type float is not one of float32"),
        ("1,3:quint8", "give quantized inputs with --input X.pt"),
    ],
)
def test_shapes_that_are_none(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        random_input(text)
    assert words in str(caught.value)


# --- input files ---------------------------------------------------------------------------------------------


def codes_of_0_and_1() -> torch.Tensor:
    with quiet():
        return torch.quantize_per_tensor(torch.tensor([0.0, 1.0]), 0.5, 3, torch.quint8)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_tensors_of_files(workplace: Path) -> None:
    np.save("x.npy", np.arange(3, dtype=np.int32))
    quantized = codes_of_0_and_1()
    torch.save((torch.ones(2), quantized), "two.pt")
    torch.save(torch.zeros(1), "one.pt")
    (x,) = tensors_of("x.npy")
    assert (x.tolist(), x.dtype) == ([0, 1, 2], torch.int32)
    ones, codes = tensors_of("two.pt")
    assert ones.tolist() == [1.0, 1.0]
    assert (codes.int_repr().tolist(), codes.q_scale(), codes.q_zero_point()) == ([3, 5], 0.5, 3)
    assert len(tensors_of("one.pt")) == 1


def test_files_that_hold_no_input(workplace: Path) -> None:
    torch.save({"weights": torch.ones(1)}, "dict.pt")
    Path("text.npy").write_text("not an array")
    Path("text.pt").write_text("not a tensor")
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("empty.npy").write_bytes(b"")
    for path, words in (
        ("dict.pt", "dict.pt holds a dict; an input file holds a tensor or a tuple of tensors"),
        ("text.npy", "text.npy is not readable as an array"),
        ("text.pt", "text.pt cannot be read as tensors"),
        ("pickled.npy", "pickled.npy is not readable as an array"),
        ("empty.npy", "empty.npy is not readable as an array"),
        ("none.npy", "none.npy: there is no such file"),
        ("none.pt", "none.pt: there is no such file"),
    ):
        with pytest.raises(BadInput) as caught:
            tensors_of(path)
        assert words in str(caught.value), path
        assert "\n" not in str(caught.value)


def test_arrays_by_order_by_name_and_in_one_file(workplace: Path) -> None:
    a, b = np.zeros(2, np.float32), np.ones(3, np.float32)
    np.save("a.npy", a)
    np.save("b=b.npy", b)
    np.savez("both.npz", x=a, y=b)
    assert [held.shape for held in arrays_for(("x", "y"), ["a.npy", "b=b.npy"])] == [(2,), (3,)]
    assert {name: held.shape for name, held in arrays_for(("x", "y"), ["%y=b=b.npy", "x=a.npy"]).items()} == {
        "x": (2,),
        "y": (3,),
    }
    assert {name: held.shape for name, held in arrays_for(("x", "y"), ["both.npz"]).items()} == {"x": (2,), "y": (3,)}
    with pytest.raises(BadInput, match="name all inputs"):
        arrays_for(("x", "y"), ["x=a.npy", "b=b.npy"])


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_quantized_tensor_is_given_as_its_codes(workplace: Path) -> None:
    torch.save(codes_of_0_and_1(), "x.pt")
    (codes,) = arrays_for(("x",), ["x.pt"])
    assert (codes.dtype, codes.tolist()) == (np.uint8, [3, 5])
