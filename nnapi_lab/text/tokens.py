"""Words of the text form, each with its place, so that whatever is wrong is said with line and column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from nnapi_lab.errors import FormatError

LARGEST_TEXT = 1 << 30  # characters; nothing a reader of text wants comes near
NAME = r"[A-Za-z_][A-Za-z0-9_.]*"
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r]+ | //[^\n]*)
  | (?P<newline>\n)
  | (?P<hash>sha256:[0-9a-f]{16}\b)
  | (?P<operand>%(?:[A-Za-z0-9_.]+ | "[^"\\\n]*(?:\\.[^"\\\n]*)*"))
  | (?P<string>"[^"\\\n]*(?:\\.[^"\\\n]*)*")
  | (?P<number>-inf\b | [+-]?(?:0x[0-9a-fA-F]+ | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
  | (?P<word>[A-Za-z_?][A-Za-z0-9_.]*)
  | (?P<mark>[{}()\[\]=,:\#@*])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word: its kind ("operand", "word", "number", "string", "hash", "mark", "newline", "end"), text, place."""

    kind: str
    text: str
    at: int


class Tokens:
    """The words of a text, read one after the other; brackets may span lines, statements end with theirs."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        if len(text) > LARGEST_TEXT:
            raise FormatError(f"{source}: {len(text)} characters; a model's text has at most {LARGEST_TEXT}")
        self._words = self._scan()
        self._open = 0
        self.next = self._read()

    def _scan(self) -> Iterator[Token]:
        at, end = 0, len(self.text)
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                self.fail(Token("", self.text[at], at), "a name, a number or one of { } ( ) [ ] = , : # %")
            if match.lastgroup != "space":
                yield Token(str(match.lastgroup), match.group(), at)
            at = match.end()
        yield Token("end", "", end)

    def _read(self) -> Token:
        token = next(self._words)
        while token.kind == "newline" and self._open:
            token = next(self._words)
        if token.kind == "mark":
            self._open = max(0, self._open + (token.text in "([") - (token.text in ")]"))
        return token

    def take(self) -> Token:
        """The next word, which is then behind us."""
        token = self.next
        if token.kind != "end":
            self.next = self._read()
        return token

    def sees(self, *texts: str) -> bool:
        """Whether the next word is one of these marks or words."""
        return self.next.kind in ("mark", "word") and self.next.text in texts

    def accept(self, text: str) -> bool:
        """Take the next word if it is this mark or word."""
        if not self.sees(text):
            return False
        self.take()
        return True

    def expect(self, text: str, what: str = "") -> Token:
        """Take this mark or word. Raises FormatError saying `what` was expected."""
        if not self.sees(text):
            self.fail(self.next, what or repr(text))
        return self.take()

    def expect_kind(self, kind: str, what: str) -> Token:
        if self.next.kind != kind:
            self.fail(self.next, what)
        return self.take()

    def skip_lines(self) -> None:
        while self.next.kind == "newline":
            self.take()

    def end_line(self, what: str = "the end of the line") -> None:
        """A statement ends here. Raises FormatError when something follows."""
        if self.next.kind not in ("newline", "end") and not self.sees("}"):
            self.fail(self.next, what)
        self.skip_lines()

    def fail(self, token: Token, expected: str) -> NoReturn:
        """Raises FormatError: line and column, what was expected, what is there."""
        found = {"end": "the end of the text", "newline": "the end of the line"}.get(token.kind, "")
        if not found:
            found = token.text if len(token.text) <= 40 else token.text[:37] + "..."
            found = f"{found!r}"
        self.refuse(token, f"expected {expected}, found {found}")

    def refuse(self, token: Token, message: str) -> NoReturn:
        """Raises FormatError with line and column of a word and what is wrong with it."""
        line = self.text.count("\n", 0, token.at) + 1
        column = token.at - (self.text.rfind("\n", 0, token.at) + 1) + 1
        raise FormatError(f"{self.source}, line {line}, column {column}: {message}")


def name_text(name: str, pattern: str = NAME) -> str:
    """A name as it is written: plain where it can be, else quoted as JSON does."""
    return name if re.fullmatch(pattern, name) else json.dumps(name)


def operand_text(name: str) -> str:
    """`%x`; a name of other characters is quoted: `%"a b"`."""
    return "%" + name_text(name, "[A-Za-z0-9_.]+")


def unquoted(text: str) -> str | None:
    """What a plain or quoted name means; None for a quotation JSON cannot read."""
    if not text.startswith('"'):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, str) else None
