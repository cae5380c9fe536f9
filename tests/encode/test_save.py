"""save_torch: a file that PyTorch loads anywhere and that `load` reads back to an equal model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nnapi_lab.encode import load, save_torch
from nnapi_lab.errors import FormatError, LoweringError, NotThereYet, OutputError
from nnapi_lab.ir.model import replace_model
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.text import write_nn

NO_LIBRARY = "Failed to load libneuralnetworks.so"


def test_the_file_reads_back_to_an_equal_model(saved: Path, network: Lowered) -> None:
    assert load(saved) == network.model


def test_the_model_may_be_relaxed(network: Lowered, tmp_path: Path) -> None:
    relaxed = replace(network, model=replace_model(network.model, relaxed=True))
    save_torch(relaxed, tmp_path / "m.pt")
    assert load(tmp_path / "m.pt") == relaxed.model
    assert torch.jit.load(tmp_path / "m.pt").mod.relax_f32_to_f16 is True


def test_a_fresh_process_loads_it_without_us(saved: Path) -> None:
    """Up to Android's library, which a desktop has not."""
    program = (
        "import sys, torch\n"
        "module = torch.jit.load(sys.argv[1])\n"
        "try:\n"
        "    module(torch.zeros(1, 3, 6, 6))\n"
        "except RuntimeError as error:\n"
        "    print(type(error).__name__, str(error))\n"
        "print('nnapi_lab' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, saved], capture_output=True, text=True, cwd=os.sep)
    assert NO_LIBRARY in done.stdout, done.stderr
    assert done.stdout.strip().endswith("False")


def test_what_pytorchs_converter_gives_its_module_is_there(saved: Path) -> None:
    module = torch.jit.load(saved).mod
    assert module.ser_model.dtype == torch.int32
    assert module.ser_model.dim() == 1
    assert all(weight.is_contiguous() for weight in module.weights)
    assert (module.inp_mem_fmts, module.out_mem_fmts) == ([1], [0])
    assert (module.comp, module.out_templates, module.compilation_preference) == (None, [], 2)
    (template,) = module.shape_compute_module.prepare(module.ser_model, [])
    assert (template.dtype, template.shape) == (torch.float32, (1, 5))


def test_it_may_be_saved_again(saved: Path, tmp_path: Path, network: Lowered) -> None:
    torch.jit.save(torch.jit.load(saved), tmp_path / "again.pt")
    again = load(tmp_path / "again.pt")  # without the names, which only we keep
    assert [op.kind for op in again.operations] == [op.kind for op in network.model.operations]


@pytest.mark.filterwarnings("ignore:Lite Interpreter is deprecated:DeprecationWarning")
def test_the_lite_interpreter_takes_it(saved: Path, tmp_path: Path, network: Lowered) -> None:
    from torch.jit.mobile import _load_for_lite_interpreter

    torch.jit.load(saved)._save_for_lite_interpreter(str(tmp_path / "m.ptl"))
    lite = _load_for_lite_interpreter(str(tmp_path / "m.ptl"))
    with pytest.raises(RuntimeError, match=NO_LIBRARY):
        lite(torch.zeros(1, 3, 6, 6))
    assert [op.kind for op in load(tmp_path / "m.ptl").operations] == [op.kind for op in network.model.operations]


@pytest.mark.parametrize("example", [torch.zeros(1, 3, 6, 7), torch.zeros(1, 3, 6, 6, dtype=torch.int32)])
def test_other_inputs_are_named(saved: Path, example: torch.Tensor) -> None:
    with pytest.raises(torch.jit.Error, match=r"is not float32\[1,3,6,6\], which the model was lowered for"):
        torch.jit.load(saved)(example)


class PerChannel(nn.Module):
    """A linear layer as every engine but qnnpack quantizes it."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.quantize_per_channel(
            torch.ones(2, 3), torch.tensor([0.1, 0.2]).double(), torch.zeros(2).long(), 0, torch.qint8
        )
        self.inner = nn.quantized.Linear(3, 2)
        self.inner.set_weight_bias(weight, torch.zeros(2))
        self.inner.scale, self.inner.zero_point = 0.1, 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.quantize_per_tensor(x, 0.1, 10, torch.quint8)).dequantize()


@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:DeprecationWarning")
def test_per_channel_scales_are_refused_with_the_line(lower: Callable[..., Lowered], tmp_path: Path) -> None:
    lowered = lower(PerChannel(), torch.ones(1, 3))
    with pytest.raises(LoweringError) as caught:
        save_torch(lowered, tmp_path / "m.pt")
    (refusal,) = caught.value.refusals
    assert refusal.rule == "TORCH_FORMAT.PER_CHANNEL"
    assert refusal.node.startswith("quantized::linear ")
    assert ".py:" in refusal.python
    assert ".tflite" in refusal.fix
    assert "per tensor" in refusal.fix
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said(network: Lowered, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        save_torch(network, tmp_path / "gone" / "m.pt")


# --- load ----------------------------------------------------------------------------------------------------


def test_text_is_loaded_by_its_suffix(network: Lowered, tmp_path: Path) -> None:
    write_nn(network.model, tmp_path / "m.nn")
    assert load(tmp_path / "m.nn") == network.model


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"unknown suffix '.onnx'; .pt, .pth, .ptl and .nn are read"):
        load(tmp_path / "m.onnx")
    with pytest.raises(NotThereYet, match="tflite"):
        load(tmp_path / "m.tflite")
