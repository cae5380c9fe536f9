"""How an NNAPI operation is declared: one `OpSpec` holds everything the standard says of it.

From the declaration come validator, required level, builder, printer, parser, simulator and op card. A `Form`
is one way of writing the arguments; forms are told apart by the types of their slots, not only by their number
(CONV_2D has two forms with 10 inputs). A `Call` is one use of an operation: the form bound to concrete types.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Finding
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant, shape_text

# --- slot types as functions of the key type -----------------------------------------------------------------

TypeRule = Callable[[OperandCode], tuple[OperandCode, ...]]


def same(key: OperandCode) -> tuple[OperandCode, ...]:
    """The slot has the operation's key type."""
    return (key,)


def fixed(*codes: OperandCode) -> TypeRule:
    """The slot has one of these types, whatever the key type."""
    return lambda key: codes


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument (or result) of a form.

    `rank`: exact rank, or (lowest, highest). `optional`: may be an omitted operand (NO_VALUE). `default`: a
    trailing scalar that may be left out. `since`: writing the argument at all needs this feature level.
    `variadic`: stands for one or more operands (at most one such slot in a form).
    """

    name: str
    types: TypeRule
    scalar: bool = False
    rank: int | tuple[int, int] | None = None
    optional: bool = False
    default: Any = None
    trailing: bool = False
    since: int = 1
    variadic: bool = False
    doc: str = ""


def tensor(name: str, types: TypeRule = same, **options: Any) -> Slot:
    """A tensor slot, by default of the key type."""
    return Slot(name, types, **options)


def scalar(name: str, code: OperandCode = OperandCode.INT32, **options: Any) -> Slot:
    """A scalar slot, by default INT32; giving `default` makes it a trailing argument that may be left out."""
    trailing = options.pop("trailing", "default" in options)
    return Slot(name, fixed(code), scalar=True, trailing=trailing, **options)


def real_scalar(name: str, **options: Any) -> Slot:
    """A scalar slot that is FLOAT16 when the key type is TENSOR_FLOAT16, else FLOAT32."""
    trailing = options.pop("trailing", "default" in options)
    return Slot(name, _real, scalar=True, trailing=trailing, **options)


def _real(key: OperandCode) -> tuple[OperandCode, ...]:
    half = key in (OperandCode.TENSOR_FLOAT16, OperandCode.FLOAT16)
    return (OperandCode.FLOAT16 if half else OperandCode.FLOAT32,)


def fuse_slot(name: str = "fuse") -> Slot:
    """The FuseCode argument: 0 NONE, 1 RELU, 2 RELU1 ([-1,1]), 3 RELU6."""
    return scalar(name, doc="FuseCode")


def nchw_slot(**options: Any) -> Slot:
    """The data layout argument: false NHWC, true NCHW."""
    options.setdefault("default", False)
    options.setdefault("since", 3)
    return scalar("nchw", OperandCode.BOOL, **options)


FUSE_NAMES = {0: "NONE", 1: "RELU", 2: "RELU1", 3: "RELU6"}
PADDING_NAMES = {1: "SAME", 2: "VALID"}


@dataclass(frozen=True, slots=True)
class Form:
    """One way of writing an operation's arguments.

    `resolve`, if given, turns this form's scalars into those the kernel knows (implicit padding to explicit
    pads); it sees a Call whose shapes are all known.
    """

    name: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...] = (Slot("out", same),)
    since: int = 1
    resolve: Callable[[Call], Mapping[str, Any]] | None = None

    def slot(self, name: str) -> Slot | None:
        return next((slot for slot in self.inputs if slot.name == name), None)

    @property
    def required(self) -> int:
        """Fewest arguments this form can be written with."""
        return sum(not slot.trailing for slot in self.inputs)

    def spread(self, count: int) -> tuple[Slot, ...] | None:
        """The slot of each of `count` positional arguments; None when the form has no such arity."""
        variadic = next((i for i, slot in enumerate(self.inputs) if slot.variadic), None)
        if variadic is None:
            return self.inputs[:count] if self.required <= count <= len(self.inputs) else None
        extra = count - len(self.inputs)
        if extra < -1:
            return None
        head, tail = self.inputs[:variadic], self.inputs[variadic + 1 :]
        return (*head, *([self.inputs[variadic]] * (extra + 1)), *tail)


# --- one use of an operation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One use of an operation: a form bound to types, parameters and the constants known so far.

    `call["input"]` is the type of a tensor slot (a tuple of types for a variadic one, None when omitted);
    `call["stride_w"]` is the value of a scalar slot (its default when left out, None when only known at
    execution). `given` names the slots that were written out. `declared` are the types the results are said to
    have (their quantization is the caller's choice where the operation leaves it free).
    """

    spec: OpSpec
    form: Form
    types: Mapping[str, Any]
    params: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    declared: tuple[OperandType, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.params[name] if name in self.params else self.types[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a scalar slot or the type of a tensor slot; `default` when this form has no such slot."""
        return self[name] if name in self.params or name in self.types else default

    def value(self, name: str) -> Any:
        """The constant in a tensor slot (an array; a Model for MODEL), None while it is not known."""
        return self.values.get(name)

    @property
    def key(self) -> OperandCode:
        """The type that decides which row of the standard's type table applies."""
        return self.spec.key_of(self.types)

    @property
    def is_quantized(self) -> bool:
        return self.key.is_quantized

    @cached_property
    def results(self) -> tuple[OperandType, ...]:
        """Inferred result types: shape and code by the operation's rule, quantization where it is prescribed."""
        return self.spec.result(self)

    @property
    def out(self) -> OperandType:
        """The (first) result type."""
        return self.results[0]

    def wanted_quant(self, index: int = 0) -> Quant | PerChannel | None:
        """The quantization declared for a result; the operation leaves the choice to the caller."""
        return self.declared[index].quant if index < len(self.declared) else None

    def wanted_code(self, index: int = 0) -> OperandCode | None:
        """The type declared for a result, where the operation leaves a choice; None when nothing is said.

        MODEL says nothing: no operation results in one, so callers that only know a quantization write it.
        """
        code = self.declared[index].code if index < len(self.declared) else None
        return None if code == OperandCode.MODEL else code

    def resolved(self) -> dict[str, Any]:
        """The scalars as the kernel takes them: implicit padding made explicit, omitted ones defaulted."""
        return dict(self.params) if self.form.resolve is None else dict(self.form.resolve(self))


@dataclass(frozen=True, slots=True)
class Constraint:
    """A rule of the standard: `check` returns what was seen when it is broken, None when it holds or when the
    types are not known well enough yet (it is asked again at execution)."""

    id: str
    rule: str
    check: Callable[[Call], str | None]


@dataclass(frozen=True, slots=True)
class Undefined:
    """Values on which the reference has no defined result; `result` says what nnapi_lab gives instead.

    `applies(call)`: whether such values can occur in this use at all. `seen(call, *tensors)` looks at what the
    kernel is about to take and returns what was seen, None when all is well.
    """

    id: str
    rule: str
    result: str
    applies: Callable[[Call], bool]
    seen: Callable[..., str | None]


@dataclass(frozen=True, slots=True)
class LevelRule:
    """A use that needs a higher feature level than the operation itself."""

    level: int
    because: str
    applies: Callable[[Call], bool]


@dataclass(frozen=True)
class OpSpec:
    """Everything the standard says of one operation.

    `types`: key type → feature level. `result`: Call → result types. `kernel(*tensors, **scalars)` computes on
    NumPy arrays in slot order (a list for a variadic slot, None for an omitted operand) and returns an array or
    a tuple of arrays; it may ask for the `call` by naming that keyword. `half="float32"`: float16 is computed in
    float32 and rounded once at the end, as the reference does for most operations; `"native"`: the kernel gets
    float16 arrays.
    """

    kind: str
    code: int
    since: int
    summary: str
    types: Mapping[OperandCode, int]
    forms: tuple[Form, ...]
    result: Callable[[Call], tuple[OperandType, ...]]
    kernel: Callable[..., Any]
    source: str
    key: str = ""
    constraints: tuple[Constraint, ...] = ()
    levels: tuple[LevelRule, ...] = ()
    undefined: tuple[Undefined, ...] = ()
    zero_sized: int | None = None
    half: str = "float32"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_kernel(self)

    def key_of(self, types: Mapping[str, Any]) -> OperandCode:
        """The type the standard's table is keyed by; a scalar (FILL's value) stands for the tensor of its type."""
        name = self.key or next(slot.name for slot in self.forms[0].inputs if not slot.scalar)
        held = types[name]
        code: OperandCode = (held[0] if isinstance(held, tuple) else held).code
        return _TENSOR_OF.get(code, code)

    def constraint(self, id: str) -> Constraint:
        return next(rule for rule in self.constraints if rule.id == id)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of all input slots of all forms, in order of first appearance."""
        return tuple(dict.fromkeys(slot.name for form in self.forms for slot in form.inputs))


_TENSOR_OF = {
    OperandCode.FLOAT32: OperandCode.TENSOR_FLOAT32,
    OperandCode.FLOAT16: OperandCode.TENSOR_FLOAT16,
    OperandCode.INT32: OperandCode.TENSOR_INT32,
}

# What a kernel may ask for besides the declared slots: its Call; for control flow, how to run a model and for
# how many seconds a loop may last.
OFFERED = frozenset({"call", "execute", "loop_seconds"})


def _check_kernel(spec: OpSpec) -> None:
    """Refuse, at import, a kernel whose parameter names differ from the declared slots."""
    signature = inspect.signature(spec.kernel).parameters.values()
    positional = [p.name for p in signature if p.kind == p.POSITIONAL_OR_KEYWORD]
    keywords = {p.name for p in signature if p.kind == p.KEYWORD_ONLY} - OFFERED
    tensors = list(dict.fromkeys(s.name for form in spec.forms for s in form.inputs if not s.scalar))
    if positional != tensors:
        raise TypeError(f"{spec.kind}: kernel takes tensors {positional}, the declaration says {tensors}")
    plain = [form for form in spec.forms if form.resolve is None]
    declared = {s.name for form in plain for s in form.inputs if s.scalar}
    if plain and keywords != declared:
        raise TypeError(f"{spec.kind}: kernel takes scalars {sorted(keywords)}, declared {sorted(declared)}")


# --- binding -------------------------------------------------------------------------------------------------


def bind(
    spec: OpSpec,
    types: Sequence[OperandType | None],
    values: Sequence[Any],
    outputs: Sequence[OperandType] = (),
    where: str = "",
) -> Call:
    """Bind positional arguments to the form they fit.

    `types[i]` is None for an omitted operand; `values[i]` is the constant array (or Model), None if unknown.
    Raises InvalidModel with finding `<KIND>.FORM` naming what each form lacks.
    """
    misfits = []
    for form in spec.forms:
        slots = form.spread(len(types))
        reason = f"takes {_arity_text(form)} inputs" if slots is None else _misfit(spec, form, slots, types, outputs)
        if reason is None and slots is not None:
            return _bound(spec, form, slots, types, values, outputs)
        misfits.append(f"{form.name}: {reason}")
    seen = ", ".join("omitted" if held is None else str(held) for held in types)
    raise InvalidModel(
        [
            Finding(
                f"{spec.kind}.FORM",
                "error",
                where or spec.kind,
                f"no form fits {len(types)} inputs ({seen}); {'; '.join(misfits)}",
                "the number and types of inputs decide which form of the operation is meant",
                spec.source,
            )
        ]
    )


def _arity_text(form: Form) -> str:
    if any(slot.variadic for slot in form.inputs):
        return f"at least {len(form.inputs)}"
    fewest, most = form.required, len(form.inputs)
    return str(most) if fewest == most else f"{fewest} to {most}"


def _misfit(
    spec: OpSpec, form: Form, slots: Sequence[Slot], types: Sequence[OperandType | None],
    outputs: Sequence[OperandType],
) -> str | None:  # fmt: skip
    """Why these types do not fit these slots, None when they do."""
    by_name: dict[str, Any] = {}
    for slot, held in zip(slots, types, strict=True):
        by_name.setdefault(slot.name, held)
    try:
        key = spec.key_of({**{slot.name: None for slot in form.inputs}, **by_name})
    except AttributeError:
        return "the input that decides the type is omitted"
    if key not in spec.types:
        allowed = ", ".join(code.name for code in spec.types)
        return f"{spec.key or slots[0].name} is {key.name}, not one of {allowed}"
    for slot, held in zip(slots, types, strict=True):
        if held is None:
            if not slot.optional:
                return f"{slot.name} is omitted but not optional"
        elif held.code not in slot.types(key):
            wanted = " or ".join(code.name for code in slot.types(key))
            return f"{slot.name} is {held.code.name}, expected {wanted}"
    return None


def _bound(
    spec: OpSpec, form: Form, slots: Sequence[Slot], types: Sequence[OperandType | None], values: Sequence[Any],
    outputs: Sequence[OperandType],
) -> Call:  # fmt: skip
    held: dict[str, Any] = {}
    params: dict[str, Any] = {}
    known: dict[str, Any] = {}
    for slot, type_, value in zip(slots, types, values, strict=True):
        if slot.scalar:
            params[slot.name] = None if value is None else np.asarray(value).item()
            if slot.name == spec.key:
                held[slot.name] = type_
        elif slot.variadic:
            held[slot.name] = (*held.get(slot.name, ()), type_)
            known[slot.name] = (*known.get(slot.name, ()), value)
        else:
            held[slot.name] = type_
            known[slot.name] = value
    for slot in form.inputs:
        if slot.name in held or slot.name in params:
            continue
        if slot.scalar:
            params[slot.name] = slot.default
        else:
            held[slot.name] = () if slot.variadic else None
    given = frozenset(slot.name for slot in slots)
    return Call(spec, form, held, params, known, given, tuple(outputs))


def form_for_names(spec: OpSpec, names: Iterable[str]) -> Form:
    """The form written with these argument names.

    Raises InvalidModel naming the arguments each form lacks or does not know.
    """
    given = set(names)
    misfits = []
    for form in spec.forms:
        known = {slot.name for slot in form.inputs}
        needed = {slot.name for slot in form.inputs if not (slot.trailing or slot.optional or slot.variadic)}
        if given <= known and needed <= given:
            return form
        lacks, alien = sorted(needed - given), sorted(given - known)
        parts = [f"lacks {', '.join(lacks)}"] if lacks else []
        parts += [f"has no {', '.join(alien)}"] if alien else []
        misfits.append(f"{form.name} {' and '.join(parts)}")
    raise InvalidModel(
        [Finding(f"{spec.kind}.FORM", "error", spec.kind, "; ".join(misfits),
                 "arguments are known by the names of the form's slots", spec.source)]
    )  # fmt: skip


def rebind(call: Call, types: Mapping[str, Any], values: Mapping[str, Any], params: Mapping[str, Any]) -> Call:
    """The same use with types, constants and scalars as they turned out at execution."""
    return replace(call, types=types, values=values, params={**call.params, **params})


def undefined_findings(call: Call, tensors: Sequence[Any], where: str = "") -> list[Finding]:
    """What in these values (the kernel's tensors, in order) has no defined result in the reference: warnings."""
    spec, found = call.spec, []
    for one in spec.undefined:
        seen = one.seen(call, *tensors) if one.applies(call) else None
        if seen is not None:
            message = f"{seen}; {one.result}"
            found.append(
                Finding(f"{spec.kind}.{one.id}", "warning", where or spec.kind, message, one.rule, spec.source)
            )
    return found


# --- checks every operation shares ---------------------------------------------------------------------------


def rank_seen(call: Call) -> str | None:
    """Which tensor slot has a rank its declaration does not allow, None if all fit (or are unknown)."""
    for slot in call.form.inputs:
        if slot.scalar or slot.rank is None:
            continue
        held = call.types.get(slot.name)
        for type_ in held if isinstance(held, tuple) else (held,):
            if type_ is None or type_.rank is None:
                continue
            # An operand of open size may turn out omitted at execution; then its rank means nothing.
            if slot.optional and not type_.is_static:
                continue
            low, high = slot.rank if isinstance(slot.rank, tuple) else (slot.rank, slot.rank)
            if not low <= type_.rank <= high:
                wanted = str(low) if low == high else f"{low} to {high}"
                return f"{slot.name} {shape_text(type_.shape)} has rank {type_.rank}, expected {wanted}"
    return None


def zero_sized_seen(call: Call) -> str | None:
    """Which input has a dimension of size zero although the operation does not take such inputs."""
    if call.spec.zero_sized is not None:
        return None
    for name, held in call.types.items():
        for type_ in held if isinstance(held, tuple) else (held,):
            if type_ is not None and type_.shape is not None and any(d == 0 for d in type_.shape):
                return f"{name} {shape_text(type_.shape)} has a dimension of size zero"
    return None


def required_level(call: Call) -> tuple[int, str]:
    """The feature level this use needs, and the reason that decides it.

    Trailing arguments equal to their defaults count as absent: Android's runtime drops them before it asks.
    """
    spec = call.spec
    reasons = [(spec.since, f"{spec.kind} exists since feature level {spec.since}")]
    reasons.append((spec.types[call.key], f"{spec.kind} on {call.key.name}"))
    reasons.append((call.form.since, f"form {call.form.name} of {spec.kind}"))
    reasons += [
        (slot.since, f"{spec.kind} with argument {slot.name}")
        for slot in call.form.inputs
        if slot.name in call.given and slot.since > 1 and slot.name in _effective(call)
    ]
    reasons += [(rule.level, rule.because) for rule in spec.levels if rule.applies(call)]
    for held in call.types.values():
        for type_ in held if isinstance(held, tuple) else (held,):
            if type_ is not None:
                reasons.append((type_.code.since, f"operand type {type_.code.name}"))
    return max(reasons, key=lambda reason: reason[0])


def _effective(call: Call) -> frozenset[str]:
    """Names of written arguments that remain after trailing defaults are dropped from the end."""
    kept = [slot.name for slot in call.form.inputs if slot.name in call.given]
    by_name = {slot.name: slot for slot in call.form.inputs}
    while kept:
        slot = by_name[kept[-1]]
        if not slot.trailing or not slot.scalar or call.params.get(slot.name) != slot.default:
            break
        kept.pop()
    return frozenset(kept)
