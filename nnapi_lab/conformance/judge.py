"""Judging one example as the conformance suite does: None when it passes, else the reason in a sentence."""

from __future__ import annotations

import numpy as np

from nnapi_lab.conformance.vectors import Case, Example
from nnapi_lab.ir.operand_types import Dim, OperandCode, Shape, shape_text

# Index-like results: the suite allows ±1 on any int32, a wrong index is wrong.
EXACT = frozenset({"ARGMAX", "ARGMIN", "TOPK_V2"})


def judge_values(case: Case, example: Example, results: tuple[np.ndarray, ...]) -> str | None:
    """Hold every compared output against its expectation: size, then |a - e| ≤ atol + rtol·|e|."""
    for name, expected, limits, actual in zip(
        case.model.outputs, example.outputs, case.tolerances, results, strict=True
    ):
        if expected is None or limits is None:
            continue
        problem = _size_problem(case.model[name].type.shape, expected, actual)
        if problem is None:
            if case.model[name].type.code == OperandCode.TENSOR_INT32 and EXACT.intersection(case.ops):
                limits = (0.0, 0.0)
            problem = _value_problem(expected, actual, *limits)
        if problem is not None:
            return f"output %{name}: {problem}"
    return None


def _size_problem(declared: Shape | None, expected: np.ndarray, actual: np.ndarray) -> str | None:
    # Where the model leaves a size open, the vectors do not tell it either: the number of elements must do.
    known = declared is not None and not any(isinstance(dim, Dim) for dim in declared)
    if known and actual.shape != declared:
        return f"has shape {shape_text(actual.shape)}, expected {shape_text(declared)}"
    if actual.size != expected.size:
        return f"has {actual.size} elements ({shape_text(actual.shape)}), expected {expected.size}"
    return None


def _value_problem(expected: np.ndarray, actual: np.ndarray, atol: float, rtol: float) -> str | None:
    wanted = expected.astype(np.float64)
    seen = actual.reshape(-1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.abs(seen - wanted)
        good = np.where(np.isfinite(wanted), off <= atol + rtol * np.abs(wanted), seen == wanted)
    if good.all():
        return None
    worst = int(np.argmax(np.where(good, -1.0, np.nan_to_num(off, nan=np.inf))))
    return (
        f"{int((~good).sum())} of {good.size} elements are off, worst at {worst}: "
        f"{seen[worst]:g} instead of {wanted[worst]:g} (allowed ±{atol + rtol * abs(wanted[worst]):.3g})"
    )


def judge_multinomial(case: Case, example: Example, results: tuple[np.ndarray, ...]) -> str | None:
    """Each class must be drawn as often as softmax of the logits says, within the tolerance.

    logits [batch, classes], samples [batch, num_samples].
    """
    logits, samples = example.inputs[0], results[0]
    if logits is None or logits.ndim != 2 or samples.ndim != 2 or samples.shape[0] != logits.shape[0]:
        expected = case.model[case.model.inputs[0]].type
        return f"samples have shape {shape_text(samples.shape)} for logits {expected}"
    wide = logits.astype(np.float64)
    weights = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    limit = case.multinomial_tolerance or 0.0
    classes = logits.shape[1]
    if samples.min(initial=0) < 0 or samples.max(initial=0) >= classes:
        return f"a class outside 0…{classes - 1} was drawn"
    for row, expected in zip(samples, probabilities, strict=True):
        frequency = np.bincount(row, minlength=classes) / max(row.size, 1)
        worst = int(np.argmax(np.abs(frequency - expected)))
        if abs(frequency[worst] - expected[worst]) > limit:
            return (
                f"class {worst} was drawn with frequency {frequency[worst]:.4f}, "
                f"softmax says {expected[worst]:.4f} (allowed ±{limit})"
            )
    return None
