"""`lower`, `diff`, `diagnose` on small networks in the current folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import nnapi_lab as lab

NETS = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 2 * 2, 5)

    def forward(self, x):
        return self.head(torch.flatten(torch.relu(self.conv(x)), 1))

class Impossible(nn.Module):
    def forward(self, x):
        y = torch.det(x)
        return torch.cumprod(torch.special.i0(x), 0) + y

def small():
    torch.manual_seed(0)
    print("made by a chatty module")
    return Small().eval(), (torch.randn(1, 3, 4, 4),)

def impossible():
    return Impossible().eval(), (torch.eye(3),)

def quantized(engine="qnnpack"):
    from sample_models.quantization import quantize
    torch.manual_seed(0)
    images = torch.randn(2, 3, 4, 4)
    layers = (torch.ao.quantization.QuantStub(), nn.Conv2d(3, 4, 3), torch.ao.quantization.DeQuantStub())
    return quantize(nn.Sequential(*layers).eval(), images, engine), (images[:1],)

def per_channel():
    return quantized("x86")

def prelu():
    return nn.Sequential(nn.PReLU(3)).eval(), (torch.randn(1, 3, 4, 4),)

def training():
    return Small(), (torch.randn(1, 3, 4, 4),)

def wrong_inputs():
    return Small().eval(), (torch.randn(1, 2, 4, 4),)
"""
LINE_OF_DET = NETS.splitlines().index("        y = torch.det(x)") + 1


@pytest.fixture
def nets(workplace: Path) -> Path:
    Path("nets.py").write_text(NETS)
    return workplace


@pytest.fixture
def saved(nets: Path) -> Path:
    """small() as a TorchScript file."""
    torch.manual_seed(0)
    conv, head = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(16, 5)
    model = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten(), head).eval()
    torch.jit.save(torch.jit.trace(model, torch.randn(1, 3, 4, 4)), "small.pt")
    return nets


# --- lower ---------------------------------------------------------------------------------------------------


def test_lower_writes_a_file_that_pytorch_and_we_read(cli: Callable, nets: Path) -> None:
    said = cli("lower", "nets:small", "-o", "m.pt")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].startswith("wrote m.pt (")
    assert [operation.kind for operation in lab.load("m.pt")] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert isinstance(torch.jit.load("m.pt"), torch.jit.ScriptModule)


def test_the_summary_has_what_demo_promises(cli: Callable, nets: Path) -> None:
    said = cli("lower", "nets:small", "--diff")
    assert said.code == 0
    for words in ("NNAPI operations", "1 CONV_2D", "NNAPI operands", "Rewrites:", "layout", "feature level 1 (API 27",
                  "Worst differences"):  # fmt: skip
        assert words in said.out, words
    assert set(os.listdir()) <= {"nets.py", "__pycache__"}


def test_differences_come_with_the_report_unless_refused(cli: Callable, nets: Path) -> None:
    assert "Worst differences" not in cli("lower", "nets:small").out
    assert "Worst differences" in cli("lower", "nets:small", "--report", "r.html").out
    assert "Worst differences" not in cli("lower", "nets:small", "--report", "r.html", "--no-diff").out


