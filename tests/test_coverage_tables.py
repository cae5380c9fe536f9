"""Nothing is silently missing: what one table declares, another must hold a case for."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nnapi_lab
from nnapi_lab import rewrites
from nnapi_lab.build import broken_rules
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import Call
from nnapi_lab.rewrites.rule import Rule
from nnapi_lab.torchscript import lowerings  # noqa: F401  registers every rule
from nnapi_lab.torchscript.interpret import functional_twin
from nnapi_lab.torchscript.registry import LOWERINGS

ROOT = Path(__file__).resolve().parent
HOUSE = Path(nnapi_lab.__file__).parent

# Rules that nothing logs yet, and why they are written down all the same.
NOT_LOGGED = {"fusion.pad": "the pass that moves a PAD into a convolution is not written"}


def rules() -> dict[str, Rule]:
    """Every Rule of nnapi_lab.rewrites by id."""
    modules = [importlib.import_module(f"nnapi_lab.rewrites.{found.name}")
               for found in pkgutil.iter_modules(rewrites.__path__)]  # fmt: skip
    held = [rule for module in modules for rule in vars(module).values() if isinstance(rule, Rule)]
    return {rule.id: rule for rule in held}


# --- operations -------------------------------------------------------------------------------------------------


def test_every_operation_code_is_declared(shared_dir: Path) -> None:
    catalogue = json.loads((shared_dir / "nnapi" / "opcatalog.json").read_text())["operations"]
    assert {spec.kind: spec.code for spec in OPS.values()} == {
        kind: entry["code"] for kind, entry in catalogue.items() if kind in OPS or not kind.startswith("OEM")
    }


def broken_cases() -> dict[str, Callable[[], Call]]:
    """The BROKEN tables of tests/ops, one case per constraint."""
    cases: dict[str, Callable[[], Call]] = {}
    for path in sorted((ROOT / "ops").glob("test_*.py")):
        names = {target.id for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign | ast.AnnAssign)
                 for target in ([node.target] if isinstance(node, ast.AnnAssign) else node.targets)
                 if isinstance(target, ast.Name)}  # fmt: skip
        if "BROKEN" in names:
            cases |= importlib.import_module(f"tests.ops.{path.stem}").BROKEN
    return cases


CONSTRAINTS = sorted(f"{spec.kind}.{constraint.id}" for spec in OPS.values() for constraint in spec.constraints)


def test_every_constraint_has_a_case_that_breaks_it() -> None:
    cases = broken_cases()
    missing = [name for name in CONSTRAINTS if name not in cases]
    assert not missing
    assert not sorted(set(cases) - set(CONSTRAINTS) - {name for name in cases if name.endswith((".RANK", ".FORM"))})


@pytest.mark.parametrize("kind", sorted(OPS))
def test_the_cases_break_what_they_say(kind: str) -> None:
    for name, case in broken_cases().items():
        if name.rpartition(".")[0] == kind and not name.endswith((".RANK", ".FORM")):
            assert name in [finding.rule for finding in broken_rules(case(), "here")], name


# --- rules ------------------------------------------------------------------------------------------------------


def test_rule_ids_are_unique_and_filled_in() -> None:
    for path in (HOUSE / "rewrites").glob("*.py"):
        module = importlib.import_module(f"nnapi_lab.rewrites.{path.stem}")
        for name, rule in vars(module).items():
            if isinstance(rule, Rule):
                assert rules()[rule.id] == rule, f"{name} shares its id {rule.id}"
                assert rule.title, name
                assert rule.formula, name
                assert rule.source, name
                assert len(rule.why.split()) > 3, name


def logged_in_goldens() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "goldens").glob("*.nn")]
    return {rule for text in texts for rule in re.findall(r"^// #\d+ ([\w.]+):", text, re.MULTILINE)}


def test_every_rule_appears_in_a_golden() -> None:
    missing = sorted(rules().keys() - logged_in_goldens() - NOT_LOGGED.keys())
    assert not missing, "add a case to tests/lowering/test_goldens.py"
    assert logged_in_goldens() <= rules().keys()


@pytest.mark.parametrize("rule", NOT_LOGGED)
def test_rules_nothing_logs_are_really_not_logged(rule: str) -> None:
    assert rule not in logged_in_goldens(), f"{rule} is logged now: strike it from NOT_LOGGED"


def test_every_golden_has_a_case() -> None:
    module = importlib.import_module("tests.lowering.test_goldens")
    cases = {*module.CASES, *module.OPTIONS}
    assert {path.stem for path in (ROOT / "goldens").glob("*.nn")} == cases


# --- lowerings --------------------------------------------------------------------------------------------------


def schemas(kind: str) -> list[set[str]]:
    return [{argument.name for argument in schema.arguments}
            for schema in torch._C._jit_get_schemas_for_operator(kind)]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(LOWERINGS))
def test_parameters_are_torchs_own(kind: str) -> None:
    """Read or ignored on purpose, every argument of at least one overload; and nothing torch does not have.

    A kind torch does not know (its library is not loaded) cannot be checked.
    """
    rule, known = LOWERINGS[kind], schemas(kind)
    if not known:
        pytest.skip(f"torch does not know {kind}")
    looked_at = {*rule.parameters, *rule.ignores}
    assert any(names <= looked_at for names in known), f"{known} against {sorted(looked_at)}"
    # One rule may serve several kinds, and several overloads of each.
    served = [other for other in LOWERINGS if LOWERINGS[other].run is rule.run]
    everything = {name for other in served for names in schemas(other) for name in names}
    assert looked_at <= everything, f"torch has no {sorted(looked_at - everything)}"


@pytest.mark.parametrize("kind", sorted(kind for kind in LOWERINGS if kind.endswith("_") and not kind.endswith("__")))
def test_in_place_kinds_have_a_functional_twin(kind: str) -> None:
    """Without one, recording would write into the example values."""
    overloads = [schema.overload_name for schema in torch._C._jit_get_schemas_for_operator(kind)]
    assert any(functional_twin(kind, overload) != kind for overload in overloads)
