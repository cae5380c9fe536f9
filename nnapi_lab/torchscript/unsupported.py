"""Kinds without a lowering: which of them NNAPI cannot say at all, and why."""

from __future__ import annotations

from nnapi_lab.ir.torch_graph import TorchNode
from nnapi_lab.torchscript.refuse import Refused

_NO_ARCUS = "NNAPI has no inverse trigonometric or hyperbolic function"
_NO_BITS = "NNAPI has no operation on the bits of integers"
_FUSED = "PyTorch's fused fast path hides the operations it is made of"
_UNFUSE = "trace again after torch.backends.mha.set_fastpath_enabled(False)"

# kind → (why NNAPI cannot say it, what to do)
FORBIDDEN: dict[str, tuple[str, str]] = {
    "aten::nonzero": ("the result's size depends on the data", "use a mask of static size"),
    "aten::masked_select": ("the result's size depends on the data", "use torch.where with a mask of static size"),
    "aten::unique": ("the result's size depends on the data", "compute it outside the model"),
    "aten::conv3d": ("NNAPI has no 3-D convolution", "split the depth into 2-D convolutions"),
    "aten::grid_sampler": ("NNAPI has no sampling at computed positions", "keep it on the CPU"),
    "aten::erf": ("NNAPI has no error function", "use a tanh or sigmoid form of the activation"),
    "aten::erfc": ("NNAPI has no error function", "use a tanh or sigmoid form of the activation"),
    "aten::special_erf": ("NNAPI has no error function", "use a tanh or sigmoid form of the activation"),
    "aten::erfinv": ("NNAPI has no error function", "keep it on the CPU"),
    "aten::lgamma": ("NNAPI has no gamma function", "keep it on the CPU"),
    "aten::digamma": ("NNAPI has no gamma function", "keep it on the CPU"),
    "aten::polygamma": ("NNAPI has no gamma function", "keep it on the CPU"),
    "aten::i0": ("NNAPI has no Bessel function", "keep it on the CPU"),
    "aten::asin": (_NO_ARCUS, "keep it on the CPU"),
    "aten::acos": (_NO_ARCUS, "keep it on the CPU"),
    "aten::atan": (_NO_ARCUS, "keep it on the CPU"),
    "aten::atan2": (_NO_ARCUS, "keep the two components and compare them instead of the angle"),
    "aten::asinh": (_NO_ARCUS, "write it with log and sqrt"),
    "aten::acosh": (_NO_ARCUS, "write it with log and sqrt"),
    "aten::atanh": (_NO_ARCUS, "write it with log"),
    "aten::cummax": ("NNAPI has no running extremes", "keep it on the CPU"),
    "aten::cummin": ("NNAPI has no running extremes", "keep it on the CPU"),
    "aten::logcumsumexp": ("NNAPI has no running sums of this kind", "keep it on the CPU"),
    "aten::bitwise_left_shift": (_NO_BITS, "multiply by a power of two"),
    "aten::bitwise_right_shift": (_NO_BITS, "divide by a power of two"),
    "aten::__lshift__": (_NO_BITS, "multiply by a power of two"),
    "aten::__rshift__": (_NO_BITS, "divide by a power of two"),
    "aten::_native_multi_head_attention": (_FUSED, _UNFUSE),
    "aten::_transformer_encoder_layer_fwd": (_FUSED, _UNFUSE),
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
