"""Why a quantized value is computed in float for a moment."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

FLOAT_ISLAND = Rule(
    id="quantization.float_island",
    kind="quantization",
    title="Dequantized, computed in float, quantized again",
    why="NNAPI has no quantized form of this operation, or prescribes other output parameters. PyTorch's own quantized "
    "kernel does the same: real numbers in, real numbers out, one rounding at the end.",
    formula="y_q = QUANTIZE(f(DEQUANTIZE(x_q)))",
    source="NNAPI DEQUANTIZE (level 1), QUANTIZE (level 3)",
    effect="values exactly between two codes may differ by one step; three operations instead of one",
)
