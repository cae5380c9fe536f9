"""A lowered 8-bit network as a .tflite model for LiteRT's reference kernels, written through LiteRT's own schema.

Only what the measured networks consist of: convolutions, ADD, pools, RESHAPE, FULLY_CONNECTED. Explicit pads become
a PAD operation, or PADV2 with the smallest code before a maximum. With per-channel weights LiteRT takes signed
activations only: all codes are then 128 lower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from nnapi_lab.ir.model import Model, Operation
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel
from nnapi_lab.ops.spec import Call
from nnapi_lab.validate.uses import bind_use

_Q8 = OperandCode.TENSOR_QUANT8_ASYMM
_CODES = {"uint8": schema.TensorType.UINT8, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


def reference_kernels(model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """`run(codes)`: the network's one output in LiteRT's reference kernels, on one thread, in NNAPI's codes."""
    writer = _Writer(model)
    interpreter = Interpreter(
        model_content=writer.content(), num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    (first,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
    signed = writer.signed

    def run(codes: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(first["index"], (codes ^ 128).view(np.int8) if signed else codes)
        interpreter.invoke()
        found = interpreter.get_tensor(last["index"])
        return found.view(np.uint8) ^ 128 if signed else found

    return run


class _Writer:
    """Grows the flatbuffer's tables operation by operation."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.signed = any(isinstance(operand.type.quant, PerChannel) for operand in model.operands.values())
        self.graph, self.file = schema.SubGraphT(), schema.ModelT()
        self.graph.tensors, self.graph.operators = [], []
        self.file.version, self.file.buffers, self.file.operatorCodes = 3, [schema.BufferT()], []
        self.places: dict[str, int] = {}
        self.codes: dict[str, int] = {}

    def content(self) -> bytes:
        for operation in self.model.operations:
            self.operation(operation)
        self.graph.inputs = [self.place(name) for name in self.model.inputs]
        self.graph.outputs = [self.place(name) for name in self.model.outputs]
        self.file.subgraphs = [self.graph]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.file.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    # --- tensors ---

    def place(self, name: str) -> int:
        if name not in self.places:
            operand = self.model[name]
            self.places[name] = self.tensor(operand.type, operand.value)
        return self.places[name]

    def tensor(self, type_: OperandType, value: Any = None) -> int:
        tensor, shift = schema.TensorT(), self.signed and type_.code == _Q8
        tensor.name, tensor.shape, tensor.buffer = f"t{len(self.graph.tensors)}", list(type_.shape or ()), 0
        tensor.type = schema.TensorType.INT8 if shift else _CODES[type_.code.numpy.name]
        if type_.quant is not None:
            quantization = schema.QuantizationParametersT()
            per_channel = isinstance(type_.quant, PerChannel)
            scales = type_.quant.scales if isinstance(type_.quant, PerChannel) else (type_.scale,)
            quantization.scale = np.array(scales, np.float32)
            zero_point = 0 if per_channel else type_.zero_point - 128 * shift
            quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            quantization.quantizedDimension = type_.quant.axis if isinstance(type_.quant, PerChannel) else 0
            tensor.quantization = quantization
        if value is not None:
            buffer = schema.BufferT()
            stored = np.ascontiguousarray(value ^ 128 if shift else value)
            buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
            tensor.buffer = len(self.file.buffers)
            self.file.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def integers(self, values: Any) -> int:
        array = np.array(values, np.int32)
        return self.tensor(OperandType(OperandCode.TENSOR_INT32, array.shape), array)

    # --- operations ---

    def emit(self, kind: str, inputs: list[int], output: int, options: str = "", **fields: Any) -> None:
        if kind not in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
            self.codes[kind] = len(self.file.operatorCodes)
            self.file.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self.codes[kind], inputs, [output]
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            vars(operator.builtinOptions).update(fields)
        self.graph.operators.append(operator)

    def operation(self, operation: Operation) -> None:
        types = [self.model.type_of(arg) for arg in operation.inputs]
        values = [self.model.value_of(arg) for arg in operation.inputs]
        call = bind_use(self.model, operation, types, values)
        kind, out = operation.kind, self.place(operation.outputs[0])
        tensors = [self.place(arg) for arg in operation.inputs if isinstance(arg, str)]
        if kind == "RESHAPE":
            self.emit("RESHAPE", tensors, out)
        elif kind in ("ADD", "FULLY_CONNECTED"):
            options = "AddOptions" if kind == "ADD" else "FullyConnectedOptions"
            self.emit(kind, tensors, out, options, fusedActivationFunction=call["fuse"])
        else:
            tensors[0] = self.padded(call, tensors[0])
            self.emit(kind, tensors, out, *_window(call)[:1], **_window(call)[1])

    def padded(self, call: Call, image: int) -> int:
        """The image with the call's pads around it, where it has any."""
        scalars = call.resolved()
        top, bottom, left, right = (scalars[f"pad_{side}"] for side in ("top", "bottom", "left", "right"))
        if not (top or bottom or left or right):
            return image
        type_ = call["input"]
        n, height, width, depth = type_.shape
        wide = type_.with_shape((n, height + top + bottom, width + left + right, depth))
        pads = self.integers([[0, 0], [top, bottom], [left, right], [0, 0]])
        output = self.tensor(wide)
        if call.spec.kind == "MAX_POOL_2D":
            lowest = self.tensor(type_.with_shape((1,)), np.zeros(1, np.uint8))
            self.emit("PADV2", [image, pads, lowest], output, "PadV2Options")
        else:
            self.emit("PAD", [image, pads], output, "PadOptions")
        return output


def _window(call: Call) -> tuple[str, dict[str, Any]]:
    """(options class, its fields) of a convolution or pool whose pads are already made."""
    scalars = call.resolved()
    fields = {"padding": schema.Padding.VALID, "strideW": scalars["stride_w"], "strideH": scalars["stride_h"],
              "fusedActivationFunction": scalars["fuse"]}  # fmt: skip
    if call.spec.kind.endswith("POOL_2D"):
        return "Pool2DOptions", {**fields, "filterWidth": scalars["filter_w"], "filterHeight": scalars["filter_h"]}
    if call.spec.kind == "DEPTHWISE_CONV_2D":
        return "DepthwiseConv2DOptions", {**fields, "depthMultiplier": scalars["depth_multiplier"]}
    return "Conv2DOptions", fields
