"""LiteRT as a witness: one bound NNAPI call as a .tflite model, run in another process.

The .tflite is written through LiteRT's own flatbuffer schema, so that no code of nnapi_lab is in it. Reference
kernels only: the optimized ones round differently.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nnapi_lab.ir.operand_types import OperandType, PerChannel
from nnapi_lab.ops import use as by_hand
from nnapi_lab.ops.spec import Call

_TYPES = {"float32": "FLOAT32", "uint8": "UINT8", "int8": "INT8", "int32": "INT32", "bool": "BOOL"}


class Aborted(RuntimeError):
    """LiteRT took its process down."""


class Refused(RuntimeError):
    """LiteRT does not take the model; the message is its own."""


class Witness:
    """A LiteRT process that is started when needed and again after an abort."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, model: bytes, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The model's first output. Raises Refused, or Aborted when the process dies."""
        if self._process is None:
            command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((model, list(inputs)), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError) as end:
            self.close()
            raise Aborted(f"LiteRT's process ended with {process.returncode}") from end
        if isinstance(answer, str):
            raise Refused(answer)
        return answer

    def close(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()
            self._process.wait()
            self._process = None

    def compute(self, call: Call) -> np.ndarray:
        """What LiteRT computes for a call of NNAPI, in the call's own layout."""
        model, inputs = tflite(call)
        return self.run(model, inputs)


# --- one call as a model -------------------------------------------------------------------------------

# kind → (TFLite's operator, its options class, fields of the options from the call)
Fields = Callable[[Call], Mapping[str, Any]]


def _padding(call: Call) -> int:
    return {1: schema.Padding.SAME, 2: schema.Padding.VALID}[call["padding"]]


def _strides(call: Call) -> dict[str, Any]:
    return {"padding": _padding(call), "strideW": call["stride_w"], "strideH": call["stride_h"]}


def _fused(call: Call) -> dict[str, Any]:
    return {"fusedActivationFunction": call["fuse"]}  # the numbers of NNAPI's FuseCode and TFLite's agree


def _convolution(call: Call) -> dict[str, Any]:
    dilation = {"dilationWFactor": call.get("dilation_w") or 1, "dilationHFactor": call.get("dilation_h") or 1}
    return {**_strides(call), **_fused(call), **dilation}


def _pool(call: Call) -> dict[str, Any]:
    return {**_strides(call), **_fused(call), "filterWidth": call["filter_w"], "filterHeight": call["filter_h"]}


def _resize(call: Call) -> dict[str, Any]:
    return {"alignCorners": bool(call["align_corners"]), "halfPixelCenters": bool(call["half_pixel_centers"])}


_ROWS: dict[str, tuple[str, str, Fields]] = {
    "CONV_2D": ("CONV_2D", "Conv2DOptions", _convolution),
    "GROUPED_CONV_2D": ("CONV_2D", "Conv2DOptions", _convolution),
    "DEPTHWISE_CONV_2D": ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions",
                          lambda c: {**_convolution(c), "depthMultiplier": c["depth_multiplier"]}),
    "TRANSPOSE_CONV_2D": ("TRANSPOSE_CONV", "TransposeConvOptions", lambda c: {**_strides(c), **_fused(c)}),
    "FULLY_CONNECTED": ("FULLY_CONNECTED", "FullyConnectedOptions", _fused),
    "BATCH_MATMUL": ("BATCH_MATMUL", "BatchMatMulOptions", lambda c: {"adjX": c["adj_x"], "adjY": c["adj_y"]}),
    "ADD": ("ADD", "AddOptions", _fused),
    "SUB": ("SUB", "SubOptions", _fused),
    "MUL": ("MUL", "MulOptions", _fused),
    "MAXIMUM": ("MAXIMUM", "MaximumMinimumOptions", lambda c: {}),
    "MINIMUM": ("MINIMUM", "MaximumMinimumOptions", lambda c: {}),
    "AVERAGE_POOL_2D": ("AVERAGE_POOL_2D", "Pool2DOptions", _pool),
    "MAX_POOL_2D": ("MAX_POOL_2D", "Pool2DOptions", _pool),
    "CONCATENATION": ("CONCATENATION", "ConcatenationOptions", lambda c: {"axis": c["axis"]}),
    "SOFTMAX": ("SOFTMAX", "SoftmaxOptions", lambda c: {"beta": c["beta"]}),
    "RESIZE_BILINEAR": ("RESIZE_BILINEAR", "ResizeBilinearOptions", _resize),
    "RESIZE_NEAREST_NEIGHBOR": ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", _resize),
    "MEAN": ("MEAN", "ReducerOptions", lambda c: {"keepDims": bool(c["keep_dims"])}),
    "QUANTIZE": ("QUANTIZE", "QuantizeOptions", lambda c: {}),
    "DEQUANTIZE": ("DEQUANTIZE", "DequantizeOptions", lambda c: {}),
    "HARD_SWISH": ("HARD_SWISH", "HardSwishOptions", lambda c: {}),
    "RELU1": ("RELU_N1_TO_1", "", lambda c: {}),
    **{kind: (kind, "", lambda c: {}) for kind in ("LOGISTIC", "TANH", "PRELU", "RELU", "RELU6")},
}  # fmt: skip
_CONSTANT = frozenset({"filter", "weights", "bias", "alpha", "axes"})


