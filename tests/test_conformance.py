"""Golden vectors: reading (damage included), judging, the derived families, the report."""

from __future__ import annotations

import copy
import gzip
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnapi_lab.conformance import Case, read_vectors, run_conformance, vector_files
from nnapi_lab.conformance.derived import derived_cases
from nnapi_lab.conformance.judge import judge_multinomial, judge_values
from nnapi_lab.conformance.report import Outcome, report_of
from nnapi_lab.conformance.suite import judge_example
from nnapi_lab.errors import FormatError
from nnapi_lab.ir.model import Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, PerChannel, Quant
from nnapi_lab.ops.registry import OPS
from nnapi_lab.validate import Report, check
from tests.conftest import ROOT


def operand(name: str, type_: str, dims: list[int], lifetime: str, **more: Any) -> dict[str, Any]:
    code = OperandCode[type_].value
    return {"name": name, "type": type_, "code": code, "dims": dims, "scale": more.pop("scale", 0.0),
            "zeroPoint": more.pop("zeroPoint", 0), "lifetime": lifetime, **more}  # fmt: skip


def document() -> dict[str, Any]:
    """A document with one case: 2x2 max pooling of a 2x2 image, on uint8 codes."""
    scalars = [0, 0, 0, 0, 1, 1, 2, 2, 0]
    operands = [operand("x", "TENSOR_QUANT8_ASYMM", [1, 2, 2, 1], "SUBGRAPH_INPUT", scale=0.5, zeroPoint=10)]
    operands += [operand(f"p{i}", "INT32", [], "CONSTANT_COPY", value=[value]) for i, value in enumerate(scalars)]
    operands.append(operand("y", "TENSOR_QUANT8_ASYMM", [1, 1, 1, 1], "SUBGRAPH_OUTPUT", scale=0.5, zeroPoint=10))
    operation = {"op": "MAX_POOL_2D", "code": 17, "inputs": [*range(10)], "outputs": [10]}
    model = {"operands": operands, "inputs": [0], "outputs": [10], "operations": [operation]}
    case = {"name": "pool", "ops": ["MAX_POOL_2D"], "variants": [], "hal": "V1_0", "hal_checked": "V1_0",
            "feature_level": 1, "api_level": 27, "relaxed": False, "expect": "values", "main": model,
            "refs": [],
            "tolerance": [{"atol": 1, "rtol": 0}],
            "examples": [{"name": "pool", "inputs": [[1, 2, 3, 250]], "outputs": [[250]]}]}  # fmt: skip
    return {"format": "nnapi-vectors-1", "spec": "V1_0/pool", "ops": ["MAX_POOL_2D"], "cases": [case]}


