"""Result codes of NNAPI's C interface, and the error of a call that its rules forbid."""

from __future__ import annotations

from enum import IntEnum

from nnapi_lab.errors import NnapiLabError


class Result(IntEnum):
    """What an entry point answers. Source: `NeuralNetworksTypes.h`, ResultCode."""

    NO_ERROR = 0
    OUT_OF_MEMORY = 1
    INCOMPLETE = 2
    UNEXPECTED_NULL = 3
    BAD_DATA = 4
    OP_FAILED = 5
    BAD_STATE = 6
    UNMAPPABLE = 7
    OUTPUT_INSUFFICIENT_SIZE = 8
    UNAVAILABLE_DEVICE = 9
    MISSED_DEADLINE_TRANSIENT = 10
    MISSED_DEADLINE_PERSISTENT = 11
    RESOURCE_EXHAUSTED_TRANSIENT = 12
    RESOURCE_EXHAUSTED_PERSISTENT = 13
    DEAD_OBJECT = 14


class DeviceError(NnapiLabError):
    """A call that NNAPI's C interface forbids; `.code` is what the caller is answered."""

    def __init__(self, code: Result, message: str) -> None:
        self.code = code
        super().__init__(f"{message} ({code.name}, error {int(code)})")


def bad_data(message: str) -> DeviceError:
    return DeviceError(Result.BAD_DATA, message)


def bad_state(message: str) -> DeviceError:
    return DeviceError(Result.BAD_STATE, message)
