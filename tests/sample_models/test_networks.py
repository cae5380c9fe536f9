"""The other networks are what they say: their sizes, and the operations they are there to show."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from sample_models import ENGINES
from sample_models.quantization import engine

# Sample → (parameters, or None when packed; how often the operations occur that it is there to show).
SHOWN = {
    # torchvision's ResNet-18 counts 11,689,512.
    "sample_models.resnet18:float32": (
        11_689_512,
        {"aten::relu_": 17, "aten::add_": 8, "aten::max_pool2d": 1},
    ),
    "sample_models.segmenter:float32": (
        120_449,
        {"aten::upsample_bilinear2d": 4, "aten::cat": 3, "aten::max_pool2d": 3, "aten::sigmoid": 1},
    ),
    "sample_models.segmenter:quantized": (
        None,
        {
            "aten::upsample_bilinear2d": 4,
            "quantized::cat": 3,
            "aten::sigmoid": 1,
            "quantized::conv2d_relu": 14,
        },
    ),
    # 768·128 + 128, 128·64 without a bias, 64·10 + 10.
    "sample_models.mlp:float32": (107_274, {"aten::flatten": 1, "aten::linear": 3, "aten::relu": 2}),
    "sample_models.digits:quantized": (None, {"quantized::linear_relu": 1, "quantized::linear": 1}),
}


@pytest.mark.parametrize("name", SHOWN)
def test_size_and_operations(name: str, sample) -> None:
    module, inputs = sample(name)
    size, operations = SHOWN[name]
    with torch.no_grad(), engine(ENGINES.get(name, torch.backends.quantized.engine)):
        graph = torch.jit.trace(module, inputs, check_trace=False).inlined_graph
    kinds = Counter(node.kind() for node in graph.nodes())
    assert {kind: kinds[kind] for kind in operations} == operations
    if size is not None:
        assert sum(parameter.numel() for parameter in module.parameters()) == size


def test_the_perceptron_has_one_linear_without_bias(sample) -> None:
    module, _ = sample("sample_models.mlp:float32")
    linears = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
    assert [part.bias is None for part in linears] == [False, True, False]


def test_segmenter_int8_follows_float(sample) -> None:
    module, inputs = sample("sample_models.segmenter:float32")
    quantized, _ = sample("sample_models.segmenter:quantized")
    with torch.no_grad(), engine("qnnpack"):
        difference = (module(*inputs) - quantized(*inputs)).abs()
    # Measured 0.037: int8's noise through 15 layers of random weights, on probabilities that spread by 0.19.
    assert float(difference.mean()) < 0.06


def test_concatenated_scales_differ(sample) -> None:
    module, inputs = sample("sample_models.segmenter:quantized")
    scales: list[tuple[float, ...]] = []
    for block in (module.up1, module.up2, module.up3):
        block.register_forward_pre_hook(lambda _block, pair: scales.append(tuple(part.q_scale() for part in pair)))
    with torch.no_grad(), engine("qnnpack"):
        module(*inputs)
    assert len(scales) == 3
    assert all(below != skip for below, skip in scales)