def write(folder: Path, content: dict[str, Any], name: str = "V1_0__pool.json.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return path


def read_one(folder: Path, content: dict[str, Any]) -> Case:
    (case,) = read_vectors(write(folder, content))
    return case


# --- reading -------------------------------------------------------------------------------------------


def test_a_case_becomes_a_model_with_scalars_in_place(tmp_path: Path) -> None:
    case = read_one(tmp_path, document())
    (operation,) = case.model.operations
    assert operation.inputs[0] == "x"
    assert operation.inputs[7] == Scalar(OperandCode.INT32, 2)
    assert set(case.model.operands) == {"x", "y"}
    assert case.model["x"].type.quant == Quant(0.5, 10)
    assert case.examples[0].inputs[0].shape == (1, 2, 2, 1)
    assert (case.feature_level, case.hal_checked) == (1, "V1_0")


def main_of(content: dict[str, Any]) -> dict[str, Any]:
    return content["cases"][0]["main"]


def test_dims_of_zero_are_unknown_and_no_dims_an_unknown_rank(tmp_path: Path) -> None:
    content = document()
    main_of(content)["operands"][0]["dims"] = [1, 0, 2, 1]
    main_of(content)["operands"][10]["dims"] = []
    case = read_one(tmp_path, content)
    assert isinstance(case.model["x"].type.shape[1], Dim)
    assert case.model["y"].type.shape is None
    assert case.examples[0].inputs[0].shape == (1, 2, 2, 1)  # the one unknown size is worked out


def test_lifetimes_constants_omitted_operands_and_models(tmp_path: Path) -> None:
    content = document()
    main = main_of(content)
    inner = copy.deepcopy(main)
    scales = {"channelDim": 0, "scales": [0.5, 0.25]}
    main["operands"] += [
        operand("w", "TENSOR_QUANT8_SYMM_PER_CHANNEL", [2, 1], "CONSTANT_REFERENCE", value=[-1, 2],
                perChannel=scales),
        operand("none", "TENSOR_INT32", [3], "NO_VALUE"),
        operand("body", "MODEL", [], "SUBGRAPH", value=[0]),
        operand("x", "TENSOR_FLOAT16", [1], "TEMPORARY_VARIABLE"),
    ]  # fmt: skip
    main["operations"].append({"op": "CALL", "code": 99, "inputs": [11, 12, 13], "outputs": [14]})
    content["cases"][0]["refs"] = [inner]
    model = read_one(tmp_path, content).model
    assert model["w"].type.quant == PerChannel((0.5, 0.25), 0)
    assert model["w"].value.tolist() == [[-1], [2]]
    assert model.operations[1].inputs == ("w", None, "body")
    assert model["body"].value.operations[0].kind == "MAX_POOL_2D"
    assert model.operations[1].outputs == ("x_14",)  # a name already taken gets its index


def damage(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = document()
    change(content["cases"][0])
    return content


def first_operand(**changes: Any) -> dict[str, Any]:
    return damage(lambda case: case["main"]["operands"][0].update(**changes))


def given(*inputs: Any) -> dict[str, Any]:
    return damage(lambda case: case["examples"][0].update(inputs=list(inputs)))


DAMAGED = {
    "another format": lambda: {**document(), "format": "nnapi-vectors-9"},
    "no cases": lambda: {k: v for k, v in document().items() if k != "cases"},
    "cases are no list": lambda: {**document(), "cases": {}},
    "an operand index out of range": lambda: damage(lambda case: case["main"]["operations"][0]["inputs"].append(99)),
    "a negative operand index": lambda: damage(lambda case: case["main"].update(outputs=[-1])),
    "an output that is a scalar constant": lambda: damage(lambda case: case["main"].update(outputs=[3])),
    "an unknown operand type": lambda: first_operand(type="TENSOR_FLOAT8"),
    "an unknown lifetime": lambda: first_operand(lifetime="FOREVER"),
    "dims below zero": lambda: first_operand(dims=[1, -2, 2, 1]),
    "dims of an absurd size": lambda: first_operand(dims=[2**31] * 3),
    "a scale that is a word": lambda: first_operand(scale="big"),
    "a constant without a value": lambda: damage(lambda case: case["main"]["operands"][1].pop("value")),
    "a value too large for its type": lambda: given([1, 2, 3, 256]),
    "too few values": lambda: given([1, 2, 3]),
    "a fraction in an integer tensor": lambda: given([1, 2, 3, 4.5]),
    "a string for a list": lambda: given("1234"),
    "too many inputs": lambda: given([1, 2, 3, 4], [1]),
    "a tolerance missing": lambda: damage(lambda case: case.update(tolerance=[])),
    "an unknown expectation": lambda: damage(lambda case: case.update(expect="miracles")),
    "models that refer to each other": lambda: damage(circular),
}


def circular(case: dict[str, Any]) -> None:
    case["main"]["operands"].append(operand("m", "MODEL", [], "SUBGRAPH", value=[0]))
    case["refs"] = [copy.deepcopy(case["main"])]


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_a_format_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, DAMAGED[name]())
    with pytest.raises(FormatError, match=r"V1_0__pool\.json\.gz"):
        read_vectors(path)


BYTES = {
    "truncated gzip": lambda: gzip.compress(json.dumps(document()).encode())[:-40],
    "gzip of no JSON": lambda: gzip.compress(b"{nonsense"),
    "nested too deep": lambda: gzip.compress(b"[" * 100_000),
    "not UTF-8": lambda: b'{"format": "\xff"}',
    "empty": lambda: b"",
    "a JSON list": lambda: b"[]",
}


@pytest.mark.parametrize("name", BYTES)
def test_unreadable_bytes_are_a_format_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    path.write_bytes(BYTES[name]())
    with pytest.raises(FormatError, match=r"x\.json\.gz"):
        read_vectors(path)


def test_a_folder_without_vectors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "INDEX.json").write_text("{}")
    with pytest.raises(FormatError, match="no vectors here"):
        vector_files(tmp_path)
    with pytest.raises(FormatError, match="no such file"):
        vector_files(tmp_path / "absent")


