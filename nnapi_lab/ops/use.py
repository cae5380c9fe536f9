"""Try out one operation by hand: `run("RELU", input=np.array([-1.0, 2.0], np.float32))`.

`use` makes a Call from named arguments without building a model; `run` also executes the operation's kernel
on bare arrays. Both serve tests, lessons and op cards; models are executed by `nnapi_lab.simulate`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnapi_lab.errors import SimulationError, UndefinedInReference
from nnapi_lab.ir.model import Scalar
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant, scalar_type
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import FUSE_NAMES, PADDING_NAMES, Call, OpSpec, Slot, bind, form_for_names, undefined_findings

AnyQuant = Quant | PerChannel | None

_WORDS = {
    "fuse": {name: code for code, name in FUSE_NAMES.items()},
    "padding": {name: code for code, name in PADDING_NAMES.items()},
}
_PLAIN = {
    "float32": OperandCode.TENSOR_FLOAT32,
    "float16": OperandCode.TENSOR_FLOAT16,
    "int32": OperandCode.TENSOR_INT32,
    "bool": OperandCode.TENSOR_BOOL8,
}
_QUANTIZED = {
    "uint8": OperandCode.TENSOR_QUANT8_ASYMM,
    "int8": OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    "int16": OperandCode.TENSOR_QUANT16_SYMM,
    "uint16": OperandCode.TENSOR_QUANT16_ASYMM,
    "int32": OperandCode.TENSOR_INT32,  # a bias
}


def use(
    kind: str,
    /,
    *,
    quant: AnyQuant | Sequence[AnyQuant] = None,
    code: OperandCode | None = None,
    **named: Any,
) -> Call:
    """One use of operation `kind`, its arguments given by the names of the form's slots.

    A tensor is an OperandType (content unknown), an array (float32, float16, int32, bool), a pair
    (array, Quant) or (array, PerChannel), or a pair (OperandType, array); None omits it, a list fills a
    variadic slot. A scalar is a number, a word ("RELU6", "SAME"), or an OperandType (value unknown). `quant`
    is the results' quantization where the operation leaves it free: one, or one per result; `code` their type
    where that is free (CAST).
    Raises InvalidModel when no form of the operation fits, KeyError for an unknown kind.
    """
    spec = OPS[kind]
    form = form_for_names(spec, named)
    key = _key_code(spec, named)
    written = [slot for slot in form.inputs if slot.name in named or not slot.trailing]
    last = form.inputs.index(written[-1]) if written else -1
    types: list[OperandType | None] = []
    values: list[Any] = []
    for slot in form.inputs[: last + 1]:
        given = named.get(slot.name, slot.default)
        for one in given or () if slot.variadic else (given,):
            type_, value = scalar_argument(slot, one, key) if slot.scalar else tensor_argument(one)
            types.append(type_)
            values.append(value)
    quants = quant if isinstance(quant, Sequence) else [quant]
    # Only what an operation leaves free is read of a declared result; MODEL says nothing about its type.
    declared = [OperandType(code or OperandCode.MODEL, None, wanted) for wanted in quants]
    return bind(spec, types, values, declared)


def run(
    call: Call | str,
    /,
    *,
    quant: AnyQuant | Sequence[AnyQuant] = None,
    code: OperandCode | None = None,
    **named: Any,
) -> Any:
    """Execute a Call whose tensors are all known, or make it first: `run("ADD", input0=…, input1=…, fuse=0)`.

    Returns the result array, or a tuple of them. Constraints are not checked here (see `build.broken_rules`).
    Warns UndefinedInReference about values on which the reference has no defined result.
    Raises SimulationError when a tensor's content is missing, or when the kernel's result has another shape
    or type than the operation's result rule says.
    """
    if isinstance(call, str):
        call = use(call, quant=quant, code=code, **named)
    spec = call.spec
    for finding in undefined_findings(call, _kernel_tensors(call)):
        warnings.warn(str(finding), UndefinedInReference, stacklevel=2)
    scalars = call.resolved()
    if "call" in inspect.signature(spec.kernel).parameters:
        scalars["call"] = call
    results = spec.kernel(*_kernel_tensors(call), **scalars)
    several = isinstance(results, tuple)
    checked = []
    pairs = zip(results if several else (results,), call.results, strict=True)
    for index, (array, type_) in enumerate(pairs):
        array = np.asarray(array)
        if type_.code.numpy == np.float16:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
        if array.dtype != type_.code.numpy or (type_.is_static and array.shape != type_.shape):
            seen = f"{array.dtype.name}{list(array.shape)}"
            raise SimulationError(f"{spec.kind}: result {index} is {seen}, the result rule says {type_}")
        checked.append(array)
    return tuple(checked) if several else checked[0]


def tensor_argument(given: Any) -> tuple[OperandType | None, Any]:
    """(type, content) of one tensor as `use` takes it; raises TypeError for anything else."""
    if given is None:
        return None, None
    if isinstance(given, OperandType):
        return given, None
    if isinstance(given, np.ndarray):
        return _array_type(given, None), given
    if isinstance(given, tuple) and len(given) == 2:
        first, second = given
        if isinstance(first, OperandType):
            return first, np.asarray(second, first.code.numpy)
        return _array_type(np.asarray(first), second), np.asarray(first)
    raise TypeError(f"a tensor is an OperandType, an array, or a pair with its quantization, not {given!r}")


def scalar_argument(slot: Slot, given: Any, key: OperandCode) -> tuple[OperandType, Any]:
    """(type, content) of one scalar: words become codes, numbers take the type the slot prescribes."""
    if isinstance(given, OperandType):
        return given, None
    if isinstance(given, Scalar):
        return scalar_type(given.code), given.array
    if isinstance(given, str):
        given = _WORDS[slot.name][given]
    code = slot.types(key)[0]
    return scalar_type(code), None if given is None else np.asarray(given, code.numpy)


def _array_type(array: np.ndarray, quant: AnyQuant) -> OperandType:
    name = array.dtype.name
    if isinstance(quant, PerChannel):
        code = OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
    elif quant is not None and name in _QUANTIZED:
        code = _QUANTIZED[name]
    elif name in _PLAIN:
        code = _PLAIN[name]
    else:
        raise TypeError(f"an array of {name} needs a quantization: write (array, Quant(scale, zero_point))")
    return OperandType(code, array.shape, quant)


def _key_code(spec: OpSpec, named: Mapping[str, Any]) -> OperandCode:
    name = spec.key or next(slot.name for slot in spec.forms[0].inputs if not slot.scalar)
    held = named.get(name)
    if isinstance(held, Scalar):
        return spec.key_of({name: scalar_type(held.code)})
    if isinstance(held, (int, float)):
        return OperandCode.TENSOR_FLOAT32
    type_, _ = tensor_argument(held[0] if isinstance(held, list) else held)
    return OperandCode.TENSOR_FLOAT32 if type_ is None else type_.code


def _kernel_tensors(call: Call) -> list[Any]:
    """Contents of the tensor slots the kernel takes, in order; None where omitted or of another form."""
    tensor_names = dict.fromkeys(s.name for form in call.spec.forms for s in form.inputs if not s.scalar)
    arrays = []
    for name in tensor_names:
        held, value = call.types.get(name), call.value(name)
        if isinstance(held, tuple):
            arrays.append([_content(call, name, one, array) for one, array in zip(held, value or (), strict=True)])
        else:
            arrays.append(_content(call, name, held, value))
    return arrays


def _content(call: Call, name: str, type_: OperandType | None, value: Any) -> Any:
    if type_ is None:
        return None
    if value is None:
        raise SimulationError(f"{call.spec.kind}: the content of {name} is not given, so it cannot be executed")
    if isinstance(value, np.ndarray) and value.dtype == np.float16 and call.spec.half == "float32":
        return value.astype(np.float32)
    return value
