"""Model → text: one line per operation, names not positions; `parse` reads it back to an equal model.

model pool_cat {
  input  %x : q8a[1,4,4,2] scale=0.5 zp=10
  const  %c : q8a[1,2,2,2] scale=0.25 zp=0 = 1 2 3 4 5 6 7 8
  %p = AVERAGE_POOL_2D.explicit_padding(input=%x, pad_left=0, …, fuse=NONE) : q8a[1,2,2,2] scale=0.5 zp=10  #1
  output %p
}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import FUSE_NAMES, PADDING_NAMES, Form, OpSpec, bind
from nnapi_lab.text.literals import element_texts
from nnapi_lab.text.sidecar import Arrays, content_hash, data_text
from nnapi_lab.text.tokens import name_text, operand_text

INLINE = 64  # constants of more elements are written by content hash
SCALAR_WORDS = {"fuse": FUSE_NAMES, "padding": PADDING_NAMES}
KIND = r"[A-Za-z_][A-Za-z0-9_]*"
SYMBOL = r"[A-Za-z_?][A-Za-z0-9_.]*"
# Scalars that are written as they are; others name their type: float16(0.5).
_PLAIN = (OperandCode.INT32, OperandCode.BOOL, OperandCode.FLOAT32)


def show(model: Model, steps: bool = True, *, sidecar: Arrays | None = None, inline: int = INLINE) -> str:
    """The model as text, whatever its state: also one that is not valid.

    `steps=False` leaves out the `#n` that point at rewrites. Constants of more than `inline` elements are written
    by content hash; their data goes into `sidecar` (content hash → array) or, without one, to the text's end.
    """
    data: Arrays = {} if sidecar is None else sidecar
    lines = _Writer(data, steps, inline).model(model, "")
    if sidecar is None and data:
        lines += ["", *(f'data {key} = "{data_text(array)}"' for key, array in data.items())]
    return "\n".join(lines) + "\n"


class _Writer:
    def __init__(self, data: Arrays, steps: bool, inline: int) -> None:
        self.data = data
        self.steps = steps
        self.inline = inline

    def model(self, model: Model, margin: str) -> list[str]:
        inner = margin + "  "
        written = _written_with_operations(model)
        lines = [f"model {name_text(model.name)}{' relaxed' if model.relaxed else ''} {{"]
        told: set[str] = set()
        for name in model.inputs:
            lines.append(f"{inner}input  {self._input(model, name, written, told)}")
        for key, operand in model.operands.items():
            if operand.is_constant:
                lines.append(f"{inner}const  {self._head(key, operand)} = {self._value(operand, inner)}")
            elif key not in told and key not in written:
                lines.append(f"{inner}operand {self._head(key, operand)}")
        fresh = dict(written)
        lines += [inner + self._operation(model, operation, fresh) for operation in model.operations]
        lines += [f"{inner}output {operand_text(name)}" for name in model.outputs]
        return [*lines, margin + "}"]

    def _input(self, model: Model, name: str, written: dict[str, Operation], told: set[str]) -> str:
        """Name and type; the name alone for an input that is declared elsewhere (or nowhere)."""
        operand = model.operands.get(name)
        if operand is None or operand.is_constant or name in told or name in written:
            return operand_text(name)
        told.add(name)
        return self._head(name, operand)

    def _head(self, key: str, operand: Operand) -> str:
        alias = "" if key == operand.name else f" as {operand_text(operand.name)}"
        return f"{operand_text(key)}{alias} : {self.type(operand.type)}"

    def type(self, type: OperandType) -> str:
        """`q8a[1,4,4,2] scale=0.5 zp=10`, `f32[*]`, `int32`, `q8c[2,3] axis=0 scales=[0.5, 0.25]`."""
        text = type.code.short
        if not (type.code.is_scalar and type.shape == ()):
            dims = "*" if type.shape is None else ",".join(_dim_text(dim) for dim in type.shape)
            text += f"[{dims}]"
        if isinstance(type.quant, Quant):
            scale = element_texts(np.array([type.quant.scale], np.float32))[0]
            return f"{text} scale={scale} zp={type.quant.zero_point}"
        if isinstance(type.quant, PerChannel):
            return f"{text} axis={type.quant.axis} scales={self._scales(type.quant)}"
        return text

    def _scales(self, quant: PerChannel) -> str:
        array = np.array(quant.scales, np.float32)
        return self._kept(array) if array.size > self.inline else f"[{', '.join(element_texts(array))}]"

    def _kept(self, array: np.ndarray) -> str:
        key = content_hash(array)
        self.data.setdefault(key, array)
        return key

    def _value(self, operand: Operand, margin: str) -> str:
        value = operand.value
        if isinstance(value, Model):
            return "\n".join(self.model(value, margin))
        shape = f"[{','.join(map(str, value.shape))}] " if operand.type.shape is None else ""
        if value.size > self.inline:
            return shape + self._kept(value)
        return shape + (" ".join(element_texts(value)) or "empty")

    def _operation(self, model: Model, operation: Operation, fresh: dict[str, Operation]) -> str:
        outputs, types = [], []
        for name in operation.outputs:
            outputs.append(operand_text(name))
            here = fresh.get(name) is operation
            types.append(self.type(model.operands[name].type) if here else "_")
            if here:
                del fresh[name]
        step = f"  #{operation.step}" if self.steps and operation.step is not None else ""
        if not outputs:
            return f"none = {call_text(model, operation)}{step}"
        return f"{', '.join(outputs)} = {call_text(model, operation)} : {', '.join(types)}{step}"


def _written_with_operations(model: Model) -> dict[str, Operation]:
    """Operands whose type stands on the line of the operation that writes them, by name."""
    found: dict[str, Operation] = {}
    for operation in model.operations:
        for name in operation.outputs:
            operand = model.operands.get(name)
            if operand is not None and operand.name == name and not operand.is_constant and name not in found:
                found[name] = operation
    return {name: operation for name, operation in found.items() if name not in model.inputs}


def _dim_text(dim: int | Dim) -> str:
    if not isinstance(dim, Dim):
        return str(dim)
    return name_text(dim.symbol, SYMBOL) + ("@load" if dim.known == "load" else "")


# --- one operation -------------------------------------------------------------------------------------------


def call_text(model: Model, operation: Operation) -> str:
    """`MAX_POOL_2D.implicit_padding(input=%x, padding=SAME, …)`; by position where no form fits."""
    spec = OPS.get(operation.kind)
    form = None if spec is None else bound_form(model, operation, spec)
    if spec is None or form is None:
        return f"{name_text(operation.kind, KIND)}({', '.join(_arg_text(arg) for arg in operation.inputs)})"
    head = operation.kind if len(spec.forms) == 1 else f"{operation.kind}.{form.name}"
    return f"{head}({', '.join(_named_arguments(form, operation.inputs))})"


def bound_form(model: Model, operation: Operation, spec: OpSpec) -> Form | None:
    """The form an operation is written in; None when its arguments fit none."""
    if any(isinstance(arg, str) and arg not in model.operands for arg in operation.inputs):
        return None
    try:
        types = [model.type_of(arg) for arg in operation.inputs]
        return bind(spec, types, [model.value_of(arg) for arg in operation.inputs]).form
    except InvalidModel:
        return None


def _named_arguments(form: Form, inputs: Sequence[Arg]) -> list[str]:
    texts: list[str] = []
    listed: dict[str, list[str]] = {slot.name: [] for slot in form.inputs if slot.variadic}
    for slot, arg in zip(form.spread(len(inputs)) or (), inputs, strict=True):
        if slot.variadic:
            listed[slot.name].append(_arg_text(arg))
        else:
            texts.append(f"{slot.name}={_arg_text(arg, slot.name)}")
    for index, slot in enumerate(form.inputs):
        if slot.variadic:
            texts.insert(index, f"{slot.name}=[{', '.join(listed[slot.name])}]")
    return texts


def _arg_text(arg: Arg, slot: str = "") -> str:
    if arg is None:
        return "none"
    return scalar_text(arg, slot) if isinstance(arg, Scalar) else operand_text(arg)


def scalar_text(scalar: Scalar, slot: str = "") -> str:
    """`2`, `0.5`, `true`; the word of a code (`RELU6`) in its slot; other types by name: `uint32(3)`."""
    if scalar.code == OperandCode.INT32 and scalar.value in SCALAR_WORDS.get(slot, {}):
        return SCALAR_WORDS[slot][int(scalar.value)]
    (text,) = element_texts(scalar.array)
    return text if scalar.code in _PLAIN else f"{scalar.code.short}({text})"