def test_special_reals_are_words(tmp_path: Path) -> None:
    content = document()
    main = main_of(content)
    for index in (0, 10):
        main["operands"][index].update(type="TENSOR_FLOAT32", scale=0.0, zeroPoint=0)
    content["cases"][0]["examples"][0].update(inputs=[["NaN", "Infinity", "-Infinity", 1]], outputs=[[1.5]])
    array = read_one(tmp_path, content).examples[0].inputs[0]
    assert np.isnan(array.flat[0])
    assert array.flat[1] == np.inf
    assert array.flat[2] == -np.inf


# --- judging -------------------------------------------------------------------------------------------


def judged(tmp_path: Path, expected: list[int], actual: Any, dims: list[int], **case: Any) -> str | None:
    content = document()
    main_of(content)["operands"][10]["dims"] = dims
    content["cases"][0].update(case)
    content["cases"][0]["examples"][0]["outputs"] = [expected]
    read = read_one(tmp_path, content)
    return judge_values(read, read.examples[0], (np.asarray(actual),))


def test_a_step_of_one_passes_on_codes_and_two_fail(tmp_path: Path) -> None:
    assert judged(tmp_path, [5, 5], np.array([4, 6], np.uint8), [2]) is None
    assert "1 of 2 elements are off" in judged(tmp_path, [5, 5], np.array([5, 7], np.uint8), [2])


def test_the_shape_counts_where_the_model_tells_it(tmp_path: Path) -> None:
    assert "has shape [1,2], expected [2]" in judged(tmp_path, [5, 5], np.array([[5, 5]], np.uint8), [2])
    assert judged(tmp_path, [5, 5], np.array([[5, 5]], np.uint8), [0, 0]) is None
    assert "3 elements" in judged(tmp_path, [5, 5], np.array([[5, 5, 5]], np.uint8), [0, 0])
    assert judged(tmp_path, [], np.empty((0, 4), np.uint8), [0, 4]) is None


def float_case(tmp_path: Path, expected: list[float], actual: list[float]) -> str | None:
    content = document()
    main_of(content)["operands"][10].update(type="TENSOR_FLOAT32", dims=[len(expected)], scale=0.0, zeroPoint=0)
    content["cases"][0]["tolerance"] = [{"atol": 1e-5, "rtol": 0.01}]
    content["cases"][0]["examples"][0]["outputs"] = [expected]
    read = read_one(tmp_path, content)
    return judge_values(read, read.examples[0], (np.array(actual, np.float32),))


FLOATS = {
    "within rtol": ([100.0], [100.9], True),
    "beyond rtol": ([100.0], [101.1], False),
    "within atol at zero": ([0.0], [9e-6], True),
    "NaN fails": ([1.0], [np.nan], False),
    "NaN fails although expected": (["NaN"], [np.nan], False),
    "the same infinity passes": (["Infinity"], [np.inf], True),
    "the other infinity fails": (["Infinity"], [-np.inf], False),
    "infinity is not a number": ([1.0], [np.inf], False),
}


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_judged_by_both_tolerances(name: str, tmp_path: Path) -> None:
    expected, actual, passes = FLOATS[name]
    assert (float_case(tmp_path, expected, actual) is None) == passes


