"""MODEL rules: what must hold of a model as a graph, whatever its operations mean.

Source of the rules: the NNAPI C header (`NeuralNetworks.h`) and AOSP 13 `nnapi/Validation.cpp`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Finding, Severity
from nnapi_lab.ir.model import Model, Operand, Operation
from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.validate.operands import SIZE_RULE, operand_findings

SOURCE = "AOSP 13 nnapi/Validation.cpp"
DEEPEST = 16  # how deep IF and WHILE may nest before we call it absurd

RULES = {
    "M1": "operations, inputs and outputs name operands of the model; an operand is filed under its name",
    "M2": "an operand is written before it is read: operations stand in execution order",
    "M3": "an operand is written once, and neither an input nor a constant is written",
    "M4": "no operation depends on its own result",
    "M5": "a model input is listed once and is not a constant",
    "M6": "a model output is listed once and written by an operation",
    "M7": "a model has at least one operation, and an operation at least one result",
    "M8": "a constant has a fully known type and a value of just that size; only MODEL operands hold a model",
    "M9": "scale, zero point and dimensions are those the operand's type allows",
    "M10": SIZE_RULE,
    "M11": "every operand is used",
    "M12": "operations are NNAPI's own",
    "M13": f"control flow nests at most {DEEPEST} deep",
}


def finding(rule: str, where: str, message: str, severity: Severity = "error") -> Finding:
    """A finding of one of the MODEL rules."""
    return Finding(f"MODEL.{rule}", severity, where, message, RULES[rule], SOURCE)


def structure_findings(model: Model, depth: int = 0) -> list[Finding]:
    """Everything wrong with the model as a graph; findings of models inside carry their path in `where`."""
    if depth > DEEPEST:
        return [finding("M13", model.name, f"{model.name} lies {depth} models deep")]
    findings = [*_names(model), *_lists(model)]
    if not findings:
        findings = [*_order(model), *_unused(model)]
    if not model.operations:
        findings.append(finding("M7", model.name, "the model has no operations"))
    for operand in model.operands.values():
        findings += [finding(rule, f"%{operand.name}", text) for rule, text in operand_findings(operand)]
        if isinstance(operand.value, Model):
            findings += inside(operand, structure_findings(operand.value, depth + 1))
    return findings


def is_structural(one: Finding) -> bool:
    """Whether `structure_findings` is who finds such a thing (of M12 it does not know)."""
    return one.rule.startswith("MODEL.") and one.rule != "MODEL.M12"


def inside(operand: Operand, findings: Iterable[Finding]) -> list[Finding]:
    """Findings of a referenced model, told with the operand that refers to it."""
    return [Finding(f.rule, f.severity, f"%{operand.name}/{f.where}", f.message, f.because, f.source) for f in findings]


def require_structure(model: Model) -> None:
    """Raises InvalidModel with every error in the model's structure."""
    errors = [one for one in structure_findings(model) if one.severity == "error"]
    if errors:
        raise InvalidModel(errors)


def _names(model: Model) -> Iterator[Finding]:
    for key, operand in model.operands.items():
        if key != operand.name:
            yield finding("M1", f"%{key}", f"the operand calls itself %{operand.name}")
    for operation in model.operations:
        for name in (*operation.reads, *operation.outputs):
            if name not in model.operands:
                yield finding("M1", _where(operation), f"%{name} is not an operand of {model.name}")
        if not operation.outputs:
            yield finding("M7", _where(operation), f"{operation.kind} writes nothing")
    for kind, names in (("input", model.inputs), ("output", model.outputs)):
        for name in names:
            if name not in model.operands:
                yield finding("M1", model.name, f"the {kind} %{name} is not an operand of the model")


def _where(operation: Operation) -> str:
    return f"%{operation.name}" if operation.outputs else operation.kind


def _lists(model: Model) -> Iterator[Finding]:
    for rule, kind, names in (("M5", "input", model.inputs), ("M6", "output", model.outputs)):
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            yield finding(rule, f"%{name}", f"listed {names.count(name)} times as {kind}")
    for name in model.inputs:
        operand = model.operands.get(name)
        if operand is not None and operand.is_constant:
            yield finding("M5", f"%{name}", "a model input holds a constant value")
        if operand is not None and operand.type.code == OperandCode.MODEL:
            yield finding("M5", f"%{name}", "a model input is of type MODEL")


def _order(model: Model) -> Iterator[Finding]:
    given = {*model.inputs, *(operand.name for operand in model.constants)}
    written: set[str] = set()
    late = False
    for operation in model.operations:
        for name in dict.fromkeys(operation.reads):
            if name in given or name in written:
                continue
            late = True
            writer = model.producer(name)
            problem = "nothing writes it" if writer is None else f"{writer.kind} writes it only later"
            yield finding("M2", _where(operation), f"{operation.kind} reads %{name}, but {problem}")
        for name in operation.outputs:
            if name in written:
                yield finding("M3", f"%{name}", f"{operation.kind} writes it again")
            elif name in given:
                kind = "an input" if name in model.inputs else "a constant"
                yield finding("M3", f"%{name}", f"{operation.kind} writes it although it is {kind}")
            written.add(name)
    for name in model.outputs:
        if name not in written:
            yield finding("M6", f"%{name}", "no operation writes this model output")
    if late:
        yield from _cycles(model, given)


def _cycles(model: Model, given: set[str]) -> Iterator[Finding]:
    """Operations that could not run in any order although all they read is written by someone."""
    have = {*given, *(n for op in model.operations for n in op.reads if model.producer(n) is None)}
    waiting = list(model.operations)
    while waiting:
        ready = [operation for operation in waiting if have.issuperset(operation.reads)]
        if not ready:
            kinds = ", ".join(f"{operation.kind} at {_where(operation)}" for operation in waiting[:4])
            yield finding("M4", _where(waiting[0]), f"in a cycle, or behind one: {kinds}")
            return
        for operation in ready:
            have.update(operation.outputs)
        waiting = [operation for operation in waiting if not have.issuperset(operation.outputs)]


def _unused(model: Model) -> Iterator[Finding]:
    used = {*model.inputs, *model.outputs}
    for operation in model.operations:
        used.update(operation.reads)
        used.update(operation.outputs)
    for name in model.operands:
        if name not in used:
            yield finding("M11", f"%{name}", "no operation reads or writes it", "warning")
