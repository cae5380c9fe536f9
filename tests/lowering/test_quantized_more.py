"""Quantized breadth: numbers beside tensors, scale rules, norms, 1-D layers, dynamic layers, engines, both targets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx

from nnapi_lab.compare import compare
from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.torchscript.capture import capture
from nnapi_lab.torchscript.lower import lower_graph
from nnapi_lab.validate import check
from tests.lowering.against_torch import Written, accounted_for, kinds_of, refusals, same_numbers

X = (2, 4, 6, 8)
ENGINES = ("qnnpack", "x86", "fbgemm", "onednn")
TARGETS = ("uint8", "int8")
Q = torch.ops.quantized
pytestmark = pytest.mark.filterwarnings("ignore")


def quantized(x: Tensor, scale: float = 0.05, zero_point: int = 100, dtype: torch.dtype = torch.quint8) -> Tensor:
    return torch.quantize_per_tensor(x, scale, zero_point, dtype)


def on_codes(formula: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.quint8) -> nn.Module:
    """The formula between quantize and dequantize."""
    zero_point = 100 if dtype == torch.quint8 else -28
    return Written(lambda x: formula(quantized(x, 0.05, zero_point, dtype)).dequantize())


def same_codes(module: nn.Module, inputs: tuple[Tensor, ...], target: str = "uint8", steps: int = 1) -> Lowered:
    """Each operation, fed PyTorch's codes, is at most `steps` codes away; accounted for and valid."""
    captured = capture(module.eval(), inputs)
    lowered = lower_graph(captured.graph, quant=target)  # type: ignore[arg-type]
    assert not lowered.refusals, lowered.refusals
    accounted_for(lowered)
    report = check(lowered.model)
    assert not [finding for finding in report.findings if finding.severity == "error"], report.findings
    diff = compare(lowered, captured, inputs, "reference")
    assert diff.outputs
    for row in diff.rows:
        assert (row.isolated_max_steps or 0) <= steps, row
        assert row.isolated_max_steps is not None or (row.isolated_relative or 0.0) <= 1e-5, row
    return lowered


# --- rows ----------------------------------------------------------------------------------------------------

NUMBERS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda q: Q.add_scalar(q, 0.5),
    "add_negative": lambda q: Q.add_scalar(q, -0.7),
    "add_nothing": lambda q: Q.add_scalar(q, 0.001),
    "add_beyond_the_range": lambda q: Q.add_scalar(q, -30.0),
    "add_far_beyond": lambda q: Q.add_scalar(q, 200.0),
    "add_relu": lambda q: Q.add_scalar_relu(q, 0.5),
    "mul": lambda q: Q.mul_scalar(q, 1.7),
    "mul_tiny": lambda q: Q.mul_scalar(q, 1e-4),
    "mul_negative": lambda q: Q.mul_scalar(q, -0.3),
    "mul_zero": lambda q: Q.mul_scalar(q, 0.0),
    "mul_relu": lambda q: Q.mul_scalar_relu(q, 2.0),
    "overload_add": lambda q: Q.add(q, 0.5),
    "overload_mul": lambda q: Q.mul(q, 2.5),
    "overload_mul_relu": lambda q: Q.mul_relu(q, 2.5),
    "functional": lambda q: torch.ao.nn.quantized.QFunctional().mul_scalar(q, 3.0),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("dtype", [torch.quint8, torch.qint8], ids=["quint8", "qint8"])