def tflite(call: Call) -> tuple[bytes, list[np.ndarray]]:
    """A one-operation model for the call, and the contents of its inputs (weights are constants)."""
    named = _tensors(call)
    return _model(call.spec.kind, _options(call), named, call.out)


def _tensors(call: Call) -> list[tuple[str, OperandType, np.ndarray]]:
    """(name, type, content) in TFLite's order of inputs."""
    found: list[tuple[str, OperandType, np.ndarray]] = []
    for name, held in call.types.items():
        types = held if isinstance(held, tuple) else (held,)
        values = call.value(name) if isinstance(held, tuple) else (call.value(name),)
        found += [(name, type_, value) for type_, value in zip(types, values, strict=True)]
    if call.spec.kind.startswith("RESIZE_"):
        size = np.array([call["out_height"], call["out_width"]], np.int32)
        found.append(("axes", by_hand.tensor_argument(size)[0], size))  # type: ignore[arg-type]
    if call.spec.kind == "TRANSPOSE_CONV_2D":
        by_name = {name: (name, type_, value) for name, type_, value in found}
        return [("axes", *by_name["output_shape"][1:]), by_name["filter"], by_name["input"], by_name["bias"]]
    return found


def _options(call: Call) -> tuple[str, str, Mapping[str, Any]]:
    operator, options, fields = _ROWS[call.spec.kind]
    return operator, options, fields(call)


def _model(
    kind: str, row: tuple[str, str, Mapping[str, Any]], named: Sequence[tuple[str, OperandType, np.ndarray]],
    out: OperandType,
) -> tuple[bytes, list[np.ndarray]]:  # fmt: skip
    operator, options, fields = row
    graph, model = schema.SubGraphT(), schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors, graph.inputs, inputs = [], [], []
    for index, (name, type_, value) in enumerate(named):
        tensor = _tensor(type_, f"{name}{index}")
        if name in _CONSTANT:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        else:
            graph.inputs.append(index)
            inputs.append(value)
        graph.tensors.append(tensor)
    graph.tensors.append(_tensor(out, "out"))
    graph.outputs = [len(named)]
    operation = schema.OperatorT()
    operation.opcodeIndex, operation.inputs, operation.outputs = 0, list(range(len(named))), [len(named)]
    if options:
        operation.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operation.builtinOptions = getattr(schema, f"{options}T")()
        for field, value in fields.items():
            if not hasattr(operation.builtinOptions, field):
                raise AttributeError(f"{options} has no {field}")
            setattr(operation.builtinOptions, field, value)
    graph.operators, model.subgraphs = [operation], [graph]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 3 if operator == "TRANSPOSE_CONV" else 1
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output()), inputs


def _tensor(type_: OperandType, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.buffer = name, 0
    tensor.shape = [int(dim) for dim in type_.shape or ()]  # type: ignore[arg-type]
    tensor.type = getattr(schema.TensorType, _TYPES[type_.code.numpy.name])
    if type_.quant is None:
        return tensor
    quantization = schema.QuantizationParametersT()
    if isinstance(type_.quant, PerChannel):
        quantization.scale = np.array(type_.quant.scales, np.float32)
        quantization.zeroPoint = np.zeros(len(type_.quant.scales), np.int64)
        quantization.quantizedDimension = type_.quant.axis
    else:
        quantization.scale = np.array([type_.scale], np.float32)
        quantization.zeroPoint = np.array([type_.zero_point], np.int64)
    tensor.quantization = quantization
    return tensor
