"""check: everything that is wrong with a model, and the feature level it needs with the reasons."""

from __future__ import annotations

from dataclasses import dataclass

from nnapi_lab.errors import InvalidModel
from nnapi_lab.ir.findings import Finding
from nnapi_lab.ir.model import Model
from nnapi_lab.validate.levels import NEWEST, UseLevel, api_level_of, level_text, model_levels, use_level
from nnapi_lab.validate.structure import inside, is_structural, structure_findings
from nnapi_lab.validate.uses import bind_use, use_findings


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found. `feature_level` is None when an operation could not be bound to any declared form.

    `because` are the reasons that decide the level; `levels` has a row for each operation in order.
    """

    model: str
    findings: tuple[Finding, ...]
    feature_level: int | None
    because: tuple[str, ...]
    levels: tuple[UseLevel, ...]

    @property
    def is_valid(self) -> bool:
        """True when no finding is an error; warnings do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def api_level(self) -> int | None:
        """Android API level 27…31, or the runtime code of a module update (1000006 …); None where there is none."""
        level = self.feature_level
        return None if level is None or level > NEWEST else api_level_of(level)

    def __str__(self) -> str:
        """A summary to read: verdict, level with reasons, findings."""
        lines = [f"model {self.model}: {'valid' if self.is_valid else f'invalid, {len(self.errors)} errors'}"]
        if self.feature_level is not None:
            lines.append(f"needs {level_text(self.feature_level)} because of {'; '.join(self.because)}")
        return "\n".join([*lines, *(f"- {finding}" for finding in self.findings)])


def check(model: Model) -> Report:
    """Hold a model against the standard: structure, every use of an operation, the level it needs.

    Never raises for a damaged model; what is wrong are findings.
    """
    findings = structure_findings(model)
    broken = [one for one in findings if one.severity == "error" and one.rule in ("MODEL.M1", "MODEL.M13")]
    if broken:  # names lead nowhere: there are no uses to look at
        return Report(model.name, tuple(findings), None, (), ())
    found, levels = _uses(model)
    findings += found
    complete = len(levels) == len(model.operations)
    if not complete:
        return Report(model.name, tuple(findings), None, (), tuple(levels))
    reasons = [*model_levels(model), *((use.level, use.because) for use in levels)]
    for operand in model.constants:
        if isinstance(operand.value, Model):
            below = check(operand.value)
            findings += inside(operand, (f for f in below.findings if not is_structural(f)))
            if below.feature_level is not None:
                reasons += [(below.feature_level, f"in %{operand.name}: {text}") for text in below.because]
    level = max(level for level, _ in reasons)
    because = tuple(dict.fromkeys(text for at, text in reasons if at == level))
    if level == 1:
        because = ("nothing in it needs more than the first level",)
    return Report(model.name, tuple(findings), level, because, tuple(levels))


def _uses(model: Model) -> tuple[list[Finding], list[UseLevel]]:
    findings: list[Finding] = []
    levels: list[UseLevel] = []
    for operation in model.operations:
        types = [model.type_of(arg) for arg in operation.inputs]
        values = [model.value_of(arg) for arg in operation.inputs]
        try:
            call = bind_use(model, operation, types, values)
        except InvalidModel as error:
            findings += error.findings
            continue
        findings += use_findings(model, operation, call)
        levels.append(use_level(operation, call))
    return findings, levels


def require_valid(model: Model) -> Report:
    """The report of a valid model; raises InvalidModel with every error otherwise."""
    report = check(model)
    if not report.is_valid:
        raise InvalidModel(report.errors)
    return report
