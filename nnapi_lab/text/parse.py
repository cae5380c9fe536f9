"""Text → Model: the inverse of `show`, and a way to write a model by hand. The text is untrusted.

Statements: `input`, `const`, `operand`, `output`, and `results = KIND.form(slot=argument, …) : types  #step`.
Arguments may stand in any order; optional ones may be left out. `//` starts a comment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nnapi_lab.ir.model import Arg, Model, Operand, Operation, Scalar
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.registry import OPS
from nnapi_lab.ops.spec import FUSE_NAMES, PADDING_NAMES, Form, OpSpec
from nnapi_lab.text.sidecar import data_from_text
from nnapi_lab.text.tokens import Token, Tokens
from nnapi_lab.text.types import TypeReader

DEEPEST = 32  # models inside models
_DATA = re.compile(r'^data (?P<key>sha256:[0-9a-f]{16}) = "(?P<data>[^"\n]*)"', re.MULTILINE)
_CODES = {
    "fuse": {word: code for code, word in FUSE_NAMES.items()},
    "padding": {word: code for code, word in PADDING_NAMES.items()},
}
_STATEMENT = "input, const, operand, output, an operation such as %y = RELU(input=%x) : f32[1], or }"


def parse(text: str, *, sidecar: Mapping[str, np.ndarray] | None = None, source: str = "text") -> Model:
    """The model a text describes; `parse(show(model)) == model`.

    `sidecar`: content hash → array, for large constants that are not at the text's end; `source` names the text in
    errors. Raises FormatError with line and column, what was expected and what is there.
    """
    tokens = Tokens(text, source)
    return _Reader(tokens, _carried(tokens), sidecar or {}).whole()


def _carried(tokens: Tokens) -> dict[str, np.ndarray]:
    """The data at the text's end, by content hash: types may refer to it before it is reached."""
    found: dict[str, np.ndarray] = {}
    for match in _DATA.finditer(tokens.text):
        try:
            found[match["key"]] = data_from_text(match["data"])
        except ValueError as error:
            tokens.refuse(Token("string", "", match.start("data")), f"the data is not base 64 ({error})")
    return found