@pytest.mark.parametrize("target", TARGETS)
def test_number(name: str, dtype: torch.dtype, target: str) -> None:
    """PyTorch changes scale and zero point only; here the codes must come out the same."""
    lowered = same_codes(on_codes(NUMBERS[name], dtype), (2 * torch.randn(X),), target, steps=0)
    assert kinds_of(lowered)[1:-1] in (["ADD"], ["MUL"])


ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "mul_scale_rule": lambda q: Q.mul(q, q, 0.05 * 0.05 * 0.9, 7),
    "mul_scale_rule_relu": lambda q: Q.mul_relu(q, q, 0.05 * 0.05, 7),
    "mul_relu": lambda q: Q.mul_relu(q, q, 0.03, 7),
    "add_relu": lambda q: Q.add_relu(q, q, 0.1, 50),
    "cat_relu": lambda q: Q.cat_relu([q, q], 1, 0.05, 100),
    "cat_other_scale": lambda q: Q.cat([q, Q.mul_scalar(q, 2.0)], 1, 0.08, 110),
    "relu": lambda q: q.relu(),
    "relu6": lambda q: Q.relu6(q),
    "aten_relu6": lambda q: F.relu6(q),
    "hardtanh": lambda q: F.hardtanh(q, -0.53, 1.21),
    "clamp": lambda q: q.clamp(-0.5, 1.5),
    "clamp_low": lambda q: q.clamp(min=-0.5),
    "sigmoid": lambda q: q.sigmoid(),
    "sigmoid_own_scale": lambda q: Q.sigmoid(q, 0.006, 3),
    "tanh": lambda q: q.tanh(),
    "hardswish": lambda q: Q.hardswish(q, 0.04, 20),
    "max_pool": lambda q: F.max_pool2d(q, 2),
    "avg_pool": lambda q: F.avg_pool2d(q, 2),
    "adaptive": lambda q: F.adaptive_avg_pool2d(q, 1),
    "adaptive_2": lambda q: F.adaptive_avg_pool2d(q, (3, 4)),
    "nearest": lambda q: F.interpolate(q, scale_factor=2),
    "bilinear": lambda q: F.interpolate(q, scale_factor=2, mode="bilinear", align_corners=False),
    "flatten": lambda q: q.flatten(1),
    "slice": lambda q: q[:, 1:3, ::2],
    "mean_map": lambda q: q.mean((2, 3)),
    "mean_channels": lambda q: q.mean(1),
    "mean_kept": lambda q: q.mean((1, 3), keepdim=True),
    "permute": lambda q: q.permute(0, 2, 3, 1),
    "dropout": lambda q: Q.dropout(q, 0.05, 100, 0.5, False),
    "transpose_add": lambda q: Q.add(q.permute(0, 1, 3, 2), q.permute(0, 1, 3, 2), 0.1, 50),
}  # fmt: skip
# x86 interpolates codes with an integer path of its own: two codes off NNAPI's float interpolation (A4).
STEPS = {"bilinear": 2}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("target", TARGETS)
def test_row(name: str, target: str) -> None:
    lowered = same_codes(on_codes(ROWS[name]), (2 * torch.randn(X),), target, STEPS.get(name, 1))
    codes = {operand.type.code for operand in lowered.model.operands.values()}
    absent = OperandCode.TENSOR_QUANT8_ASYMM_SIGNED if target == "uint8" else OperandCode.TENSOR_QUANT8_ASYMM
    assert absent not in codes


def test_mul_beside_its_scale_rule() -> None:
    """A MUL that NNAPI takes stays one; one whose output scale is too fine goes through float."""
    fine = same_codes(on_codes(lambda q: Q.mul(q, q, 0.003, 7)), (torch.randn(X),))
    finer = same_codes(on_codes(lambda q: Q.mul(q, q, 0.002, 7)), (torch.randn(X),))
    assert "DEQUANTIZE" not in kinds_of(fine)[:-1]
    assert "DEQUANTIZE" in kinds_of(finer)[:-1]


@settings(max_examples=40)
@given(number=st.one_of(st.just(0.0), st.floats(1e-6, 20), st.floats(-20, -1e-6)),
       scale=st.floats(0.001, 1.0), zero_point=st.integers(0, 255), kind=st.booleans(),
       target=st.sampled_from(TARGETS))  # fmt: skip
def test_any_number(number: float, scale: float, zero_point: int, kind: bool, target: str) -> None:
    """Every code, any number: no code differs."""
    codes = torch.arange(256, dtype=torch.uint8).reshape(1, 256)
    x = torch._make_per_tensor_quantized_tensor(codes, scale, zero_point)
    operator = Q.add_scalar if kind else Q.mul_scalar
    same_codes(Written(lambda q: operator(q, number)), (x,), target, steps=0)


# --- norms ---------------------------------------------------------------------------------------------------


def norm_formula(relu: bool, rank: int) -> Callable[[Tensor], Tensor]:
    gamma, beta = torch.tensor([1.5, -0.5, 0.0, 2.0]), torch.tensor([0.3, -0.2, 1.0, 0.0])
    mean, var = torch.tensor([0.1, 0.0, -0.4, 1.0]), torch.tensor([1.0, 0.2, 3.0, 1.0])
    operator = {4: (Q.batch_norm2d, Q.batch_norm2d_relu), 3: (Q.batch_norm1d, Q.batch_norm1d_relu)}[rank][relu]
    return lambda q: operator(q, gamma, beta, mean, var, 1e-5, 0.04, 90)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [X, (2, 4, 9)])
@pytest.mark.parametrize("target", TARGETS)
def test_batch_norm(relu: bool, shape: tuple[int, ...], target: str) -> None:
    """A channel without gain included: one depthwise convolution, one rounding."""
    lowered = same_codes(on_codes(norm_formula(relu, len(shape))), (2 * torch.randn(shape),), target)
    assert kinds_of(lowered).count("DEPTHWISE_CONV_2D") == 1


# --- layers, engines, FX -------------------------------------------------------------------------------------


@contextmanager
def engine(name: str) -> Iterator[None]:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.quantized.engine = before


def by_fx(module: nn.Module, x: Tensor, name: str) -> nn.Module:
    prepared = quantize_fx.prepare_fx(module.eval(), ao.get_default_qconfig_mapping(name), (x,))
    prepared(x)
    return quantize_fx.convert_fx(prepared)


