"""Builder: named arguments → bound form → inferred result type → Model; StepLog: the only writer of Steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Finding
from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import (
    FUSE_NAMES,
    PADDING_NAMES,
    Call,
    Form,
    OpSpec,
    Slot,
    bind,
    form_for_names,
    rank_seen,
)
from nnapi_lab.rewrites.rule import Rule, Side, Step

_SCALAR_WORDS = {
    "fuse": {name: code for code, name in FUSE_NAMES.items()},
    "padding": {name: code for code, name in PADDING_NAMES.items()},
}


class StepLog:
    """Numbers and keeps the rewrites of one lowering, in the order they happened."""

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self._steps = list(steps)

    def add(
        self,
        rule: Rule,
        *,
        values: Sequence[str] = (),
        operands: Sequence[str] = (),
        before: Sequence[Side] = (),
        after: Sequence[Side] = (),
        facts: Mapping[str, Any] | None = None,
        node: str = "",
    ) -> Step:
        step = Step(
            len(self._steps) + 1, rule, tuple(values), tuple(operands), tuple(before), tuple(after),
            dict(facts or {}), node,
        )  # fmt: skip
        self._steps.append(step)
        return step

    def attach(self, step: Step, operands: Sequence[str]) -> None:
        """Add operand names to a step: they are only known once the operands exist."""
        index = step.id - 1
        held = self._steps[index]
        names = tuple(dict.fromkeys((*held.operands, *operands)))
        self._steps[index] = replace(held, operands=names)

    def rename(self, names: Mapping[str, str | None]) -> None:
        """Operands a pass merged into others (old name → new name) or dropped (→ None), in every step."""
        for index, step in enumerate(self._steps):
            if names.keys().isdisjoint(step.operands):
                continue
            kept = dict.fromkeys(names.get(name, name) for name in step.operands)
            self._steps[index] = replace(step, operands=tuple(name for name in kept if name is not None))

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps)


class Builder:
    """Grows a Model operation by operation; every operand remembers its torch values and Steps.

    Names are made unique by a numeric suffix. Results are inferred from the operation's declaration; a broken
    constraint raises InvalidModel before anything is added.
    """

    def __init__(self, name: str, relaxed: bool = False, log: StepLog | None = None) -> None:
        self.name = name
        self.relaxed = relaxed
        self.log = log or StepLog()
        self.origins: dict[str, tuple[str, ...]] = {}
        self.made_by: dict[str, tuple[int, ...]] = {}
        self._operands: dict[str, Operand] = {}
        self._operations: list[Operation] = []
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._values: tuple[str, ...] = ()
        self._next_suffix: dict[str, int] = {}

    # --- what is there ---------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Operand:
        return self._operands[name]

    def __contains__(self, name: str) -> bool:
        return name in self._operands

    def type_of(self, name: str) -> OperandType:
        return self._operands[name].type

    @property
    def operations(self) -> tuple[Operation, ...]:
        return tuple(self._operations)

    @property
    def model_inputs(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    @property
    def model_outputs(self) -> tuple[str, ...]:
        return tuple(self._outputs)

    @contextmanager
    def on_behalf_of(self, *values: str) -> Iterator[None]:
        """Everything built inside comes from these torch values unless it says otherwise."""
        before, self._values = self._values, values
        try:
            yield
        finally:
            self._values = before

    # --- growing ---------------------------------------------------------------------------------------------

    def input(self, name: str, type: OperandType, values: Sequence[str] = (), steps: Sequence[Step] = ()) -> str:
        unique = self._add(Operand(self._unique(name), type), values, steps)
        self._inputs.append(unique)
        return unique

    def constant(
        self,
        name: str,
        array: np.ndarray,
        type: OperandType | None = None,
        *,
        values: Sequence[str] = (),
        steps: Sequence[Step] = (),
    ) -> str:
        """Add a constant tensor; `type` defaults to float32, int32 or bool8 by the array's dtype."""
        array = np.asarray(array)
        if type is None:
            type = OperandType(_plain_code(array), array.shape)
        return self._add(Operand(self._unique(name), type, array), values, steps)

    def add(
        self,
        kind: str,
        /,
        *,
        name: str | Sequence[str] = "",
        quant: Quant | PerChannel | None = None,
        code: OperandCode | None = None,
        step: Step | None = None,
        values: Sequence[str] = (),
        **arguments: Any,
    ) -> str:
        """Add an operation by named arguments and return the name of its (first) result.

        Tensor arguments are operand names (a list for a variadic slot, None for an omitted one), scalars are
        Python numbers or words ("RELU6", "SAME"). `quant` is the result's quantization and `code` its type
        where the operation leaves them free. Raises InvalidModel naming the rule that is broken.
        """
        names = self.add_all(kind, names=[name] if isinstance(name, str) else name, quant=quant, code=code,
                             step=step, values=values, **arguments)  # fmt: skip
        return names[0]

    def add_all(
        self,
        kind: str,
        /,
        *,
        names: Sequence[str] = (),
        quant: Quant | PerChannel | None = None,
        code: OperandCode | None = None,
        results: int = 0,
        step: Step | None = None,
        values: Sequence[str] = (),
        **arguments: Any,
    ) -> tuple[str, ...]:
        """Like `add`, returning the names of all results.

        `results` is how many are wanted, where the operation leaves that free (the last states of a sequence).
        """
        spec = OPS[kind]
        form = form_for_names(spec, arguments)
        args = positional(form, arguments)
        call = self.call(kind, args, quant, code, results)
        raise_if_broken(call, names[0] if names else kind)
        hint = [name for name in names if name] or [kind.lower()]
        made = []
        for index, type_ in enumerate(call.results):
            wanted = hint[index] if index < len(hint) else f"{hint[0]}_{index}"
            made.append(self._add(Operand(self._unique(wanted), type_), values, [step] if step else []))
        self._operations.append(Operation(kind, args, tuple(made), step.id if step else None))
        return tuple(made)

    def call(
        self,
        kind: str,
        args: Sequence[Arg],
        quant: Quant | PerChannel | None = None,
        code: OperandCode | None = None,
        results: int = 0,
    ) -> Call:
        """Bind arguments of an operation to be, with the results' number, quantization and type as wanted."""
        types = [self._arg_type(arg) for arg in args]
        spec = OPS[kind]
        # Only what an operation leaves free is read of a declared result; MODEL says nothing about its type.
        said = quant is not None or code is not None
        first = OperandType(code or OperandCode.MODEL, None, quant)
        declared = [first] * (said or results > 0) + [OperandType(OperandCode.MODEL, None)] * (results - 1)
        return bind(spec, types, [self._arg_value(arg) for arg in args], declared)

    def also_made_by(self, name: str, steps: Sequence[Step]) -> None:
        """Further Steps behind an operand that exists."""
        self.made_by[name] = tuple(dict.fromkeys((*self.made_by[name], *(step.id for step in steps))))

    def also_from(self, name: str, values: Sequence[str]) -> None:
        """Further torch values an operand stands for."""
        self.origins[name] = tuple(dict.fromkeys((*self.origins[name], *values)))

    def output(self, name: str) -> None:
        self._outputs.append(name)

    def build(self) -> Model:
        return Model(self.name, self._operands, tuple(self._operations), tuple(self._inputs),
                     tuple(self._outputs), self.relaxed)  # fmt: skip

    # --- inside ----------------------------------------------------------------------------------------------

    def _add(self, operand: Operand, values: Sequence[str], steps: Sequence[Step]) -> str:
        self._operands[operand.name] = operand
        self.origins[operand.name] = tuple(values) or self._values
        self.made_by[operand.name] = tuple(step.id for step in steps)
        return operand.name

    def _unique(self, wanted: str) -> str:
        name = clean_name(wanted)
        if name not in self._operands:
            return name
        suffix = self._next_suffix.get(name, 2)
        while f"{name}_{suffix}" in self._operands:
            suffix += 1
        self._next_suffix[name] = suffix + 1
        return f"{name}_{suffix}"

    def _arg_type(self, arg: Arg) -> OperandType | None:
        if arg is None:
            return None
        return OperandType(arg.code, ()) if isinstance(arg, Scalar) else self._operands[arg].type

    def _arg_value(self, arg: Arg) -> Any:
        if arg is None:
            return None
        return arg.array if isinstance(arg, Scalar) else self._operands[arg].value


