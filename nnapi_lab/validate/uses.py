"""One use of an operation, held against its declaration: form, sizes, rank, constraints, results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Finding, Severity
from nnapi_lab.ir.model import Model, Operation
from nnapi_lab.ir.operand_types import Dim, OperandType, PerChannel, Quant, Shape, same_dims, shape_text
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import Call, bind, zero_sized_seen
from nnapi_lab.validate.operands import SIZE_RULE, size_problems


def bind_use(model: Model, operation: Operation, types: Sequence[OperandType | None], values: Sequence[Any]) -> Call:
    """Bind one operation of a model to types and known values of its arguments.

    Raises InvalidModel for an unknown kind or when no form fits.
    """
    spec = OPS.get(operation.kind)
    where = f"%{operation.name}"
    if spec is None:
        message = f"{operation.kind} is not an operation nnapi_lab knows"
        raise InvalidModel([Finding("MODEL.M12", "error", where, message, "operations are NNAPI's own")])
    declared = tuple(model[name].type for name in operation.outputs)
    return bind(spec, types, values, declared, where)


def use_findings(model: Model, operation: Operation, call: Call) -> list[Finding]:
    """Everything that is wrong with one bound use: sizes and constraints first, then its results."""
    spec, where = call.spec, f"%{operation.name}"
    seen = zero_sized_seen(call)
    if seen is not None:
        because = f"{spec.kind} does not take tensors without elements"
        return [Finding(f"{spec.kind}.ZERO", "error", where, seen, because, spec.source)]
    return broken_rules(call, where) or _too_large(operation, call) or result_findings(model, operation, call)


def _too_large(operation: Operation, call: Call) -> list[Finding]:
    """Results whose size, which perhaps only execution brings, is absurd: told before memory is taken."""
    return [
        Finding("MODEL.M10", "error", f"%{name}", f"{call.spec.kind} gives {problem}", SIZE_RULE, call.spec.source)
        for name, type_ in zip(operation.outputs, call.results, strict=False)
        for problem in size_problems(type_)
    ]


def result_findings(model: Model, operation: Operation, call: Call) -> list[Finding]:
    """How the declared results differ from what the operation computes.

    Types and dims must agree everywhere. Another quantization is an error on a model output; elsewhere
    Android silently takes the computed one, so it is a warning.
    """
    spec, where = call.spec, f"%{operation.name}"
    rule = f"{spec.kind}.RESULT"
    if len(call.results) != len(operation.outputs):
        message = f"{len(operation.outputs)} results are written, the operation has {len(call.results)}"
        return [Finding(rule, "error", where, message, "", spec.source)]
    findings = []
    for name, computed in zip(operation.outputs, call.results, strict=True):
        problem = _difference(model[name].type, computed)
        if problem is None:
            continue
        message, severe = problem
        severity: Severity = "error" if severe or name in model.outputs else "warning"
        because = "a result is declared as the operation computes it"
        findings.append(Finding(rule, severity, f"%{name}", message, because, spec.source))
    return findings


def _difference(declared: OperandType, computed: OperandType) -> tuple[str, bool] | None:
    """(what differs, whether it is an error even on a temporary), None when all agree."""
    if declared.code != computed.code:
        return f"declared {declared.code.name}, the operation gives {computed.code.name}", True
    if not same_dims(declared.shape, computed.shape):
        return (
            f"declared {shape_text(declared.shape)}, the operation gives {shape_text(computed.shape)}",
            True,
        )
    if not _same_quant(declared.quant, computed.quant):
        return f"declared {_quant_text(declared)}, the operation gives {_quant_text(computed)}", False
    return None


def _same_quant(left: Quant | PerChannel | None, right: Quant | PerChannel | None) -> bool:
    """Equality, where scale 0 and zero point 0 say the same as nothing."""
    return (left or Quant(0.0)) == (right or Quant(0.0))


def _quant_text(type_: OperandType) -> str:
    return "no quantization" if type_.quant is None else str(type_.quant)


def require_valid_use(
    model: Model, operation: Operation, types: Sequence[OperandType | None], values: Sequence[Any]
) -> Call:
    """The bound call; raises InvalidModel with every error found in it."""
    call = bind_use(model, operation, types, values)
    errors = [finding for finding in use_findings(model, operation, call) if finding.severity == "error"]
    if errors:
        raise InvalidModel(errors)
    return call


def combined_shape(computed: Shape | None, declared: Shape | None) -> Shape | None:
    """What both say together: the computed sizes, completed by the declared ones where they are open."""
    if computed is None or declared is None:
        return declared if computed is None else computed
    return tuple(have if not isinstance(have, Dim) else wanted for have, wanted in zip(computed, declared, strict=True))