class Classifier(nn.Module):
    """What people quantize: residual blocks, depthwise, gates, joins, pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise, self.point = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.gate, self.head = nn.Conv2d(8, 8, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.relu6(self.point(self.depthwise(x))) + x
        gate = torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
        y = F.hardswish(y * gate) * 2.0 + 0.5
        y = torch.cat([F.max_pool2d(y, 2), F.avg_pool2d(y, 2)], 1)
        return self.head(y.mean((2, 3)))


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 6, 5, 2, 2), nn.Conv1d(6, 6, 3, padding=2, dilation=2, groups=6)
        self.last = nn.Conv1d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "classifier": (Classifier, (2, 3, 16, 16)),
    "conv1d": (Denoiser, (2, 2, 20)),
    "linear_3d": (Perceptron, (2, 5, 8)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("target", TARGETS)
def test_fx_net(name: str, engine_name: str, target: str) -> None:
    """Each engine's packed weights and schemes, captured as convert_fx leaves them."""
    make, shape = NETS[name]
    x = torch.randn(shape)
    with engine(engine_name):
        same_codes(by_fx(make(), x, engine_name), (x,), target)


def test_transposed_1d() -> None:
    layer = nn.ConvTranspose1d(4, 5, 3, 2, 1, 1)
    x = torch.randn(2, 4, 9)
    with engine("qnnpack"):
        lowered = same_codes(by_fx(nn.Sequential(layer), x, "qnnpack"), (x,))
    assert "TRANSPOSE_CONV_2D" in kinds_of(lowered)


@pytest.mark.parametrize("target", TARGETS)
def test_bias_beyond_int32(target: str) -> None:
    """A bias that needs more than 31 bits at the weights' scale: the scale of that channel is raised."""
    with engine("x86"):  # adds the bias in float; qnnpack's own int32 overflows
        layer = nn.quantized.Conv2d(4, 4, 1)
        weight = torch.quantize_per_tensor(1e-6 * torch.randn(4, 4, 1, 1), 1e-8, 0, torch.qint8)
        layer.set_weight_bias(weight, torch.tensor([0.0, 1.0, 2.0, 3.0]))
        layer.scale, layer.zero_point = 0.05, 10
        module = Written(lambda layer, x: layer(quantized(x)).dequantize(), layer)
        lowered = same_codes(module, (torch.randn(X),), target)
    assert "quantization.bias_rescaled" in {step.rule.id for step in lowered.steps}


# --- what changes the numbers --------------------------------------------------------------------------------


def test_dynamic_layers_are_lossy() -> None:
    with engine("x86"):
        linear = ao.quantize_dynamic(nn.Sequential(nn.Linear(8, 4), nn.ReLU()).eval(), {nn.Linear})
        lstm = ao.quantize_dynamic(Written(lambda lstm, x: lstm(x)[0], nn.LSTM(8, 4)).eval(), {nn.LSTM})
        for module, shape in ((linear, (2, 8)), (lstm, (3, 2, 8))):
            (refusal,) = refusals(module, (torch.randn(shape),))
            assert (refusal.kind, refusal.rule) == ("LOSSY", "DYNAMIC_QUANTIZATION")
            assert "statically" in refusal.fix


def test_reduced_range_is_noted() -> None:
    """x86's observers use codes 0 to 127: one bit lies idle, which NNAPI would have."""
    x = torch.rand(2, 8)
    noted: dict[str, bool] = {}
    for name in ("qnnpack", "x86", "fbgemm"):
        with engine(name):
            captured = capture(by_fx(Perceptron(), x, name), (x,))
        noted[name] = any("127" in warning for warning in captured.warnings)
    assert noted == {"qnnpack": False, "x86": True, "fbgemm": True}


# --- targets -------------------------------------------------------------------------------------------------


def test_signed_target_needs_level_4() -> None:
    module = on_codes(lambda q: F.relu(q))
    levels = {target: check(same_codes(module, (torch.randn(X),), target).model).feature_level for target in TARGETS}
    assert levels == {"uint8": 3, "int8": 4}


def test_signed_inputs_and_outputs() -> None:
    """quint8 in and out of the model, signed inside; qint8 as it is."""
    for dtype, rule in ((torch.quint8, True), (torch.qint8, False)):
        x = quantized(torch.randn(X), 0.05, 10, dtype)
        lowered = same_codes(Written(lambda q: q.relu()), (x,), "int8", steps=0)
        shifted = "quantization.activation_signed" in {step.rule.id for step in lowered.steps}
        assert shifted == rule
        assert lowered.model[lowered.model.inputs[0]].type.code == OperandCode.TENSOR_QUANT8_ASYMM_SIGNED


def test_float_models_do_not_care() -> None:
    module: Any = Written(lambda conv, x: conv(x), nn.Conv2d(4, 4, 1))
    assert kinds_of(same_codes(module, (torch.randn(X),), "int8")) == kinds_of(same_numbers(module, (torch.randn(X),)))
