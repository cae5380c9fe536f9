"""`lower`, `diff`, `diagnose`: commands that start from a PyTorch model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from nnapi_lab.cli.inputs import model_and_inputs
from nnapi_lab.cli.outcome import (
    REFUSED,
    BadInput,
    one_document,
    progress_bar,
    refusal_data,
    refusals_text,
    say,
    terminal_width,
)
from nnapi_lab.cli.outputs import check_target, wrote
from nnapi_lab.errors import InvalidModel, LoweringError

if TYPE_CHECKING:
    from nnapi_lab.cli.outcome import Progress
    from nnapi_lab.compare import Diff
    from nnapi_lab.lab import LoweredModel

MODEL = typer.Argument(..., metavar="MODEL", help="A TorchScript file, or package.module:function.")
API_LEVEL = typer.Option(None, "--api-level", help="Android API level to lower for, 27 to 31; the newest by default.")
FEATURE_LEVEL = typer.Option(None, "--feature-level", help="NNAPI feature level instead, 1 to 8.")
LAYOUT = typer.Option("auto", "--layout", help="How 4-D inputs and outputs are kept: auto, nhwc or nchw.")
RELAXED = typer.Option(False, "--relaxed", help="Let float32 be computed as float16.")
SHAPES = typer.Option(
    [], "--input-shape", metavar="SHAPE", help="Random example input, 1,3,224,224 or 1,3,224,224:uint8; repeatable."
)
INPUTS = typer.Option([], "--input", metavar="X", help="Example input, .npy or .pt (torch.save); repeatable.")
ENGINE = typer.Option("fast", "--engine", help="fast or reference.")
AS_JSON = typer.Option(False, "--json", help="Print one JSON document.")


def lower(
    model: str = MODEL,
    output: str | None = typer.Option(None, "-o", "--output", metavar="OUT", help="File to write: .pt or .nn."),
    api_level: int | None = API_LEVEL,
    feature_level: int | None = FEATURE_LEVEL,
    layout: str = LAYOUT,
    relaxed: bool = RELAXED,
    report: str | None = typer.Option(None, "--report", metavar="R.html", help="Write one self-contained page."),
    with_diff: bool | None = typer.Option(
        None, "--diff/--no-diff", help="Run both sides and add the worst differences; on with --report."
    ),
    shapes: list[str] = SHAPES,
    inputs: list[str] = INPUTS,
    fallback: str | None = typer.Option(None, "--fallback", hidden=True),
) -> None:
    """Lower a model to NNAPI, print a summary, write it to a file.

    A .pt can be read by PyTorch's own NNAPI loader (torch.jit.load); a .nn is text.
    """
    from nnapi_lab.views.text import workbench_text

    check_target(output, (".pt", ".nn"))
    check_target(report, (".html", ".htm"))
    with progress_bar() as progress:
        lowered = _lowered(model, shapes, inputs, api_level, feature_level, layout, relaxed, progress, fallback)
        wants_diff = report is not None if with_diff is None else with_diff
        diff = lowered.diff(progress=progress) if wants_diff else None
    # Wide, for a narrower one shortens the reasons.
    typer.echo(workbench_text(lowered.part(diff), width=max(terminal_width(), 160)), nl=False)
    if report is not None:
        lowered.save_html(report, diff)
        typer.echo(wrote(report))
    if output is not None:
        lowered.export(output)
        typer.echo(wrote(output))


def diff(
    model: str = MODEL,
    top: int | None = typer.Option(None, "--top", min=0, help="Rows to list; 10, or all with --json."),
    as_json: bool = AS_JSON,
    api_level: int | None = API_LEVEL,
    feature_level: int | None = FEATURE_LEVEL,
    layout: str = LAYOUT,
    relaxed: bool = RELAXED,
    engine: str = ENGINE,
    shapes: list[str] = SHAPES,
    inputs: list[str] = INPUTS,
) -> None:
    """Lower a model, run PyTorch and the simulator, list the values that differ most."""
    with one_document(as_json) as document:
        with progress_bar() as progress:
            lowered = _lowered(model, shapes, inputs, api_level, feature_level, layout, relaxed, progress)
            found = lowered.diff(engine=checked_engine(engine), progress=progress)
        if as_json:
            document.value = _diff_data(found, top)
        else:
            typer.echo(diff_text(found, 10 if top is None else top))


def diagnose(
    model: str = MODEL,
    api_level: int | None = API_LEVEL,
    feature_level: int | None = FEATURE_LEVEL,
    layout: str = LAYOUT,
    as_json: bool = AS_JSON,
    shapes: list[str] = SHAPES,
    inputs: list[str] = INPUTS,
) -> None:
    """List everything that stands in the way of lowering a model. Exit code 1 if anything does."""
    with one_document(as_json) as document:
        refusals: tuple[Any, ...] = ()
        level = None
        with progress_bar() as progress:
            try:
                lowered = _lowered(model, shapes, inputs, api_level, feature_level, layout, False, progress)
                level = lowered.report.feature_level
            except LoweringError as error:
                refusals = error.refusals
        document.value = {
            "model": model,
            "lowers": not refusals,
            "feature_level": level,
            "refusals": [refusal_data(refusal) for refusal in refusals],
        }
        if not as_json:
            nothing = "nothing stands in the way" + ("" if level is None else f"; it needs feature level {level}")
            typer.echo(refusals_text(refusals).removeprefix("nnapi-lab: ") if refusals else nothing)
        if refusals:
            raise typer.Exit(REFUSED)


def _lowered(
    model: str,
    shapes: list[str],
    inputs: list[str],
    api_level: int | None,
    feature_level: int | None,
    layout: str,
    relaxed: bool,
    progress: Progress | None,
    fallback: str | None = None,
) -> LoweredModel:
    """Lower what MODEL stands for; options are checked before anything heavy is loaded."""
    from nnapi_lab.validate.levels import feature_level_of

    if layout not in ("auto", "nhwc", "nchw"):
        raise BadInput(f"--layout {layout}: it is auto, nhwc or nchw")
    try:
        feature_level_of(api_level, feature_level)
    except ValueError as error:
        raise BadInput(str(error).replace("_", "-")) from error
    if fallback is not None:
        raise BadInput("--fallback is not there yet; `nnapi-lab diagnose` lists what would run on the CPU")

    module, example_inputs = model_and_inputs(model, shapes, inputs)
    from nnapi_lab import lab

    lowered = lab.lower(
        module, example_inputs, api_level=api_level, feature_level=feature_level,
        layout=layout, relaxed=relaxed, progress=progress,  # type: ignore[arg-type]
    )  # fmt: skip
    if not lowered.report.is_valid:
        raise InvalidModel(lowered.report.errors)
    for warning in lowered.result.warnings:
        say(f"note: {warning}")
    return lowered


def checked_engine(engine: str) -> Any:
    """The engine asked for. Raises BadInput for one there is not."""
    from nnapi_lab.simulate import ENGINES

    if engine not in ENGINES:
        raise BadInput(f"--engine {engine}: it is {' or '.join(ENGINES)}")
    return engine


# --- the differences, for people and for programs ------------------------------------------------------------


def diff_text(diff: Diff, top: int) -> str:
    """The verdict in a line or two, then the `top` worst rows as a table."""
    summary = diff.summary()
    lines = [f"{diff.model}: {summary['values']} values compared, PyTorch against the NNAPI simulator"]
    if summary["float"]["values"]:
        worst = summary["float"]["worst_relative"]
        lines.append(f"float: {summary['float']['values']} values, at most {worst:.2e} of the value's range apart")
    if summary["quantized"]["values"]:
        steps = summary["quantized"]
        lines.append(
            f"quantized: {steps['values']} values, at most {steps['worst_steps']} steps apart; one operation alone "
            f"{steps['worst_isolated_steps']}, in {steps['isolated_differing']} of {steps['elements']} elements"
        )
    bad = summary["first_bad"]
    lines.append("no operation is further off than rounding explains" if bad is None else f"first bad operation: {bad}")
    if diff.unaligned:
        lines.append(f"not compared, fused or dropped on the NNAPI side: {len(diff.unaligned)} values")
    table = _table(diff, top)
    return "\n".join([*lines, "", *table] if table else lines)


def _table(diff: Diff, top: int) -> list[str]:
    from nnapi_lab.views.facts import verdict

    rows = diff.worst(top)
    if not rows:
        return []
    head = ("value", "node → operation", "max |Δ|", "of range", "steps", "alone", "verdict")
    body = [
        (
            row.value,
            f"{row.node.removeprefix('aten::')} → {row.operation}",
            f"{row.max_abs:.3g}",
            f"{row.relative:.1e}",
            "–" if row.max_steps is None else str(row.max_steps),
            "–" if row.isolated_max_abs is None else f"{row.isolated_max_abs:.3g}",
            verdict(row),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    left = (0, 1, len(head) - 1)
    return [
        "  ".join(
            text.ljust(wide) if column in left else text.rjust(wide)
            for column, (text, wide) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *body)
    ]


def _diff_data(diff: Diff, top: int | None) -> dict[str, Any]:
    from dataclasses import asdict

    rows = diff.rows if top is None else diff.worst(top)
    return {
        "summary": diff.summary(),
        "rows": [asdict(row) for row in rows],
        "unaligned": list(diff.unaligned),
    }
