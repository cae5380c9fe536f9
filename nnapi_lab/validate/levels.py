"""Feature levels, the Android API levels that carry them, and the level a model needs.

Levels 1…5 came with Android releases (API 27…31). Later levels came as updates of the NNAPI module and have
runtime codes of their own (1000006 …): no Android release between 32 and 34 stands for a feature level.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnapi_lab.ir.model import Model, Operand, Operation
from nnapi_lab.ir.operand_types import Dim, shape_text
from nnapi_lab.ops.densify import EXPERIMENTAL
from nnapi_lab.ops.spec import Call, required_level

NEWEST = 8
_ANDROID = {1: (27, "8.1"), 2: (28, "9"), 3: (29, "10"), 4: (30, "11"), 5: (31, "12")}


@dataclass(frozen=True, slots=True)
class UseLevel:
    """What one operation of a model needs: the feature level and the reason that decides it."""

    operation: str
    kind: str
    level: int
    because: str


def api_level_of(feature_level: int) -> int:
    """The Android API level of feature levels 1…5 (27…31), the module's runtime code of 6…8 (1000006 …).

    Raises ValueError for a level there is not.
    """
    if feature_level in _ANDROID:
        return _ANDROID[feature_level][0]
    if not 6 <= feature_level <= NEWEST:
        raise ValueError(f"there is no NNAPI feature level {feature_level}; they are 1…{NEWEST}")
    return 1000000 + feature_level


def feature_level_of(api_level: int | None = None, feature_level: int | None = None) -> int:
    """The feature level a user means by an Android API level or a feature level; the newest by default.

    API levels above 31 bring no newer NNAPI of their own: levels 6 to 8 are module updates, asked for by
    `feature_level`. Raises ValueError for both at once and for a level there is not.
    """
    if api_level is not None and feature_level is not None:
        raise ValueError("give api_level or feature_level, not both")
    if feature_level is not None:
        api_level_of(feature_level)
        return feature_level
    if api_level is None:
        return NEWEST
    by_api = {api: level for level, (api, _) in _ANDROID.items()} | {1000000 + n: n for n in range(6, NEWEST + 1)}
    if api_level not in by_api:
        raise ValueError(
            f"there is no NNAPI of its own at API level {api_level}; API levels are 27 to 31, "
            "newer features are asked for with feature_level=6 to 8"
        )
    return by_api[api_level]


def level_text(feature_level: int) -> str:
    """`feature level 3 (API 29, Android 10)`, `feature level 7 (NNAPI module update, code 1000007)`.

    Beyond the newest level are experimental operations, which no device is bound to have.
    """
    if feature_level == EXPERIMENTAL:
        return "no feature level (experimental)"
    code = api_level_of(feature_level)
    if feature_level in _ANDROID:
        return f"feature level {feature_level} (API {code}, Android {_ANDROID[feature_level][1]})"
    return f"feature level {feature_level} (NNAPI module update, code {code})"


def use_level(operation: Operation, call: Call) -> UseLevel:
    """The level one bound use needs, by its declaration and by empty tensors among its inputs."""
    level, because = required_level(call)
    held = [one for types in call.types.values() for one in (types if isinstance(types, tuple) else (types,))]
    empty = any(type_ is not None and type_.shape is not None and 0 in type_.shape for type_ in held)
    if empty and (call.spec.zero_sized or 0) > level:
        level, because = call.spec.zero_sized or level, f"{call.spec.kind} on a tensor without elements"
    return UseLevel(operation.name, operation.kind, level, because)


def model_levels(model: Model) -> list[tuple[int, str]]:
    """(level, reason) for what a model needs besides its operations."""
    reasons = [(1, "NNAPI exists since feature level 1")]
    if model.relaxed:
        reasons.append((2, "float32 may be computed as float16 (relaxed)"))
    for name in model.outputs:
        shape = model[name].type.shape
        if shape is None or any(isinstance(dim, Dim) for dim in shape):
            reasons.append((3, f"the size of output %{name} is left open: {shape_text(shape)}"))
    reasons += [reason for operand in model.operands.values() if (reason := _operand_level(operand))]
    return reasons


def _operand_level(operand: Operand) -> tuple[int, str] | None:
    if operand.type.shape is None:
        return 3, f"the rank of %{operand.name} is left open"
    if operand.type.code.since > 1:
        return operand.type.code.since, f"operand type {operand.type.code.name}"
    return None
