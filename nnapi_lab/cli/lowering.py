"""`lower`, `diff`, `diagnose`: commands that start from a PyTorch model."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from nnapi_lab.cli.inputs import model_and_inputs
from nnapi_lab.cli.outcome import (
    REFUSED,
    BadInput,
    one_document,
    progress_bar,
    refusal_data,
    say,
    terminal_width,
)
from nnapi_lab.cli.outputs import check_target, wrote
from nnapi_lab.errors import InvalidModel

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
QUANTIZE_AT = typer.Option(
    None, "--quantize-at",
    help="inside: quantize and dequantize at the border become NNAPI operations; outside: they stay in PyTorch. "
    "The model's own nnapi_quantize_at by default, else inside.",
)  # fmt: skip
AS_JSON = typer.Option(False, "--json", help="Print one JSON document.")


def lower(
    model: str = MODEL,
    output: str | None = typer.Option(None, "-o", "--output", metavar="OUT", help="File to write: .pt or .nn."),
    api_level: int | None = API_LEVEL,
    feature_level: int | None = FEATURE_LEVEL,
    layout: str = LAYOUT,
    relaxed: bool = RELAXED,
    quantize_at: str | None = QUANTIZE_AT,
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
    if fallback is not None:
        raise BadInput("--fallback is not there yet; `nnapi-lab diagnose` lists what would run on the CPU")
    wishes = Wishes(api_level, feature_level, layout, relaxed, quantize_at)
    with progress_bar() as progress:
        lowered = _lowered(model, shapes, inputs, wishes, progress)
        wants_diff = report is not None if with_diff is None else with_diff
        diff = lowered.diff(progress=progress) if wants_diff else None
    written: list[str] = []
    try:  # Files first: whoever reads along may leave (`| head`).
        if report is not None:
            lowered.save_html(report, diff)
            written.append(report)
        if output is not None:
            lowered.export(output)
            written.append(output)
    finally:
        # Wide, for a narrower one shortens the reasons.
        typer.echo(workbench_text(lowered.part(diff), width=max(terminal_width(), 200)), nl=False)
        for path in written:
            typer.echo(wrote(path))


def diff(
    model: str = MODEL,
    top: int | None = typer.Option(None, "--top", min=0, help="Rows to list; 10, or all with --json."),
    as_json: bool = AS_JSON,
    api_level: int | None = API_LEVEL,
    feature_level: int | None = FEATURE_LEVEL,
    layout: str = LAYOUT,
    relaxed: bool = RELAXED,
    quantize_at: str | None = QUANTIZE_AT,
    engine: str = ENGINE,
    shapes: list[str] = SHAPES,
    inputs: list[str] = INPUTS,
) -> None:
    """Lower a model, run PyTorch and the simulator, list the values that differ most."""
    chosen = checked_engine(engine)
    wishes = Wishes(api_level, feature_level, layout, relaxed, quantize_at)
    with one_document(as_json) as document:
        with progress_bar() as progress:
            found = _lowered(model, shapes, inputs, wishes, progress).diff(engine=chosen, progress=progress)
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
    """List everything that stands in the way of lowering a model, and what to do. Exit code 1 if anything does."""
    from nnapi_lab.diagnosis import diagnose as examine
    from nnapi_lab.torchscript.capture import load_script

    Wishes(api_level, feature_level, layout).check()
    with one_document(as_json) as document:
        module, example_inputs = model_and_inputs(model, shapes, inputs)
        name = ""
        if module is model:  # a file that cannot be read is bad input, not an obstacle in a model
            module, name = load_script(model), os.path.splitext(os.path.basename(model))[0]
        with progress_bar() as progress:
            found = examine(
                module, example_inputs, api_level, feature_level=feature_level,
                layout=layout, name=name, progress=progress,  # type: ignore[arg-type]
            )  # fmt: skip
        document.value = {
            **found.to_dict(),
            "model": model,
            "lowers": found.ok,
            "refusals": [refusal_data(one) for one in found.refusals],
        }
        if not as_json:
            typer.echo(str(found))
        if not found.ok:
            raise typer.Exit(REFUSED)


@dataclass(frozen=True)
class Wishes:
    """How to lower, as typed. `check` looks at it before anything heavy is loaded."""

    api_level: int | None = None
    feature_level: int | None = None
    layout: str = "auto"
    relaxed: bool = False
    quantize_at: str | None = None

    def check(self) -> None:
        """Raises BadInput for a word or a level there is not."""
        from nnapi_lab.validate.levels import feature_level_of

        if self.layout not in ("auto", "nhwc", "nchw"):
            raise BadInput(f"--layout {self.layout}: it is auto, nhwc or nchw")
        if self.quantize_at not in (None, "inside", "outside"):
            raise BadInput(f"--quantize-at {self.quantize_at}: it is inside or outside")
        try:
            feature_level_of(self.api_level, self.feature_level)
        except ValueError as error:
            raise BadInput(str(error).replace("_", "-")) from error


def _lowered(
    model: str, shapes: list[str], inputs: list[str], wishes: Wishes, progress: Progress | None
) -> LoweredModel:
    """Lower what MODEL stands for. Raises what `lab.lower` raises, BadInput, InvalidModel."""
    wishes.check()
    module, example_inputs = model_and_inputs(model, shapes, inputs)
    from nnapi_lab import lab

    options: dict[str, Any] = asdict(wishes)
    lowered = lab.lower(module, example_inputs, **options, progress=progress)
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
    rows = diff.rows if top is None else diff.worst(top)
    return {
        "summary": diff.summary(),
        "rows": [asdict(row) for row in rows],
        "unaligned": list(diff.unaligned),
    }
