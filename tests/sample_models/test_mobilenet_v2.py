"""The tutorial's modes differ in who quantizes, not in what is computed."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from sample_models.mobilenet_v2 import none
from sample_models.quantization import engine

MODES = "sample_models.mobilenet_v2:"


def test_it_is_mobilenet_v2(sample) -> None:
    module, _ = sample(MODES + "none")
    # Parameters of width 1.0 with 1000 classes; the paper says 3.4 million, torchvision counts 3,504,872.
    assert sum(parameter.numel() for parameter in module.parameters()) == 3_504_872
    kinds = Counter(type(part) for part in module.modules())
    assert (kinds[nn.Conv2d], kinds[nn.BatchNorm2d], kinds[nn.ReLU6], kinds[nn.Linear]) == (52, 52, 35, 1)


def test_core_full_and_inside_compute_the_same_bits(sample) -> None:
    core, (image,) = sample(MODES + "core")
    full, (quantized_image,) = sample(MODES + "full")
    inside, _ = sample(MODES + "inside")
    with torch.no_grad(), engine("qnnpack"):
        assert torch.equal(core.quant(image).int_repr(), quantized_image.int_repr())
        codes = full(quantized_image)
        assert torch.equal(core.core(quantized_image).int_repr(), codes.int_repr())
        assert torch.equal(core(image), codes.dequantize())
        assert torch.equal(inside(image), codes.dequantize())


def test_the_core_has_no_stubs_and_core_names_its_three_parts(sample) -> None:
    core, _ = sample(MODES + "core")
    full, _ = sample(MODES + "full")
    assert [name for name, _ in core.named_children()] == ["quant", "core", "dequant"]
    for network in (core.core, full):
        kinds = {type(part).__name__ for part in network.modules()}
        assert kinds.isdisjoint({"Quantize", "DeQuantize", "QuantStub", "DeQuantStub"})


def test_weights_are_per_tensor_under_qnnpack_and_per_channel_under_x86(sample) -> None:
    for mode, scheme in (("core", torch.per_tensor_affine), ("core_x86", torch.per_channel_affine)):
        module, _ = sample(MODES + mode)
        weighted = [part for part in module.modules() if callable(getattr(part, "weight", None))]
        assert len(weighted) == 53
        assert {part.weight().qscheme() for part in weighted} == {scheme}


def test_int8_follows_float(sample) -> None:
    none, (image,) = sample(MODES + "none")
    with torch.no_grad():
        reference = none(image)
        for mode, name in (("inside", "qnnpack"), ("core_x86", "x86")):
            module, _ = sample(MODES + mode)
            with engine(name):
                output = module(image)
            # ReLU instead of ReLU6 alone leaves 0.975, int8 on random weights about 0.95; chance would be 0.
            assert float(torch.corrcoef(torch.cat([reference, output]))[0, 1]) > 0.9, mode


def test_out_of_place_is_the_same_network(sample) -> None:
    module, (image,) = sample(MODES + "none")
    out_of_place, _ = none(inplace=False)
    with torch.no_grad():
        assert torch.equal(module(image), out_of_place(image))
        graph = torch.jit.trace(out_of_place, (image,), check_trace=False).inlined_graph
    assert not [node.kind() for node in graph.nodes() if node.kind().endswith("_")]
