"""The engine is scoped; fusing finds the neighbours that belong together."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

from sample_models.quantization import engine, fusable, quantize


def test_engine_is_restored_also_after_an_error() -> None:
    before = torch.backends.quantized.engine
    with engine("qnnpack"):
        assert torch.backends.quantized.engine == "qnnpack"
        with engine("x86"):
            assert torch.backends.quantized.engine == "x86"
        assert torch.backends.quantized.engine == "qnnpack"
    assert torch.backends.quantized.engine == before
    with pytest.raises(KeyError), engine("qnnpack"):
        raise KeyError
    assert torch.backends.quantized.engine == before


def test_unknown_engine_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'tpu'.*qnnpack"), engine("tpu"):
        pass


CONV, NORM, RELU = lambda: nn.Conv2d(1, 1, 1), lambda: nn.BatchNorm2d(1), nn.ReLU

# Sequence → the groups that fuse.
SEQUENCES = {
    "conv_norm_relu": ([CONV, NORM, RELU], [["0", "1", "2"]]),
    "conv_norm": ([CONV, NORM], [["0", "1"]]),
    "conv_relu": ([CONV, RELU], [["0", "1"]]),
    "two_in_a_row": ([CONV, NORM, CONV, NORM, RELU], [["0", "1"], ["2", "3", "4"]]),
    "linear_relu_then_linear": ([lambda: nn.Linear(1, 1), RELU, lambda: nn.Linear(1, 1)], [["0", "1"]]),
    "nothing_after_conv": ([CONV], []),
    "relu_first": ([RELU, CONV, RELU], [["1", "2"]]),
    # torch has no fused module for it, so the norm goes with the convolution and ReLU6 stays.
    "relu6": ([CONV, NORM, nn.ReLU6], [["0", "1"]]),
    "empty": ([], []),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_fusable(case: str) -> None:
    makers, groups = SEQUENCES[case]
    sequence = nn.Sequential(*(make() for make in makers))
    assert [list(group) for group in fusable(sequence)] == groups
    nested = nn.ModuleDict({"inner": sequence})
    assert fusable(nested) == [[f"inner.{name}" for name in group] for group in groups]


@pytest.mark.parametrize("name", ["qnnpack", "x86"])
def test_quantize_restores_the_engine_and_is_quiet(name: str) -> None:
    before = torch.backends.quantized.engine
    model = nn.Sequential(QuantStub(), nn.Sequential(CONV(), NORM(), RELU()), DeQuantStub()).eval()
    images = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantized = quantize(model, images, name)
    assert torch.backends.quantized.engine == before
    assert not any(part.training for part in quantized.modules())
    conv, *gone = quantized[1]
    assert isinstance(conv, torch.ao.nn.intrinsic.quantized.ConvReLU2d)
    assert [type(part) for part in gone] == [nn.Identity, nn.Identity]


def test_activations_take_the_range_of_the_calibration_images() -> None:
    model = nn.Sequential(QuantStub(), CONV(), DeQuantStub()).eval()
    quantized = quantize(model, torch.linspace(-1, 3, 16).reshape(1, 1, 4, 4))
    # 0…255 over −1…3: scale 4/255, zero point 64; the histogram observer may trim an edge by a bin.
    assert float(quantized[0].scale) == pytest.approx(4 / 255, rel=0.05)
    assert int(quantized[0].zero_point) == pytest.approx(64, abs=3)


def codes(count: int, scale: float) -> torch.Tensor:
    return torch.quantize_per_tensor(torch.arange(count) * scale, scale, 0, torch.quint8)


def test_add_follows_the_active_engine() -> None:
    """Every pair of 100 codes: scales whose sums often fall half way between two output codes."""
    left = codes(100, 0.02).reshape(1, 1, 100, 1).expand(1, 1, 100, 100).contiguous()
    right = codes(100, 0.03).reshape(1, 1, 1, 100).expand(1, 1, 100, 100).contiguous()
    sums = {}
    for name in ("qnnpack", "x86"):
        with engine(name):
            sums[name] = torch.ops.quantized.add(left, right, 0.04, 0).int_repr().int()
    difference = (sums["qnnpack"] - sums["x86"]).abs()
    assert int(difference.max()) == 1
    assert 0.1 < float(difference.float().mean()) < 0.25


def test_convolution_stays_with_the_engine_that_packed_it() -> None:
    model = nn.Sequential(QuantStub(), nn.Conv2d(1, 8, 3), DeQuantStub()).eval()
    images = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    quantized = quantize(model, images, "qnnpack")
    outputs = []
    for name in ("qnnpack", "x86"):
        with engine(name), torch.no_grad():
            outputs.append(quantized(images))
    assert torch.equal(*outputs)
