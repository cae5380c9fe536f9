"""Runs an inlined TorchScript graph once and writes down what remains to be lowered.

Every value is either *known* (it does not depend on the inputs' values: attributes, numbers, shapes of tensors)
or *recorded* (a tensor computed from the inputs; its example value is kept while recording so that shapes, types
and quantization are exact). Nodes over known values are folded; branches and loops whose conditions are known are
unrolled; the rest becomes TorchNodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nnapi_lab.errors import CaptureError
from nnapi_lab.ir.torch_graph import TorchGraph, TorchNode, TorchType, TorchValue
from nnapi_lab.torchscript.interpret import (
    UnknownOperator,
    draws_random,
    evaluate,
    functional_twin,
    operator_schema,
    scrambles,
)
from nnapi_lab.torchscript.sources import module_path, python_line
from nnapi_lab.torchscript.tensors import plain_constant, torch_type

# Answers about a tensor that do not depend on its elements: folded, since shapes are static here.
SHAPE_QUERIES = frozenset(
    {
        "aten::size", "aten::dim", "aten::numel", "aten::len", "aten::stride", "aten::is_floating_point",
        "aten::is_complex", "aten::is_contiguous", "aten::q_scale", "aten::q_zero_point", "aten::storage_offset",
        "aten::__is__", "aten::__isnot__", "aten::get_device", "prim::dtype", "prim::device", "prim::layout",
        "prim::is_quantized", "prim::ndim", "prim::requires_grad", "prim::shape", "prim::is_cuda",
    }
)  # fmt: skip
# Tensors made after the pattern of another: of its elements they know nothing.
PATTERNED = frozenset(
    {
        "aten::zeros_like", "aten::ones_like", "aten::full_like", "aten::empty_like", "aten::new_zeros",
        "aten::new_ones", "aten::new_full", "aten::new_empty",
    }
)  # fmt: skip
LOOP_LIMIT = 10_000  # unrolled iterations of one loop
IDLE_SHARE = 0.01  # outliers of the calibration may lie above
OVERLAP_LIMIT = 1 << 22  # elements of two views whose overlap is worked out


@dataclass(eq=False)
class Entry:
    """A value while recording: its name, its torch object, and whether it is known without running."""

    name: str
    held: Any
    known: bool
    path: str = ""
    items: list[Entry] | None = None

    @property
    def all_known(self) -> bool:
        return self.known if self.items is None else all(item.all_known for item in self.items)

    @property
    def object(self) -> Any:
        """The torch object, lists and tuples assembled from their items."""
        if self.items is None:
            return self.held
        if isinstance(self.held, tuple):
            return tuple(item.object for item in self.items)
        if isinstance(self.held, dict):
            return dict(zip(self.held, (item.object for item in self.items), strict=True))
        return [item.object for item in self.items]


@dataclass
class Recorder:
    """Turns one module and its example inputs into a TorchGraph; `bindings` keeps the torch constants."""

    module: torch.jit.ScriptModule
    name: str
    progress: Callable[[str, int, int], None] | None = None
    bindings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    values: dict[str, TorchValue] = field(default_factory=dict)
    nodes: list[TorchNode] = field(default_factory=list)
    _upper_codes: list[float] = field(default_factory=list)  # of each quint8 value: share of codes above 127
    _taken: dict[str, int] = field(default_factory=dict)  # names in use, and how many share the stem
    _sharing: dict[int, list[Entry]] = field(default_factory=dict)  # tensors by storage address
    _owned: dict[int, str] = field(default_factory=dict)  # the module's own tensors: storage address → path
    _seen: int = 0
    _total: int = 0

    def record(self, inputs: Sequence[torch.Tensor]) -> TorchGraph:
        graph = self.module.inlined_graph
        formal = list(graph.inputs())
        env = {formal[0].debugName(): Entry("self", self.module, True)}
        env |= self._left_out(formal[1:], len(inputs))
        entered: list[str] = []
        for value, tensor in zip(formal[1:], inputs, strict=False):
            entry = self._tensor_entry(value.debugName(), tensor.clone())
            env[value.debugName()] = entry
            entered.append(entry.name)
        body = list(graph.nodes())
        self._total = len(body)
        self._run(body, env, top=True)
        self._note_idle_codes()
        leaves: list[str] = []
        structure = self._structure([env[value.debugName()] for value in graph.outputs()], leaves)
        return TorchGraph(self.name, self.values, tuple(self.nodes), tuple(entered), tuple(leaves), structure)

    def _left_out(self, formal: Sequence[Any], given: int) -> dict[str, Entry]:
        """Arguments beyond the example inputs, which must have defaults; the model is specialised to those."""
        schema = self.module._c._get_method("forward").schema.arguments[1:]
        if given > len(formal) or not all(argument.has_default_value() for argument in schema[given:]):
            names = ", ".join(value.debugName() for value in formal)
            raise CaptureError(
                f"{self.name} takes {len(formal)} inputs ({names}) but {given} example inputs were given"
            )
        left = zip(formal[given:], schema[given:], strict=True)
        return {value.debugName(): self._known(value.debugName(), argument.default_value) for value, argument in left}

    # --- walking ---------------------------------------------------------------------------------------------

    def _run(self, nodes: Sequence[Any], env: dict[str, Entry], top: bool = False) -> None:
        for node in nodes:
            if top and self.progress is not None:
                self._seen += 1
                if self._seen % 64 == 0 or self._seen == self._total:
                    self.progress("capture", self._seen, self._total)
            kind = node.kind()
            handler = _STRUCTURAL.get(kind)
            if handler is not None:
                handler(self, node, env)
            else:
                self._operator(node, kind, env)

    def _operator(self, node: Any, kind: str, env: dict[str, Entry]) -> None:
        arguments = [env[value.debugName()] for value in node.inputs()]
        outputs = [value.debugName() for value in node.outputs()]
        if kind in _LIST_METHODS and arguments[0].items is not None:
            _LIST_METHODS[kind](self, arguments, outputs, env)
            return
        for entry in arguments:
            self._check_fresh(entry)
        overload, argument_names = operator_schema(node)
        twin = functional_twin(kind, overload)
        if twin != kind:
            self._check_writable(node, arguments[0])
        known = all(entry.all_known for entry in arguments)
        if known and draws_random(kind, overload):
            # Dropout is, on paper, random; without training it is not.
            known = any(name in ("train", "training") and entry.object is False
                        for name, entry in zip(argument_names, arguments, strict=False))  # fmt: skip
        patterned = kind in PATTERNED and all(entry.all_known for entry in arguments[1:])
        if known or patterned or kind in SHAPE_QUERIES:
            results = self._evaluate(node, kind, [entry.object for entry in arguments])
            for name, held in zip(outputs, results, strict=True):
                env[name] = self._known(name, held)
            if twin != kind:
                self._changed(arguments[0])
            return
        results = self._evaluate(node, twin, [entry.object for entry in arguments])
        names = [self._materialise(entry) for entry in arguments]
        entries = [self._tensor_entry(name, held) for name, held in zip(outputs, results, strict=True)]
        self._append(node, kind, names, [entry.name for entry in entries])
        for name, entry in zip(outputs, entries, strict=True):
            env[name] = entry
        if twin != kind:
            self._overwritten(node, kind, arguments[0], entries[0])

    def _evaluate(self, node: Any, kind: str, arguments: list[Any]) -> tuple[Any, ...]:
        if scrambles(kind, arguments):
            self.warnings.append(
                f"{self._where(node)}: PyTorch's own {kind} scrambles this tensor (its qnnpack engine takes channels "
                "last for row-major); compared is with the numbers that are meant"
            )
        try:
            return evaluate(kind, operator_schema(node)[0], arguments, node.outputsSize())
        except UnknownOperator as error:
            raise CaptureError(f"{self._where(node)}: {error}") from error
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CaptureError(f"{self._where(node)}: running {kind} on the example inputs failed: {first}") from error

    def _overwritten(self, node: Any, kind: str, target: Entry, result: Entry) -> None:
        """After an in-place operation every entry of the same tensor means the result; other views are stale."""
        view, storage = target.held, storage_of(target.held)
        moved = storage == storage_of(result.held)  # squeeze_ and its like give another shape, and write nothing
        for entry in self._sharing.pop(storage, []):
            if entry is not result and _same_view(entry.held, view):
                entry.name, entry.held, entry.known = result.name, result.held, False
            elif entry is not result and not moved and not _disjoint(entry.held, view):
                entry.held = _Stale(f"{kind} at {self._where(node)}")
                continue
            self._sharing.setdefault(storage_of(entry.held), []).append(entry)

    def _changed(self, target: Entry) -> None:
        """A known tensor was really written into: constants made of it so far were of its former elements."""
        for entry in self._sharing.get(storage_of(target.held), []):
            entry.name = entry.name.lstrip("%")

    def _check_fresh(self, entry: Entry) -> None:
        if isinstance(entry.held, _Stale):
            raise CaptureError(
                f"{entry.name} is used after {entry.held.writer} wrote through a view of the same memory; "
                "an NNAPI operand cannot be changed in place: write the model without that in-place operation"
            )
        for item in entry.items or ():
            self._check_fresh(item)

    def _check_writable(self, node: Any, target: Entry) -> None:
        path = self._owned.get(storage_of(target.held)) if isinstance(target.held, torch.Tensor) else None
        if path is not None:
            raise CaptureError(
                f"{self._where(node)}: the model writes into its own tensor {path}; an NNAPI model keeps nothing from "
                "one run to the next: pass it in as an input and return it"
            )

    # --- entries ---------------------------------------------------------------------------------------------

    def _known(self, name: str, held: Any, path: str = "") -> Entry:
        if isinstance(held, list | tuple):
            items = [self._known(f"{name}.{i}", item) for i, item in enumerate(held)]
            return Entry(name, [] if isinstance(held, list) else (), True, path, items)
        entry = Entry(name, held, True, path)
        if isinstance(held, torch.Tensor):
            self._sharing.setdefault(storage_of(held), []).append(entry)
        return entry

    def _tensor_entry(self, name: str, held: Any) -> Entry:
        """A recorded value: it gets a unique %name and its exact type."""
        unique = self._unique(f"%{name}")
        if isinstance(held, torch.Tensor):
            self.values[unique] = TorchValue(unique, torch_type(held))
            if held.dtype == torch.quint8:
                self._upper_codes.append((held.int_repr() > 127).float().mean().item())
            entry = Entry(unique, held, False)
            self._sharing.setdefault(storage_of(held), []).append(entry)
            return entry
        if isinstance(held, list | tuple):
            items = [self._tensor_entry(f"{name}.{i}", item) for i, item in enumerate(held)]
            kind = "Tensor[]" if isinstance(held, list) else "Tuple"
            names = tuple(item.name for item in items)
            self.values[unique] = TorchValue(unique, TorchType(kind), items=names)
            return Entry(unique, [] if isinstance(held, list) else (), False, "", items)
        self.values[unique] = TorchValue(unique, TorchType(type(held).__name__))
        return Entry(unique, held, False)

    def _note_idle_codes(self) -> None:
        """A warning when quantized values use the lower half of their codes only, as x86's observers leave it."""
        if len(self._upper_codes) < 2 or max(self._upper_codes) > IDLE_SHARE:
            return
        self.warnings.append(
            "on the example inputs the quantized values use codes 0 to 127 only, as the observers of x86 and fbgemm "
            "(reduce_range) leave it; NNAPI has all 8 bits: calibrating with the qnnpack qconfig gains one"
        )

    def _unique(self, name: str) -> str:
        candidate = name
        while candidate in self._taken:
            self._taken[name] += 1
            candidate = f"{name}#{self._taken[name]}"
        self._taken[candidate] = 1
        return candidate

    def _materialise(self, entry: Entry) -> str:
        """The graph name of an argument; constants and lists enter the graph when they are first used."""
        self._check_fresh(entry)
        if entry.name in self.values:
            return entry.name
        if entry.items is not None and not entry.all_known:
            items = [self._materialise(item) for item in entry.items]
            name = self._unique(f"%{entry.name.lstrip('%')}")
            self.values[name] = TorchValue(name, TorchType("Tensor[]"))
            self.nodes.append(TorchNode(len(self.nodes), "prim::ListConstruct", tuple(items), (name,)))
            entry.name = name
            return name
        held = entry.object
        if isinstance(held, torch.Tensor) and storage_of(held) not in self._owned:
            held = held.clone()  # the model may still write into it
        name = self._unique(f"%{entry.name.lstrip('%')}")
        plain = plain_constant(held)
        type = torch_type(held) if isinstance(held, torch.Tensor) else TorchType(_kind_name(held))
        self.values[name] = TorchValue(name, type, plain, True, entry.path)
        self.bindings[name] = held
        entry.name = name
        return name

    def _append(self, node: Any, kind: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        overload, names = operator_schema(node)
        self.nodes.append(
            TorchNode(
                len(self.nodes), kind, tuple(inputs), tuple(outputs), module_path(node.scopeName()),
                python_line(node.sourceRange()), names, overload,
            )
        )  # fmt: skip

    def _where(self, node: Any) -> str:
        scope, python = module_path(node.scopeName()), python_line(node.sourceRange())
        return ", ".join(part for part in (node.kind(), scope, python) if part)

    def _structure(self, entries: Sequence[Entry], leaves: list[str]) -> Any:
        shaped = [self._leaf(entry, leaves) for entry in entries]
        return shaped[0] if len(shaped) == 1 else ("tuple", tuple(shaped))

    def _leaf(self, entry: Entry, leaves: list[str]) -> Any:
        if entry.items is None:
            leaves.append(self._materialise(entry))
            return len(leaves) - 1
        parts = tuple(self._leaf(item, leaves) for item in entry.items)
        if isinstance(entry.held, dict):
            return ("dict", tuple(zip(entry.held, parts, strict=True)))
        return ("tuple" if isinstance(entry.held, tuple) else "list", parts)

    # --- structural nodes ------------------------------------------------------------------------------------

    def _constant(self, node: Any, env: dict[str, Entry]) -> None:
        name, held = node.output().debugName(), node.output().toIValue()
        if isinstance(held, torch.Tensor):
            self._owned.setdefault(storage_of(held), f"%{name}, a constant of the trace")
        env[name] = self._known(name, held)

    def _get_attr(self, node: Any, env: dict[str, Entry]) -> None:
        owner = env[node.input().debugName()]
        attribute = node.s("name")
        path = f"{owner.path}.{attribute}" if owner.path else attribute
        name, held = node.output().debugName(), getattr(owner.held, attribute)
        if isinstance(held, torch.Tensor):
            self._owned.setdefault(storage_of(held), path)
        env[name] = Entry(name, held, True, path)

    def _set_attr(self, node: Any, env: dict[str, Entry]) -> None:
        raise CaptureError(
            f"{self._where(node)}: the model writes its own attribute {node.s('name')}; an NNAPI model keeps nothing "
            "from one run to the next: pass it in as an input and return it"
        )

    def _list_construct(self, node: Any, env: dict[str, Entry]) -> None:
        name = node.output().debugName()
        items = [env[value.debugName()] for value in node.inputs()]
        env[name] = Entry(name, [], all(item.all_known for item in items), "", items)

    def _tuple_construct(self, node: Any, env: dict[str, Entry]) -> None:
        name = node.output().debugName()
        items = [env[value.debugName()] for value in node.inputs()]
        env[name] = Entry(name, (), all(item.all_known for item in items), "", items)

    def _dict_construct(self, node: Any, env: dict[str, Entry]) -> None:
        name = node.output().debugName()
        entries = [env[value.debugName()] for value in node.inputs()]
        keys = {entry.object: None for entry in entries[::2]}
        env[name] = Entry(name, keys, all(e.all_known for e in entries), "", entries[1::2])

    def _unpack(self, node: Any, env: dict[str, Entry]) -> None:
        packed = env[node.input().debugName()]
        outputs = [value.debugName() for value in node.outputs()]
        if packed.items is None:
            raise CaptureError(f"{self._where(node)}: unpacks something that is neither list nor tuple")
        env.update(zip(outputs, packed.items, strict=True))

    def _tuple_index(self, node: Any, env: dict[str, Entry]) -> None:
        packed, position = [env[value.debugName()] for value in node.inputs()]
        if packed.items is None:
            raise CaptureError(f"{self._where(node)}: takes a member of something that is no tuple")
        env[node.output().debugName()] = packed.items[int(position.object)]

    def _branch(self, node: Any, env: dict[str, Entry]) -> None:
        condition = env[node.input().debugName()]
        blocks = list(node.blocks())
        if not condition.all_known:
            raise CaptureError(
                f"{self._where(node)}: a branch depends on the values of the inputs; NNAPI's IF needs both "
                "branches lowered, which is not written yet: trace the model, or make the condition constant"
            )
        chosen = blocks[0] if bool(condition.object) else blocks[1]
        self._run(list(chosen.nodes()), env)
        for output, value in zip(node.outputs(), chosen.outputs(), strict=True):
            env[output.debugName()] = env[value.debugName()]

    def _loop(self, node: Any, env: dict[str, Entry]) -> None:
        limit, condition, *carried = [env[value.debugName()] for value in node.inputs()]
        (body,) = node.blocks()
        counter, *formals = [value.debugName() for value in body.inputs()]
        trips = 0
        while True:
            if not (limit.all_known and condition.all_known):
                raise CaptureError(
                    f"{self._where(node)}: a loop's length depends on the values of the inputs; NNAPI's WHILE is "
                    "not written yet: give the loop a constant length"
                )
            if trips >= int(limit.object) or not bool(condition.object):
                break
            if trips == LOOP_LIMIT:
                raise CaptureError(f"{self._where(node)}: a loop goes on after {LOOP_LIMIT:,} iterations; NNAPI models "
                                   "have every iteration written out")  # fmt: skip
            env[counter] = self._known(counter, trips)
            env.update(zip(formals, carried, strict=True))
            self._run(list(body.nodes()), env)
            condition, *carried = [env[value.debugName()] for value in body.outputs()]
            trips += 1
        for output, entry in zip(node.outputs(), carried, strict=True):
            env[output.debugName()] = entry

    def _passed_through(self, node: Any, env: dict[str, Entry]) -> None:
        env[node.output().debugName()] = env[next(iter(node.inputs())).debugName()]

    def _uninitialized(self, node: Any, env: dict[str, Entry]) -> None:
        name = node.output().debugName()
        env[name] = Entry(name, None, True)

    def _raise(self, node: Any, env: dict[str, Entry]) -> None:
        message = env[next(iter(node.inputs())).debugName()].object
        raise CaptureError(f"{self._where(node)}: the model itself raises on the example inputs: {message}")

    # --- lists that the model changes ------------------------------------------------------------------------

    def _append_item(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        arguments[0].items.append(arguments[1])  # type: ignore[union-attr]
        for name in outputs:
            env[name] = arguments[0]

    def _get_item(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        held, key = arguments
        if isinstance(held.held, dict):
            env[outputs[0]] = held.items[list(held.held).index(key.object)]  # type: ignore[index]
        else:
            env[outputs[0]] = held.items[int(key.object)]  # type: ignore[index]

    def _set_item(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        held, key, item = arguments
        items: list[Entry] = held.items  # type: ignore[assignment]
        if not isinstance(held.held, dict):
            items[int(key.object)] = item
        elif key.object in held.held:
            items[list(held.held).index(key.object)] = item
        else:
            held.held[key.object] = None
            items.append(item)

    def _length(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        env[outputs[0]] = self._known(outputs[0], len(arguments[0].items))  # type: ignore[arg-type]

    def _copied(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        env[outputs[0]] = Entry(outputs[0], arguments[0].held, arguments[0].known, "", list(arguments[0].items or ()))

    def _extend(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        arguments[0].items.extend(arguments[1].items or ())  # type: ignore[union-attr]

    def _pop(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        env[outputs[0]] = arguments[0].items.pop(int(arguments[1].object))  # type: ignore[union-attr]

    def _slice(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        held, start, end, step = arguments
        items = (held.items or [])[start.object : end.object : step.object]
        env[outputs[0]] = Entry(outputs[0], [], all(item.all_known for item in items), "", list(items))

    def _contains(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        held, key = arguments
        inside = key.object in (held.held if isinstance(held.held, dict) else held.object)
        env[outputs[0]] = self._known(outputs[0], inside)

    def _joined(self, arguments: list[Entry], outputs: list[str], env: dict[str, Entry]) -> None:
        items = [*(arguments[0].items or ()), *(arguments[1].items or ())]
        env[outputs[0]] = Entry(outputs[0], [], all(i.all_known for i in items), "", items)


@dataclass(frozen=True)
class _Stale:
    """Stands for a view whose memory was overwritten; using it is refused."""

    writer: str


def storage_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _disjoint(left: Any, right: torch.Tensor) -> bool:
    """Whether two views of one storage share no element, as the parts of a chunk do; False where it is not known."""
    if not isinstance(left, torch.Tensor) or left.dtype != right.dtype or left.numel() + right.numel() > OVERLAP_LIMIT:
        return False
    return torch.isin(_offsets(left), _offsets(right)).sum().item() == 0


def _offsets(view: torch.Tensor) -> torch.Tensor:
    """Where in the storage each element of a view lies."""
    places = torch.tensor(view.storage_offset())
    for size, stride in zip(view.shape, view.stride(), strict=True):
        places = places.unsqueeze(-1) + torch.arange(size) * stride
    return places.reshape(-1)


def _same_view(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.data_ptr() == right.data_ptr() and left.shape == right.shape and left.stride() == right.stride()


def _kind_name(held: Any) -> str:
    if held is None:
        return "NoneType"
    if isinstance(held, list | tuple):
        return f"{_kind_name(held[0])}[]" if held else "int[]"
    return type(held).__name__


_STRUCTURAL: dict[str, Callable[[Recorder, Any, dict[str, Entry]], None]] = {
    "prim::Constant": Recorder._constant,
    "prim::GetAttr": Recorder._get_attr,
    "prim::SetAttr": Recorder._set_attr,
    "prim::ListConstruct": Recorder._list_construct,
    "prim::TupleConstruct": Recorder._tuple_construct,
    "prim::DictConstruct": Recorder._dict_construct,
    "prim::TupleIndex": Recorder._tuple_index,
    "prim::ListUnpack": Recorder._unpack,
    "prim::TupleUnpack": Recorder._unpack,
    "prim::If": Recorder._branch,
    "prim::Loop": Recorder._loop,
    "prim::unchecked_cast": Recorder._passed_through,
    "prim::Uninitialized": Recorder._uninitialized,
    "prim::RaiseException": Recorder._raise,
}
_LIST_METHODS: dict[str, Callable[[Recorder, list[Entry], list[str], dict[str, Entry]], None]] = {
    "aten::append": Recorder._append_item,
    "aten::__getitem__": Recorder._get_item,
    "aten::_set_item": Recorder._set_item,
    "aten::__contains__": Recorder._contains,
    "aten::extend": Recorder._extend,
    "aten::pop": Recorder._pop,
    "aten::slice": Recorder._slice,
    "aten::len": Recorder._length,
    "aten::list": Recorder._copied,
    "aten::add": Recorder._joined,
}
