"""Between the original model's tensors and the NNAPI model's operands: one row per argument and result.

Each row says, as a TorchScript expression, how the tensor is brought into the operand's layout and type, or back.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnapi_lab.encode.torch_nnapi import SOURCE
from nnapi_lab.encode.words import CHANNELS_LAST, CONTIGUOUS, SCALAR_OR_VECTOR
from nnapi_lab.ir.findings import Refusal
from nnapi_lab.ir.operand_types import OperandCode, OperandType, Quant
from nnapi_lab.rewrites.lowered import Lowered
from nnapi_lab.rewrites.placement import NHWC, Layout, Placement

# torch's numbers of its types, as TorchScript writes them.
DTYPES = {
    "uint8": 0, "int8": 1, "int16": 2, "int32": 3, "int64": 4, "float16": 5, "float32": 6, "bool": 11, "qint8": 12,
    "quint8": 13,
}  # fmt: skip
# What PyTorch's loader passes to NNAPI as an input, and what it may be given to write a result into.
INPUT_CODES = {
    OperandCode.TENSOR_FLOAT32: "float32",
    OperandCode.TENSOR_INT32: "int32",
    OperandCode.TENSOR_QUANT8_ASYMM: "quint8",
}
RESULT_CODES = {
    **INPUT_CODES,
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: "qint8",
    OperandCode.TENSOR_FLOAT16: "float16",
    OperandCode.TENSOR_BOOL8: "bool",
}

# What the wrapper's source already means something by.
_TAKEN = r"r\d+|results|self|torch|[A-Z].*"


@dataclass(frozen=True, slots=True)
class Row:
    """One argument or result: its TorchScript name and expression, and the operand's stored shape and type.

    `memory_format`: whether the inner module permutes between NCHW and NHWC.
    """

    name: str
    expression: str
    memory_format: int
    stored: tuple[int, ...]
    stored_dtype: int
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Interface:
    """How the saved module is called and what it returns; `structure` as in TorchGraph."""

    arguments: tuple[Row, ...]
    results: tuple[Row, ...]
    structure: Any


def interface_of(lowered: Lowered) -> tuple[Interface, list[Refusal]]:
    """The interface, and everything in it that PyTorch's loader cannot pass."""
    graph, model = lowered.graph, lowered.model
    refusals: list[Refusal] = []
    names = _argument_names(graph.inputs)
    arguments, results = [], []
    for name, value, border, operand in zip(names, graph.inputs, lowered.inputs, model.inputs, strict=True):
        problem = _problem(model[operand].type, INPUT_CODES)
        if problem:
            refusals.append(_refusal("INPUT", f"input {value}", f"{value} is stored as {problem}"))
        else:
            arguments.append(_argument(lowered, name, value, border, model[operand].type))
    for index, (value, operand) in enumerate(zip(graph.outputs, model.outputs, strict=True)):
        problem = _problem(model[operand].type, RESULT_CODES)
        if problem:
            refusals.append(_refusal("OUTPUT", f"output {index}", f"{value} is stored as {problem}"))
        else:
            results.append(_result(lowered, index, value, model[operand].type))
    return Interface(tuple(arguments), tuple(results), graph.structure), refusals


def _refusal(rule: str, node: str, message: str) -> Refusal:
    fix = "convert it inside or outside the model, to float32, int32 or quint8 of known sizes"
    return Refusal("FORBIDDEN", f"TORCH_FORMAT.{rule}", node, message, fix, SOURCE)


def _problem(type: OperandType, codes: dict[OperandCode, str]) -> str:
    if not type.is_static:
        return f"{type}; nnapi_lab writes files of known sizes only"
    if type.code not in codes:
        return f"{type.code.name}, which PyTorch's loader does not pass"
    return ""


def _argument_names(values: Sequence[str]) -> list[str]:
    """Names a Python function may have for its arguments, as close to the original as that goes."""
    names: list[str] = []
    for value in values:
        name = re.sub(r"\W", "_", value.lstrip("%"), flags=re.ASCII)
        if not name or name[0].isdigit() or keyword.iskeyword(name) or re.fullmatch(_TAKEN, name):
            name = f"arg_{name}"
        while name in names:
            name += "_"
        names.append(name)
    return names


# --- one tensor ----------------------------------------------------------------------------------------------


