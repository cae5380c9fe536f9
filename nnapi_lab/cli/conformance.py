"""`conformance DIR`: golden vectors through the simulator."""

from __future__ import annotations

import os

import typer

from nnapi_lab.cli.outcome import REFUSED, one_document, progress_bar

_SHOWN = 20


def conformance(
    place: str = typer.Argument(..., metavar="DIR", help="Folder of vector files, or one file."),
    engine: str = typer.Option("fast", "--engine", help="fast or reference."),
    op: str | None = typer.Option(None, "--op", help="Only cases that test this operation, such as CONV_2D."),
    derived: bool = typer.Option(
        False, "--derived", help="Also outputs of unknown size, and signed twins of 8-bit cases."
    ),
    jobs: int | None = typer.Option(None, "--jobs", min=1, help="Processes; one per processor by default."),
    every: bool = typer.Option(False, "--all", help="List every failure, not only the first 20."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as one JSON document."),
) -> None:
    """Run golden vectors; a table per operation. Exit code 1 if any fails."""
    from nnapi_lab.conformance import run_conformance

    with one_document(as_json) as document:
        with progress_bar() as progress:
            report = run_conformance(
                place,
                op=op,
                engine=engine,
                derived=derived,
                jobs=jobs or os.cpu_count() or 1,
                progress=None if progress is None else lambda done, total: progress("conformance", done, total),
            )
        document.value = report.to_json()
        if not as_json:
            shown = report.failures if every else report.failures[:_SHOWN]
            for failure in shown:
                typer.echo(f"{failure.file} {failure.name}: {failure.reason}")
            if len(shown) < len(report.failures):
                typer.echo(f"… and {len(report.failures) - len(shown)} more failures (--all lists them)")
            typer.echo(report.table())
        if not report.is_clean:
            raise typer.Exit(REFUSED)
