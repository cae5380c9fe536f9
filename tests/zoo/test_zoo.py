"""Every family of networks is lowered and equals PyTorch, or its refusal is written down here. Nothing is wrong."""

from __future__ import annotations

import pytest
import torch

from tests.zoo.members import MEMBERS
from tests.zoo.trial import Outcome, attempt

# Networks that are refused, and the rules that say so. The list shrinks: a network that is lowered fails here
# until it is taken out, and one that is newly refused fails because it is not in.
REFUSED: dict[str, set[str]] = {
    "FPN[fx qnnpack]": set(),  # torch itself cannot run it: its qnnpack has no max pool of 1 by 1
}

FAMILIES = {
    "Audio classifier", "Audio denoiser", "BERT", "ConvNeXt", "DeepLab", "DenseNet", "EfficientNet", "FPN", "GPT",
    "GRU", "Generator", "GoogLeNet", "Group norm", "Inception", "Instance norm", "LR-ASPP", "LSTM", "Layer norm",
    "MLP", "MLP-Mixer", "MNASNet", "MobileNetV1", "MobileNetV2", "MobileNetV3", "Multiple inputs", "Point cloud",
    "RNN", "ResNeXt", "ResNet", "SSD", "Scripted branches", "ShuffleNetV1", "ShuffleNetV2", "SqueezeNet",
    "Squeeze-excitation", "Super-resolution", "Swin", "Transformer encoder", "U-Net", "VGG", "ViT", "YOLO head",
}  # fmt: skip

# Families whose convolutions PyTorch quantizes; each has a member for qnnpack and one for x86.
QUANTIZED = {
    "DeepLab", "DenseNet", "EfficientNet", "FPN", "GoogLeNet", "Inception", "LR-ASPP", "MNASNet", "MobileNetV1",
    "MobileNetV2", "MobileNetV3", "ResNeXt", "ResNet", "SSD", "ShuffleNetV2", "SqueezeNet", "Squeeze-excitation",
    "U-Net", "VGG",
}  # fmt: skip

# What has to be free of TRANSPOSE inside, by issue 4 item 5.
SMOOTH = {"MobileNetV1", "MobileNetV2", "MobileNetV3", "ResNet", "U-Net", "Squeeze-excitation", "ShuffleNetV2", "VGG"}


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def judge(outcome: Outcome, refused: set[str] | None) -> None:
    assert outcome.verdict != "WRONG", outcome.reason
    if refused is not None:
        assert outcome.verdict == "refused"
        assert {refusal.rule for refusal in outcome.refusals} == refused, outcome.reason
        assert outcome.reason
        assert all(refusal.message and refusal.python for refusal in outcome.refusals)
        return
    assert outcome.verdict == "lowered", outcome.reason
    assert outcome.operations
    assert outcome.level


@pytest.mark.parametrize("name", MEMBERS)
def test_lowered_and_equal_to_torch(name: str) -> None:
    outcome = attempt(name, "auto")
    judge(outcome, REFUSED.get(name))
    if outcome.verdict == "lowered" and outcome.member.inside is not None:
        assert outcome.inside <= outcome.member.inside, f"{outcome.inside} TRANSPOSEs inside"


# How a model is quantized changes little in where its channels are kept: one way and one engine is enough here.
@pytest.mark.parametrize("name", [name for name in MEMBERS if "[" not in name or name.endswith("[eager x86]")])
def test_the_same_with_inputs_and_outputs_as_torch_keeps_them(name: str) -> None:
    judge(attempt(name, "nchw"), REFUSED.get(name))


def test_every_family_is_here() -> None:
    families = {member.family for member in MEMBERS.values()}
    assert {family for family in families if "quantized" not in family} == FAMILIES
    for family in QUANTIZED:
        engines = {name.rpartition(" ")[2] for name, one in MEMBERS.items() if one.family == f"{family}, quantized"}
        assert engines == {"qnnpack]", "x86]"}, family


def test_the_families_that_have_to_be_free_of_transposes_are_held_to_it() -> None:
    loose = {name for name, one in MEMBERS.items() if one.family in SMOOTH and one.inside != 0}
    assert loose == {"eca_net"}  # its attention runs along the channels: they have to lie last, then do


def test_no_list_names_a_network_that_is_not_there() -> None:
    assert REFUSED.keys() <= MEMBERS.keys()
