"""What stands in the pickle of a TorchScript archive, read as data: nothing in it is ever called or imported.

TorchScript writes a small part of the pickle language. A program of it is walked here step by step; a class is a
name, an object its name and state, a tensor a description of where its elements lie.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from nnapi_lab.errors import FormatError

MOST_STEPS = 20_000_000  # a step takes at least a byte; torchvision's largest models need a few hundred thousand


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function, as module and name."""

    module: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Thing:
    """An object of a class, with the state it was given."""

    kind: Name
    state: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """What calling a function would have given; it was not called."""

    function: Any
    arguments: Any


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A reference to a storage: ("storage", type, key, device, elements)."""

    fields: Any


@dataclass(frozen=True, slots=True, eq=False)
class TensorPlan:
    """A tensor: its storage, the offset of its first element, sizes and strides in elements."""

    storage: Any
    offset: Any
    sizes: Any
    strides: Any


@dataclass(slots=True)
class Pickled:
    """The object at the root, and every object of a class in the order it appears."""

    root: Any = None
    things: list[Thing] = field(default_factory=list)


class _Mark:
    pass


_MARK = _Mark()
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_qtensor")
_LISTS = tuple(f"torch.jit._pickle.build_{kind}list" for kind in ("tensor", "int", "double", "bool"))
_TYPED = "torch.jit._pickle.restore_type_tag"


def read_pickle(data: bytes, source: str) -> Pickled:
    """Walk a pickle. Raises FormatError, with the byte, for what TorchScript does not write."""
    walk = _Walk(source)
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(data)):
            if count >= MOST_STEPS:
                raise FormatError(f"{source}: more than {MOST_STEPS} steps")
            walk.step(opcode.name, argument, place or 0)
    except (ValueError, IndexError, EOFError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise FormatError(f"{source}: is damaged ({error})") from error
    if not walk.stopped:
        raise FormatError(f"{source}: ends too early")
    return walk.found


class _Walk:
    def __init__(self, source: str) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.found = Pickled()
        self.stopped = False

    def step(self, name: str, argument: Any, place: int) -> None:
        if name in _CARRYING or name in _LITERALS:
            self.stack.append(argument if name in _CARRYING else _LITERALS[name]())
            return
        act = getattr(self, f"_{name.lower()}", None)
        if act is None:
            self.fail(place, f"the pickle instruction {name} is none that TorchScript writes")
        try:
            act(argument)
        except (IndexError, KeyError, TypeError) as error:
            self.fail(place, f"the instruction {name} finds nothing to work on ({error})")

    def fail(self, place: int, message: str) -> NoReturn:
        raise FormatError(f"{self.source}, byte {place}: {message}")

    # --- instructions, each named as pickletools names it ----------------------------------------------------

    def _proto(self, version: int) -> None:
        pass

    def _stop(self, _: None) -> None:
        self.found.root = self.stack.pop()
        self.stopped = True

    def _mark(self, _: None) -> None:
        self.stack.append(_MARK)

    def _global(self, text: str) -> None:
        self.stack.append(Name(*text.split(" ", 1)))

    def _binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _long_binput = _binput

    def _binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _long_binget = _binget

    def _tuple(self, _: None) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: None) -> None:
        self.stack.append((self.stack.pop(),))

    def _tuple2(self, _: None) -> None:
        self._last(2)

    def _tuple3(self, _: None) -> None:
        self._last(3)

    def _last(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _append(self, _: None) -> None:
        item = self.stack.pop()
        self._held(list).append(item)

    def _appends(self, _: None) -> None:
        items = self._since_mark()
        self._held(list).extend(items)

    def _setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._held(dict)[key] = value

    def _setitems(self, _: None) -> None:
        items = self._since_mark()
        if len(items) % 2:
            raise IndexError("a key without a value")
        self._held(dict).update(zip(items[::2], items[1::2], strict=True))

    def _newobj(self, _: None) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Name) or arguments != ():
            raise TypeError("an object of something that is no class")
        self.found.things.append(Thing(kind))
        self.stack.append(self.found.things[-1])

    def _build(self, _: None) -> None:
        state = self.stack.pop()
        self._held(Thing).state = state

    def _binpersid(self, _: None) -> None:
        self.stack.append(Stored(self.stack.pop()))

    def _reduce(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_result(function, arguments))

    # --- the stack -------------------------------------------------------------------------------------------

    def _since_mark(self) -> list[Any]:
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is _MARK:
                items = self.stack[depth + 1 :]
                del self.stack[depth:]
                return items
        raise IndexError("no mark")

    def _held(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"expected a {kind.__name__}")
        return self.stack[-1]


def _result(function: Any, arguments: Any) -> Any:
    """Tensors and typed lists are understood; anything else stays a call that was not made."""
    path = function.path if isinstance(function, Name) else ""
    given = arguments if isinstance(arguments, tuple) else ()
    if path in _TENSORS and len(given) >= 4:
        return TensorPlan(*given[:4])
    if path in _LISTS and len(given) == 1:
        return given[0]
    if path == _TYPED and len(given) == 2:
        return given[0]
    return Called(function, arguments)


# Instructions that push one value: their argument, or a new one.
_CARRYING = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_LITERALS: dict[str, Callable[[], Any]] = {
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "NONE": lambda: None,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