def _argument(lowered: Lowered, name: str, value: str, border: str, type: OperandType) -> Row:
    """`border` is the value NNAPI gets: `value` itself, or what a quantize node left to the host makes of it."""
    placement, torch_type = lowered.placements[border], lowered.graph[value].type
    shape, dtype = list(torch_type.shape or ()), torch_type.dtype or "float32"
    type_text = f"{dtype}[{','.join(map(str, shape))}]"
    text = f"self.expected({name}, {name!r}, {_list(shape)}, {DTYPES[dtype]}, {type_text!r})"
    if border != value:
        inner = lowered.graph[border].type
        dtype = inner.dtype or ""
        quant = inner.quant if isinstance(inner.quant, Quant) else Quant(1.0)
        text = f"torch.quantize_per_tensor({text}, {quant.scale!r}, {quant.zero_point}, {DTYPES[dtype]})"
    if placement.code_shift:
        text = _shifted(text, -placement.code_shift, "uint8")
    elif dtype != INPUT_CODES[type.code]:
        text = f"{text}.to(torch.{INPUT_CODES[type.code]})"
    memory_format = _memory_format(placement, type)
    if memory_format == CONTIGUOUS:
        text = _stored(text, placement.layout, tuple(shape), _sizes(type))
    return _row(name, text, memory_format, type, INPUT_CODES)


def _result(lowered: Lowered, index: int, value: str, type: OperandType) -> Row:
    """`value` is what the model returns; NNAPI gives it, or what a dequantize node left to the host starts from."""
    placement = lowered.returned[index]
    torch_type = lowered.graph[placement.value].type
    text, dtype = f"results[{index}]", torch_type.dtype or "float32"
    memory_format = _memory_format(placement, type)
    if memory_format == CONTIGUOUS:
        text = _read(text, placement.layout, _sizes(type), torch_type.shape or ())
    if placement.code_shift:
        text = _shifted(text, placement.code_shift, "int8")
    elif dtype != RESULT_CODES[type.code]:
        text = f"{text}.to(torch.{dtype})"
    if placement.value != value:
        text = f"{text}.dequantize()"
    if memory_format == CONTIGUOUS and type.rank == 1:
        memory_format = SCALAR_OR_VECTOR
    return _row(f"r{index}", text, memory_format, type, RESULT_CODES)


def _row(name: str, text: str, memory_format: int, type: OperandType, codes: dict[OperandCode, str]) -> Row:
    dtype = DTYPES[codes[type.code]]
    return Row(name, text, memory_format, _sizes(type), dtype, type.scale, type.zero_point)


def _sizes(type: OperandType) -> tuple[int, ...]:
    return tuple(int(size) for size in type.shape or ())  # type: ignore[arg-type]


def _memory_format(placement: Placement, type: OperandType) -> int:
    layout = placement.layout
    is_nhwc = layout.perm == NHWC and layout.dims == placement.shape and type.shape == layout.stored_dims
    return CHANNELS_LAST if is_nhwc else CONTIGUOUS


def _stored(text: str, layout: Layout, shape: tuple[int, ...], stored: tuple[int, ...]) -> str:
    """Logical tensor → the operand's order and shape."""
    if not layout.is_plain:
        text, shape = f"{_reshaped(text, shape, layout.dims)}.permute({_list(layout.perm)})", layout.stored_dims
    return _reshaped(text, shape, stored)


def _read(text: str, layout: Layout, stored: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The operand's order and shape → logical tensor; the inverse of `_stored`."""
    if not layout.is_plain:
        inverse = sorted(range(len(layout.perm)), key=layout.perm.__getitem__)
        text, stored = f"{_reshaped(text, stored, layout.stored_dims)}.permute({_list(inverse)})", layout.dims
    return _reshaped(text, stored, shape)


def _reshaped(text: str, shape: Sequence[int], target: Sequence[int]) -> str:
    return text if tuple(shape) == tuple(target) else f"{text}.reshape({_list(target)})"


def _list(numbers: Sequence[int]) -> str:
    # TorchScript takes [] for a list of tensors; what is left of a list of integers stays one.
    return f"[{', '.join(map(str, numbers))}]" if numbers else "[0][:0]"


def _shifted(text: str, shift: int, storage: str) -> str:
    """Codes and zero point moved by `shift`: qint8 to quint8 and back, the same real values."""
    return f"self.shifted({text}, {shift}, {DTYPES[storage]})"


def located(refusal: Refusal, lowered: Lowered, operand: str) -> Refusal:
    """The refusal told at the TorchScript node the operand comes from."""
    for value in lowered.origins.get(operand, ()):
        node = lowered.graph.producer(value) or next(iter(lowered.graph.consumers(value)), None)
        if node is not None:
            return replace(refusal, node=f"{node.kind} {node.name}", python=node.python, scope=node.scope)
    return refusal