def test_the_report_is_one_page_that_asks_nothing_of_a_network(cli: Callable, nets: Path) -> None:
    said = cli("lower", "nets:small", "--report", "r.html")
    assert said.code == 0
    assert "wrote r.html (" in said.out
    page = Path("r.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "CONV_2D" in page
    for words in ('src="http', 'href="http', "@import", "fetch("):
        assert words not in page


def test_lower_to_text(cli: Callable, nets: Path) -> None:
    said = cli("lower", "nets:small", "-o", "m.nn")
    assert said.code == 0
    assert "wrote m.nn (" in said.out
    assert "with m.nn.npz (" in said.out  # the convolution's 108 weights
    assert cli("check", "m.nn").code == 0


def test_options_reach_the_lowering(cli: Callable, nets: Path) -> None:
    assert cli("lower", "nets:small", "-o", "a.nn", "--layout", "nhwc", "--relaxed").code == 0
    model = lab.load("a.nn")
    assert model.relaxed
    assert model[model.inputs[0]].type.shape == (1, 4, 4, 3)
    assert cli("lower", "nets:small", "-o", "b.nn", "--layout", "nchw").code == 0
    model = lab.load("b.nn")
    assert not model.relaxed
    assert model[model.inputs[0]].type.shape == (1, 3, 4, 4)


def test_a_torchscript_file_takes_its_inputs_from_the_command_line(cli: Callable, saved: Path) -> None:
    assert "small.pt is a file and says nothing of its inputs" in cli("lower", "small.pt").sentence
    assert cli("lower", "small.pt", "--input-shape", "1,3,4,4").code == 0
    np.save("x.npy", np.zeros((1, 3, 4, 4), np.float32))
    assert cli("lower", "small.pt", "--input", "x.npy").code == 0


def test_the_saved_model_computes_what_pytorch_does(cli: Callable, saved: Path) -> None:
    """File in, file out: nothing but the command line between PyTorch and the simulator."""
    x = torch.randn(1, 3, 4, 4)
    np.save("nhwc.npy", x.permute(0, 2, 3, 1).numpy())
    assert cli("lower", "small.pt", "--input-shape", "1,3,4,4", "--layout", "nhwc", "-o", "m.pt").code == 0
    assert cli("run", "m.pt", "--input", "nhwc.npy", "-o", "y.npy").code == 0
    expected = torch.jit.load("small.pt")(x).detach().numpy()
    # float32 sums of 27 and 16 products in another order
    np.testing.assert_allclose(np.load("y.npy"), expected, rtol=0, atol=1e-6)


def test_everything_in_the_way_is_listed_at_once(cli: Callable, nets: Path) -> None:
    said = cli("lower", "nets:impossible", "-o", "m.pt")
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    assert lines[0] == "nnapi-lab: the model cannot be lowered: 3 obstacles"
    heads = [line.split() for line in lines if line.lstrip()[:2] in ("1.", "2.", "3.")]
    assert [head[2] for head in heads] == ["aten::linalg_det", "aten::i0", "aten::cumprod"]
    assert heads[0][4] == f"(nets.py:{LINE_OF_DET})"
    assert heads[1][4] == heads[2][4] == f"(nets.py:{LINE_OF_DET + 1})"
    assert said.err.count("What to do:") == 3
    assert not Path("m.pt").exists()


WRONG = {
    "layout": (("--layout", "nwhc"), "--layout nwhc: it is auto, nhwc or nchw"),
    "quantize_at": (("--quantize-at", "border"), "--quantize-at border: it is inside or outside"),
    "api_level": (("--api-level", "26"), "there is no NNAPI of its own at API level 26"),
    "feature_level": (("--feature-level", "9"), "there is no NNAPI feature level 9"),
    "both_levels": (("--api-level", "29", "--feature-level", "3"), "not both"),
    "suffix": (("-o", "m.onnx"), "it is one of .pt, .nn"),
    "report_suffix": (("--report", "r.pdf"), "it is one of .html"),
    "no_folder": (("-o", "no/m.pt"), "there is no folder"),
    "shape": (("--input-shape", "axb"), "is not a shape"),
    "fallback": (("--fallback", "cpu"), "--fallback is not there yet"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_cannot_be(cli: Callable, nets: Path, case: str) -> None:
    arguments, words = WRONG[case]
    said = cli("lower", "nets:small", *arguments)
    assert said.code == 2
    assert words in said.err.splitlines()[-1]


BAD_MODELS = {
    "training": ("nets:training", (), "training mode"),
    "wrong_inputs": ("nets:wrong_inputs", (), "failed"),
    "cut": ("cut.pt", ("--input-shape", "1,3,4,4"), "cut.pt"),
    "not_torchscript": ("pickled.pt", ("--input-shape", "1,3,4,4"), "pickled.pt"),
    "text": ("text.pt", ("--input-shape", "1,3,4,4"), "text.pt"),
    "too_many_inputs": (
        "small.pt",
        ("--input-shape", "1,3,4,4", "--input-shape", "1"),
        "small takes 1 inputs (input.1) but 2 example inputs were given",
    ),
}
# A file that can be read holds a model; what is wrong with that is what `diagnose` is asked about.
OBSTACLES = ("training", "wrong_inputs", "too_many_inputs")


@pytest.mark.parametrize("case", BAD_MODELS)
@pytest.mark.parametrize("command", ["lower", "diff", "diagnose"])
def test_models_that_cannot_be_taken(cli: Callable, saved: Path, command: str, case: str) -> None:
    whole = Path("small.pt").read_bytes()
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save(torch.nn.Linear(1, 1).state_dict(), "pickled.pt")
    Path("text.pt").write_text("hello")
    model, options, words = BAD_MODELS[case]
    said = cli(command, model, *options)
    if command == "diagnose" and case in OBSTACLES:
        assert said.code == 1
        assert words in said.out
    else:
        assert words in said.sentence


def test_files_are_written_also_when_nobody_reads_the_summary(nets: Path) -> None:
    """`nnapi-lab lower … | head -1`"""
    running = subprocess.Popen(
        [sys.executable, "-m", "nnapi_lab", "lower", "nets:small", "-o", "m.nn", "--report", "r.html"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert running.stdout is not None
    running.stdout.close()
    _, said = running.communicate(timeout=120)
    assert said == b"made by a chatty module\n"
    assert Path("m.nn").exists()
    assert Path("r.html").exists()


def test_a_format_that_cannot_say_the_model_leaves_summary_report_and_no_file(cli: Callable, nets: Path) -> None:
    said = cli("lower", "nets:per_channel", "-o", "m.pt", "--report", "r.html")
    assert said.code == 1
    assert "NNAPI operations" in said.out
    assert "PER_CHANNEL" in said.err
    assert not Path("m.pt").exists()
    assert Path("r.html").exists()
    assert cli("lower", "nets:per_channel", "-o", "m.nn").code == 0


def test_a_read_only_folder_is_one_sentence_and_stays_empty(in_read_only_folder: Callable) -> None:
    said = in_read_only_folder({"nets.py": NETS}, "lower", "nets:small", "-o", "out/m.pt", "--report", "out/r.html")
    assert said.out == "[]\n"
    assert said.code == 2
    first_run, line = said.err.splitlines()
    assert first_run == "made by a chatty module"
    assert line.startswith("nnapi-lab: out/m.pt cannot be written: the folder ")


def test_quantize_and_dequantize_may_stay_in_pytorch(cli: Callable, nets: Path) -> None:
    for place, kinds in (("inside", ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]), ("outside", ["CONV_2D"])):
        assert cli("lower", "nets:quantized", "-o", "m.nn", "--quantize-at", place).code == 0
        assert [operation.kind for operation in lab.load("m.nn")] == kinds


# --- diff ----------------------------------------------------------------------------------------------------


def test_diff_lists_the_worst_values(cli: Callable, nets: Path) -> None:
    said = cli("diff", "nets:small", "--top", "2")
    assert said.code == 0
    table = said.out.rpartition("\n\n")[2].splitlines()
    assert table[0].split()[0] == "value"
    assert len(table) == 3
    assert "PyTorch against the NNAPI simulator" in said.out


def test_diff_as_json_is_one_document_whatever_else_is_printed(cli: Callable, nets: Path) -> None:
    said = cli("diff", "nets:small", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert "made by a chatty module" in said.err
    assert len(found["rows"]) == found["summary"]["values"] >= 3
    # float32 sums of at most 27 products in another order
    assert found["summary"]["float"]["worst_relative"] < 1e-6
    assert len(json.loads(cli("diff", "nets:small", "--json", "--top", "1").out)["rows"]) == 1


def test_diff_of_an_impossible_model_is_a_document_too(cli: Callable, nets: Path) -> None:
    said = cli("diff", "nets:impossible", "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert len(found["refusals"]) >= 3
    assert {"kind", "node", "python", "message", "fix"} <= set(found["refusals"][0])


def test_diff_with_other_inputs_and_engine(cli: Callable, nets: Path) -> None:
    assert cli("diff", "nets:small", "--engine", "reference", "--input-shape", "1,3,4,4").code == 0
    assert "--engine quick" in cli("diff", "nets:small", "--engine", "quick").err


# --- diagnose ------------------------------------------------------------------------------------------------


def test_diagnose_of_a_model_that_lowers(cli: Callable, nets: Path) -> None:
    said = cli("diagnose", "nets:small")
    assert said.code == 0
    assert "nothing stands in the way" in said.out
    said = cli("diagnose", "nets:small", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert (found["lowers"], found["refusals"]) == (True, [])


def test_diagnose_of_a_model_that_does_not(cli: Callable, nets: Path) -> None:
    said = cli("diagnose", "nets:impossible")
    assert said.code == 1
    for kind in ("aten::linalg_det", "aten::i0", "aten::cumprod"):
        assert kind in said.out
    said = cli("diagnose", "nets:impossible", "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert found["lowers"] is False
    assert len(found["refusals"]) == 3
    # cumprod is no operation of NNAPI; the other two have no lowering yet
    assert {refusal["kind"] for refusal in found["refusals"]} == {"FORBIDDEN", "NOT_YET"}


def test_diagnose_counts_what_is_too_new_for_a_level(cli: Callable, nets: Path) -> None:
    assert cli("diagnose", "nets:prelu", "--api-level", "29").code == 0
    said = cli("diagnose", "nets:prelu", "--api-level", "28")
    assert said.code == 1
    assert "PRELU" in said.out