def test_indices_are_exact(tmp_path: Path) -> None:
    content = document()
    main_of(content)["operands"][10].update(type="TENSOR_INT32", dims=[1], scale=0.0, zeroPoint=0)
    content["cases"][0].update(ops=["ARGMAX"])
    content["cases"][0]["examples"][0]["outputs"] = [[3]]
    case = read_one(tmp_path, content)
    assert judge_values(case, case.examples[0], (np.array([3], np.int32),)) is None
    assert judge_values(case, case.examples[0], (np.array([4], np.int32),)) is not None


def test_ignored_outputs_are_not_compared(tmp_path: Path) -> None:
    content = document()
    main_of(content)["operands"][10]["ignored"] = True
    content["cases"][0]["tolerance"] = [None]
    case = read_one(tmp_path, content)
    assert judge_values(case, case.examples[0], (np.zeros((1, 1, 1, 1), np.uint8),)) is None


def multinomial(tmp_path: Path, samples: np.ndarray) -> str | None:
    content = document()
    main_of(content)["operands"][0].update(type="TENSOR_FLOAT32", dims=[1, 2], scale=0.0, zeroPoint=0)
    content["cases"][0].update(expect="multinomial", multinomial_tolerance=0.05, tolerance=[None])
    content["cases"][0]["examples"][0].update(inputs=[[0.0, 1.0986123]], outputs=[None])  # odds 1 : 3
    case = read_one(tmp_path, content)
    return judge_multinomial(case, case.examples[0], (samples,))


def test_multinomial_frequencies_follow_softmax(tmp_path: Path) -> None:
    assert multinomial(tmp_path, np.array([[0] * 25 + [1] * 75], np.int32)) is None
    assert "class 0" in multinomial(tmp_path, np.array([[0] * 40 + [1] * 60], np.int32))
    assert "was drawn" in multinomial(tmp_path, np.array([[0] * 25 + [2] * 75], np.int32))


# --- running -------------------------------------------------------------------------------------------


def test_the_example_runs_and_passes(tmp_path: Path) -> None:
    write(tmp_path, document())
    report = run_conformance(tmp_path, engine="reference")
    assert report.is_clean
    assert report.to_json() == {
        "total": 1, "passed": 1, "failed": 0, "skipped": 0, "failures": [],
        "operations": {"MAX_POOL_2D": {"total": 1, "passed": 1, "failed": 0, "skipped": 0}},
    }  # fmt: skip


def test_a_wrong_value_a_refused_model_and_an_unknown_operation_fail(tmp_path: Path) -> None:
    wrong, refused, unknown = document(), document(), document()
    wrong["cases"][0]["examples"][0]["outputs"] = [[200]]
    main_of(refused)["operands"][5]["value"] = [0]  # stride_w
    main_of(unknown)["operations"][0]["op"] = "FROBNICATE"
    for index, content in enumerate((wrong, refused, unknown)):
        write(tmp_path, content, f"{index}.json.gz")
    reasons = [failure.reason for failure in run_conformance(tmp_path, engine="reference").failures]
    assert "250 instead of 200" in reasons[0]
    assert "the model was refused: MAX_POOL_2D" in reasons[1]
    assert reasons[2] == "FROBNICATE is not declared"


def test_an_expected_failure_must_fail(tmp_path: Path) -> None:
    runs = damage(lambda case: case.update(expect="failure"))
    breaks = copy.deepcopy(runs)
    main_of(breaks)["operands"][5]["value"] = [0]
    case = read_one(tmp_path, runs)
    assert judge_example(case, case.examples[0], "reference") == "an error was expected, but the model ran"
    case = read_one(tmp_path, breaks)
    assert judge_example(case, case.examples[0], "reference") is None


def test_progress_and_the_filter_by_operation(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write(tmp_path, document(), name)
    seen: list[tuple[int, int]] = []
    report = run_conformance(tmp_path, op="MAX_POOL_2D", progress=lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)]
    assert report.tally.total == 2
    with pytest.raises(FormatError, match="no case tests SOFTMAX"):
        run_conformance(tmp_path, op="SOFTMAX")


