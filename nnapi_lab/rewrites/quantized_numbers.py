"""Why numbers and norms beside quantized tensors become the constants they become."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

NUMBER_QUANTIZED = Rule(
    id="quantization.number",
    kind="quantization",
    title="Number beside a quantized tensor",
    why="PyTorch adds or multiplies a number by changing scale and zero point only. NNAPI has no operation that "
    "changes those alone; a constant code of a scale chosen for it gives the same codes.",
    formula="x + c: code 1 of scale |c_q|·s, c_q = round(c / s); x · c: code 2 of scale |c| / 2, so that "
    "s·s_c / s_out = 1/2 < 1; a negative number is code 0 of zero point 1 or 2",
    source="torch ATen quantized qadd.cpp, qmul.cpp (add_scalar, mul_scalar); AOSP 13 Broadcast.cpp: M < 1",
    effect="none: the same codes as PyTorch's",
)
NORM_AS_DEPTHWISE = Rule(
    id="quantization.batch_norm",
    kind="decomposition",
    title="Quantized batch norm as a depthwise convolution",
    why="A batch norm with constant statistics is a factor and an addend per channel. As a 1x1 depthwise "
    "convolution with per-channel scales both go through one accumulator, rounded once.",
    formula="factor = gamma / sqrt(var + eps) = ±127 codes of scale |factor| / 127; bias = beta - mean · factor",
    source="NNAPI DEPTHWISE_CONV_2D with TENSOR_QUANT8_SYMM_PER_CHANNEL (level 3); torch quantized::batch_norm",
    effect="MUL and ADD instead would round twice",
)
