"""Eager-mode post-training quantization, and the engine a quantized network has to run under.

PyTorch computes int8 in several engines, each with its own default way to quantize:

    qnnpack  what phones run. Activations use all of 0…255; one weight scale for each convolution or linear.
    x86      what desktops run. Activations use 0…127 only (reduce_range: products of two such codes cannot
             overflow older processors' 16-bit sums); one weight scale per output channel.

A convolution or linear remembers the engine that packed its weights and runs with that one. Every other
quantized operation asks for the active engine when it is called, and engines round differently: an ADD of
scales 0.02 and 0.03 into 0.04, where exact ties are common, differs in about one code of six between qnnpack
and x86. So the numbers are reproducible only while the engine that packed the weights is active: run the
network inside `with engine("qnnpack"):`. Building a sample model leaves the process-wide engine as it was.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.intrinsic.modules.fused import _FusedModule

# Neighbours that torch folds into one quantized module, longest first.
FUSABLE: tuple[tuple[type[nn.Module], ...], ...] = (
    (nn.Conv2d, nn.BatchNorm2d, nn.ReLU),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv2d, nn.ReLU),
    (nn.Linear, nn.ReLU),
)


@contextlib.contextmanager
def engine(name: str) -> Iterator[None]:
    """Make PyTorch's quantized engine `name` active inside the block, then restore the one before.

    name: "qnnpack", "x86", "fbgemm" or "onednn". Raises ValueError when this build of torch lacks it.
    """
    available = torch.backends.quantized.supported_engines
    if name not in available:
        raise ValueError(f"this torch has no quantized engine {name!r}; it has {', '.join(available)}")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def quantize(model: nn.Module, images: torch.Tensor, engine_name: str = "qnnpack") -> nn.Module:
    """Fuse, calibrate on a batch and convert: the quantized network, in eval mode. `model` itself is changed.

    model: in eval mode, with QuantStub and DeQuantStub at its ends and FloatFunctional for add and cat.
    images: float32 batch whose value ranges set every scale. engine_name: whose default qconfig is used and
    whose packed weights the result holds; see engine().
    """
    with engine(engine_name), torch.no_grad(), warnings.catch_warnings():
        # All three say that torch will drop parts of eager-mode quantization, which is what samples are of.
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, torch.quantize_per_channel", UserWarning)
        warnings.filterwarnings("ignore", r"(?s).*reduce_range will be deprecated", UserWarning)
        groups = fusable(model)
        fused = ao.fuse_modules(model, groups, inplace=True) if groups else model
        fused.qconfig = ao.get_default_qconfig(engine_name)
        ao.prepare(fused, inplace=True)
        fused(images)
        # Conversion puts new modules in place of the old, and those start in training mode.
        return ao.convert(fused, inplace=True).eval()


def fusable(model: nn.Module) -> list[list[str]]:
    """Name the neighbours in each nn.Sequential that become one quantized module, e.g. conv, norm, relu."""
    groups = []
    for prefix, sequence in model.named_modules():
        if isinstance(sequence, nn.Sequential) and not isinstance(sequence, _FusedModule):
            groups += [[f"{prefix}.{name}" if prefix else name for name in group] for group in _runs(sequence)]
    return groups


def _runs(sequence: nn.Sequential) -> Iterator[Sequence[str]]:
    names, parts = zip(*sequence.named_children(), strict=True) if len(sequence) else ((), ())
    position = 0
    while position < len(parts):
        length = next((len(kinds) for kinds in FUSABLE if _starts(parts[position:], kinds)), 0)
        if length:
            yield names[position : position + length]
        position += max(length, 1)


def _starts(parts: Sequence[nn.Module], kinds: Sequence[type[nn.Module]]) -> bool:
    return len(parts) >= len(kinds) and all(type(part) is kind for part, kind in zip(parts, kinds, strict=False))
