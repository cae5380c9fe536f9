"""The front door: what `import nnapi_lab as lab` promises."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

import nnapi_lab as lab
from nnapi_lab import errors
from sample_models.quantization import engine, quantize

ROOT = Path(__file__).resolve().parent.parent

# float32 sums of at most 144 products in another order, on values of about 1
FLOAT_NOISE = 2e-6


class Small(nn.Module):
    """Convolution, batch norm, ReLU, pooling, flatten over 2×2 pixels, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(torch.flatten(torch.max_pool2d(x, 2), 1))


class Dictionary(nn.Module):
    """Returns a dict and a nested tuple, in the order torch traces them."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        return x + 1, (x * 2, torch.relu(x))


class Quantizable(nn.Module):
    """One convolution between the stubs of eager-mode quantization."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.dequant = DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.body(self.quant(x)))


class Impossible(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumprod(torch.relu(x), 0) + torch.linalg.det(x)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    model = Small()
    model(torch.randn(16, 3, 4, 4))  # statistics for the batch norm
    return model.eval()


@pytest.fixture(scope="module")
def lowered(small: nn.Module, image: torch.Tensor) -> Any:
    return lab.lower(small, image)


# --- the package ---------------------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """Which of the heavy libraries a fresh Python has loaded after `statement`."""
    heavy = ("torch", "numba", "numpy", "nnapi_lab.ops")
    program = f"{statement}\nimport sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_loads_nothing_until_it_is_used() -> None:
    assert loaded_by("import nnapi_lab") == set()
    assert loaded_by("import nnapi_lab.numerics.rounding") == {"numpy"}
    assert loaded_by("import nnapi_lab; nnapi_lab.check") == {"numpy", "nnapi_lab.ops"}
    assert loaded_by("import nnapi_lab; nnapi_lab.errors.FormatError; nnapi_lab.LoweringError") == set()


def test_inside_ipython_results_show_themselves_and_torch_is_still_not_loaded() -> None:
    program = (
        "from IPython.core.interactiveshell import InteractiveShell as Shell\n"
        "shell = Shell.instance()\n"
        "import sys, nnapi_lab\n"
        "print('torch' in sys.modules)\n"
        "printers = shell.display_formatter.formatters['text/plain'].deferred_printers\n"
        "print(('nnapi_lab.ir.model', 'Model') in printers)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\nTrue\n", done.stderr


@pytest.mark.parametrize("name", lab.__all__)
def test_every_promised_name_is_there(name: str) -> None:
    assert getattr(lab, name) is not None
    assert name in dir(lab)


def test_other_names_are_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'nnapi_lab' has no attribute 'lowr'"):
        _ = lab.lowr


@pytest.mark.parametrize(
    "first",
    ["nnapi_lab.simulate", "from nnapi_lab.simulate import compile_model", "import nnapi_lab.simulate.plan", "pass"],
)
def test_simulate_is_the_function_and_the_package(first: str) -> None:
    """Whatever was imported first, `lab.simulate(…)` runs and `nnapi_lab.simulate.compile_model` is found."""
    program = (
        f"import nnapi_lab\n{first}\nimport nnapi_lab as lab, nnapi_lab.simulate\n"
        "from nnapi_lab.text import parse\n"
        "model = parse('model m {\\n input %x : f32[1]\\n %y = ABS(input=%x) : f32[1]\\n output %y\\n}')\n"
        "print(lab.simulate(model, [[-2.5]])[0][0], nnapi_lab.simulate.compile_model.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2.5 compile_model\n", done.stderr


def test_simulate_shows_its_parameters() -> None:
    assert list(inspect.signature(lab.simulate).parameters)[:4] == ["model", "inputs", "engine", "probe"]


# --- lower: what it takes ------------------------------------------------------------------------------------


def test_a_module_a_script_and_a_file_give_the_same_model(
    small: nn.Module, image: torch.Tensor, lowered: Any, tmp_path: Path
) -> None:
    traced = torch.jit.trace(small, image)
    torch.jit.save(traced, tmp_path / "small.pt")
    for given in (traced, tmp_path / "small.pt", str(tmp_path / "small.pt")):
        other = lab.lower(given, (image,))
        assert [operation.kind for operation in other.model] == [operation.kind for operation in lowered.model]
        assert torch.equal(other.run(image), lowered.run(image))


def test_the_model_given_stays_as_it_was(small: nn.Module, image: torch.Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    lab.lower(small, image).run()
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
    assert not small.training


@pytest.mark.parametrize(("layout", "shape"), [("nhwc", (1, 4, 4, 3)), ("nchw", (1, 3, 4, 4)), ("auto", (1, 4, 4, 3))])
def test_layouts_change_the_model_and_not_the_result(
    small: nn.Module, image: torch.Tensor, lowered: Any, layout: Any, shape: tuple[int, ...]
) -> None:
    other = lab.lower(small, image, layout=layout)
    assert other.model[other.model.inputs[0]].type.shape == shape
    torch.testing.assert_close(other.run(image), lowered.run(image), rtol=0, atol=FLOAT_NOISE)


def test_relaxed_is_said_to_nnapi(small: nn.Module, image: torch.Tensor) -> None:
    relaxed = lab.lower(small, image, relaxed=True)
    assert relaxed.model.relaxed
    assert relaxed.feature_level == 2  # relaxed computation exists since Android 9


MISUSES = {
    "layout": ({"layout": "nwhc"}, ValueError, "layout is 'nwhc'; it is one of auto, nhwc, nchw"),
    "api_level": ({"api_level": 26}, ValueError, "no NNAPI of its own at API level 26"),
    "feature_level": ({"feature_level": 9}, ValueError, "no NNAPI feature level 9"),
    "both": ({"api_level": 29, "feature_level": 3}, ValueError, "not both"),
    "fallback": ({"on_unsupported": "cpu"}, errors.NotThereYet, "not there yet"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_options_that_cannot_be(small: nn.Module, image: torch.Tensor, case: str) -> None:
    options, kind, words = MISUSES[case]
    with pytest.raises(kind, match=words):
        lab.lower(small, image, **options)


def test_wrong_example_inputs_and_models(small: nn.Module, image: torch.Tensor, tmp_path: Path) -> None:
    for model, inputs, kind, words in (
        (Small(), image, errors.CaptureError, "training mode"),
        (small, image[:, :2], errors.CaptureError, "failed"),
        (small, "image", errors.CaptureError, "example_inputs is a str"),
        (small, (image, 3), errors.CaptureError, "example input 1 is a int"),
        (lambda x: x, image, errors.CaptureError, "cannot be lowered"),
        (tmp_path / "gone.pt", image, errors.FormatError, "there is no such file"),
    ):
        with pytest.raises(kind, match=words):
            lab.lower(model, inputs)


def test_everything_in_the_way_is_raised_at_once() -> None:
    with pytest.raises(errors.LoweringError) as caught:
        lab.lower(Impossible().eval(), torch.eye(3))
    refusals = caught.value.refusals
    assert [refusal.node.split()[0] for refusal in refusals] == ["aten::cumprod", "aten::linalg_det"]
    line = inspect.getsourcelines(Impossible.forward)[1] + 1
    assert {refusal.python for refusal in refusals} == {f"test_lab.py:{line}"}
    assert all(refusal.fix for refusal in refusals)


def test_a_level_that_is_too_old_is_refused_with_the_use_that_needs_more(small: nn.Module, image: torch.Tensor) -> None:
    model = nn.Sequential(nn.PReLU(3)).eval()
    needed = lab.lower(model, image).feature_level
    assert needed == 3  # PRELU exists since Android 10
    assert lab.lower(model, image, api_level=29).feature_level == 3
    with pytest.raises(errors.LoweringError) as caught:
        lab.lower(model, image, api_level=28)
    (refusal,) = [one for one in caught.value.refusals if one.rule == "PRELU.LEVEL"]
    assert refusal.kind == "FORBIDDEN"
    assert "needs feature level 3 (API 29, Android 10)" in refusal.message


# --- what comes of it ----------------------------------------------------------------------------------------


def test_the_result_is_complete_and_immutable(lowered: Any) -> None:
    assert lowered.graph.inputs
    assert lowered.model.operations
    assert lowered.steps
    assert lowered.refusals == ()
    assert (lowered.feature_level, lowered.api_level) == (1, 27)
    with pytest.raises(dataclasses.FrozenInstanceError):
        lowered.captured = None


def test_run_is_pytorch_up_to_rounding(small: nn.Module, image: torch.Tensor, lowered: Any) -> None:
    with torch.no_grad():
        for x in (image, torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(2))):
            for engine in ("fast", "reference"):
                y = lowered.run(x, engine=engine)
                assert y.dtype == torch.float32
                torch.testing.assert_close(y, small(x), rtol=0, atol=FLOAT_NOISE)


def test_run_uses_the_example_by_default(image: torch.Tensor, lowered: Any) -> None:
    assert torch.equal(lowered.run(), lowered.run(image))


def test_run_hands_back_the_models_own_structure() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    first, (second, third) = lab.lower(Dictionary().eval(), x).run(x)
    assert (first.tolist(), second.tolist(), third.tolist()) == ([[0.0, 3.0]], [[-2.0, 4.0]], [[0.0, 2.0]])


def test_run_shows_values_to_a_probe(lowered: Any, image: torch.Tensor) -> None:
    seen: list[str] = []
    lowered.run(image, probe=lambda operation, name, array: seen.append(operation.kind))
    assert seen == [operation.kind for operation in lowered.model]


def test_run_refuses_inputs_that_do_not_fit(lowered: Any, image: torch.Tensor) -> None:
    for inputs in ((image[:, :2],), (image, image), (image.double(),)):
        with pytest.raises(errors.SimulationError):
            lowered.run(*inputs)


def test_diff_compares_every_value_that_has_an_operand(lowered: Any, image: torch.Tensor) -> None:
    diff = lowered.diff(image)
    assert isinstance(diff, lab.Diff)
    assert diff.summary()["float"]["worst_relative"] < 1e-6
    assert diff.first_bad() is None
    assert {row.operand for row in diff.rows} >= {operation.name for operation in lowered.model}


def test_diff_finds_the_operation_that_went_wrong(lowered: Any, image: torch.Tensor) -> None:
    """The other direction: with one weight of the NNAPI side spoiled, its operation is the first bad one."""
    model = lowered.model
    conv = next(operation for operation in model if operation.kind == "CONV_2D")
    weight = model[conv.reads[1]]
    spoiled = dataclasses.replace(
        weight, value=np.where(np.arange(weight.value.size) == 0, 9, weight.value.reshape(-1))
    )
    operands = {**model.operands, weight.name: spoiled}
    wrong = lab.Model(model.name, operands, model.operations, model.inputs, model.outputs)
    result = dataclasses.replace(lowered.result, model=wrong)
    diff = dataclasses.replace(lowered, result=result).diff(image)
    bad = diff.first_bad()
    assert bad is not None
    assert bad.operand == conv.name


@pytest.mark.parametrize("target", ["conv", "norm", "head"])
def test_explain_a_module(lowered: Any, target: str) -> None:
    found = lowered.explain(target)
    assert found.steps
    assert found.operands
    assert str(found).startswith(f"{target}: ")
    assert found.steps[0].rule.title in str(found)


def test_explain_takes_values_and_operands(lowered: Any) -> None:
    (name,) = lowered.graph.inputs
    by_value, bare = lowered.explain(name), lowered.explain(name.lstrip("%"))
    assert by_value.steps
    assert by_value.steps == bare.steps
    conv = lowered.model.operations[0].name
    assert conv in lowered.explain(conv).operands


def test_explain_of_nothing_names_what_is_close(lowered: Any) -> None:
    with pytest.raises(KeyError, match=r"no torch value, operand or module is called 'weigh'; did you mean .*weight"):
        lowered.explain("weigh")


# --- files and pages -----------------------------------------------------------------------------------------


def test_what_is_saved_loads_as_an_equal_model(lowered: Any, tmp_path: Path) -> None:
    lowered.save(tmp_path / "m.pt")
    lowered.export(tmp_path / "m.nn")
    lowered.export(tmp_path / "again.pt")
    for name in ("m.pt", "m.nn", "again.pt"):
        assert lab.load(tmp_path / name) == lowered.model, name
    assert isinstance(torch.jit.load(tmp_path / "m.pt"), torch.jit.ScriptModule)


def test_a_loaded_model_is_simulated_in_nnapis_layout(lowered: Any, image: torch.Tensor, tmp_path: Path) -> None:
    lowered.save(tmp_path / "m.pt")
    model = lab.load(tmp_path / "m.pt")
    (y,) = lab.simulate(model, [image.permute(0, 2, 3, 1).numpy()])
    assert np.array_equal(y, lowered.run(image).numpy())
    assert lab.check(model).is_valid


@pytest.mark.parametrize(
    ("name", "kind"),
    [("m.tflite", errors.NotThereYet), ("m.cpp", errors.NotThereYet), ("m.onnx", errors.FormatError)],
)
def test_formats_that_are_not_written(lowered: Any, tmp_path: Path, name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        lowered.export(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["save", "save_html", "save_svg", "export"])
def test_a_folder_that_is_not_there_is_one_sentence(lowered: Any, tmp_path: Path, method: str) -> None:
    suffix = {"save": "pt", "export": "nn"}.get(method, method.removeprefix("save_"))
    with pytest.raises(errors.OutputError, match="there is no folder"):
        getattr(lowered, method)(tmp_path / "gone" / f"m.{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_pages_and_pictures_stand_alone(lowered: Any, tmp_path: Path) -> None:
    lowered.save_html(tmp_path / "r.html", lowered.diff())
    lowered.save_svg(tmp_path / "g.svg")
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert "<svg" in (tmp_path / "g.svg").read_text()[:200]


def test_it_shows_itself(lowered: Any) -> None:
    text = repr(lowered)
    for words in ("Small", "NNAPI operations", "CONV_2D", "feature level 1"):
        assert words in text, words
    assert "<iframe" in lowered._repr_html_()


# --- quantized -----------------------------------------------------------------------------------------------


def test_a_quantized_network_comes_back_quantized() -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 6, 6)
    model = quantize(Quantizable().eval(), images)
    inside = lab.lower(model, images[:1])
    with engine("qnnpack"), torch.no_grad():
        expected = model(images[:1])
    scale = float(model.body[0].scale)
    # one step of the output's scale: NNAPI's multiplier is an integer, qnnpack's a float
    torch.testing.assert_close(inside.run(images[:1]), expected, rtol=0, atol=scale * 1.001)
    assert inside.diff().summary()["quantized"]["worst_isolated_steps"] <= 1
