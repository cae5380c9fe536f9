"""From torch.export's ExportedProgram to the same TorchGraph that TorchScript gives.

An exported program is a list of aten calls with parameters and buffers as inputs. Each call is replayed by the
Recorder on the example inputs, as a TorchScript node is; what differs is how a call names its arguments, its module
and its Python line. TorchScript is being retired; lowering does not depend on it.
"""

from __future__ import annotations

import operator
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils._pytree import tree_unflatten

from nnapi_lab.errors import CaptureError, FormatError
from nnapi_lab.ir.torch_graph import TorchGraph
from nnapi_lab.torchscript.recorder import Entry, Recorder, storage_of

_INLINED = ("wrap_with_set_grad_enabled",)
_WITHOUT_RESULT = ("aten::_assert", "aten::sym_constrain_range", "aten::_assert_tensor_metadata")


# Core ATen, as run_decompositions() writes it → the operator it came from, with that one's arguments.
CORE: dict[str, tuple[str, str, Callable[..., tuple[Any, ...]]]] = {
    "aten::convolution": ("aten::_convolution", "", lambda *given: (*given, False, False, False, False)),
    "aten::_native_batch_norm_legit_no_training": (
        "aten::batch_norm", "",
        lambda x, weight, bias, mean, var, momentum, eps: (x, weight, bias, mean, var, False, momentum, eps, False),
    ),
    "aten::native_layer_norm": (
        "aten::layer_norm", "", lambda x, shape, weight, bias, eps: (x, shape, weight, bias, eps, False)
    ),
    "aten::native_group_norm": (
        "aten::group_norm", "", lambda x, weight, bias, n, c, image, group, eps: (x, group, weight, bias, eps, False)
    ),
    "aten::_softmax": ("aten::softmax", "int", lambda x, dim, half: (x, dim, None)),
    "aten::_log_softmax": ("aten::log_softmax", "int", lambda x, dim, half: (x, dim, None)),
    "aten::_adaptive_avg_pool2d": ("aten::adaptive_avg_pool2d", "", lambda x, size: (x, size)),
}  # fmt: skip


@dataclass(frozen=True)
class _Name:
    """An argument or result, as TorchScript's nodes hand them out."""

    name: str

    def debugName(self) -> str:
        return self.name


@dataclass(frozen=True)
class _Call:
    """One aten call in the words of a TorchScript node: what the Recorder asks of one."""

    schema_text: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    scope: str
    source: str
    operator_kind: str

    def kind(self) -> str:
        return self.operator_kind

    def schema(self) -> str:
        return self.schema_text

    def scopeName(self) -> str:
        return self.scope

    def sourceRange(self) -> str:
        return self.source

    def inputs(self) -> list[_Name]:
        return [_Name(name) for name in self.arguments]

    def outputs(self) -> list[_Name]:
        return [_Name(name) for name in self.results]

    def outputsSize(self) -> int:
        return len(self.results)


