"""Saved models under PyTorch's own loader in a fresh process: the same bits as `lowered.run`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nnapi_lab as lab
from sample_models import ENGINES, SAMPLES
from sample_models.quantization import engine

PROGRAM = (Path(__file__).parent / "check_saved.py").read_text("utf-8")

QUICK = ("digits:float32", "digits:quantized", "mlp:float32", "mobilenet_v2:full")
PER_CHANNEL = ":core_x86"  # PyTorch's format has no place for a scale per channel


def sample_rows() -> list[object]:
    names = [name for name in SAMPLES if not name.endswith(PER_CHANNEL)]
    return [
        pytest.param(name, marks=() if name.removeprefix("sample_models.") in QUICK else pytest.mark.sweep)
        for name in names
    ]


@pytest.mark.parametrize("name", sample_rows())
def test_samples_run_to_the_same_bits(name: str, run_program: Callable, tmp_path: Path) -> None:
    module_name, _, function = name.partition(":")
    with torch.no_grad(), engine(ENGINES.get(name, "qnnpack")), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, inputs = getattr(importlib.import_module(module_name), function)()
        lowered = lab.lower(module, inputs)
        lowered.save(tmp_path / "m.pt")
        torch.save((inputs, lowered.run(*inputs)), tmp_path / "io.pt")
    done = run_program(PROGRAM, tmp_path / "m.pt", tmp_path / "io.pt")
    assert done.code == 0, done.out + done.err
    assert done.out.strip() == "{'torch.jit.load': True, 'lite interpreter': True} False"


class Pair(torch.nn.Module):
    """A tuple of results, one of them quantized on the way."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, torch.relu(a * b)


class Nested(torch.nn.Module):
    """Results in a list inside a tuple, of different ranks and types."""

    def forward(self, a: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        left, right = a.chunk(2, 1)
        return left.flatten(1), [right, torch.sigmoid(right)]


MODULES = {
    "two inputs, two results": (Pair, (torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5))),
    "nested results": (Nested, (torch.rand(1, 4, 3, 3),)),
    "one of rank 2": (lambda: torch.nn.Linear(3, 4), (torch.rand(2, 3),)),
}


@pytest.mark.parametrize("case", MODULES)
def test_interfaces_are_kept(case: str, run_program: Callable, tmp_path: Path) -> None:
    make, inputs = MODULES[case]
    with torch.no_grad():
        lowered = lab.lower(make().eval(), inputs)
        lowered.save(tmp_path / "m.pt")
        torch.save((inputs, lowered.run(*inputs)), tmp_path / "io.pt")
    done = run_program(PROGRAM, tmp_path / "m.pt", tmp_path / "io.pt")
    assert done.code == 0, done.out + done.err


SAVED_AGAIN = """
import io, sys, torch
held = torch.jit.load(sys.argv[1])
again = io.BytesIO()
torch.jit.save(held, again)
again.seek(0)
x = torch.ones(2, 3)
assert torch.equal(torch.jit.load(again)(x), held(x))

from torch.utils.bundled_inputs import augment_model_with_bundled_inputs
from torch.jit.mobile import _load_for_lite_interpreter
bundled = torch.jit.load(sys.argv[1])
augment_model_with_bundled_inputs(bundled, [(x,)])
data = io.BytesIO(bundled._save_to_buffer_for_lite_interpreter())
mobile = _load_for_lite_interpreter(data)
(inputs,) = mobile.run_method("get_all_bundled_inputs")
assert torch.equal(mobile(*inputs), held(x))
print("done")
"""


def test_saving_again_and_bundled_inputs_as_in_pytorchs_tutorial(run_program: Callable, tmp_path: Path) -> None:
    lab.lower(torch.nn.Linear(3, 4).eval(), torch.ones(2, 3)).save(tmp_path / "m.pt")
    done = run_program(SAVED_AGAIN, tmp_path / "m.pt")
    assert (done.code, done.out) == (0, "done\n"), done.err
