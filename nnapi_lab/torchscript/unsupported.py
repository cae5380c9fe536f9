"""Kinds without a lowering: which of them NNAPI cannot say at all, and why."""

from __future__ import annotations

from nnapi_lab.ir.torch_graph import TorchNode
from nnapi_lab.torchscript.refuse import Refused

# kind → (why NNAPI cannot say it, what to do)
FORBIDDEN: dict[str, tuple[str, str]] = {
    "aten::nonzero": ("the result's size depends on the data", "use a mask of static size"),
    "aten::masked_select": ("the result's size depends on the data", "use torch.where with a mask of static size"),
    "aten::unique": ("the result's size depends on the data", "compute it outside the model"),
    "aten::conv3d": ("NNAPI has no 3-D convolution", "split the depth into 2-D convolutions"),
    "aten::grid_sampler": ("NNAPI has no sampling at computed positions", "keep it on the CPU"),
    "aten::erf": ("NNAPI has no error function", "use a tanh or sigmoid form of the activation"),
    "aten::fft_fft": ("NNAPI has no Fourier transform and no complex numbers", "keep it on the CPU"),
    "aten::stft": ("NNAPI has no Fourier transform and no complex numbers", "use a convolution with DFT kernels"),
    "aten::cumprod": ("NNAPI has no running product", "keep it on the CPU"),
    "aten::median": ("NNAPI has no order statistics", "keep it on the CPU"),
    "aten::bernoulli": ("NNAPI has no random numbers of this kind", "remove sampling from inference"),
    "aten::randn": ("NNAPI has no random numbers of this kind", "pass the noise in as an input"),
    "aten::rand": ("NNAPI has no random numbers of this kind", "pass the noise in as an input"),
    "aten::item": ("a number computed from data cannot become a Python value", "keep it a tensor"),
    "aten::Int": ("a number computed from data cannot become a Python value", "keep it a tensor"),
    "aten::Bool": ("a number computed from data cannot steer Python", "use torch.where"),
}


def refuse_kind(node: TorchNode) -> None:
    """Raises Refused: FORBIDDEN with its reason where NNAPI cannot say it, else NOT_YET."""
    if node.kind in FORBIDDEN:
        why, fix = FORBIDDEN[node.kind]
        raise Refused("FORBIDDEN", node.kind, why, fix, "NNAPI operation list, feature levels 1 to 7")
    raise Refused(
        "NOT_YET", node.kind, f"nnapi_lab has no lowering for {node.kind}",
        "replace the operation, or write a lowering (CONTRIBUTING.md, 'a TorchScript lowering')",
    )  # fmt: skip
