"""Run golden vectors through the simulator and judge what comes out."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from nnapi_lab.conformance.derived import derived_cases
from nnapi_lab.conformance.judge import judge_multinomial, judge_values
from nnapi_lab.conformance.report import Outcome, Report, report_of
from nnapi_lab.conformance.vectors import Case, Example, read_vectors, vector_files
from nnapi_lab.errors import FormatError, InvalidModel, NnapiLabError
from nnapi_lab.ops.registry import OPS
from nnapi_lab.simulate import ENGINES, simulate
from nnapi_lab.simulate.execute import FAULTS, Engine
from nnapi_lab.validate import require_valid

Progress = Callable[[int, int], None]  # files done, files in all


def run_conformance(
    place: Path | str,
    *,
    op: str | None = None,
    engine: Engine = "fast",
    derived: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Run the vectors of a folder (or one file) and report.

    `op` keeps only cases that test this operation. `derived` adds what the conformance suite derives from the
    same data: outputs of unknown size, and signed twins of 8-bit cases. `jobs` processes share the files:
    more than one only from a program whose main module may be imported anew (`if __name__ == "__main__"`).
    `progress(done, total)` is called after each file.
    Raises FormatError for a damaged file or when nothing tests `op`.
    """
    if engine not in ENGINES:
        raise FormatError(f"there is no engine {engine!r}; the engines are {', '.join(ENGINES)}")
    files = vector_files(place)
    outcomes: list[Outcome] = []
    work = partial(file_outcomes, op=op, engine=engine, derived=derived)
    for done, found in enumerate(_each(work, files, jobs), start=1):
        outcomes += found
        if progress is not None:
            progress(done, len(files))
    if op is not None and not outcomes:
        raise FormatError(f"{place}: no case tests {op}")
    return report_of(engine, outcomes)


def _each(work: Callable[[Path], list[Outcome]], files: Sequence[Path], jobs: int) -> Iterator[list[Outcome]]:
    count = min(jobs, len(files))
    if count <= 1:
        yield from map(work, files)
        return
    # spawn: a forked child would inherit torch's locked thread pools
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        yield from pool.map(work, files, chunksize=4)


def file_outcomes(path: Path, *, op: str | None, engine: Engine, derived: bool) -> list[Outcome]:
    """Outcomes of all examples in one file."""
    outcomes = []
    for case in read_vectors(path):
        if op is not None and op not in case.ops:
            continue
        for variant in (case, *(derived_cases(case) if derived else ())):
            outcomes += [_outcome(variant, example, engine) for example in variant.examples]
    return outcomes


def _outcome(case: Case, example: Example, engine: Engine) -> Outcome:
    reason = judge_example(case, example, engine)
    return Outcome(example.name, case.file, case.ops, "passed" if reason is None else "failed", reason or "")


def judge_example(case: Case, example: Example, engine: Engine) -> str | None:
    """Build, check and run one example; None when it passes, else why not."""
    unknown = sorted({operation.kind for operation in case.model.operations} - set(OPS))
    if unknown:
        return f"{', '.join(unknown)} is not declared"
    try:
        require_valid(case.model)
        results = simulate(case.model, example.inputs, engine)
    except NnapiLabError as error:
        if case.expect == "failure":
            return None
        stage = "the model was refused" if isinstance(error, InvalidModel) else "the execution failed"
        return f"{stage}: {error}"
    except FAULTS as fault:
        return f"a defect of nnapi_lab: {type(fault).__name__}: {fault}"
    if case.expect == "failure":
        return "an error was expected, but the model ran"
    judge = judge_multinomial if case.expect == "multinomial" else judge_values
    return judge(case, example, _checked(case, results))


def _checked(case: Case, results: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    for name, array in zip(case.model.outputs, results, strict=True):
        wanted = case.model[name].type.code.numpy
        if array.dtype != wanted:
            raise TypeError(f"{case.name}: output %{name} is {array.dtype}, a defect of the simulator")
    return results