class ExportedRecorder(Recorder):
    """Turns an ExportedProgram and example inputs into a TorchGraph."""

    def record_exported(self, program: ExportedProgram, inputs: Sequence[torch.Tensor]) -> TorchGraph:
        """Raises CaptureError when the inputs are not those the program was exported for."""
        env: dict[str, Entry] = {}
        entered = self._enter(program, inputs, env)
        nodes = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
        self._total = len(nodes)
        self._replay(program.graph_module, nodes, env)
        self._note_idle_codes()
        leaves: list[str] = []
        structure = self._leaf(self._returned(program, env), leaves)
        return TorchGraph(self.name, self.values, tuple(self.nodes), tuple(entered), tuple(leaves), structure)

    # --- inputs ----------------------------------------------------------------------------------------------

    def _enter(self, program: ExportedProgram, inputs: Sequence[torch.Tensor], env: dict[str, Entry]) -> list[str]:
        """Parameters, buffers and constants as known tensors; the user's inputs as recorded ones."""
        entered, left = [], list(inputs)
        placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
        wanted = [spec for spec in program.graph_signature.input_specs
                  if spec.kind == InputKind.USER_INPUT and not isinstance(spec.arg, ConstantArgument)]  # fmt: skip
        if len(wanted) != len(inputs):
            names = ", ".join(spec.arg.name for spec in wanted)
            raise CaptureError(f"{self.name} was exported for {len(wanted)} inputs ({names}) but {len(inputs)} example "
                               "inputs were given")  # fmt: skip
        for spec in program.graph_signature.input_specs:
            name = spec.arg.name
            if isinstance(spec.arg, ConstantArgument):
                env[name] = self._known(name, spec.arg.value)
            elif spec.kind == InputKind.USER_INPUT:
                tensor = left.pop(0)
                _check_input(placeholders[name], tensor)
                env[name] = self._tensor_entry(name, tensor.clone())
                entered.append(env[name].name)
            else:
                env[name] = self._own(program, name, spec.target or name)
        return entered

    def _own(self, program: ExportedProgram, name: str, path: str) -> Entry:
        held = program.state_dict.get(path, program.constants.get(path))
        if isinstance(held, torch.Tensor):
            held = held.detach()
            self._owned.setdefault(storage_of(held), path)
        return Entry(name, held, True, path)

    # --- calls -----------------------------------------------------------------------------------------------

    def _replay(self, module: torch.nn.Module, nodes: Sequence[Any], env: dict[str, Entry]) -> None:
        for node in nodes:
            self._seen += 1
            if self.progress is not None and (self._seen % 64 == 0 or self._seen == self._total):
                self.progress("capture", self._seen, self._total)
            if node.op == "get_attr":
                env[node.name] = Entry(node.name, _attribute(module, node.target), True, str(node.target))
            elif node.op != "call_function":
                raise CaptureError(f"{node.name}: an exported program with a {node.op} is not read")
            elif isinstance(node.target, torch._ops.OpOverload):
                self._call(node, env)
            elif isinstance(node.target, torch._ops.HigherOrderOperator):
                self._inline(node, env)
            else:
                self._python(node, env)

    def _call(self, node: Any, env: dict[str, Entry]) -> None:
        """An aten operator: its arguments completed with defaults, in the schema's order."""
        schema = node.target._schema
        if schema.name.startswith(_WITHOUT_RESULT):
            return
        given = [*node.args, *(node.kwargs.get(argument.name, argument.default_value)
                               for argument in schema.arguments[len(node.args) :])]  # fmt: skip
        several = len(schema.returns) > 1
        if schema.name in CORE:
            kind, overload, reordered = CORE[schema.name]
            schema, given = torch._C._get_schema(kind, overload), list(reordered(*given))
        pairs = zip(schema.arguments, given, strict=True)
        names = [self._argument(value, f"{node.name}.{argument.name}", env) for argument, value in pairs]
        results = tuple(f"{node.name}.{i}" for i in range(len(schema.returns))) if several else (node.name,)
        call = _Call(str(schema), tuple(names), results, _scope(node), _source(node), schema.name)
        if schema.name.startswith("aten::sym_"):
            env[node.name] = self._known(node.name, node.target(*(env[name].object for name in names)))
            return
        self._operator(call, schema.name, env)
        if several:
            env[node.name] = Entry(node.name, (), False, "", [env[name] for name in results])

    def _argument(self, given: Any, name: str, env: dict[str, Entry]) -> str:
        """The name in `env` of an argument: an earlier result, a list of some, or a constant."""
        if isinstance(given, torch.fx.Node):
            return given.name
        if isinstance(given, list | tuple) and any(isinstance(item, torch.fx.Node) for item in given):
            items = [env[self._argument(item, f"{name}.{i}", env)] for i, item in enumerate(given)]
            env[name] = Entry(name, [], all(item.all_known for item in items), "", items)
        else:
            env[name] = self._known(name, list(given) if isinstance(given, list | tuple) else given)
        return name

    def _python(self, node: Any, env: dict[str, Entry]) -> None:
        """getitem on what several results came in, and arithmetic on sizes, which are known."""
        entries = [env[self._argument(given, f"{node.name}.arg{i}", env)] for i, given in enumerate(node.args)]
        if node.target is operator.getitem and entries[0].items is not None:
            index, items = int(entries[1].object), entries[0].items
            if index >= len(items):
                raise CaptureError(f"{node.name}{_place(node)}: saved statistics of a norm are read, which NNAPI does "
                                   "not compute: export the model in eval mode")  # fmt: skip
            env[node.name] = items[index]
            return
        if not all(entry.all_known for entry in entries):
            raise CaptureError(f"{node.name}{_place(node)}: Python computes with the values of the inputs "
                               f"({getattr(node.target, '__name__', node.target)}); NNAPI cannot")  # fmt: skip
        env[node.name] = self._known(node.name, node.target(*(entry.object for entry in entries)))

    def _inline(self, node: Any, env: dict[str, Entry]) -> None:
        """A block under another gradient mode is part of the model; control flow is refused."""
        name = node.target.name()
        modules = [given for given in node.args if isinstance(given, torch.fx.Node) and given.op == "get_attr"]
        if name not in _INLINED or len(modules) != 1:
            raise CaptureError(f"{node.name}{_place(node)}: {name} runs blocks of its own, which are not written yet: "
                               "export the model without torch.cond, while_loop, map and autocast")  # fmt: skip
        body = env[modules[0].name].held
        inner = dict(env)
        given = node.args[node.args.index(modules[0]) + 1 :]
        formals = [inside for inside in body.graph.nodes if inside.op == "placeholder"]
        for formal, argument in zip(formals, given, strict=True):
            inner[formal.name] = env[self._argument(argument, f"{node.name}.{formal.name}", env)]
        self._replay(body, [n for n in body.graph.nodes if n.op not in ("placeholder", "output")], inner)
        (end,) = [inside for inside in body.graph.nodes if inside.op == "output"]
        returned = [inner[held.name] for held in end.args[0]]
        env[node.name] = Entry(node.name, (), all(entry.all_known for entry in returned), "", returned)

    # --- outputs ---------------------------------------------------------------------------------------------

    def _returned(self, program: ExportedProgram, env: dict[str, Entry]) -> Entry:
        """The outputs as the model's own structure of entries."""
        leaves = []
        for spec in program.graph_signature.output_specs:
            if spec.kind == OutputKind.BUFFER_MUTATION:
                raise CaptureError(f"{self.name} changes its buffer {spec.target}; an NNAPI model keeps nothing from "
                                   "one run to the next: pass it in as an input and return it")  # fmt: skip
            if spec.kind == OutputKind.USER_OUTPUT:
                held = spec.arg
                constant = isinstance(held, ConstantArgument)
                leaves.append(self._known(held.name, held.value) if constant else env[held.name])
        return _entry_tree(tree_unflatten(leaves, program.call_spec.out_spec))


