"""A small client of NNAPI's C interface, as a program on Android would be; declared here once more, by hand."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from nnapi_lab.device.library import Library
from nnapi_lab.device.state import State, answers
from nnapi_lab.device.virtual import Phone

NO_ERROR, UNEXPECTED_NULL, BAD_DATA, OP_FAILED, BAD_STATE, UNMAPPABLE = 0, 3, 4, 5, 6, 7
OUTPUT_INSUFFICIENT_SIZE, UNAVAILABLE_DEVICE = 8, 9
FLOAT32, INT32, TENSOR_FLOAT32, TENSOR_INT32, TENSOR_QUANT8, BOOL = 0, 1, 3, 4, 5, 6
PER_CHANNEL, MODEL = 11, 15
ADD, CONV_2D, MUL, RELU, SOFTMAX, SQUEEZE, GATHER, NEG, IF = 0, 3, 18, 19, 25, 34, 51, 67, 96

VOID = {"Memory_free", "Model_free", "Compilation_free", "Execution_free", "Event_free", "Burst_free",
        "MemoryDesc_free"}  # fmt: skip
WIDE = {"_getDefaultLoopTimeout", "_getMaximumLoopTimeout", "_getRuntimeFeatureLevel"}


class Type(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int32), ("count", ctypes.c_uint32), ("dims", ctypes.POINTER(ctypes.c_uint32)),
        ("scale", ctypes.c_float), ("zero_point", ctypes.c_int32),
    )  # fmt: skip


class Channels(ctypes.Structure):
    _fields_ = (("axis", ctypes.c_uint32), ("count", ctypes.c_uint32), ("scales", ctypes.POINTER(ctypes.c_float)))


def type_of(code: int, *dims: int, scale: float = 0.0, zero_point: int = 0) -> Type:
    return Type(code, len(dims), (ctypes.c_uint32 * len(dims))(*dims), scale, zero_point)


def u32(*numbers: int) -> Any:
    return (ctypes.c_uint32 * len(numbers))(*numbers)


class Client:
    """`client("Model_create", …)` calls ANeuralNetworksModel_create and returns what it answers."""

    def __init__(self, library: Library, phone: Phone) -> None:
        self.library = library
        self.state = State(phone)
        library.fill(answers(self.state, library.slots))
        self._functions = ctypes.CDLL(library.path)
        self._kept: list[Any] = []

    def __call__(self, name: str, *arguments: Any) -> int:
        function = getattr(self._functions, f"ANeuralNetworks{name}")
        function.restype = None if name in VOID else ctypes.c_uint64 if name in WIDE else ctypes.c_int
        return function(*(self._given(argument) for argument in arguments))

    def _given(self, argument: Any) -> Any:
        if isinstance(argument, np.ndarray):
            self._kept.append(argument)
            return ctypes.c_void_p(argument.ctypes.data)
        if isinstance(argument, ctypes.Structure | ctypes.Array):
            self._kept.append(argument)
            return ctypes.byref(argument)
        # ctypes hands a bare int over as 32 bits, which is what int32_t and uint32_t take.
        return argument

    def ok(self, name: str, *arguments: Any) -> None:
        code = self(name, *arguments)
        assert code in (NO_ERROR, None), f"{name} answered {code}"

    def make(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Call a function whose last argument is where the handle goes."""
        handle = ctypes.c_void_p()
        self.ok(name, *arguments, ctypes.byref(handle))
        assert handle.value
        return handle

    def refused(self, name: str, *arguments: Any) -> int:
        """The code of a function that would make something, and makes nothing."""
        handle = ctypes.c_void_p()
        code = self(name, *arguments, ctypes.byref(handle))
        assert code != NO_ERROR
        assert handle.value is None
        return code

    # --- models ----------------------------------------------------------------------------------------------

    def model(self, *types: Type) -> ctypes.c_void_p:
        """A model with these operands."""
        model = self.make("Model_create")
        for type in types:
            self.ok("Model_addOperand", model, type)
        return model

    def value(self, model: ctypes.c_void_p, number: int, array: np.ndarray) -> int:
        return self("Model_setOperandValue", model, number, array, ctypes.c_size_t(array.nbytes))

    def operation(self, model: ctypes.c_void_p, code: int, inputs: Any, outputs: Any) -> int:
        return self("Model_addOperation", model, code, len(inputs), u32(*inputs), len(outputs), u32(*outputs))

    def ends(self, model: ctypes.c_void_p, inputs: Any, outputs: Any) -> int:
        return self("Model_identifyInputsAndOutputs", model, len(inputs), u32(*inputs), len(outputs), u32(*outputs))

    def add(self, *dims: int, finish: bool = True, b: np.ndarray | None = None) -> ctypes.c_void_p:
        """out = a + b; operand 0 is a, 1 is b, 2 the fuse code, 3 the result. b is an input unless given."""
        tensor = type_of(TENSOR_FLOAT32, *dims)
        model = self.model(tensor, tensor, type_of(INT32), tensor)
        assert self.value(model, 2, np.zeros((), np.int32)) == NO_ERROR
        if b is not None:
            assert self.value(model, 1, b) == NO_ERROR
        assert self.operation(model, ADD, [0, 1, 2], [3]) == NO_ERROR
        assert self.ends(model, [0, 1] if b is None else [0], [3]) == NO_ERROR
        if finish:
            self.ok("Model_finish", model)
        return model

    def compiled(self, model: ctypes.c_void_p) -> ctypes.c_void_p:
        compilation = self.make("Compilation_create", model)
        self.ok("Compilation_finish", compilation)
        return compilation

    # --- executions ------------------------------------------------------------------------------------------

    def execution(self, compilation: ctypes.c_void_p, *arrays: np.ndarray) -> ctypes.c_void_p:
        """An execution with these inputs."""
        execution = self.make("Execution_create", compilation)
        for number, array in enumerate(arrays):
            assert self.input(execution, number, array) == NO_ERROR
        return execution

    def input(self, execution: ctypes.c_void_p, number: int, array: np.ndarray, type: Type | None = None) -> int:
        return self("Execution_setInput", execution, number, type, array, ctypes.c_size_t(array.nbytes))

    def output(self, execution: ctypes.c_void_p, number: int, array: np.ndarray, type: Type | None = None) -> int:
        return self("Execution_setOutput", execution, number, type, array, ctypes.c_size_t(array.nbytes))

    def shape(self, execution: ctypes.c_void_p, number: int = 0) -> tuple[int, ...]:
        rank = ctypes.c_uint32()
        self.ok("Execution_getOutputOperandRank", execution, number, ctypes.byref(rank))
        sizes = (ctypes.c_uint32 * rank.value)()
        self.ok("Execution_getOutputOperandDimensions", execution, number, sizes)
        return tuple(sizes)

    def run(self, model: ctypes.c_void_p, inputs: Any, like: np.ndarray) -> np.ndarray:
        """The first output of a finished model."""
        execution = self.execution(self.compiled(model), *inputs)
        out = np.empty_like(like)
        assert self.output(execution, 0, out) == NO_ERROR
        self.ok("Execution_compute", execution)
        self.ok("Execution_free", execution)
        return out
