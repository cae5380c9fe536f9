"""What a lowering rule sees and may do: read values in a layout, add operations, place results, refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from nnapi_lab.build import Builder
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant, static_shape
from nnapi_lab.ir.torch_graph import TensorData, TorchGraph, TorchNode, TorchValue
from nnapi_lab.rewrites.constants import PARAMETER_TENSOR, PLACED, SCALAR_TENSOR
from nnapi_lab.rewrites.layout import CONSTANT_PERMUTED, ELEMENTS_PICKED, TRANSPOSE_INSERTED
from nnapi_lab.rewrites.operation import DIRECT
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout, Placement, folded
from nnapi_lab.rewrites.quantization import ACTIVATION_QINT8_SHIFT, ACTIVATION_QUINT8_SHIFT
from nnapi_lab.rewrites.rule import Rule, Side, Step
from nnapi_lab.rewrites.shapes import RESHAPED
from nnapi_lab.rewrites.types import TRUTH_AS_NUMBER
from nnapi_lab.torchscript.permuting import moves
from nnapi_lab.torchscript.refuse import Inherited, Refused
from nnapi_lab.torchscript.sides import array_side, operand_side, torch_side

CODES = {
    "float32": OperandCode.TENSOR_FLOAT32,
    "float16": OperandCode.TENSOR_FLOAT16,
    "int32": OperandCode.TENSOR_INT32,
    "int64": OperandCode.TENSOR_INT32,
    "bool": OperandCode.TENSOR_BOOL8,
    "quint8": OperandCode.TENSOR_QUANT8_ASYMM,
    "qint8": OperandCode.TENSOR_QUANT8_ASYMM,
}
QINT8_SHIFT = 128
SIGNED = OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
MOVABLE = frozenset({*CODES.values(), SIGNED}) - {OperandCode.TENSOR_INT32, OperandCode.TENSOR_BOOL8}  # by TRANSPOSE


def added_ones(shape: tuple[int, ...], target: tuple[int, ...]) -> list[int] | None:
    """Where ones were put into `shape` to get `target`, first to last; None when more than that happened."""
    axes, left = [], list(shape)
    for axis, size in enumerate(target):
        if left and left[0] == size and (size != 1 or len(target) - axis == len(left)):
            left.pop(0)
        elif size == 1:
            axes.append(axis)
        else:
            return None
    return axes if not left and axes else None


@dataclass
class Lowering:
    """The state of one lowering: the graph, the builder, and where every torch value lives so far."""

    graph: TorchGraph
    builder: Builder
    placements: dict[str, Placement] = field(default_factory=dict)
    absorbed: set[int] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)  # values a refusal left without an operand
    unexpanded: dict[str, str] = field(default_factory=dict)  # result of an expand nobody needs → what was expanded
    stand_ins: set[str] = field(default_factory=set)  # operands in place of refused results
    returned: list[Placement] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    signed: bool = False  # quantized values as TENSOR_QUANT8_ASYMM_SIGNED
    _reshaped: dict[str, str] = field(default_factory=dict)  # result of a RESHAPE → what was reshaped
    _reshapes: dict[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)
    _relaid: dict[tuple[str, Layout], str] = field(default_factory=dict)

    @property
    def log(self) -> Any:
        return self.builder.log


@dataclass
class Site:
    """One node being lowered."""

    lowering: Lowering
    node: TorchNode

    @property
    def builder(self) -> Builder:
        return self.lowering.builder

    @property
    def graph(self) -> TorchGraph:
        return self.lowering.graph

    @property
    def out(self) -> TorchValue:
        """The node's first result."""
        return self.graph[self.node.outputs[0]]

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.out.type.shape or ()

    # --- reading ---------------------------------------------------------------------------------------------

    def held(self, value: TorchValue) -> Placement:
        """Where a value lives; a constant is given a plain operand on first use."""
        placement = self.lowering.placements.get(value.name)
        if placement is None:
            if value.name in self.lowering.unknown:
                raise Inherited(value.name)
            if not value.is_constant:
                raise Refused("NOT_YET", "VALUE", f"{value.name} of type {value.type} has no operand")
            shape = value.type.shape or ()
            operand = self.read(value, Layout.plain(shape))
            placement = Placement(value.name, operand, shape, Layout.plain(shape), self.quant_of(value),
                                  self.code_shift(value))  # fmt: skip
            self.lowering.placements[value.name] = placement
        return placement

    def layout_of(self, value: TorchValue) -> Layout | None:
        """The layout a computed value is stored in; None for a constant, which can be stored in any."""
        return None if value.is_constant else self.held(value).layout

    def as_permuted(self, value: TorchValue) -> tuple[str, Layout]:
        """Operand and layout of a value stored in its own dimensions, in whatever order they lie.

        A value stored under other dimensions (flattened channels last) is brought to plain order. Beyond rank 4 the
        operand's axes are not the layout's: `as_stored` and `along` are for those.
        """
        rank = len(value.type.shape or ())
        if rank > RANK_LIMIT:
            self.not_yet("RANK", f"{self.node.kind} over rank {rank}", source="NNAPI: most operations take rank 1 to 4",
                         fix="merge dimensions with reshape in front of it")  # fmt: skip
        return self.as_stored(value)

    def as_stored(self, value: TorchValue) -> tuple[str, Layout]:
        """Like `as_permuted` for any rank: beyond 4 the operand's shape is folded."""
        shape = value.type.shape or ()
        held = self.held(value)
        layout = held.layout if held.layout.dims == shape else Layout.plain(shape)
        return self.read(value, layout), layout

    def along(self, value: TorchValue, dim: int) -> tuple[str, Layout, int]:
        """Operand, layout and stored axis for an operation along one logical dimension, whatever the rank.

        Beyond rank 4 the dimensions before and behind the axis are merged: [outer, size, inner], axis 1. The result
        is placed with the full layout all the same: an operand may have any shape its elements fill.
        """
        operand, layout = self.as_stored(value)
        axis = layout.perm.index(dim)
        if len(layout.perm) <= RANK_LIMIT:
            return operand, layout, axis
        stored = layout.stored_dims
        shape = (math.prod(stored[:axis]), stored[axis], math.prod(stored[axis + 1 :]))
        return self.reshape(operand, shape, value), layout, 1

    def plain(self, value: TorchValue) -> str:
        """The operand of `value` in logical row-major order, in its logical shape."""
        return self.read(value, Layout.plain(value.type.shape or ()))

    def nhwc(self, value: TorchValue) -> str:
        """The operand of a rank-4 value, channels last."""
        return self.read(value, Layout.nhwc(value.type.shape or ()))

    def read(self, value: TorchValue, layout: Layout) -> str:
        """The operand of `value` stored as `layout.stored_dims`; permutes constants, transposes values."""
        if value.is_constant:
            return self._constant(value, layout)
        placement = self.held(value)
        return self._relay(value, placement, layout)

    def has_in(self, value: TorchValue, layout: Layout) -> bool:
        """True when the value has been brought to `layout` for another reader before."""
        return (value.name, layout) in self.lowering._relaid

    def _constant(self, value: TorchValue, layout: Layout) -> str:
        key = (value.name, layout)
        known = self.lowering._relaid.get(key)
        if known is not None:
            return known
        held = value.constant
        if not isinstance(held, TensorData):
            raise Refused("NOT_YET", "CONSTANT", f"{value.name} is a constant of type {value.type}")
        shift = self.code_shift(value)
        codes = held.array if shift == 0 else held.array.astype(np.int32) - shift
        array = layout.store(codes)
        array = array.reshape(folded(array.shape))
        type = OperandType(self.code_of(value), array.shape, self.quant_of(value))
        array = self._narrowed(value, array).astype(type.code.numpy)
        moved = not layout.is_plain
        step = self.log(
            CONSTANT_PERMUTED if moved else PLACED,
            before=[torch_side(value)],
            after=[array_side(value.origin or value.name, array, quant=type.quant)],
            facts={"perm": layout.perm, "shape": array.shape} if moved else {},
            values=[value.name],
        )
        name = self.builder.constant(value.origin or value.name, array, type, values=[value.name], steps=[step])
        self.note_operands(step, name)
        self.lowering._relaid[key] = name
        return name

    def _narrowed(self, value: TorchValue, array: np.ndarray) -> np.ndarray:
        if array.dtype == np.int64 and array.size and (array.max() >= 2**31 or array.min() < -(2**31)):
            self.forbid("int64", f"{value.name} holds integers beyond 32 bits", source="NNAPI has only TENSOR_INT32")
        return array

    def _relay(self, value: TorchValue, placement: Placement, layout: Layout) -> str:
        shape = self.builder.type_of(placement.operand).shape
        if placement.layout == layout and shape == folded(layout.stored_dims):
            return placement.operand
        key = (value.name, layout)
        known = self.lowering._relaid.get(key)
        if known is None:
            known = self._moved(value, placement, layout)
            self.lowering._relaid[key] = known
        return known

    def _moved(self, value: TorchValue, placement: Placement, layout: Layout) -> str:
        """RESHAPE and TRANSPOSE from one layout to another; a TRANSPOSE over sizes of 1 is a RESHAPE."""
        operand, source = placement.operand, placement.layout
        if source.is_plain and layout.is_plain:
            return self.reshape(operand, layout.stored_dims or (1,), value)
        if source.dims != layout.dims:
            if not source.is_plain:
                plain = Layout.plain(source.dims)
                operand = self.reordered(self.reshape(operand, source.stored_dims, value), source, plain, value)
            source = Layout.plain(layout.dims)
        operand = self.reshape(operand, source.stored_dims, value)
        return self.reordered(operand, source, layout, value)

    def reordered(self, operand: str, source: Layout, target: Layout, value: TorchValue) -> str:
        """From one order of the same dims to another: TRANSPOSEs of rank 4 at most, none where only ones move."""
        order = tuple(source.perm.index(axis) for axis in target.perm)
        route = moves(source.stored_dims, order)
        code = self.builder.type_of(operand).code
        if route and code not in MOVABLE:
            return self._gathered(operand, source, target, value)
        wanted = f"{operand}.{target.name.lower()}"
        for count, move in enumerate(route, 1):
            operand = self.reshape(operand, move.shape, value)
            type = self.builder.type_of(operand)
            shape = tuple(move.shape[axis] for axis in move.perm)
            step = self.log(
                TRANSPOSE_INSERTED,
                before=[operand_side(operand, type)],
                after=[Side(wanted, shape, (), type.code.name)],
                facts={"perm": move.perm, "from": source.name, "to": target.name, "needed by": self.node.kind},
                values=[value.name],
            )
            perm = self.int32(move.perm, f"{operand}.perm", "perm")
            name = wanted if count == len(route) else f"{wanted}.part{count}"
            operand = self.builder.add("TRANSPOSE", input=operand, perm=perm, name=name, step=step,
                                       values=[value.name])  # fmt: skip
            self.note_operands(step, operand)
        return self.reshape(operand, target.stored_dims, value)

    def _gathered(self, operand: str, source: Layout, target: Layout, value: TorchValue) -> str:
        """TRANSPOSE for types it does not take: int32 picked element by element, truth values as numbers."""
        if self.builder.type_of(operand).code == OperandCode.TENSOR_BOOL8:
            return self.as_truth(self.reordered(self.as_number(operand, value), source, target, value), value)
        stored = source.stored_dims
        positions = np.arange(math.prod(stored), dtype=np.int32).reshape(stored)
        order = np.transpose(positions, [source.perm.index(axis) for axis in target.perm]).reshape(-1)
        flat = self.reshape(operand, (order.size,), value)
        indices = self.int32(order.tolist(), f"{operand}.order", "order of elements")
        step = self.log(ELEMENTS_PICKED, before=[operand_side(operand, self.builder.type_of(operand))],
                        facts={"from": source.name, "to": target.name}, values=[value.name])  # fmt: skip
        name = self.builder.add("GATHER", input=flat, axis=0, indices=indices, step=step, values=[value.name],
                                name=f"{operand}.{target.name.lower()}")  # fmt: skip
        self.note_operands(step, name)
        return self.reshape(name, target.stored_dims, value)

    def filled(self, operand: str, number: float, code: OperandCode, label: str) -> str:
        """A constant of the operand's shape, every element `number`: SELECT does not broadcast."""
        shape = static_shape(self.builder.type_of(operand))
        array = np.full(shape, number, dtype=code.numpy)
        step = self.log(SCALAR_TENSOR, after=[array_side(label, array)], facts={label: number, "shape": shape})
        name = self.builder.constant(f"{operand}.{label}", array, OperandType(code, shape), steps=[step])
        self.note_operands(step, name)
        return name

    def as_number(self, operand: str, value: TorchValue, code: OperandCode = OperandCode.TENSOR_FLOAT32,
                  name: str = "") -> str:  # fmt: skip
        """Truth values as 1 and 0: SELECT between two constants, since CAST takes no truth values."""
        one, zero = self.filled(operand, 1, code, "one"), self.filled(operand, 0, code, "zero")
        step = self.log(TRUTH_AS_NUMBER, before=[operand_side(operand, self.builder.type_of(operand))],
                        values=[value.name])  # fmt: skip
        result = self.builder.add("SELECT", condition=operand, input1=one, input2=zero,
                                     name=name or f"{operand}.number", step=step, values=[value.name])  # fmt: skip
        self.note_operands(step, result)
        return result

    def as_truth(self, operand: str, value: TorchValue, name: str = "") -> str:
        """Numbers as truth values: unequal to 0."""
        code = self.builder.type_of(operand).code
        zero = self.builder.constant(f"{operand}.zero", np.zeros(1, code.numpy), OperandType(code, (1,)),
                                     steps=[self.log(SCALAR_TENSOR, facts={"zero": 0})])  # fmt: skip
        step = self.log(TRUTH_AS_NUMBER, before=[operand_side(operand, self.builder.type_of(operand))],
                        values=[value.name])  # fmt: skip
        result = self.builder.add("NOT_EQUAL", input0=operand, input1=zero, name=name or f"{operand}.truth",
                                  step=step, values=[value.name])  # fmt: skip
        self.note_operands(step, result, zero)
        return result

    def reshape(self, operand: str, shape: tuple[int, ...], value: TorchValue, name: str = "") -> str:
        """The operand under another shape (folded beyond rank 4); the same operand when the shape is right already.

        RESHAPE takes no truth values, and int32 from level 6 only: EXPAND_DIMS does what it can for those.
        """
        shape = folded(tuple(shape))
        type = self.builder.type_of(operand)
        if type.shape == shape:
            return operand
        wanted = name or f"{operand}.as_{'x'.join(map(str, shape))}"
        source = self.lowering._reshaped.get(operand)
        if source is not None:  # of a RESHAPE's result: from where that came; an unread RESHAPE is dropped later
            return self.reshape(source, shape, value, name)
        if type.code == OperandCode.TENSOR_BOOL8:
            return self.as_truth(self.reshape(self.as_number(operand, value), shape, value), value, wanted)
        if type.code == OperandCode.TENSOR_INT32:
            ones = added_ones(static_shape(type), shape)
            if ones is not None:
                return self._expanded(operand, ones, value, wanted)
        known = self.lowering._reshapes.get((operand, shape)) if not name else None
        if known is None:
            known = self.lowering._reshapes[operand, shape] = self.reshape_exactly(operand, shape, value, wanted)
            self.lowering._reshaped[known] = operand
        return known

    def reshape_exactly(self, operand: str, shape: tuple[int, ...], value: TorchValue, name: str) -> str:
        """A RESHAPE whatever the rank of the result: only an output of the model needs more than 4."""
        type = self.builder.type_of(operand)
        step = self.log(RESHAPED, before=[operand_side(operand, type)],
                        after=[operand_side(name, type.with_shape(shape))],
                        facts={"shape": tuple(shape)}, values=[value.name])  # fmt: skip
        target = self.int32(shape, f"{name}.shape", "shape")
        result = self.builder.add("RESHAPE", input=operand, shape=target, name=name, step=step,
                                  values=[value.name])  # fmt: skip
        self.note_operands(step, result)
        return result

    def _expanded(self, operand: str, axes: Sequence[int], value: TorchValue, wanted: str) -> str:
        for count, axis in enumerate(axes, 1):
            step = self.log(RESHAPED, before=[operand_side(operand, self.builder.type_of(operand))],
                            facts={"axis": axis, "instead of": "RESHAPE, which takes int32 from level 6 on"},
                            values=[value.name])  # fmt: skip
            name = wanted if count == len(axes) else f"{wanted}.axis{axis}"
            operand = self.builder.add("EXPAND_DIMS", input=operand, axis=axis, name=name, step=step,
                                       values=[value.name])  # fmt: skip
            self.note_operands(step, operand)
        return operand

    # --- writing ---------------------------------------------------------------------------------------------

    def log(self, rule: Rule, **entry: Any) -> Step:
        """One entry of the rewrite log, on behalf of this node unless `values` says otherwise."""
        entry.setdefault("values", list(self.node.outputs))
        return self.lowering.log.add(rule, node=self.node.name, **entry)

    def note_operands(self, step: Step, *operands: str) -> None:
        """Tell the log which operands a step made (their names are only known once they exist)."""
        self.lowering.log.attach(step, operands)

    def add(self, kind: str, *, rule: Rule = DIRECT, facts: dict[str, Any] | None = None, suffix: str = "",
            quant: Quant | PerChannel | None = None, steps: Sequence[Step] = (), **arguments: Any) -> str:  # fmt: skip
        """Add one operation with its log entry; `suffix` names an intermediate of this node's result."""
        return self.add_all(kind, rule=rule, facts=facts, suffixes=[suffix], quant=quant, steps=steps, **arguments)[0]

    def add_all(self, kind: str, *, rule: Rule = DIRECT, facts: dict[str, Any] | None = None,
                suffixes: Sequence[str] = ("",), names: Sequence[str] = (),
                quant: Quant | PerChannel | None = None, steps: Sequence[Step] = (),
                **arguments: Any) -> tuple[str, ...]:  # fmt: skip
        """Like `add` for an operation with several results."""
        step = self.log(rule, facts={"operation": kind, **(facts or {})})
        if kind == "QUANTIZE":  # the only operation whose result may have either signedness
            arguments.setdefault("code", self.code_of(self.out))
        wanted = list(names) or [f"{self.out.name}{suffix and '.' + suffix}" for suffix in suffixes]
        results = self.builder.add_all(kind, names=wanted, quant=quant, step=step, **arguments)
        self.note_operands(step, *results)
        for result in results:
            self.builder.also_made_by(result, steps)
        for extra in steps:
            self.note_operands(extra, *results)
        return results

    def place(self, operand: str, layout: Layout | None = None, value: TorchValue | None = None) -> Placement:
        """Say that the node's result (or `value`) lives in `operand`, stored in `layout` (plain by default)."""
        value = value or self.out
        placement = self.placement(value, operand, layout)
        self.lowering.placements[value.name] = placement
        return placement

    def placement(self, value: TorchValue, operand: str, layout: Layout | None = None) -> Placement:
        """How to read `value` back from `operand`, without saying that it lives there."""
        shape = value.type.shape or ()
        quant = self.builder.type_of(operand).quant
        return Placement(value.name, operand, shape, layout or Layout.plain(shape), quant, self.code_shift(value))

    def alias(self, value: TorchValue) -> None:
        """The node's result is `value` itself: same operand, same layout."""
        placement = self.held(value)
        self.place(placement.operand, placement.layout)

    def int32(self, numbers: Sequence[int], name: str, what: str) -> str:
        """A constant TENSOR_INT32 for an argument PyTorch passes as a list."""
        array = np.array(list(numbers), dtype=np.int32)
        key = (f"int32:{array.tolist()}", Layout((), ()))
        known = self.lowering._relaid.get(key)
        if known is None:
            step = self.log(PARAMETER_TENSOR, after=[array_side(name, array)], facts={"argument": what})
            known = self.builder.constant(name, array, steps=[step])
            self.note_operands(step, known)
            self.lowering._relaid[key] = known
        return known

    def number(self, number: float, like: TorchValue, name: str = "other") -> str:
        """A Python number as a constant of shape [1] and the element type of `like`."""
        code = self.code_of(like)
        array = np.array([number], dtype=code.numpy)
        step = self.log(SCALAR_TENSOR, after=[array_side(name, array)], facts={name: number})
        operand = self.builder.constant(f"{self.out.name}.{name}", array, OperandType(code, (1,)), steps=[step])
        self.note_operands(step, operand)
        return operand

    # --- types -----------------------------------------------------------------------------------------------

    def code_of(self, value: TorchValue) -> OperandCode:
        if value.name in self.lowering.unknown:
            raise Inherited(value.name)
        dtype = value.type.dtype or ""
        code = CODES.get(dtype)
        if code is None:
            self.forbid("DTYPE", f"{value.name} is {dtype}, which no NNAPI tensor holds",
                        fix="convert the model or the input to float32, int32 or a quantized type",
                        source="NNAPI OperandCode")  # fmt: skip
        if code == OperandCode.TENSOR_QUANT8_ASYMM and self.lowering.signed:
            return SIGNED
        return code

    def quant_of(self, value: TorchValue) -> Quant | PerChannel | None:
        """The operand's quantization for a torch value: shifted to the signedness quantized values have here."""
        quant = value.type.quant
        if isinstance(quant, Quant):
            return Quant(quant.scale, quant.zero_point - self.code_shift(value))
        return quant

    def code_shift(self, value: TorchValue) -> int:
        """What to add to NNAPI's codes to get torch's."""
        if self.lowering.signed:
            return QINT8_SHIFT if value.type.dtype == "quint8" else 0
        return -QINT8_SHIFT if value.type.dtype == "qint8" else 0

    @property
    def unsigned_shift(self) -> int:
        """What to add to the codes of this model to get unsigned ones."""
        return QINT8_SHIFT if self.lowering.signed else 0

    def stored_quant(self, unsigned: Quant) -> Quant:
        """Parameters written for unsigned codes, for the codes of this model."""
        return Quant(unsigned.scale, unsigned.zero_point - self.unsigned_shift)

    def shift_step(self, value: TorchValue) -> list[Step]:
        """The log entry of a result whose codes are not torch's, as a list to pass on."""
        shift = self.code_shift(value)
        if shift == 0:
            return []
        rule = ACTIVATION_QUINT8_SHIFT if shift > 0 else ACTIVATION_QINT8_SHIFT
        return [self.log(rule, before=[torch_side(value)], facts={"shift": -shift})]

    # --- looking around --------------------------------------------------------------------------------------

    def sole_consumer(self, value: TorchValue) -> TorchNode | None:
        """The one node that reads `value`, None if there are several or the graph returns it."""
        users = self.graph.consumers(value.name)
        return users[0] if len(users) == 1 and value.name not in self.graph.outputs else None

    def absorb(self, node: TorchNode) -> None:
        """This node's work is done here; the loop will pass it by."""
        self.lowering.absorbed.add(node.id)

    # --- refusing --------------------------------------------------------------------------------------------

    def forbid(self, rule: str, message: str, fix: str = "", source: str = "") -> NoReturn:
        """NNAPI cannot say this."""
        raise Refused("FORBIDDEN", rule, message, fix, source)

    def not_yet(self, rule: str, message: str, fix: str = "", source: str = "") -> NoReturn:
        """NNAPI can say this; nnapi_lab does not write it yet."""
        raise Refused("NOT_YET", rule, message, fix, source)

    def lossy(self, rule: str, message: str, fix: str = "", source: str = "") -> NoReturn:
        """Possible, but the numbers change."""
        raise Refused("LOSSY", rule, message, fix, source)
