"""A Model from a file, whoever wrote it."""

from __future__ import annotations

import os

from nnapi_lab.encode.archive import read_torch
from nnapi_lab.errors import FormatError, NotThereYet
from nnapi_lab.ir.model import Model
from nnapi_lab.text import read_nn

_TORCH = (".pt", ".pth", ".ptl")


def load(path: str | os.PathLike[str]) -> Model:
    """The NNAPI model in a file, known by its suffix: `.pt` (ours or of PyTorch's own converter), `.nn`.

    Nothing in the file is executed. Raises FormatError for a file that is not what its name promises, InvalidModel
    for one whose model is no sound graph.
    """
    shown = os.fspath(path)
    suffix = os.path.splitext(shown)[1].lower()
    if suffix in _TORCH:
        return read_torch(shown)
    if suffix == ".nn":
        return read_nn(shown)
    if suffix == ".tflite":
        raise NotThereYet("reading .tflite is not there yet; .pt and .nn are read")
    raise FormatError(f"{shown}: unknown suffix {suffix!r}; {', '.join(_TORCH)} and .nn are read")