@dataclass(slots=True)
class _Draft:
    """A model being read."""

    operands: dict[str, Operand] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, tokens: Tokens, carried: Mapping[str, np.ndarray], sidecar: Mapping[str, np.ndarray]) -> None:
        self.tokens = tokens
        self.types = TypeReader(tokens, carried, sidecar)

    def whole(self) -> Model:
        """One model, then the data that was read beforehand."""
        tokens = self.tokens
        tokens.skip_lines()
        model = self._model(0)
        tokens.end_line("the end of the line after the model's }")
        while tokens.accept("data"):
            tokens.expect_kind("hash", "a content hash such as sha256:0123456789abcdef")
            tokens.expect("=")
            tokens.expect_kind("string", "the data in quotes, in base 64")
            tokens.end_line()
        if tokens.next.kind != "end":
            tokens.fail(tokens.next, "data or the end of the text")
        return model

    def _model(self, depth: int) -> Model:
        tokens = self.tokens
        start = tokens.expect("model", "model NAME {")
        if depth > DEEPEST:
            tokens.refuse(start, f"models stand more than {DEEPEST} deep in each other")
        name, relaxed = self.types.name("the model's name"), tokens.accept("relaxed")
        tokens.expect("{", "{" if relaxed else "relaxed or {")
        tokens.end_line()
        draft = _Draft()
        while not tokens.accept("}"):
            self._statement(draft, depth)
        return Model(name, draft.operands, tuple(draft.operations), tuple(draft.inputs), tuple(draft.outputs), relaxed)

    # --- statements ------------------------------------------------------------------------------------------

    def _statement(self, draft: _Draft, depth: int) -> None:
        tokens = self.tokens
        if tokens.accept("input"):
            name = self.types.operand()
            draft.inputs.append(name[0])
            if tokens.sees("as", ":"):
                self._declare(draft, *name)
        elif tokens.accept("output"):
            draft.outputs.append(self.types.operand()[0])
        elif tokens.accept("operand"):
            self._declare(draft, *self.types.operand())
        elif tokens.accept("const"):
            self._constant(draft, depth)
        elif tokens.next.kind == "operand" or tokens.sees("none"):
            self._operation(draft)
        else:
            tokens.fail(tokens.next, _STATEMENT)
        tokens.end_line()

    def _declare(self, draft: _Draft, key: str, at: Token) -> None:
        name, type = self._head(key)
        self._add(draft, key, at, Operand(name, type))

    def _head(self, key: str) -> tuple[str, OperandType]:
        """`[as %name] : type`."""
        name = self.types.operand()[0] if self.tokens.accept("as") else key
        self.tokens.expect(":")
        return name, self.types.type()

    def _add(self, draft: _Draft, key: str, at: Token, operand: Operand) -> None:
        if key in draft.operands:
            self.tokens.refuse(at, f"%{key} is declared twice")
        draft.operands[key] = operand

    def _constant(self, draft: _Draft, depth: int) -> None:
        tokens = self.tokens
        key, at = self.types.operand()
        name, type = self._head(key)
        tokens.expect("=")
        if tokens.sees("model"):
            self._add(draft, key, at, Operand(name, type, self._model(depth + 1)))
            return
        if type.code == OperandCode.MODEL:
            tokens.fail(tokens.next, "model NAME {")
        shape = self.types.shape() if type.shape is None else type.shape
        if shape is None or any(isinstance(dim, Dim) for dim in shape):
            tokens.refuse(at, f"the constant %{key} has a dimension that is not known")
        sizes = tuple(int(dim) for dim in shape if not isinstance(dim, Dim))
        if tokens.next.kind == "hash":
            value = self.types.kept(tokens.take(), sizes, type.code.numpy)
        else:
            value = self._elements(type.code, sizes)
        self._add(draft, key, at, Operand(name, type, value))

    def _elements(self, code: OperandCode, shape: tuple[int, ...]) -> np.ndarray:
        """As many words as the shape has elements, up to the end of the line."""
        tokens = self.tokens
        words: list[Token] = []
        if not tokens.accept("empty"):
            while tokens.next.kind in ("number", "word"):
                words.append(tokens.take())
        wanted = math.prod(shape)
        if len(words) != wanted:
            tokens.fail(tokens.next, f"{wanted} elements (there are {len(words)}), or the content hash of the data")
        return self.types.array(words, code).reshape(shape)

    # --- operations ------------------------------------------------------------------------------------------

    def _operation(self, draft: _Draft) -> None:
        tokens = self.tokens
        outputs: list[tuple[str, Token]] = []
        if not tokens.accept("none"):
            outputs.append(self.types.operand())
            while tokens.accept(","):
                outputs.append(self.types.operand())
        tokens.expect("=", "= or ,")
        kind, inputs = self._call()
        if outputs:
            tokens.expect(":", ": and the type of the result")
        for index, (name, at) in enumerate(outputs):
            if index:
                tokens.expect(",", f", and the type of %{name}")
            if not tokens.accept("_"):
                self._add(draft, name, at, Operand(name, self.types.type()))
        step = self.types.integer("the number of a step") if tokens.accept("#") else None
        draft.operations.append(Operation(kind, inputs, tuple(name for name, _ in outputs), step))

    def _call(self) -> tuple[str, tuple[Arg, ...]]:
        """`KIND.form(slot=argument, …)`, or arguments by position."""
        tokens = self.tokens
        at = tokens.next
        if at.kind == "string":
            kind, form_name = self.types.name("an operation"), ""
        else:
            kind, _, form_name = tokens.expect_kind("word", "an operation such as RELU").text.partition(".")
        tokens.expect("(", "( and the arguments")
        named: dict[str, tuple[Token, Arg | list[Arg]]] = {}
        by_position: list[Arg] = []
        while not tokens.accept(")"):
            if (named or by_position) and not tokens.accept(","):
                tokens.fail(tokens.next, ", or )")
            self._argument(named, by_position)
        if form_name or named:
            return kind, self._ordered(at, kind, form_name, named)
        return kind, tuple(by_position)

    def _argument(self, named: dict[str, tuple[Token, Arg | list[Arg]]], by_position: list[Arg]) -> None:
        tokens = self.tokens
        start = tokens.next
        if start.kind != "word" or start.text in ("none", "true", "false", "inf", "nan"):
            by_position.append(self._single(""))
        else:
            word = tokens.take()
            if tokens.accept("="):
                if word.text in named:
                    tokens.refuse(word, f"{word.text} is given twice")
                named[word.text] = (word, self._list() if tokens.sees("[") else self._single(word.text))
            else:
                by_position.append(self._scalar(word, ""))
        if named and by_position:
            tokens.refuse(start, "arguments are either all named or all by position")

    def _list(self) -> list[Arg]:
        tokens = self.tokens
        tokens.expect("[")
        items: list[Arg] = []
        while not tokens.accept("]"):
            if items and not tokens.accept(","):
                tokens.fail(tokens.next, ", or ]")
            items.append(self._single(""))
        return items

    def _single(self, slot: str) -> Arg:
        if self.tokens.next.kind == "operand":
            return self.types.operand()[0]
        if self.tokens.accept("none"):
            return None
        return self._scalar(self.tokens.take(), slot)

    def _scalar(self, token: Token, slot: str) -> Scalar:
        """`2`, `0.5`, `true`, `RELU6` in its slot, `uint32(3)`."""
        tokens = self.tokens
        word, codes = token.text, _CODES.get(slot, {})
        if token.kind == "word" and word in codes:
            return Scalar(OperandCode.INT32, codes[word])
        if token.kind == "word" and tokens.sees("("):
            code = self.types.code(token)
            if code == OperandCode.MODEL:
                tokens.refuse(token, "a model is no scalar; declare it with const")
            tokens.take()
            held = self.types.array([tokens.take()], code)
            tokens.expect(")")
            return Scalar(code, held[0].item())
        if token.kind == "number" or word in ("true", "false", "inf", "nan"):
            code = _plain_code(word)
            return Scalar(code, self.types.array([token], code)[0].item())
        wanted = "%operand, none, a number, true or false"
        tokens.fail(token, f"{wanted}, or one of {', '.join(codes)}" if codes else wanted)

    def _ordered(
        self, at: Token, kind: str, form_name: str, named: Mapping[str, tuple[Token, Arg | list[Arg]]]
    ) -> tuple[Arg, ...]:
        """Named arguments in the form's order."""
        spec = OPS.get(kind)
        if spec is None:
            self.tokens.refuse(at, f"{kind} is not an operation nnapi_lab knows; its arguments stand by position")
        form = self._form(at, spec, form_name, named)
        last = max((i for i, slot in enumerate(form.inputs) if slot.name in named or not slot.trailing), default=-1)
        inputs: list[Arg] = []
        for slot in form.inputs[: last + 1]:
            word, given = named.get(slot.name, (at, None))
            if isinstance(given, list) != slot.variadic and slot.name in named:
                listed = "a list in [ ]" if slot.variadic else "one argument, not a list"
                self.tokens.refuse(word, f"{slot.name} of {kind} is {listed}")
            if slot.name not in named and not (slot.optional or slot.variadic):
                self.tokens.refuse(at, f"{kind} lacks {slot.name}")
            if isinstance(given, list):
                inputs.extend(given)
            elif not slot.variadic:
                inputs.append(given)
        return tuple(inputs)

    def _form(
        self, at: Token, spec: OpSpec, form_name: str, named: Mapping[str, tuple[Token, Arg | list[Arg]]]
    ) -> Form:
        forms = [form for form in spec.forms if form_name in ("", form.name)]
        if not forms:
            names = ", ".join(form.name for form in spec.forms)
            self.tokens.refuse(at, f"{spec.kind} has no form {form_name!r}; it has {names}")
        fitting = [form for form in forms if set(named) <= {slot.name for slot in form.inputs}]
        if not fitting:
            known = {slot.name for form in forms for slot in form.inputs}
            alien = next((name for name in named if name not in known), next(iter(named)))
            slots = " or ".join(", ".join(slot.name for slot in form.inputs) for form in forms)
            self.tokens.refuse(named[alien][0], f"{spec.kind} has no argument {alien} here; it has {slots}")
        return next((form for form in fitting if _complete(form, named)), fitting[0])


def _plain_code(word: str) -> OperandCode:
    if word in ("true", "false"):
        return OperandCode.BOOL
    if word.startswith("0x") or any(letter in word for letter in ".eEin"):
        return OperandCode.FLOAT32
    return OperandCode.INT32


def _complete(form: Form, named: Mapping[str, object]) -> bool:
    return all(s.name in named for s in form.inputs if not (s.trailing or s.optional or s.variadic))
