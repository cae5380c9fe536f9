"""`show`, `check`, `run`, `export`: commands that start from a saved NNAPI model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from nnapi_lab.cli.inputs import ENTRY, arrays_for
from nnapi_lab.cli.lowering import AS_JSON, ENGINE, checked_engine
from nnapi_lab.cli.outcome import REFUSED, BadInput, finding_data, one_document
from nnapi_lab.cli.outputs import check_arrays_target, check_target, write_arrays, wrote

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
    given = arrays_for(model.inputs, inputs)
    _check_layout(model, given)
    arrays = simulate(model, given, engine)
    written = [] if output is None else write_arrays(output, model.outputs, arrays)
    for name, array in zip(model.outputs, arrays, strict=True):
        typer.echo(f"%{name} : {model[name].type}  {_gist(array)}")
    for path in written:
        typer.echo(wrote(path))


def _check_layout(model: Model, given: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> None:
    """Recognise an image in PyTorch's layout where the model takes NNAPI's. Raises BadInput with what to do."""
    pairs = given.items() if isinstance(given, Mapping) else zip(model.inputs, given, strict=False)
    for name, array in pairs:
        shape = model[name].type.shape if name in model.inputs else None
        if array.ndim == 4 and shape is not None and array.shape != shape:
            n, c, h, w = array.shape
            if (n, h, w, c) == shape:
                raise BadInput(
                    f"input %{name} is kept as N,H,W,C {list(shape)} and was given {list(array.shape)}, which looks "
                    "like PyTorch's N,C,H,W; transpose it with numpy.transpose(x, (0, 2, 3, 1))"
                )


def _gist(array: np.ndarray) -> str:
    if array.size == 0:
        return "no elements"
    first = " ".join(f"{held:.6g}" for held in array.reshape(-1)[:4].tolist())
    more = " …" if array.size > 4 else ""
    return f"min {array.min():.6g}, max {array.max():.6g}, first {first}{more}"


def export(
    file: str = FILE,
    output: str = typer.Option(..., "-o", "--output", metavar="OUT.nn", help="File to write; its suffix says what."),
) -> None:
    """Write a saved model in another format: .nn, with the data of large constants beside it in OUT.nn.npz."""
    from nnapi_lab import text

    if output.endswith((".tflite", ".cpp")):
        raise BadInput(f"{output}: export to {os.path.splitext(output)[1]} is not there yet; .nn is")
    if output.endswith(".pt"):
        raise BadInput(
            f"{output}: a .pt also says how PyTorch calls the model, which a saved NNAPI model does not; "
            f"`nnapi-lab lower MODEL -o {output}` writes one"
        )
    check_target(output, (".nn",))
    text.write_nn(loaded(file), output)
    typer.echo(wrote(output))


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
