"""What the command line says and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from nnapi_lab.errors import InvalidModel, LoweringError, NnapiLabError

if TYPE_CHECKING:
    from nnapi_lab.ir.findings import Finding, Refusal

REFUSED, BAD_INPUT, DEFECT = 1, 2, 70
DEBUG = "NNAPI_LAB_DEBUG"

Progress = Callable[[str, int, int], None]


class BadInput(NnapiLabError):
    """What was typed cannot be used; the message is the whole explanation."""


def say(sentence: str) -> None:
    """One line on stderr."""
    typer.echo(f"nnapi-lab: {sentence}", err=True)


def report_error(error: Exception) -> int | None:
    """Tell an error that is meant for users, and return its exit code; None for any other."""
    if isinstance(error, LoweringError):
        typer.echo(refusals_text(error.refusals), err=True)
        return REFUSED
    if isinstance(error, InvalidModel):
        typer.echo(findings_text(error.findings), err=True)
        return REFUSED
    if isinstance(error, NnapiLabError):
        say(" ".join(str(error).split()))
        return BAD_INPUT
    return None


# --- problems, for people ------------------------------------------------------------------------------------


def refusals_text(refusals: Sequence[Refusal]) -> str:
    """A numbered entry for each: kind, node, Python line and module, message, what to do, who says so."""
    count = len(refusals)
    lines = [f"nnapi-lab: the model cannot be lowered: {count} obstacle{'s' if count != 1 else ''}"]
    for number, refusal in enumerate(refusals, 1):
        place = ", ".join(part for part in (refusal.python, refusal.scope and f"in {refusal.scope}") if part)
        lines.append(f"{number:3}. {refusal.kind}  {refusal.node}" + (f"  ({place})" if place else ""))
        lines += _indented(refusal.message)
        if refusal.fix:
            lines += _indented(f"What to do: {refusal.fix}")
        lines += _indented(f"Rule {refusal.rule}" + (f", {refusal.source}" if refusal.source else ""))
    return "\n".join(lines)


def findings_text(findings: Sequence[Finding]) -> str:
    """A line for each broken rule of an invalid model."""
    count = len(findings)
    head = f"nnapi-lab: this is no valid NNAPI model: {count} finding{'s' if count != 1 else ''}"
    return "\n".join([head, *(line for finding in findings for line in _indented(f"- {finding}"))])


def terminal_width() -> int:
    """Columns to write for: the terminal's, or 120 when the output goes into a file or a pipe."""
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120


def _indented(text: str) -> list[str]:
    return textwrap.wrap(
        text, max(terminal_width(), 60), initial_indent="     ", subsequent_indent="     ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


# --- JSON ----------------------------------------------------------------------------------------------------


def refusal_data(refusal: Refusal) -> dict[str, str]:
    return {
        "kind": refusal.kind, "rule": refusal.rule, "node": refusal.node, "scope": refusal.scope,
        "python": refusal.python, "message": refusal.message, "fix": refusal.fix, "source": refusal.source,
    }  # fmt: skip


def finding_data(finding: Finding) -> dict[str, str]:
    return {
        "rule": finding.rule, "severity": finding.severity, "where": finding.where, "message": finding.message,
        "because": finding.because, "source": finding.source,
    }  # fmt: skip


class Document:
    """Where a command puts what it prints as JSON."""

    value: Any = None


@contextlib.contextmanager
def one_document(wanted: bool) -> Iterator[Document]:
    """With `--json`, stdout carries exactly one JSON document: the one the block leaves in `.value`.

    Whatever else is printed meanwhile, by the user's modules or by libraries, goes to stderr. A refused or invalid
    model becomes a document too, `{"error", "refusals" | "findings"}`, with exit code 1; bad input leaves stdout
    empty. Infinities and NaN are written as text, for JSON has none.
    """
    document = Document()
    if not wanted:
        yield document
        return
    code = 0
    with _stdout_on_stderr():
        try:
            yield document
        except (LoweringError, InvalidModel) as error:
            report_error(error)
            document.value, code = _error_data(error), REFUSED
        except typer.Exit as leave:
            code = leave.exit_code
    typer.echo(json.dumps(_plain(document.value), indent=1, ensure_ascii=False, allow_nan=False))
    if code:
        raise typer.Exit(code)


def _error_data(error: LoweringError | InvalidModel) -> dict[str, Any]:
    first = str(error).splitlines()[0].rstrip(":")
    if isinstance(error, LoweringError):
        return {"error": first, "refusals": [refusal_data(refusal) for refusal in error.refusals]}
    return {"error": "not a valid NNAPI model", "findings": [finding_data(finding) for finding in error.findings]}


def _plain(held: Any) -> Any:
    if isinstance(held, Mapping):
        return {str(key): _plain(value) for key, value in held.items()}
    if isinstance(held, list | tuple):
        return [_plain(value) for value in held]
    if isinstance(held, float) and not math.isfinite(held):
        return str(held)
    return held


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Python's prints, and those of libraries and child processes that write to file descriptor 1."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


# --- progress ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on stderr while the block runs, called with (stage, done, total or 0); None when nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total or None)
            bar.update(tasks[stage], completed=done, total=total or None)

        yield advance
