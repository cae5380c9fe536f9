"""Why picking and ordering elements looks different."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

LINEAR_INDEX = Rule(
    id="index.linear",
    kind="decomposition",
    title="Positions in the flattened tensor",
    why="GATHER takes whole slices along one axis; PyTorch's gather and multi-tensor indexing pick single elements. In "
    "the flattened tensor a single element is a slice.",
    formula="out = GATHER(RESHAPE(x, [n]), index · stride + offset)",
    source="NNAPI GATHER (level 3); torch.gather",
    effect="none: exact",
)
SORTED_BY_TOPK = Rule(
    id="index.sorted",
    kind="decomposition",
    title="Sorting as the top n of n",
    why="NNAPI has no sort, but TOPK_V2 returns its k values in descending order.",
    formula="sort(x, descending=True) = TOPK_V2(x, n); ascending: NEG(TOPK_V2(NEG(x), n))",
    source="NNAPI TOPK_V2 (level 3); AOSP 13 TopK_V2.cpp: among equals the larger index first",
    effect="values are equal; indices of equal values may differ",
)
WRAPPED = Rule(
    id="index.wrapped",
    kind="constant",
    title="Negative indices counted from the front",
    why="PyTorch counts negative indices from the end; GATHER takes none.",
    formula="i < 0: i + size",
    source="NNAPI GATHER input 2",
    effect="the device would refuse the model",
)
