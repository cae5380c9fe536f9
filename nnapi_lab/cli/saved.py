"""`show`, `check`, `run`, `export`: commands that start from a saved NNAPI model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from nnapi_lab.cli.inputs import ENTRY, arrays_for
from nnapi_lab.cli.lowering import AS_JSON, ENGINE, checked_engine
from nnapi_lab.cli.outcome import REFUSED, BadInput, finding_data, one_document
from nnapi_lab.cli.outputs import check_arrays_target, check_target, size_text, write_arrays

if TYPE_CHECKING:
    import numpy as np

    from nnapi_lab.ir.model import Model
    from nnapi_lab.validate import Report

INPUTS = typer.Option(
    [], "--input", metavar="X",
    help="Input: .npy (or .pt, torch.save) in the model's order, or NAME=X.npy; or one .npz with all of them by name.",
)  # fmt: skip
FILE = typer.Argument(..., metavar="FILE", help="A saved NNAPI model: .pt or .nn.")


def show(file: str = FILE) -> None:
    """Print a saved model as text (.nn); large constants by content hash, `export -o X.nn` writes them too."""
    from nnapi_lab import text

    typer.echo(text.show(loaded(file), sidecar={}), nl=False)


def check(file: str = FILE, as_json: bool = AS_JSON) -> None:
    """Hold a saved model against the standard: findings, and the level it needs. Exit code 1 if it is not valid."""
    from nnapi_lab.validate import check as check_model

    with one_document(as_json) as document:
        report = check_model(loaded(file))
        document.value = _report_data(report)
        if not as_json:
            typer.echo(str(report))
        if not report.is_valid:
            raise typer.Exit(REFUSED)


def _report_data(report: Report) -> dict[str, Any]:
    return {
        "model": report.model,
        "valid": report.is_valid,
        "feature_level": report.feature_level,
        "api_level": report.api_level,
        "because": list(report.because),
        "findings": [finding_data(finding) for finding in report.findings],
        "levels": [
            {"operation": use.operation, "kind": use.kind, "level": use.level, "because": use.because}
            for use in report.levels
        ],
    }


def run(
    file: str = FILE,
    inputs: list[str] = INPUTS,
    output: str | None = typer.Option(
        None, "-o", "--output", metavar="Y",
        help="Where the result goes: Y.npy; with several outputs Y{n}.npy, or Y.npz (by name)."
    ),
    engine: str = ENGINE,
) -> None:  # fmt: skip
    """Simulate a saved model on arrays.

    Arrays are NNAPI's: in the layout the model was lowered with (`nnapi-lab show FILE` names shapes and types; an
    image model mostly takes N,H,W,C), and quantized tensors as their stored integers.
    """
    from nnapi_lab.simulate import simulate

    engine = checked_engine(engine)
    model = loaded(file)
    check_arrays_target(output, len(model.outputs))
    arrays = simulate(model, arrays_for(model.inputs, inputs), engine)
    for name, array in zip(model.outputs, arrays, strict=True):
        typer.echo(f"%{name} : {model[name].type}  {_gist(array)}")
    if output is not None:
        for path in write_arrays(output, model.outputs, arrays):
            typer.echo(f"wrote {path} ({size_text(path)})")


def _gist(array: np.ndarray) -> str:
    if array.size == 0:
        return "no elements"
    first = " ".join(f"{held:.6g}" for held in array.reshape(-1)[:4].tolist())
    more = " …" if array.size > 4 else ""
    return f"min {array.min():.6g}, max {array.max():.6g}, first {first}{more}"


def export(
    file: str = FILE,
    output: str = typer.Option(..., "-o", "--output", metavar="OUT", help="File to write; .nn or .pt by its suffix."),
) -> None:
    """Write a saved model in another format. A .nn with large constants has its data beside it, in OUT.nn.npz."""
    from nnapi_lab import encode, text

    if output.endswith((".tflite", ".cpp")):
        raise BadInput(f"{output}: export to {os.path.splitext(output)[1]} is not there yet; .pt and .nn are")
    check_target(output, (".nn", ".pt"))
    model = loaded(file)
    if output.endswith(".nn"):
        text.write_nn(model, output)
    else:
        encode.save_torch(model, output)
    typer.echo(f"wrote {output} ({size_text(output)})")


def loaded(file: str) -> Model:
    """The NNAPI model of a file. Raises BadInput or FormatError with one sentence."""
    if not os.path.exists(file):
        if ENTRY.fullmatch(file):
            raise BadInput(
                f"{file}: this command takes a saved NNAPI model; `nnapi-lab lower {file} -o m.pt` makes one"
            )
        raise BadInput(f"{file}: there is no such file")
    if os.path.isdir(file):
        raise BadInput(f"{file} is a folder; give a saved NNAPI model, .pt or .nn")
    from nnapi_lab import encode

    return encode.load(file)
