"""decode: every word that is not what it may be is refused, with its number."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.build import Builder
from nnapi_lab.encode import EncodedModel, Names, decode, encode
from nnapi_lab.errors import FormatError, InvalidModel, LoweringError
from nnapi_lab.ir.model import Model
from nnapi_lab.ir.operand_types import OperandCode, OperandType

F32 = OperandCode.TENSOR_FLOAT32


def conv_model() -> Model:
    """A convolution with weights in a buffer, its activation, and a flag."""
    b = Builder("conv")
    x = b.input("x", OperandType(F32, (1, 5, 5, 3)))
    w = b.constant("w", np.arange(4 * 3 * 3 * 3).reshape(4, 3, 3, 3).astype(np.float32))
    bias = b.constant("b", np.zeros(4, np.float32))
    pads = {"pad_left": 0, "pad_right": 0, "pad_top": 0, "pad_bottom": 0}
    c = b.add(
        "CONV_2D", name="c", input=x, filter=w, bias=bias, **pads, stride_w=1, stride_h=1, fuse="NONE", nchw=False
    )
    b.output(b.add("RELU", name="y", input=c))
    return b.build()


ENCODED = encode(conv_model())
OPERANDS, VALUES, OPERATIONS = (int(n) for n in ENCODED.words[1:4])
VALUE_WORD = 6 + 4 * OPERANDS
OPERATION_WORD = VALUE_WORD + 3 * VALUES
DIMS_WORD = OPERATION_WORD + 3 * OPERATIONS
LAST = ENCODED.words.size - 1
BUFFER_VALUE = next(VALUE_WORD + 3 * i for i in range(VALUES) if ENCODED.words[VALUE_WORD + 3 * i + 1] == 2)
FLAG_VALUE = next(VALUE_WORD + 3 * i for i in range(VALUES) if ENCODED.words[VALUE_WORD + 3 * i + 2] == 1)


def word_of_value_data(value: int) -> int:
    """Where the bytes of the value with this index begin."""
    ranks = sum(int(ENCODED.words[6 + 4 * i + 1]) for i in range(OPERANDS))
    before = (int(ENCODED.words[VALUE_WORD + 3 * i + 2]) for i in range(value))
    return DIMS_WORD + ranks + sum((length + 3) // 4 for length in before)


BUFFER_DATA = word_of_value_data((BUFFER_VALUE - VALUE_WORD) // 3)
FLAG_DATA = word_of_value_data((FLAG_VALUE - VALUE_WORD) // 3)
ARGUMENTS = LAST - 1 - 2 - int(ENCODED.words[OPERATION_WORD + 1])  # of CONV_2D; RELU has two words, then x and y


def changed(*changes: tuple[int, int]) -> EncodedModel:
    words = ENCODED.words.copy()
    for place, value in changes:
        words[place] = np.uint32(value & 0xFFFFFFFF).astype(np.int32)
    return EncodedModel(words, ENCODED.weights, ENCODED.names)


BAD = {
    # name: (changes, the word that is named, what is said)
    "another version": ([(0, 2)], 0, "the format version is 2"),
    "a negative count of operands": ([(1, -1)], 1, "-1 operands; 0 to 16777215 are possible"),
    "a negative count of values": ([(2, -1)], 2, "-1 values"),
    "a negative count of operations": ([(3, -5)], 3, "-5 operations"),
    "a negative count of inputs": ([(4, -1)], 4, "-1 inputs"),
    "a negative count of outputs": ([(5, -(2**31))], 5, "outputs; 0 to"),
    "an absurd count": ([(1, 2**24 - 1)], 6, "take 67108860 words"),
    "more operands than there is room for": ([(1, 500)], 6, "500 operands take 2000 words"),
    "an unknown operand type": ([(6, 99)], 6, "99 is no operand type"),
    "a type whose rest has no place": ([(6, 11)], 6, "TENSOR_QUANT8_SYMM_PER_CHANNEL: this format cannot hold"),
    "an absurd rank": ([(7, 2**30)], 7, "rank 1073741824; at most 32"),
    "a rank that shifts all behind it": ([(7, 30)], None, "word "),
    "a scale that is no number": ([(8, 0x7FC00000)], 8, "the scale is nan"),
    "a value for no operand": ([(VALUE_WORD, 9999)], VALUE_WORD, "a value for operand 9999 of"),
    "two values for one operand": ([(VALUE_WORD + 3, int(ENCODED.words[VALUE_WORD]))], VALUE_WORD + 3, "two values"),
    "a value in memory": ([(BUFFER_VALUE + 1, 3)], BUFFER_VALUE + 1, "memory, which PyTorch never reads"),
    "a value from nowhere": ([(BUFFER_VALUE + 1, 7)], BUFFER_VALUE + 1, "0 and 2 are possible"),
    "a length that wraps": ([(VALUE_WORD + 2, 0xFFFFFFFF)], None, "4294967295 bytes of operand"),
    "a reference of another length": ([(BUFFER_VALUE + 2, 8)], None, "a reference to a buffer takes 12 bytes"),
    "no such buffer": ([(BUFFER_DATA, 5)], BUFFER_DATA, "buffer 5 of 1"),
    "an offset beyond the buffer": ([(BUFFER_DATA + 1, 4)], BUFFER_DATA + 1, "bytes 4 to 436 of buffer 0, which"),
    "an offset that wraps": ([(BUFFER_DATA + 1, 0xFFFFFFF0)], BUFFER_DATA + 1, "of buffer 0"),
    "fewer bytes than the type takes": ([(BUFFER_DATA + 2, 428)], BUFFER_VALUE + 2, "takes 432 bytes, here are 428"),
    "no bytes for a constant": ([(BUFFER_DATA + 2, 0)], BUFFER_VALUE + 2, "takes 432 bytes, here are 0"),
    "neither true nor false": ([(FLAG_DATA, 2)], FLAG_VALUE, "a truth value that is neither 0 nor 1"),
    "an unknown operation": ([(OPERATION_WORD, 777)], OPERATION_WORD, "777 is no operation nnapi_lab knows"),
    "counts that wrap": ([(OPERATION_WORD + 1, 2**31), (OPERATION_WORD + 2, 2**31)], None, "take 4294967296 words"),
    "an argument that is no operand": ([(ARGUMENTS, OPERANDS)], ARGUMENTS, "an argument of CONV_2D is operand"),
    "a negative argument": ([(ARGUMENTS, -1)], ARGUMENTS, "an argument of CONV_2D is operand -1"),
    "an output that is no operand": ([(LAST, 777)], LAST, "a model output is operand 777 of"),
    "an input that is no operand": ([(LAST - 1, -1)], LAST - 1, "a model input is operand -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_word_is_named(name: str) -> None:
    changes, word, says = BAD[name]
    damaged = changed(*changes)
    with pytest.raises(FormatError, match=says) as caught:
        decode(damaged.words, damaged.weights, source="m.pt")
    if word is not None:
        assert str(caught.value).startswith(f"m.pt, word {word}: ")


UNSOUND = {
    "an operand written twice": ([(LAST - 2, int(ENCODED.words[LAST - 4]))], "MODEL.M3"),
    "a constant written": ([(LAST - 2, int(ENCODED.words[ARGUMENTS + 1]))], "MODEL.M3"),
    "an operation on its own result": ([(LAST - 3, int(ENCODED.words[LAST - 2]))], "MODEL.M4"),
    "an input that is an output": ([(LAST, int(ENCODED.words[LAST - 1]))], "MODEL.M6"),
    "sizes beyond 32 bits": ([(DIMS_WORD, 2**31), (DIMS_WORD + 1, 2**31)], "MODEL.M10"),
    "a quantized tensor without scale": ([(6, 5)], "MODEL.M9"),
    "a scale on a float": ([(8, 0x3F800000)], "MODEL.M9"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_graph_that_is_not_sound_is_said_by_rule(name: str) -> None:
    changes, rule = UNSOUND[name]
    damaged = changed(*changes)
    with pytest.raises(InvalidModel) as caught:
        decode(damaged.words, damaged.weights)
    assert rule in {finding.rule for finding in caught.value.findings}


def test_every_truncation_is_refused() -> None:
    for count in range(ENCODED.words.size):
        with pytest.raises(FormatError, match=r"word \d+"):
            decode(ENCODED.words[:count], ENCODED.weights)


def test_words_that_follow_are_refused() -> None:
    with pytest.raises(FormatError, match=f"word {LAST + 1}: 2 words follow the model"):
        decode(np.append(ENCODED.words, [0, 0]).astype(np.int32), ENCODED.weights)


@pytest.mark.parametrize("words", [np.zeros(6), np.zeros((2, 6), np.int32)])
def test_other_arrays_are_refused(words: np.ndarray) -> None:
    with pytest.raises(FormatError, match="a row of int32 words was expected"):
        decode(words, [])


def test_any_damage_is_refused_or_gives_a_model() -> None:
    """3,000 damaged models: only our errors, and what is accepted can be written again."""
    rng = np.random.default_rng(5)
    edges = [-1, 0, 1, 2, 3, 2**24, 2**30, 2**31 - 1, -(2**31)]
    refused = 0
    for _ in range(3000):
        words = ENCODED.words.copy()
        for place in rng.integers(0, words.size, rng.integers(1, 4)):
            words[place] = rng.choice(edges) if rng.random() < 0.6 else rng.integers(-(2**31), 2**31)
        try:
            model = decode(words, ENCODED.weights)
        except (FormatError, InvalidModel):
            refused += 1
            continue
        try:
            again = encode(model)
        except LoweringError:  # a size of 0, for one
            continue
        assert decode(again.words, again.weights, again.names) == model
    assert refused > 2000


def test_buffers_of_any_type_and_order_are_bytes() -> None:
    (weight,) = ENCODED.weights
    upside_down = np.asfortranarray(weight)
    as_bytes = weight.reshape(-1).view(np.uint8)
    for buffer in (upside_down, as_bytes):
        assert decode(ENCODED.words, [buffer], ENCODED.names) == conv_model()


CLASHING = tuple("in0" if name == "y" else None for name in ENCODED.names.operands)
NAMES = {
    "too few": Names("m", ("x",), (None, None), {}),
    "twice the same": Names("m", ("x",) * OPERANDS, (None, None), {}),
    "steps of another model": Names("m", ENCODED.names.operands, (1,), {}),
    "taken by a canonical one": Names("m", CLASHING, (1, 2), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_do_not_belong_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match="the names kept with the model do not belong to it"):
        decode(ENCODED.words, ENCODED.weights, NAMES[name])
