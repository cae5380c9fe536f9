"""Running single TorchScript operators from Python, as TorchScript itself would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch


class UnknownOperator(LookupError):
    """The operator's library is not loaded (for example torchvision's), so nothing can be said of its result."""


def _number_to_tensor(number: Any) -> torch.Tensor:
    return torch.tensor(number)


# prim operators that have no entry in torch's operator table, or none that can be called from Python.
_PRIMS: dict[str, Callable[..., Any]] = {
    "prim::NumToTensor": _number_to_tensor,
    "prim::dtype": lambda tensor: tensor.dtype,
    "prim::device": lambda tensor: tensor.device,
    "prim::layout": lambda tensor: tensor.layout,
    "prim::ndim": lambda tensor: tensor.dim(),
    "prim::shape": lambda tensor: list(tensor.shape),
    "prim::is_quantized": lambda tensor: tensor.is_quantized,
    "prim::is_cuda": lambda tensor: tensor.is_cuda,
    "prim::requires_grad": lambda tensor: False,
    "prim::min": lambda *args: min(*args) if len(args) > 1 else min(args[0]),
    "prim::max": lambda *args: max(*args) if len(args) > 1 else max(args[0]),
    "aten::Int": lambda value: int(value),
    "aten::Float": lambda value: float(value),
    "aten::Bool": lambda value: bool(value),
    "aten::IntImplicit": lambda value: int(value),
    "aten::FloatImplicit": lambda value: float(value),
    "aten::ScalarImplicit": lambda value: value.item(),
    "aten::__is__": lambda a, b: a is b,
    "aten::__isnot__": lambda a, b: a is not b,
    "aten::__getitem__": lambda held, key: held[key],
    "aten::__contains__": lambda held, key: key in held,
    "aten::__not__": lambda value: not value,
    "aten::len": lambda held: len(held),
    "aten::list": lambda held: list(held),
    "aten::format": lambda text, *args: text.format(*args),
    "aten::warn": lambda *args: None,
}

# torch's qnnpack clamp copies a channels-last tensor's bytes as they lie into a row-major result, which scrambles
# it (seen with torch 2.13; the code is that of PyTorch pull request 35779). Other engines keep the order.
_SCRAMBLERS = frozenset({"aten::hardtanh", "aten::relu6", "aten::clamp"})

_OF_ANYTHING = ("aten::__is__", "aten::__isnot__")  # asked of tensors too: "is it None"


@dataclass(frozen=True)
class Operator:
    """One overload, callable with positional arguments in schema order."""

    run: Callable[..., Any]
    names: tuple[str, ...]
    keyword_only: tuple[bool, ...]

    def __call__(self, arguments: list[Any]) -> Any:
        positional, keywords = [], {}
        for name, keyword, argument in zip(self.names, self.keyword_only, arguments, strict=False):
            if keyword:
                keywords[name] = argument
            else:
                positional.append(argument)
        return self.run(*positional, **keywords)


@lru_cache(maxsize=4096)
def _operator(kind: str, overload: str) -> Operator:
    try:
        run, *_ = torch._C._get_operation_overload(kind, overload)
        schema = torch._C._get_schema(kind, overload)
    except (RuntimeError, TypeError) as error:
        raise UnknownOperator(f"torch does not know {kind}; import the library that defines it first") from error
    return Operator(
        run,
        tuple(argument.name for argument in schema.arguments),
        tuple(argument.kwarg_only for argument in schema.arguments),
    )


def evaluate(kind: str, overload: str, arguments: list[Any], outputs: int) -> tuple[Any, ...]:
    """Run one operator on torch objects and return its outputs as a tuple.

    `overload` is torch's overload name ("Tensor"; often empty). In-place kinds must have been replaced by their
    `functional_twin`. Where torch `scrambles`, the result is what the operator says. Raises UnknownOperator, or
    whatever torch raises.
    """
    if scrambles(kind, arguments):
        arguments = [arguments[0].contiguous(), *arguments[1:]]
    prim = _PRIMS.get(kind)
    if prim is not None and (kind in _OF_ANYTHING or not (kind.startswith("aten::__") and _is_tensor_pair(arguments))):
        result = prim(*arguments)
    else:
        result = _operator(kind, overload)(arguments)
    if outputs == 0:
        return ()
    return (result,) if outputs == 1 else tuple(result)


def scrambles(kind: str, arguments: list[Any]) -> bool:
    """True when torch's active engine puts the result's elements in wrong places: its clamp, channels last."""
    if kind not in _SCRAMBLERS or torch.backends.quantized.engine != "qnnpack":
        return False
    tensor = arguments[0]
    return isinstance(tensor, torch.Tensor) and tensor.is_quantized and not tensor.is_contiguous()


def _is_tensor_pair(arguments: list[Any]) -> bool:
    return any(isinstance(argument, torch.Tensor) for argument in arguments) and len(arguments) == 2


@lru_cache(maxsize=4096)
def draws_random(kind: str, overload: str = "") -> bool:
    """True when torch marks the operator as drawing from its random number generator: rand, normal_, dropout."""
    try:
        *_, tags = torch._C._get_operation_overload(kind, overload)
    except (RuntimeError, TypeError):
        return False
    return torch.Tag.nondeterministic_seeded in tags


@lru_cache(maxsize=4096)
def functional_twin(kind: str, overload: str = "") -> str:
    """The kind that computes the same without writing into its input: aten::relu_ → aten::relu."""
    namespace, _, name = kind.partition("::")
    if not name.endswith("_") or name.endswith("__"):
        return kind
    twin = f"{namespace}::{name[:-1]}"
    try:
        _operator(twin, overload)
    except UnknownOperator:
        return kind
    return twin


def operator_schema(node: Any) -> tuple[str, tuple[str, ...]]:
    """A node's overload name and the names of its arguments as torch declares them."""
    schema = node.schema()
    return ("", ()) if schema == "(no schema)" else _parsed(schema)


@lru_cache(maxsize=4096)
def _parsed(schema: str) -> tuple[str, tuple[str, ...]]:
    parsed = torch._C.parse_schema(schema)
    return parsed.overload_name, tuple(argument.name for argument in parsed.arguments)


def keyword_names(kind: str, overload: str) -> frozenset[str]:
    """Arguments that torch takes by name only. Raises UnknownOperator."""
    operator = _operator(kind, overload)
    return frozenset(name for name, keyword in zip(operator.names, operator.keyword_only, strict=True) if keyword)