def _entry_tree(held: Any) -> Entry:
    """Tuples, lists and dicts of entries as one entry."""
    if isinstance(held, Entry):
        return held
    if isinstance(held, Mapping):
        items = [_entry_tree(item) for item in held.values()]
        return Entry("output", dict.fromkeys(held), False, "", items)
    if isinstance(held, list | tuple):
        return Entry("output", [] if isinstance(held, list) else (), False, "", [_entry_tree(item) for item in held])
    raise CaptureError(f"the model returns a {type(held).__name__}; return tensors in tuples, lists or dicts")


def _check_input(placeholder: Any, tensor: torch.Tensor) -> None:
    """An exported program is specialised to the sizes that are not symbols."""
    expected = placeholder.meta.get("val")
    if not isinstance(expected, torch.Tensor):
        return
    fits = len(expected.shape) == tensor.dim() and all(
        not isinstance(size, int) or size == given for size, given in zip(expected.shape, tensor.shape, strict=True)
    )
    if not fits or expected.dtype != tensor.dtype:
        raise CaptureError(
            f"example input {placeholder.name} is {tensor.dtype}{list(tensor.shape)}; the program was exported for "
            f"{expected.dtype}{[str(size) if not isinstance(size, int) else size for size in expected.shape]}"
        )


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _scope(node: Any) -> str:
    """The innermost module, as TorchScript writes it."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"__module.{path}" if path else ""


def _source(node: Any) -> str:
    """The frames, innermost first, as TorchScript's source ranges have them."""
    return "\n".join(reversed((node.meta.get("stack_trace") or "").splitlines()))


def _place(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return f" in {stack[-1][0]}" if stack and stack[-1][0] else ""


def load_exported(path: str | os.PathLike[str]) -> ExportedProgram:
    """A program saved by torch.export.save. Raises FormatError for a missing, truncated or foreign file."""
    if not os.path.isfile(path):
        raise FormatError(f"{path}: there is no such file; give a .pt2 written by torch.export.save")
    if not zipfile.is_zipfile(path):
        raise FormatError(f"{path}: not an archive of torch.export.save (a .pt2 is a zip file), or it is cut off")
    try:
        return torch.export.load(os.fspath(path))
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, AssertionError, zipfile.BadZipFile) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(f"{path}: torch.export.load cannot read it ({first})") from error
