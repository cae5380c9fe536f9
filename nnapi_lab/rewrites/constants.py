"""Why constants appear that PyTorch did not have, or had in another form."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

SCALAR_TENSOR = Rule(
    id="constant.scalar_to_tensor",
    kind="constant",
    title="Number to a tensor of one element",
    why="PyTorch adds a number to a tensor; NNAPI's ADD, MUL … take two tensors and broadcast.",
    formula="x + 2.0 → ADD(x, [2.0]) with a constant of shape [1]",
    source="NNAPI ADD: inputs are tensors; scalars are operands of another kind",
    effect="PyTorch's own converter stops with AttributeError",
)
ZERO_BIAS = Rule(
    id="constant.zero_bias",
    kind="constant",
    title="Missing bias replaced by zeros",
    why="The bias operand of NNAPI's convolutions and FULLY_CONNECTED is mandatory.",
    formula="b = 0 for every output channel",
    source="NNAPI CONV_2D input 2, FULLY_CONNECTED input 2",
    effect="the model would be rejected",
)
PLACED = Rule(
    id="constant.placed",
    kind="constant",
    title="Constant carried over",
    why="The tensor enters the NNAPI model with the elements and the order it has in PyTorch.",
    formula="operand = value",
    source="ANeuralNetworksModel_setOperandValue",
)
PARAMETER_TENSOR = Rule(
    id="constant.parameter_tensor",
    kind="constant",
    title="Arguments written as a tensor",
    why="PyTorch passes shapes, permutations, axes and pads as lists; NNAPI takes them as a constant int32 tensor.",
    formula="list of numbers → TENSOR_INT32",
    source="NNAPI RESHAPE input 1, TRANSPOSE input 1, MEAN input 1, PAD input 1",
)