def test_derived_cases_open_the_sizes_and_move_to_signed_codes(tmp_path: Path) -> None:
    case = read_one(tmp_path, document())
    opened, signed = derived_cases(case)
    assert all(isinstance(dim, Dim) for dim in opened.model["y"].type.shape)
    assert opened.model["y"].type.rank == 4
    assert signed.model["x"].type.code == OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
    assert signed.model["x"].type.quant == Quant(0.5, -118)
    assert signed.examples[0].inputs[0].reshape(-1).tolist() == [-127, -126, -125, 122]
    assert signed.examples[0].outputs[0].tolist() == [122]
    for derived in (opened, signed):
        assert judge_example(derived, derived.examples[0], "reference") is None


def test_a_case_of_two_operations_counts_for_both() -> None:
    outcomes = [Outcome("a", "f", ("ADD", "MUL"), "passed"), Outcome("b", "f", ("ADD",), "failed", "why")]
    report = report_of("reference", outcomes)
    assert report.operations["ADD"].total == 2
    assert report.operations["MUL"].passed == 1
    assert report.tally.total == 2
    assert "ADD" in report.table()


def test_the_module_prints_one_json_document_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nnapi_lab.conformance", str(tmp_path), "--json", "--jobs", "1"]
    root = Path(__file__).resolve().parent.parent
    write(tmp_path, document())
    good = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (good.returncode, json.loads(good.stdout)["passed"]) == (0, 1)
    wrong = document()
    wrong["cases"][0]["examples"][0]["outputs"] = [[200]]
    write(tmp_path, wrong)
    assert subprocess.run(command, cwd=root, capture_output=True).returncode == 1
    write(tmp_path, {"format": "other"})
    bad = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "other" in bad.stderr


# --- the golden vectors themselves ---------------------------------------------------------------------


def test_all_golden_vectors_pass_on_the_reference(shared_dir: Path) -> None:
    report = run_conformance(shared_dir / "nnapi" / "vectors", engine="reference", derived=True)
    assert not report.failures, report.failures[:5]
    assert report.tally.total > 12_000


def test_all_golden_vectors_pass_on_the_fast_engine(shared_dir: Path) -> None:
    report = run_conformance(shared_dir / "nnapi" / "vectors", engine="fast")
    assert not report.failures, report.failures[:5]


@pytest.fixture(scope="module")
def golden_reports(shared_dir: Path) -> list[tuple[Case, Report]]:
    """Every golden case that is a valid model, with what `check` says of it."""
    files = vector_files(shared_dir / "nnapi" / "vectors")
    cases = (case for path in files for case in read_vectors(path) if case.expect != "failure")
    return [(case, check(case.model)) for case in cases]


def test_required_levels_agree_with_the_golden_vectors(golden_reports: list[tuple[Case, Report]]) -> None:
    """Where the suite itself uses the level (hal_checked), ours is the same; elsewhere ours is no higher."""
    wrong = []
    for case, report in golden_reports:
        level, declared = report.feature_level, case.feature_level
        if declared is None or level == declared:
            continue
        if level is None or level > declared or case.hal_checked is not None:
            wrong.append((case.file, case.name, declared, level, report.because))
    assert wrong == []


def test_no_golden_model_has_findings(golden_reports: list[tuple[Case, Report]]) -> None:
    found = [(case.name, str(one)) for case, report in golden_reports for one in report.findings]
    assert found == []


def test_every_operation_of_the_vectors_is_declared(shared_dir: Path) -> None:
    index = json.loads((shared_dir / "nnapi" / "vectors" / "INDEX.json").read_text("utf-8"))
    assert sorted(set(index["operations"]) - set(OPS)) == []


@pytest.mark.sweep
@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_a_run_from_the_command_line_takes_less_than_a_minute_of_two_cores(engine: str, shared_dir: Path) -> None:
    """Two processes share the work; their processor time is measured, which other work on the machine does not grow."""
    vectors = str(shared_dir / "nnapi" / "vectors")
    command = [sys.executable, "-m", "nnapi_lab", "conformance", vectors, "--engine", engine, "--jobs", "2", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)
    assert (done.returncode, report["total"], report["failed"], report["skipped"]) == (0, 6367, 0, 0)
    assert (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 2 < 60
