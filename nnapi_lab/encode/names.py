"""The names beside a saved model: an extra file in the TorchScript archive, which PyTorch's loader passes by."""

from __future__ import annotations

import json
from typing import Any

from nnapi_lab.encode.words import Names
from nnapi_lab.errors import FormatError

NAMES_FILE = "nnapi_lab.json"
NAMES_MEMBER = f"extra/{NAMES_FILE}"
_FORMAT = "nnapi_lab names 1"


def names_to_json(names: Names) -> str:
    """As JSON, for `torch.jit.save(…, _extra_files)`."""
    record = {
        "format": _FORMAT,
        "model": names.model,
        "operands": list(names.operands),
        "steps": list(names.steps),
        "dims": {name: list(sizes) for name, sizes in names.dims.items()},
    }
    return json.dumps(record, separators=(",", ":"))


def names_from_json(data: bytes, source: str) -> Names:
    """What `names_to_json` wrote; untrusted. Raises FormatError when it is something else."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: is not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise FormatError(f"{source}: expected the format {_FORMAT!r}")
    dims = record.get("dims")
    if not isinstance(dims, dict):
        raise FormatError(f"{source}: dims is not there")
    operands = _of(list, record.get("operands"), source, "operands")
    steps = _of(list, record.get("steps"), source, "steps")
    return Names(
        _of(str, record.get("model"), source, "model"),
        tuple(_optional(str, item, source, "operands") for item in operands),
        tuple(_optional(int, item, source, "steps") for item in steps),
        {name: _texts(sizes, source) for name, sizes in dims.items()},
    )


def _texts(sizes: Any, source: str) -> tuple[str, ...]:
    return tuple(_of(str, text, source, "dims") for text in _of(list, sizes, source, "dims"))


def _of(kind: type, value: Any, source: str, what: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FormatError(f"{source}: {what} holds a {type(value).__name__}, expected {kind.__name__}")
    return value


def _optional(kind: type, value: Any, source: str, what: str) -> Any:
    return None if value is None else _of(kind, value, source, what)