def clean_name(text: str) -> str:
    """A name the text form can write: letters, digits, `_`, `.`; never empty, never starting with a digit or dot."""
    kept = "".join(c if (c.isascii() and c.isalnum()) or c in "_." else "_" for c in text.lstrip("%"))
    return kept if kept and (kept[0].isalpha() or kept[0] == "_") else f"v{kept}"


def _plain_code(array: np.ndarray) -> OperandCode:
    codes = {"float32": OperandCode.TENSOR_FLOAT32, "int32": OperandCode.TENSOR_INT32,
             "bool": OperandCode.TENSOR_BOOL8, "float16": OperandCode.TENSOR_FLOAT16}  # fmt: skip
    return codes[array.dtype.name]


def positional(form: Form, arguments: Mapping[str, Any]) -> tuple[Arg, ...]:
    """Named arguments in the form's order; trailing ones after the last that was given are left out."""
    last = max((i for i, slot in enumerate(form.inputs) if slot.name in arguments), default=-1)
    last = max([last, *(i for i, slot in enumerate(form.inputs) if not slot.trailing)])
    args: list[Arg] = []
    for slot in form.inputs[: last + 1]:
        given = arguments.get(slot.name, slot.default)
        if slot.variadic:
            args.extend(given or ())
        elif slot.scalar:
            args.append(as_scalar(slot, given))
        else:
            args.append(given)
    return tuple(args)


def as_scalar(slot: Slot, given: Any) -> Arg:
    """A scalar argument: words become codes, operand names stay names, numbers become Scalars."""
    if isinstance(given, Scalar) or given is None:
        return given
    if isinstance(given, str):
        words = _SCALAR_WORDS.get(slot.name, {})
        if given not in words:
            return given
        given = words[given]
    # Scalar slots of the real kind depend on the key type; FLOAT32 unless the caller hands a Scalar.
    return Scalar(slot.types(OperandCode.TENSOR_FLOAT32)[0], given)


def raise_if_broken(call: Call, where: str) -> None:
    """Raises InvalidModel with every rule of the operation that this use breaks."""
    findings = broken_rules(call, where)
    if findings:
        raise InvalidModel(findings)


def broken_rules(call: Call, where: str) -> list[Finding]:
    """Rank and constraint findings of one use, in the order of the declaration."""
    spec: OpSpec = call.spec
    seen = rank_seen(call)
    if seen is not None:
        return [Finding(f"{spec.kind}.RANK", "error", where, seen, "", spec.source)]
    findings = []
    for constraint in spec.constraints:
        seen = constraint.check(call)
        if seen is not None:
            findings.append(Finding(f"{spec.kind}.{constraint.id}", "error", where, seen, constraint.rule, spec.source))
    return findings
