"""The table of twins: which operations have a fast kernel, and how one is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nnapi_lab.ops.registry import OPS
from nnapi_lab.simulate.kernels import Prepare

_TWINS: dict[str, Prepare] = {}
TWINS: Mapping[str, Prepare] = MappingProxyType(_TWINS)


def twin(*kinds: str) -> Callable[[Prepare], Prepare]:
    """Register `prepare(call)` as the fast way of these operations.

    It looks at one bound call (types, scalars, constants), does once what can be done once, and returns a
    function of the kernel's tensors that gives the tuple of results; or None where it does not apply, and the
    reference kernel runs. A twin gives the reference's integers to the bit. Raises TypeError for an unknown or a
    taken kind.
    """

    def register(prepare: Prepare) -> Prepare:
        for kind in kinds:
            if kind not in OPS:
                raise TypeError(f"{kind} is not a declared operation")
            if kind in _TWINS:
                raise TypeError(f"{kind} has two twins")
            _TWINS[kind] = prepare
        return prepare

    return register
