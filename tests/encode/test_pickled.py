"""read_pickle: a pickle is walked as data; nothing in it is called."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from nnapi_lab.encode.pickled import Called, Name, read_pickle
from nnapi_lab.errors import FormatError


class Evil:
    """Pickled as a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (os.fspath(self.path),)


def test_a_call_is_not_made(tmp_path: Path) -> None:
    found = read_pickle(pickle.dumps(Evil(tmp_path / "evil"), protocol=2), "data.pkl")
    assert isinstance(found.root, Called)
    assert found.root.function == Name(os.mkdir.__module__, "mkdir")
    assert list(tmp_path.iterdir()) == []


PLAIN = {
    "numbers": [0, 255, 65535, 2**31 - 1, -1, 2**40, -(2**40), 0.5],
    "truth and nothing": [True, False, None],
    "text": ["a", "ä"],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "nested": {"a": [1, {"b": (2, [])}], "c": {}},
    "shared": [[1]] * 3,
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_comes_back(name: str) -> None:
    assert read_pickle(pickle.dumps(PLAIN[name], protocol=2), "data.pkl").root == PLAIN[name]


GOOD = pickle.dumps({"a": [1, 2, (3, "x")]}, protocol=2)
BAD = {
    "nothing": (b"", "damaged"),
    "no end": (GOOD[:-1], "damaged|ends too early"),
    "an instruction of old Python": (b"(X\x02\x00\x00\x00lsios\nsystem\n.", "INST is none that TorchScript writes"),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1 is none"),
    "an empty stack": (b"\x80\x02R.", "REDUCE finds nothing to work on"),
    "a memo that is not there": (b"\x80\x02h\x05.", "BINGET finds nothing"),
    "a memo far away": (b"\x80\x02Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.", "LONG_BINGET finds nothing"),
    "no mark": (b"\x80\x02NNt.", "TUPLE finds nothing"),
    "a list that is none": (b"\x80\x02NNa.", "APPEND finds nothing"),
    "an unhashable key": (b"\x80\x02}]Ns.", "SETITEM finds nothing"),
    "a text that is longer than the file": (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
    "an object of no class": (b"\x80\x02K\x01)\x81.", "NEWOBJ finds nothing"),
    "a key without a value": (b"\x80\x02}(Nu.", "SETITEMS finds nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damage_is_said(name: str) -> None:
    data, says = BAD[name]
    with pytest.raises(FormatError, match=says):
        read_pickle(data, "data.pkl")


def test_depth_costs_nothing() -> None:
    data = b"\x80\x02N" + b"\x85" * 200_000 + b"."  # a tuple in a tuple in a tuple …
    assert isinstance(read_pickle(data, "data.pkl").root, tuple)
