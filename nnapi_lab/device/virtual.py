"""The phone that is stood in for: its feature level, and what its device refuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnapi_lab.ir.findings import Finding
from nnapi_lab.ir.model import Model
from nnapi_lab.ops.registry import OPS
from nnapi_lab.validate.check import Report
from nnapi_lab.validate.levels import NEWEST, api_level_of, feature_level_of, level_text

OTHER, CPU, GPU, ACCELERATOR = 1, 2, 3, 4  # DeviceTypeCode
SOURCE = "the virtual device given to nnapi_lab.device.install"


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the phone: its name, type, NNAPI feature level, and the operations it does not take."""

    name: str
    type: int
    feature_level: int
    refuse: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        return "nnapi_lab"

    def takes(self, kind: str) -> bool:
        return kind not in self.refuse


@dataclass(frozen=True, slots=True)
class Phone:
    """What Android would be: a feature level, devices, and the simulator's engine behind all of them.

    The feature level is 1…5 (API 27…31), or 6…8 with a module update.
    """

    feature_level: int = NEWEST
    devices: tuple[Device, ...] = (Device("nnapi_lab", CPU, NEWEST),)
    engine: str = "fast"

    @property
    def api_level(self) -> int:
        """The Android API level of the C interface: that of level 5 for module updates, which add no functions."""
        return api_level_of(min(self.feature_level, 5))

    @property
    def runtime_level(self) -> int:
        """What ANeuralNetworks_getRuntimeFeatureLevel answers: an API level, or the code of a module update."""
        return api_level_of(self.feature_level)


def phone(
    api_level: int | None = None,
    refuse: Iterable[str] = (),
    *,
    feature_level: int | None = None,
    cpu_fallback: bool = False,
    engine: str = "fast",
) -> Phone:
    """The phone with this API level (or feature level) whose device refuses some operations.

    `cpu_fallback`: another device, `nnapi-reference`, takes what the first refuses, as on a real phone; without it a
    refused operation is an error that names it. Raises ValueError for a level or operation there is not.
    """
    level = feature_level_of(api_level, feature_level)
    names = (refuse,) if isinstance(refuse, str) else tuple(refuse)
    unknown = [name for name in names if name not in OPS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such operation; they are called ADD, CONV_2D, SOFTMAX, …")
    device = Device("nnapi_lab", ACCELERATOR if names else CPU, level, frozenset(names))
    fallback = (Device("nnapi-reference", CPU, level),) if cpu_fallback else ()
    return Phone(level, (device, *fallback), engine)


def level_findings(report: Report, feature_level: int) -> list[Finding]:
    """Why a valid model is too new for a feature level; empty when it is not."""
    if report.feature_level is None or report.feature_level <= feature_level:
        return []
    where = f"model {report.model}"
    message = (
        f"it needs {level_text(report.feature_level)}, this device has {level_text(feature_level)}: "
        f"{'; '.join(report.because)}"
    )
    because = "a phone refuses what is newer than its NNAPI"
    return [Finding("DEVICE.LEVEL", "error", where, message, because, SOURCE)]


def supported(model: Model, devices: Sequence[Device]) -> list[bool]:
    """For each operation of the model: whether one of the devices takes it."""
    return [any(device.takes(operation.kind) for device in devices) for operation in model.operations]


def refusal_findings(model: Model, devices: Sequence[Device]) -> list[Finding]:
    """A finding for each operation that none of the devices takes."""
    names = ", ".join(device.name for device in devices)
    return [
        Finding("DEVICE.REFUSED", "error", f"%{operation.name}", f"{operation.kind} is refused by {names}",
                "the device was told to refuse it", SOURCE)
        for operation, taken in zip(model.operations, supported(model, devices), strict=True) if not taken
    ]  # fmt: skip
