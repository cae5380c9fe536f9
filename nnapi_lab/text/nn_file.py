"""`.nn` files: the text, and beside it an `.npz` with the large constants."""

from __future__ import annotations

import os

from nnapi_lab.errors import FormatError
from nnapi_lab.files import write_bytes, write_text
from nnapi_lab.ir.model import Model
from nnapi_lab.text.parse import parse
from nnapi_lab.text.show import show
from nnapi_lab.text.sidecar import Arrays, NpzArrays, npz_bytes, sidecar_path
from nnapi_lab.text.tokens import LARGEST_TEXT


def write_nn(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `m.nn` and, where constants are large, `m.nn.npz` beside it; each whole or not at all.

    Raises OutputError when they cannot be written.
    """
    arrays: Arrays = {}
    text = show(model, sidecar=arrays)
    # The data first: a text never stands there without the data it names.
    if arrays:
        write_bytes(sidecar_path(path), npz_bytes(arrays))
    write_text(path, text)


def read_nn(path: str | os.PathLike[str]) -> Model:
    """The model of a `.nn` file. Raises FormatError for what is not one, with line and column."""
    shown = os.fspath(path)
    try:
        with open(shown, "rb") as stream:
            data = stream.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise FormatError(f"{shown}: cannot be read ({error.strerror or error})") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{shown}: is not text in UTF-8 (byte {error.start})") from error
    return parse(text, sidecar=NpzArrays(sidecar_path(shown)), source=shown)
