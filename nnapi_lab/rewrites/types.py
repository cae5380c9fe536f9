"""Why element types change on the way into NNAPI."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

TRUTH_AS_NUMBER = Rule(
    id="type.truth",
    kind="decomposition",
    title="Truth values as numbers, and back",
    why="CAST, RESHAPE, TRANSPOSE, CONCATENATION and the sums take no TENSOR_BOOL8. SELECT makes numbers of it, "
    "NOT_EQUAL makes truth values of numbers.",
    formula="number = SELECT(truth, 1, 0); truth = NOT_EQUAL(number, 0)",
    source="NNAPI tensor types of CAST, RESHAPE, TRANSPOSE; SELECT and NOT_EQUAL (level 3)",
    effect="none: exact",
)
CONVERTED = Rule(
    id="type.converted",
    kind="operation",
    title="Element type converted",
    why="An element type is part of an operand; a conversion is an operation of its own.",
    formula="out = CAST(in): fractions are cut off, as in PyTorch",
    source="NNAPI CAST (level 3); torch.Tensor.to",
    effect="PyTorch's own converter treats to(dtype) as doing nothing",
)
NARROWED = Rule(
    id="type.int64_narrowed",
    kind="identity",
    title="int64 kept as int32",
    why="NNAPI's only integers for numbers are 32 bits wide; int32 and int64 of PyTorch are the same operand.",
    formula="y = x for |x| < 2^31",
    source="NNAPI OperandCode TENSOR_INT32",
    effect="values beyond 2^31 would wrap; constants beyond it are refused",
)
