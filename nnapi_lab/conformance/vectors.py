"""Golden vectors from disk: format `nnapi-vectors-1`, one JSON document a file, read as untrusted input.

A document holds cases; a case is one model and one or more examples (inputs and expected outputs). Everything
that does not follow the format raises FormatError naming the file, the case and the place.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnapi_lab.build import clean_name
from nnapi_lab.errors import FormatError
from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, Shape

FORMAT = "nnapi-vectors-1"
EXPECTATIONS = ("values", "failure", "multinomial")
LARGEST_DOCUMENT = 512 * 2**20  # bytes after decompression
_CONSTANTS = ("CONSTANT_COPY", "CONSTANT_REFERENCE")
_LIFETIMES = (*_CONSTANTS, "SUBGRAPH_INPUT", "SUBGRAPH_OUTPUT", "TEMPORARY_VARIABLE", "NO_VALUE", "SUBGRAPH")
_REAL_WORDS = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One execution. An input of None is not given; `outputs` are flat arrays, None where not compared."""

    name: str
    inputs: tuple[np.ndarray | None, ...]
    outputs: tuple[np.ndarray | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One model with its examples and what is expected of them.

    `tolerances`: (atol, rtol) per output, None where the output is ignored. `feature_level`: what the case
    declares, None where it has none; the suite itself relies on it only where `hal_checked` is set.
    """

    name: str
    file: str
    ops: tuple[str, ...]
    model: Model
    expect: str
    feature_level: int | None
    tolerances: tuple[tuple[float, float] | None, ...]
    examples: tuple[Example, ...]
    multinomial_tolerance: float | None = None
    hal_checked: str | None = None


def vector_files(place: Path | str) -> list[Path]:
    """The vector files in a folder (`*.json.gz`, `*.json` without INDEX.json), or the one file named.

    Raises FormatError when there are none.
    """
    place = Path(place)
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise FormatError(f"{place}: there is no such file or folder of vectors")
    files = sorted(p for p in place.iterdir() if p.name.endswith((".json.gz", ".json")) and p.is_file())
    files = [path for path in files if path.name != "INDEX.json"]
    if not files:
        raise FormatError(f"{place}: no vectors here (files named *.json.gz, format {FORMAT})")
    return files


def read_vectors(path: Path | str) -> list[Case]:
    """The cases of one vector file. Raises FormatError when the file is damaged or not in the format."""
    path = Path(path)
    place = _Place(path.name)
    document = _document(path, place)
    found = _get(place, document, "format", str)
    if found != FORMAT:
        raise place.error(f"the format is {found!r}, expected {FORMAT!r}")
    cases = _get(place, document, "cases", list)
    return [_case(place, index, item) for index, item in enumerate(cases)]


# --- damage ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a file we are, for the sentence that says what is wrong."""

    file: str
    path: str = ""

    def at(self, step: str) -> _Place:
        return _Place(self.file, f"{self.path}.{step}" if self.path else step)

    def error(self, message: str) -> FormatError:
        return FormatError(f"{self.file}{f' at {self.path}' if self.path else ''}: {message}")


def _document(path: Path, place: _Place) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as raw:
            data = raw.read(LARGEST_DOCUMENT + 1)
        if data[:2] == b"\x1f\x8b":
            with gzip.open(path, "rb") as unpacked:
                data = unpacked.read(LARGEST_DOCUMENT + 1)
        if len(data) > LARGEST_DOCUMENT:
            raise place.error(f"more than {LARGEST_DOCUMENT} bytes of JSON")
        document = json.loads(data.decode("utf-8"))
    except (OSError, EOFError, zlib.error) as fault:
        raise place.error(f"cannot be read: {fault}") from fault
    except (ValueError, RecursionError) as fault:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise place.error(f"is not JSON: {fault}") from fault
    if not isinstance(document, dict):
        raise place.error("a document is a JSON object")
    return document


def _get(place: _Place, record: Any, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
    """A field of the expected kind. A bool is no number here."""
    if not isinstance(record, dict):
        raise place.error(f"expected an object, found {type(record).__name__}")
    if key not in record:
        if default is ...:
            raise place.error(f"{key} is missing")
        return default
    value = record[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("null" if one is type(None) else one.__name__ for one in kinds)
        raise place.at(key).error(f"expected {names}, found {json.dumps(value)[:40]}")
    return value


def _indices(place: _Place, record: Any, key: str, count: int) -> list[int]:
    found = _get(place, record, key, list)
    for index in found:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
            raise place.at(key).error(f"{json.dumps(index)[:40]} is not one of {count} operands")
    return found


# --- a case ------------------------------------------------------------------------------------------


def _case(file: _Place, index: int, record: Any) -> Case:
    place = file.at(f"cases[{index}]")
    name = _get(place, record, "name", str)
    place = _Place(file.file, f"case {name}")
    expect = _get(place, record, "expect", str)
    if expect not in EXPECTATIONS:
        raise place.at("expect").error(f"{expect!r} is not one of {', '.join(EXPECTATIONS)}")
    relaxed = _get(place, record, "relaxed", bool, False)
    main = _get(place, record, "main", dict)
    refs = _get(place, record, "refs", list, [])
    model = _Reader(place, refs, relaxed).model(main, "main", name, ())
    operands = _get(place, main, "operands", list)
    ignored = [bool(operands[i].get("ignored")) for i in main["outputs"]]
    examples = [
        _example(place.at(f"examples[{i}]"), item, model, ignored)
        for i, item in enumerate(_get(place, record, "examples", list))
    ]
    limit = _get(place, record, "multinomial_tolerance", (int, float), None)
    if expect == "multinomial" and limit is None:
        raise place.error("multinomial_tolerance is missing")
    return Case(
        name, file.file, _words(place, record, "ops"), model, expect,
        _get(place, record, "feature_level", (int, type(None)), None),
        _tolerances(place, record, len(model.outputs), expect), tuple(examples), limit,
        _get(place, record, "hal_checked", (str, type(None)), None),
    )  # fmt: skip


def _words(place: _Place, record: Any, key: str) -> tuple[str, ...]:
    words = _get(place, record, key, list)
    if not all(isinstance(word, str) for word in words):
        raise place.at(key).error("expected a list of operation names")
    return tuple(words)


def _tolerances(place: _Place, record: Any, count: int, expect: str) -> tuple[tuple[float, float] | None, ...]:
    rows = _get(place, record, "tolerance", (list, type(None)), None)
    if expect != "values":
        return (None,) * count
    if rows is None or len(rows) != count:
        raise place.at("tolerance").error(f"expected {count} rows, one per output")
    limits: list[tuple[float, float] | None] = []
    for row in rows:
        if row is None:
            limits.append(None)
            continue
        atol = _get(place.at("tolerance"), row, "atol", (int, float))
        rtol = _get(place.at("tolerance"), row, "rtol", (int, float))
        limits.append((float(atol), float(rtol)))
    return tuple(limits)


def _example(place: _Place, record: Any, model: Model, ignored: Sequence[bool]) -> Example:
    name = _get(place, record, "name", str)
    given = _get(place, record, "inputs", list)
    wanted = _get(place, record, "outputs", (list, type(None)), None) or [None] * len(model.outputs)
    if len(given) != len(model.inputs) or len(wanted) != len(model.outputs):
        raise place.error(
            f"{len(given)} inputs and {len(wanted)} outputs for a model with "
            f"{len(model.inputs)} and {len(model.outputs)}"
        )
    inputs = tuple(
        None if flat is None else _shaped(place.at(f"inputs[{i}]"), flat, model[operand].type)
        for i, (flat, operand) in enumerate(zip(given, model.inputs, strict=True))
    )
    outputs = tuple(
        None if flat is None or skip else _flat(place.at(f"outputs[{i}]"), flat, model[operand].type.code)
        for i, (flat, operand, skip) in enumerate(zip(wanted, model.outputs, ignored, strict=True))
    )
    return Example(name, inputs, outputs)


def _flat(place: _Place, values: Any, code: OperandCode) -> np.ndarray:
    """A flat list of JSON numbers in the operand's storage."""
    if not isinstance(values, list):
        raise place.error(f"expected a list of numbers, found {json.dumps(values)[:40]}")
    if code == OperandCode.MODEL:
        raise place.error("a MODEL operand has no numbers")
    try:
        if code.is_float:
            if any(isinstance(v, str) and v not in _REAL_WORDS for v in values):
                raise ValueError("a word that is not NaN, Infinity or -Infinity")
            # Through float32, as the format says, also for float16.
            with np.errstate(over="ignore"):
                return np.array(values, dtype=np.float64).astype(np.float32).astype(code.numpy)
        if any(not isinstance(v, int) for v in values):
            raise ValueError("a value that is not an integer")
        return np.array(values, dtype=code.numpy)
    except (TypeError, ValueError, OverflowError) as fault:
        raise place.error(f"not values of {code.name}: {fault}") from fault


def _shaped(place: _Place, values: Any, type_: OperandType) -> np.ndarray:
    flat = _flat(place, values, type_.code)
    shape = concrete_shape(type_.shape, flat.size)
    if shape is None:
        raise place.error(f"{flat.size} values do not fill {type_}")
    return flat.reshape(shape)


def concrete_shape(shape: Shape | None, count: int) -> tuple[int, ...] | None:
    """A shape for `count` values: an unknown rank is taken as 1, a single unknown size is worked out.

    None when it cannot be done.
    """
    if shape is None:
        return (count,)
    known = 1
    for dim in shape:
        known *= 1 if isinstance(dim, Dim) else dim
    unknown = sum(isinstance(dim, Dim) for dim in shape)
    if unknown == 0:
        return tuple(int(dim) for dim in shape) if known == count else None  # type: ignore[arg-type]
    if count == 0:
        return tuple(0 if isinstance(dim, Dim) else dim for dim in shape)
    if unknown > 1 or known == 0 or count % known:
        return None
    return tuple(count // known if isinstance(dim, Dim) else dim for dim in shape)


# --- a model -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the models of one case; models refer to `refs` by index and may not refer in circles."""

    place: _Place
    refs: Sequence[Any]
    relaxed: bool

    def model(self, record: Any, label: str, name: str, above: tuple[int, ...]) -> Model:
        place = self.place.at(label)
        records = _get(place, record, "operands", list)
        names = _unique_names(place, records)
        entries = [self._entry(place.at(f"operands[{i}]"), item, names[i], above) for i, item in enumerate(records)]
        operations = [
            self._operation(place.at(f"operations[{i}]"), item, entries, names)
            for i, item in enumerate(_get(place, record, "operations", list))
        ]
        inputs = [names[i] for i in _indices(place, record, "inputs", len(names))]
        outputs = [names[i] for i in _indices(place, record, "outputs", len(names))]
        operands = {entry.name: entry for entry in entries if isinstance(entry, Operand)}
        for listed in (*inputs, *outputs):
            if listed not in operands:
                raise place.error(f"{listed} is an input or output, but a scalar constant or omitted")
        return Model(clean_name(name), operands, tuple(operations), tuple(inputs), tuple(outputs), self.relaxed)

    def _entry(self, place: _Place, record: Any, name: str, above: tuple[int, ...]) -> Operand | Scalar | None:
        """What an operand index stands for: a named operand, a scalar in place, or None (omitted)."""
        lifetime = _get(place, record, "lifetime", str)
        if lifetime not in _LIFETIMES:
            raise place.error(f"the lifetime {lifetime!r} is unknown")
        if lifetime == "NO_VALUE":
            return None
        type_ = _type(place, record, name, constant=lifetime in _CONSTANTS)
        if lifetime == "SUBGRAPH":
            return Operand(name, type_, self._reference(place, record, name, above))
        if lifetime not in _CONSTANTS:
            return Operand(name, type_)
        array = _shaped(place.at("value"), _get(place, record, "value", list), type_)
        if type_.code.is_scalar:
            return Scalar(type_.code, array.item())
        return Operand(name, type_, array)

    def _reference(self, place: _Place, record: Any, name: str, above: tuple[int, ...]) -> Model:
        (index,) = _indices(place, record, "value", len(self.refs)) or (-1,)
        if index in above or index < 0:
            raise place.error("the models of this case refer to each other in a circle")
        return self.model(self.refs[index], f"refs[{index}]", name, (*above, index))

    def _operation(
        self, place: _Place, record: Any, entries: Sequence[Operand | Scalar | None], names: Sequence[str]
    ) -> Operation:
        kind = _get(place, record, "op", str)
        inputs: list[Arg] = []
        for index in _indices(place, record, "inputs", len(entries)):
            entry = entries[index]
            inputs.append(entry.name if isinstance(entry, Operand) else entry)
        outputs = [names[i] for i in _indices(place, record, "outputs", len(entries))]
        return Operation(kind, tuple(inputs), tuple(outputs))


def _unique_names(place: _Place, records: Sequence[Any]) -> list[str]:
    names: list[str] = []
    taken: set[str] = set()
    for index, record in enumerate(records):
        name = clean_name(_get(place.at(f"operands[{index}]"), record, "name", str, f"operand{index}"))
        if name in taken:
            name = f"{name}_{index}"
        taken.add(name)
        names.append(name)
    return names


def _type(place: _Place, record: Any, name: str, constant: bool) -> OperandType:
    label = _get(place, record, "type", str)
    if label not in OperandCode.__members__:
        raise place.error(f"the operand type {label!r} is unknown")
    code = OperandCode[label]
    dims = _get(place, record, "dims", list)
    if any(not isinstance(d, int) or isinstance(d, bool) or not 0 <= d < 2**32 for d in dims):
        raise place.at("dims").error(f"{json.dumps(dims)[:60]} are not sizes")
    return OperandType(code, _shape(code, dims, name, constant), _quant(place, record, code))


def _shape(code: OperandCode, dims: Sequence[int], name: str, constant: bool) -> Shape | None:
    if constant or code.is_scalar:
        return tuple(dims)
    if not dims:
        return None
    return tuple(Dim(f"{name}_{axis}") if dim == 0 else dim for axis, dim in enumerate(dims))


def _quant(place: _Place, record: Any, code: OperandCode) -> Quant | PerChannel | None:
    scale = _get(place, record, "scale", (int, float), 0.0)
    zero_point = _get(place, record, "zeroPoint", int, 0)
    channels = _get(place, record, "perChannel", (dict, type(None)), None)
    if channels is not None:
        scales = _get(place, channels, "scales", list)
        if any(not isinstance(one, (int, float)) or isinstance(one, bool) for one in scales):
            raise place.at("perChannel").error("scales are numbers")
        return PerChannel(tuple(scales), _get(place, channels, "channelDim", int))
    if scale == 0 and zero_point == 0 and not code.is_quantized:
        return None
    return Quant(scale, zero_point)
