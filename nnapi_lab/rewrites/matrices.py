"""Why products of matrices change their shape, and what stands for minus infinity in attention."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

CONTRACTED = Rule(
    id="shape.contraction",
    kind="decomposition",
    title="A product over common dimensions as BATCH_MATMUL",
    why="matmul, bmm, einsum, dot and their kin multiply and sum over the dimensions both operands have and the result "
    "has not. NNAPI has one such operation for up to two batch dimensions, without broadcasting. Grouping the "
    "dimensions into batch, rows, inner and columns needs no copy where they lie that way; the flags adj_x and adj_y "
    "save a TRANSPOSE, and a batch dimension only one side has counts as rows or columns.",
    formula="out[batch, rows, columns] = sum over inner of x[batch, rows, inner] · y[batch, inner, columns]",
    source="NNAPI BATCH_MATMUL (feature level 6): ranks 2 to 4, equal batch sizes",
    effect="none beyond the order of additions",
)
MASK_BOUNDED = Rule(
    id="attention.mask",
    kind="constant",
    title="Attention mask as a large negative number",
    why="A masked score is minus infinity in PyTorch. Adding -10000 makes its weight exactly 0 in float32 as well, and "
    "is a number float16 can hold.",
    formula="score + (mask ? 0 : -10000); exp(-10000) = 0",
    source="torch.nn.functional.scaled_dot_product_attention; NNAPI ADD clamps infinities to the largest number",
    effect="none, unless a whole row is masked (refused where that can be known) or scores differ by thousands",
)
MASKED_TRIANGLE = Rule(
    id="constant.triangle",
    kind="constant",
    title="Triangle cut out by a mask of ones and zeros",
    why="NNAPI has no tril and triu; with a static shape the mask is a constant.",
    formula="y = MUL(x, mask)",
    source="NNAPI MUL; torch.tril, torch.triu",
    effect="none for finite numbers; 0 · infinity would be NaN",
)
