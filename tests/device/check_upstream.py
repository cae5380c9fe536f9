"""A program for `nnapi-lab device`: models converted by PyTorch's own converter, run by its own loader.

Prints one JSON object: case → [largest difference from PyTorch in steps of the tolerance, equal to nnapi_lab's
simulator to the bit, largest difference between the two].
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings

import numpy as np
import torch
from torch.ao.nn import quantized as nnq
from torch.backends._nnapi.prepare import convert_model_to_nnapi

from nnapi_lab import load, simulate

warnings.simplefilter("ignore")
torch.backends.quantized.engine = "qnnpack"
torch.manual_seed(0)


def nhwc(tensor):
    held = tensor.contiguous(memory_format=torch.channels_last)
    held.nnapi_nhwc = True
    return held


def quint8(*shape, scale=0.05, zero_point=120):
    return torch.quantize_per_tensor(torch.randn(*shape), scale, zero_point, torch.quint8)


def quantized_conv(out, kernel, bias=True):
    conv = nnq.Conv2d(4, out, kernel, padding=kernel // 2)
    weight = torch.quantize_per_tensor(torch.randn(out, 4, kernel, kernel) * 0.2, 0.01, 0, torch.qint8)
    conv.set_weight_bias(weight, torch.randn(out))
    conv.scale, conv.zero_point = 0.1, 110
    return conv


class Branches(torch.nn.Module):
    def forward(self, x):
        a = torch.relu(x)
        return torch.cat([a, x * a], 1), torch.sigmoid(x)


def small(*layers):
    return torch.nn.Sequential(*layers)


IMAGE = torch.randn(2, 4, 8, 6)
FLOATS = {
    "conv": small(torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
    "strided conv": small(torch.nn.Conv2d(4, 6, 3, stride=2)),
    "depthwise": small(torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.ReLU6()),
    "transposed conv": small(torch.nn.ConvTranspose2d(4, 3, 2, stride=2)),
    "average pool": small(torch.nn.AvgPool2d(2), torch.nn.Sigmoid()),
    "upsample": small(torch.nn.UpsamplingNearest2d(scale_factor=2)),
    "branches": Branches(),
    "classifier": small(
        torch.nn.Conv2d(4, 5, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(5, 3),
        torch.nn.Softmax(1),
    ),
    "prelu": small(torch.nn.PReLU()),
}
CASES = {
    **{f"{name}, NCHW": (module, IMAGE) for name, module in FLOATS.items()},
    **{f"{name}, NHWC": (module, nhwc(IMAGE)) for name, module in FLOATS.items()},
    "linear": (small(torch.nn.Linear(7, 5), torch.nn.LogSoftmax(1)), torch.randn(3, 7)),
    "quantized conv, NCHW": (quantized_conv(5, 3), quint8(1, 4, 8, 6)),
    "quantized conv, NHWC": (quantized_conv(5, 3), nhwc(quint8(1, 4, 8, 6))),
    "quantize and dequantize, NHWC": (
        small(nnq.Quantize(0.05, 120, torch.quint8), quantized_conv(3, 1), nnq.DeQuantize()),
        nhwc(IMAGE),
    ),
    "quantized relu, max pool, NHWC": (small(torch.nn.ReLU(), torch.nn.MaxPool2d(2)), nhwc(quint8(1, 4, 8, 6))),
}


def plain(tensor):
    return tensor.int_repr() if tensor.is_quantized else tensor


def stored(tensor):
    held = plain(tensor)
    return (held.permute(0, 2, 3, 1) if getattr(tensor, "nnapi_nhwc", False) else held).contiguous().numpy()


def as_list(held):
    return list(held) if isinstance(held, tuple) else [held]


def gap(ours, theirs):
    """Differences over the tolerance: one code of quantized values; 1e-5 of the largest float32 (sums in another
    order over at most 54 terms, each within 2^-24)."""
    if theirs.is_quantized:
        return float((plain(ours).int() - plain(theirs).int()).abs().max())
    return float((ours - theirs).abs().max() / (1e-5 * max(1.0, float(theirs.abs().max()))))


def run(module, given):
    module.eval()
    with torch.no_grad():
        expected = as_list(module(given))
        converted = convert_model_to_nnapi(torch.jit.trace(module, given), [given])
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            converted.save(file.name)
            simulated = simulate(load(file.name), [stored(given)])
            found = as_list(torch.jit.load(file.name)(given))
    largest = max(gap(a, b) for a, b in zip(found, expected, strict=True))
    equal = all(np.array_equal(_as_stored(a, b.shape), b) for a, b in zip(found, simulated, strict=True))
    return [largest, equal]


def _as_stored(tensor, shape):
    """PyTorch's wrapper hands NHWC results out as NCHW views."""
    held = plain(tensor)
    if tuple(held.shape) != shape or (held.dim() == 4 and not held.is_contiguous()):
        held = held.permute(0, 2, 3, 1)
    return held.contiguous().numpy()


def main():
    found = {}
    for name, (module, given) in CASES.items():
        try:
            found[name] = run(module, given)
        except Exception as error:  # noqa: BLE001  a case that fails is a result; the test tells it
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
