"""Numbers as words: every bit pattern comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.text.literals import NotAnElement, element_texts, elements

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16


def test_every_float16_comes_back() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    back = elements(element_texts(every.view(np.float16)), F16)
    assert np.array_equal(back.view(np.uint16), every)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_every_float32_comes_back(patterns: list[int]) -> None:
    bits = np.array(patterns, np.uint32)
    back = elements(element_texts(bits.view(np.float32)), F32)
    assert np.array_equal(back.view(np.uint32), bits)


WORDS = {
    "shortest": (np.float32(0.1), "0.1"),
    "a whole number keeps its point": (np.float32(3), "3.0"),
    "large": (np.float32(1e20), "1.0e+20"),
    "small": (np.float32(1e-20), "1.0e-20"),
    "minus zero": (np.float32(-0.0), "-0.0"),
}


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    value, word = WORDS[name]
    assert element_texts(np.array([value])) == [word]


REFUSED = {
    "too large for int8": ("128", OperandCode.TENSOR_QUANT8_SYMM, "an integer from -128 to 127"),
    "a fraction for an integer": ("1.5", OperandCode.TENSOR_INT32, "an integer"),
    "a number for a truth value": ("1", OperandCode.TENSOR_BOOL8, "true or false"),
    "beyond float32": ("1e39", F32, "a number that float32 can hold"),
    "beyond float16": ("70000.0", F16, "a number that float16 can hold"),
    "a word": ("abc", F32, "a number such as"),
    "the bits of another width": ("0x7fc00001", F16, "4 hexadecimal digits"),
    "python's other spellings": ("1_000", F32, "a number such as"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_element(name: str) -> None:
    word, code, reason = REFUSED[name]
    with pytest.raises(NotAnElement, match=reason):
        elements([word], code)
