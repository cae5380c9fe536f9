"""Numbers in the text form: the shortest decimal that reads back to the same bits, else the bits in hexadecimal."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from nnapi_lab.ir.operand_types import OperandCode, float32_text

_BITS: dict[int, np.dtype[Any]] = {2: np.dtype(np.uint16), 4: np.dtype(np.uint32)}
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_REAL = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][+-]?[0-9]{1,4})?|[+-]?inf|nan")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,8}")


class NotAnElement(ValueError):
    """A word that no element of the type is written as; the message says what would be."""


def element_texts(array: np.ndarray) -> list[str]:
    """The elements of an array in row-major order, each as one word that `elements` reads back to the bit."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind == "b":
        return ["true" if value else "false" for value in flat.tolist()]
    if flat.dtype.kind != "f":
        return [str(value) for value in flat.tolist()]
    texts = [real_text(value) for value in flat]
    read = np.array([float(text) for text in texts]).astype(flat.dtype)
    bits = _BITS[flat.dtype.itemsize]
    written, wanted = read.view(bits), flat.view(bits)
    for index in np.flatnonzero(written != wanted):
        texts[index] = f"0x{int(wanted[index]):0{2 * bits.itemsize}x}"
    return texts


def real_text(value: np.floating) -> str:
    """`0.5`, `1e-07`, `inf`, `nan`: the shortest decimal that reads back as the same number in its type."""
    if isinstance(value, np.float32) or not math.isfinite(value):
        return float32_text(float(value))
    text = np.format_float_positional(value, unique=True, trim="0")
    return text if len(text) <= 12 else np.format_float_scientific(value, unique=True, trim="0")


def elements(words: list[str], code: OperandCode) -> np.ndarray:
    """The words as a flat array stored as `code` is. Raises NotAnElement naming the first that does not fit."""
    kind = code.numpy
    out = np.empty(len(words), kind)
    bits = out.view(_BITS[kind.itemsize]) if kind.kind == "f" else out
    for index, word in enumerate(words):
        if kind.kind == "f" and _HEX.fullmatch(word):
            bits[index] = _pattern(word, kind)
        else:
            out[index] = _element(word, kind)
    return out


def _pattern(word: str, kind: np.dtype) -> int:
    digits = 2 * kind.itemsize
    if len(word) != digits + 2:
        raise NotAnElement(f"{digits} hexadecimal digits, the bits of a {kind}")
    return int(word, 16)


def _element(word: str, kind: np.dtype) -> int | float | bool:
    if kind.kind == "b":
        if word not in ("true", "false"):
            raise NotAnElement("true or false")
        return word == "true"
    if kind.kind == "f":
        return _real(word, kind)
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    if not _INTEGER.fullmatch(word) or not low <= int(word) <= high:
        raise NotAnElement(f"an integer from {low} to {high}")
    return int(word)


def _real(word: str, kind: np.dtype) -> float:
    if not _REAL.fullmatch(word):
        raise NotAnElement("a number such as 0.5, 1e-07, inf or nan, or its bits as 0x3f000000")
    value = float(word)
    with np.errstate(over="ignore"):
        if math.isfinite(value) != math.isfinite(kind.type(value)):
            raise NotAnElement(f"a number that {kind} can hold")
    return value
