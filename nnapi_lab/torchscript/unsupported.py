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
    "quantized::conv3d": ("NNAPI has no 3-D convolution", "split the depth into 2-D convolutions"),
    "quantized::conv3d_relu": ("NNAPI has no 3-D convolution", "split the depth into 2-D convolutions"),
    "quantized::conv_transpose3d": ("NNAPI has no 3-D convolution", "split the depth into 2-D convolutions"),
    "aten::conv_transpose3d": ("NNAPI has no 3-D convolution", "split the depth into 2-D convolutions"),
    "aten::conv_tbc": ("NNAPI has no convolution over time-major tensors", "use conv1d"),
    "aten::max_pool3d": ("NNAPI has no 3-D pooling", "pool over H and W, then over the depth"),
    "aten::avg_pool3d": ("NNAPI has no 3-D pooling", "pool over H and W, then over the depth"),
    "aten::adaptive_avg_pool3d": ("NNAPI has no 3-D pooling", "pool over H and W, then over the depth"),
    "aten::adaptive_max_pool3d": ("NNAPI has no 3-D pooling", "pool over H and W, then over the depth"),
    "aten::max_unpool2d": ("NNAPI's pools return no indices to undo", "upsample instead"),
    "aten::max_unpool3d": ("NNAPI's pools return no indices to undo", "upsample instead"),
    "aten::fractional_max_pool2d": ("NNAPI has no random numbers of this kind", "use adaptive_max_pool2d"),
    "aten::upsample_trilinear3d": ("NNAPI resizes images only", "resize H and W, then the depth"),
    "aten::upsample_nearest3d": ("NNAPI resizes images only", "resize H and W, then the depth"),
    "aten::affine_grid_generator": ("NNAPI has no sampling at computed positions", "keep it on the CPU"),
    "aten::grid_sampler_2d": ("NNAPI has no sampling at computed positions", "keep it on the CPU"),
    "aten::kthvalue": ("NNAPI has no order statistics", "use topk and take its last value"),
    "aten::mode": ("NNAPI has no order statistics", "keep it on the CPU"),
    "aten::_unique2": ("the result's size depends on the data", "compute it outside the model"),
    "aten::unique_consecutive": ("the result's size depends on the data", "compute it outside the model"),
    "aten::bincount": ("NNAPI has no histogram", "compute it outside the model"),
    "aten::histc": ("NNAPI has no histogram", "compute it outside the model"),
    "aten::searchsorted": ("NNAPI has no search", "compute it outside the model"),
    "aten::bucketize": ("NNAPI has no search", "compute it outside the model"),
    "aten::scatter": ("NNAPI writes no elements at computed positions", "use torch.where with a mask"),
    "aten::scatter_add": ("NNAPI writes no elements at computed positions", "use a matrix product with a mask"),
    "aten::index_put": ("NNAPI writes no elements at computed positions", "use torch.where with a mask"),
    "aten::index_add": ("NNAPI writes no elements at computed positions", "use a matrix product with a mask"),
    "aten::index_copy": ("NNAPI writes no elements at computed positions", "use torch.where with a mask"),
    "aten::masked_scatter": ("NNAPI writes no elements at computed positions", "use torch.where with a mask"),
    "aten::as_strided": ("NNAPI operands have no strides", "use slices, view and permute"),
    "aten::view_as_complex": ("NNAPI has no complex numbers", "rotate with real sine and cosine constants"),
    "aten::view_as_real": ("NNAPI has no complex numbers", "rotate with real sine and cosine constants"),
    "aten::polar": ("NNAPI has no complex numbers", "rotate with real sine and cosine constants"),
    "aten::fft_rfft": ("NNAPI has no Fourier transform and no complex numbers", "keep it on the CPU"),
    "aten::istft": ("NNAPI has no Fourier transform and no complex numbers", "keep it on the CPU"),
    "aten::multinomial": ("NNAPI's random numbers are its own", "sample outside the model"),
    "aten::normal": ("NNAPI has no random numbers of this kind", "pass the noise in as an input"),
    "aten::_pack_padded_sequence": ("sizes of packed sequences depend on the data", "mask the outputs instead"),
    "torchvision::deform_conv2d": ("NNAPI has no sampling at computed positions", "keep it on the CPU"),
}


def refuse_kind(node: TorchNode) -> None:
    """Raises Refused: FORBIDDEN with its reason where NNAPI cannot say it, else NOT_YET."""
    reason = FORBIDDEN.get(node.kind) or FORBIDDEN.get(node.kind.removesuffix("_"))  # in place, or not
    if reason is not None:
        why, fix = reason
        raise Refused("FORBIDDEN", node.kind, why, fix, "NNAPI operation list, feature levels 1 to 7")
    raise Refused(
        "NOT_YET", node.kind, f"nnapi_lab has no lowering for {node.kind}",
        "replace the operation, or write a lowering (CONTRIBUTING.md, 'a TorchScript lowering')",
    )  # fmt: skip
