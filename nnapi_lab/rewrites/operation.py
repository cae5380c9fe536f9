"""The plainest entry of the log: one node, one operation, same meaning."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

DIRECT = Rule(
    id="operation.direct",
    kind="operation",
    title="Same operation",
    why="NNAPI has this operation with the same meaning; arguments are renamed and written in its order.",
    formula="node → operation",
    source="NNAPI NeuralNetworks.h",
)
INPUT = Rule(
    id="operation.input",
    kind="operation",
    title="Model input",
    why="An input of the TorchScript graph is an input of the NNAPI model.",
    formula="operand = value",
    source="ANeuralNetworksModel_identifyInputsAndOutputs",
)
ON_HOST = Rule(
    id="operation.on_host",
    kind="operation",
    title="Left to the host",
    why="Quantizing the input and dequantizing the output stay in PyTorch on the CPU; NNAPI sees quantized tensors "
    "only. This is the core mode of PyTorch's tutorial, and the only one below feature level 3, where NNAPI has no "
    "QUANTIZE.",
    formula="y = dequantize(NNAPI(quantize(x)))",
    source="PyTorch tutorial Convert MobileNetV2 to NNAPI, quantize_mode core",
)
