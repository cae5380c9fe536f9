"""Where the formula behind several operations is not exact, and by how much."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

GELU_TAIL = Rule(
    id="approximation.gelu",
    kind="decomposition",
    title="GELU by the tail of the normal distribution",
    why="NNAPI has no error function. Outside RELU, GELU is |x| times the normal tail beyond |x|, which a polynomial "
    "of degree 5 in t times EXP gives to 7.5e-8.",
    formula="z = |x|/sqrt(2); t = 1/(1 + 0.3275911·z); tail = (t·(a1 + t·(a2 + t·(a3 + t·(a4 + t·a5)))))·EXP(-z²)/2; "
    "gelu(x) = RELU(x) - |x|·tail",
    source="Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26; torch.nn.functional.gelu",
    effect="within 4e-7 of the exact value for |x| up to 8, where PyTorch's float32 GELU is within 1.1e-6; the tanh "
    "form would be off by 4.7e-4",
)
FLOORED_QUOTIENT = Rule(
    id="approximation.floored_quotient",
    kind="decomposition",
    title="Quotient rounded before it is floored",
    why="PyTorch floors and takes remainders of the exact quotient of two floats; NNAPI has only DIV, whose result is "
    "rounded to 24 bits first.",
    formula="floor_divide: FLOOR(a/b); remainder: a - b·FLOOR(a/b); fmod: a - b·TRUNC(a/b)",
    source="NNAPI DIV, FLOOR; torch.floor_divide, remainder, fmod",
    effect="where a/b lies within 6e-8 (relative) below a whole number, the quotient is 1 higher and the remainder off "
    "by b: 1.0 // 0.1 is 10, in PyTorch 9",
)
COSINE_SHIFTED = Rule(
    id="approximation.cosine",
    kind="decomposition",
    title="Cosine as a shifted sine",
    why="NNAPI has SIN only.",
    formula="cos(x) = SIN(x + pi/2); tan(x) = SIN(x) / SIN(x + pi/2)",
    source="NNAPI SIN (level 3)",
    effect="x + pi/2 is rounded: 4e-7 for |x| up to 10, growing with |x|",
)
RUNNING_SUM = Rule(
    id="approximation.cumulative_sum",
    kind="decomposition",
    title="Running sum as a triangular matrix product",
    why="NNAPI has no running sum; with a static length every prefix is one row of a matrix of ones and zeros.",
    formula="y = FULLY_CONNECTED(x, W) with W[i,j] = 1 for j <= i",
    source="NNAPI FULLY_CONNECTED; torch.cumsum",
    effect="the order of additions: about 1e-7 of the sum of magnitudes; length² multiplications",
)
