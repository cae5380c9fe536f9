"""Between torch tensors and plain data: element codes, quantization, constants, packed parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nnapi_lab.ir.operand_types import PerChannel, Quant
from nnapi_lab.ir.torch_graph import PackedParams, TensorData, TorchType


def dtype_name(dtype: torch.dtype) -> str:
    """torch's own name without the module: "float32", "quint8"."""
    return str(dtype).removeprefix("torch.")


def quant_of(tensor: torch.Tensor) -> Quant | PerChannel | None:
    """Quantization of a tensor; None for a plain one. Per-channel zero points are kept apart (TensorData)."""
    if not tensor.is_quantized:
        return None
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return Quant(tensor.q_scale(), tensor.q_zero_point())
    return PerChannel(tuple(tensor.q_per_channel_scales().tolist()), tensor.q_per_channel_axis())


def torch_type(tensor: torch.Tensor) -> TorchType:
    return TorchType("Tensor", dtype_name(tensor.dtype), tuple(tensor.shape), quant_of(tensor))


def stored_elements(tensor: torch.Tensor) -> np.ndarray:
    """The elements as NumPy stores them: codes of a quantized tensor, row-major in logical order."""
    plain = tensor.detach()
    if plain.is_quantized:
        plain = plain.int_repr()
    if plain.dtype == torch.bfloat16:
        plain = plain.to(torch.float32)
    return plain.contiguous().numpy()


def tensor_data(tensor: torch.Tensor) -> TensorData:
    zero_points = None
    if tensor.is_quantized and isinstance(quant_of(tensor), PerChannel):
        zero_points = tuple(int(point) for point in tensor.q_per_channel_zero_points())
    return TensorData(stored_elements(tensor), torch_type(tensor), zero_points)


def quantized_tensor(codes: np.ndarray, quant: Quant, dtype: torch.dtype) -> torch.Tensor:
    """A torch tensor with exactly these codes."""
    integers = torch.from_numpy(np.ascontiguousarray(codes)).to(
        {torch.quint8: torch.uint8, torch.qint8: torch.int8, torch.qint32: torch.int32}[dtype]
    )
    return torch._make_per_tensor_quantized_tensor(integers, quant.scale, quant.zero_point)


def packed_params(packed: torch.ScriptObject) -> PackedParams | None:
    """What is inside a quantized layer's packed parameters; None for a class we do not know."""
    kind = packed._type().name()
    if kind == "Conv2dPackedParamsBase":
        weight, bias = torch.ops.quantized.conv2d_unpack(packed)
        transposed = bool(packed.transpose())
        return PackedParams(
            "conv_transpose2d" if transposed else "conv2d",
            tensor_data(weight),
            None if bias is None else stored_elements(bias),
            tuple(packed.stride()),
            tuple(packed.padding()),
            tuple(packed.dilation()),
            tuple(packed.output_padding()),
            int(packed.groups()),
            transposed,
        )
    if kind == "LinearPackedParamsBase":
        weight, bias = torch.ops.quantized.linear_unpack(packed)
        return PackedParams("linear", tensor_data(weight), None if bias is None else stored_elements(bias))
    return None


def plain_constant(value: Any) -> Any:
    """A constant as plain data: numbers, strings, None, tuples for lists, TensorData, PackedParams.

    Anything else (a device, a module) becomes its text.
    """
    if isinstance(value, torch.Tensor):
        return tensor_data(value)
    if isinstance(value, torch.ScriptObject):
        packed = packed_params(value)
        return packed if packed is not None else str(value._type())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return tuple(plain_constant(item) for item in value)
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    return str(value)
