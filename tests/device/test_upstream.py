"""Files of PyTorch's own converter: its loader runs them on the simulator, close to PyTorch and equal to `simulate`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = (Path(__file__).parent / "check_upstream.py").read_text("utf-8")
# The names in the program's table; the program itself cannot be imported without its converter's side effects.
NAMES = re.findall(r'^    "([\w ]+)": (?:small|Branches)\(', SOURCE, re.MULTILINE)
CASES = [f"{name}, {layout}" for name in NAMES for layout in ("NCHW", "NHWC")] + [
    "linear", "quantized conv, NCHW", "quantized conv, NHWC", "quantize and dequantize, NHWC",
    "quantized relu, max pool, NHWC",
]  # fmt: skip

# What PyTorch's converter gets wrong: its loader and the simulator agree, PyTorch does not.
WRONG_UPSTREAM: dict[str, str] = {}


@pytest.fixture(scope="module")
def found(run_program: Callable) -> dict[str, Any]:
    done = run_program(SOURCE)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_every_case_was_run(found: dict[str, Any]) -> None:
    assert sorted(found) == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_pytorchs_own_conversion_runs(found: dict[str, Any], case: str) -> None:
    assert not isinstance(found[case], str), found[case]
    gap, equal = found[case]
    assert equal, "differs from nnapi_lab's simulator"
    assert gap <= 1
