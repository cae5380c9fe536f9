"""Reading types, numbers and names of the text form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnapi_lab.errors import FormatError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, PerChannel, Quant, Shape
from nnapi_lab.text.literals import NotAnElement, elements
from nnapi_lab.text.sidecar import restored, stored_size
from nnapi_lab.text.tokens import Token, Tokens, unquoted

_LARGEST_INTEGER = 2**63 - 1
_LARGEST_SCALES = 1 << 26  # bytes


class TypeReader:
    """Reads types, numbers and names off a row of words.

    `carried` and `sidecar`: content hash → data, at the text's end and beside it.
    """

    def __init__(self, tokens: Tokens, carried: Mapping[str, np.ndarray], sidecar: Mapping[str, np.ndarray]) -> None:
        self.tokens = tokens
        self.carried = carried
        self.sidecar = sidecar

    def type(self) -> OperandType:
        tokens = self.tokens
        code = self.code(tokens.take())
        shape = self.shape() if tokens.sees("[") or not code.is_scalar else ()
        quant: Quant | PerChannel | None = None
        if tokens.accept("scale"):
            tokens.expect("=")
            scale = self.real()
            tokens.expect("zp", "zp=")
            tokens.expect("=")
            quant = Quant(scale, self.integer("a zero point"))
        elif tokens.accept("axis"):
            tokens.expect("=")
            axis = self.integer("an axis")
            tokens.expect("scales", "scales=")
            tokens.expect("=")
            quant = PerChannel(self._scales(), axis)
        return OperandType(code, shape, quant)

    def code(self, token: Token) -> OperandCode:
        try:
            return OperandCode.from_short(token.text)
        except KeyError:
            self.tokens.fail(token, "a type such as f32[1,4], q8a[1,4] scale=0.5 zp=10 or int32")

    def shape(self) -> Shape | None:
        """`[1,N,?,H@load]`, or None for `[*]`."""
        tokens = self.tokens
        tokens.expect("[", "the shape, such as [1,4] or [*]")
        if tokens.accept("*"):
            tokens.expect("]")
            return None
        dims: list[int | Dim] = []
        while not tokens.accept("]"):
            if dims and not tokens.accept(","):
                tokens.fail(tokens.next, ", or ]")
            dims.append(self._dim())
        return tuple(dims)

    def _dim(self) -> int | Dim:
        tokens = self.tokens
        if tokens.next.kind == "number":
            at = tokens.next
            size = self.integer("a size")
            if size < 0:
                tokens.fail(at, "a size of 0 or more, or a name for one that is not known")
            return size
        symbol = self.name("a size, or a name for one that is not known")
        if tokens.accept("@"):
            tokens.expect("load", "load")
            return Dim(symbol, "load")
        return Dim(symbol)

    def _scales(self) -> tuple[float, ...]:
        tokens = self.tokens
        if tokens.next.kind == "hash":
            return self._kept_scales(tokens.take())
        tokens.expect("[", "[ and the scales, or the content hash of their data")
        scales: list[float] = []
        while not tokens.accept("]"):
            if scales and not tokens.accept(","):
                tokens.fail(tokens.next, ", or ]")
            scales.append(self.real())
        return tuple(scales)

    def _kept_scales(self, key: Token) -> tuple[float, ...]:
        size = stored_size(self._arrays(key), key.text)
        if size > _LARGEST_SCALES:
            self.tokens.refuse(key, f"{size} bytes of scales")
        return tuple(self.kept(key, (size // 4,), np.dtype(np.float32)).tolist())

    def kept(self, key: Token, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        """The data under a content hash. Raises FormatError when it is missing, damaged or of another size."""
        try:
            return restored(self._arrays(key), key.text, shape, kind)
        except FormatError as error:
            self.tokens.refuse(key, str(error))

    def _arrays(self, key: Token) -> Mapping[str, np.ndarray]:
        return self.carried if key.text in self.carried else self.sidecar

    def real(self) -> float:
        return float(self.array([self.tokens.take()], OperandCode.FLOAT32)[0])

    def integer(self, what: str) -> int:
        token = self.tokens.expect_kind("number", what)
        digits = token.text.lstrip("+-")
        if not digits.isdecimal() or len(digits) > 19 or int(digits) > _LARGEST_INTEGER:
            self.tokens.fail(token, f"{what}: an integer below 2^63")
        return int(token.text)

    def array(self, words: Sequence[Token], code: OperandCode) -> np.ndarray:
        try:
            return elements([word.text for word in words], code)
        except NotAnElement:
            for word in words:
                try:
                    elements([word.text], code)
                except NotAnElement as error:
                    self.tokens.fail(word, str(error))
            raise

    def operand(self) -> tuple[str, Token]:
        """The name of an operand, and where it stands."""
        token = self.tokens.expect_kind("operand", "an operand such as %x")
        return self._unquoted(token, token.text[1:]), token

    def name(self, what: str) -> str:
        """A plain or quoted name."""
        token = self.tokens.take()
        if token.kind not in ("word", "string"):
            self.tokens.fail(token, what)
        return self._unquoted(token, token.text)

    def _unquoted(self, token: Token, text: str) -> str:
        name = unquoted(text)
        if name is None:
            self.tokens.fail(token, "a name, in quotes as JSON writes it")
        return name
