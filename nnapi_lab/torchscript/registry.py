"""Which rule lowers which TorchScript kind; rules take torch's own argument names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnapi_lab.torchscript.refuse import Refused

Rule = Callable[..., None]


@dataclass(frozen=True, slots=True)
class LoweringRule:
    """One registered rule. `parameters` are the schema names it reads; arguments it does not name are ignored
    only if listed in `ignores`, so that no argument of torch's is dropped in silence."""

    kind: str
    run: Rule
    parameters: tuple[str, ...]
    ignores: tuple[str, ...]


LOWERINGS: dict[str, LoweringRule] = {}


def lowers(*kinds: str, ignores: tuple[str, ...] = ()) -> Callable[[Rule], Rule]:
    """Register a rule for these kinds: `@lowers("aten::relu", "aten::relu_")`.

    The rule is called with the Site and the node's arguments under their schema names. `ignores` names
    arguments that cannot change the values in inference.
    """

    def register(rule: Rule) -> Rule:
        names = tuple(inspect.signature(rule).parameters)[1:]
        for kind in kinds:
            if kind in LOWERINGS:
                raise TypeError(f"{kind} has two lowerings: {LOWERINGS[kind].run.__name__} and {rule.__name__}")
            LOWERINGS[kind] = LoweringRule(kind, rule, names, ignores)
        return rule

    return register


def arguments_for(rule: LoweringRule, schema: tuple[str, ...], given: tuple[Any, ...]) -> dict[str, Any]:
    """The node's arguments the rule asks for, by name. Raises Refused for one that nobody looks at (`out=`)."""
    named = dict(zip(schema, given, strict=False))
    unread = sorted(set(named) - set(rule.parameters) - set(rule.ignores))
    if unread:
        names = ", ".join(unread)
        raise Refused("NOT_YET", "ARGUMENT", f"the lowering of {rule.kind} does not look at its argument {names}",
                      f"write the model without {names}", "torch operator schema")  # fmt: skip
    return {name: named[name] for name in rule.parameters if name in named}
