"""Why quantized parameters, weights and biases change their form."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

BIAS_INT32 = Rule(
    id="quantization.bias_int32",
    kind="quantization",
    title="Float bias to int32",
    why="PyTorch keeps the bias of a quantized layer in float; NNAPI adds an int32 bias to the accumulator, in the "
    "accumulator's own unit.",
    formula="b_q[o] = round(b[o] / (s_in · s_w)); scale = s_in · s_w (per channel: s_in · s_w[o], operand scale 0), "
    "zero point 0",
    source="NNAPI CONV_2D input 2; AOSP 13 OperationsExecutionUtils.cpp checks |s_b - s_in·s_w| <= 1e-6·…",
    effect="at most half an accumulator quantum, s_in·s_w / (2·s_out) output steps",
)
BIAS_OVERFLOW = Rule(
    id="quantization.bias_rescaled",
    kind="quantization",
    title="Weight scale raised so that the bias fits int32",
    why="A channel with near-zero weights gets a tiny scale; its bias would need more than 31 bits.",
    formula="s_w'[o] = max(s_w[o], |b[o]| / (s_in · 2^30)); W'_q = round(W_q · s_w / s_w')",
    source="int32 bias of NNAPI CONV_2D; torch PerChannelMinMaxObserver gives an all-zero row scale 1.19e-7",
    effect="the bias would wrap around or saturate",
)
WEIGHT_QINT8_SHIFT = Rule(
    id="quantization.weight_shift",
    kind="quantization",
    title="Weights qint8 to quint8: shifted by 128",
    why="PyTorch's weights are signed, NNAPI's with unsigned activations are unsigned. Shifting codes and zero "
    "point together changes no value.",
    formula="q' = q + 128, zp' = zp + 128: s·(q' - zp') = s·(q - zp)",
    source="NNAPI CONV_2D: TENSOR_QUANT8_ASYMM input takes a TENSOR_QUANT8_ASYMM filter",
    effect="none: exact",
)
ACTIVATION_QINT8_SHIFT = Rule(
    id="quantization.activation_shift",
    kind="quantization",
    title="Values qint8 to quint8: shifted by 128",
    why="TENSOR_QUANT8_ASYMM_SIGNED exists only from feature level 4; the unsigned type holds the same values.",
    formula="q' = q + 128, zp' = zp + 128",
    source="NNAPI OperandCode TENSOR_QUANT8_ASYMM",
    effect="none: exact",
)
ACTIVATION_QUINT8_SHIFT = Rule(
    id="quantization.activation_signed",
    kind="quantization",
    title="Values quint8 to qint8: shifted by -128",
    why='The target keeps quantized values signed (quant="int8"), as many accelerators want them.',
    formula="q' = q - 128, zp' = zp - 128",
    source="NNAPI OperandCode TENSOR_QUANT8_ASYMM_SIGNED (feature level 4)",
    effect="none: exact",
)
PER_CHANNEL = Rule(
    id="quantization.per_channel",
    kind="quantization",
    title="Per-channel weight scales",
    why="Each output channel has a scale of its own. NNAPI has a type for that: signed, symmetric, one scale per "
    "entry of a channel dimension (0 for CONV_2D, 3 for DEPTHWISE_CONV_2D).",
    formula="W[o,…] = s_w[o] · W_q[o,…]; multiplier M[o] = s_in · s_w[o] / s_out",
    source="NNAPI TENSOR_QUANT8_SYMM_PER_CHANNEL (feature level 3)",
    effect="PyTorch's own converter refuses these weights; FULLY_CONNECTED has no such form",
)
LINEAR_AS_CONV = Rule(
    id="quantization.linear_as_conv",
    kind="decomposition",
    title="Per-channel linear as 1x1 convolution",
    why="FULLY_CONNECTED has no per-channel weights, CONV_2D has.",
    formula="[n,in] → [n,1,1,in]; CONV_2D with filter [out,1,1,in]; [n,1,1,out] → [n,out]",
    source="NNAPI FULLY_CONNECTED input 1 types; CONV_2D input 1 types",
    effect="per-tensor weights instead would cost accuracy",
)
REQUANTIZED = Rule(
    id="quantization.requantized",
    kind="quantization",
    title="Requantisation parameters",
    why="The int32 accumulator is brought to the output's scale by a fixed-point multiplier: 31 bits and a shift, "
    "rounded twice. PyTorch's engines use a float multiplier and round ties to even.",
    formula="M = s_in·s_w / s_out = m·2^(e-31); y = clamp(zp_out + R(acc; M))",
    source="AOSP 13 OperationsExecutionUtils.cpp QuantizeMultiplier; gemmlowp fixedpoint",
    effect="about 0.1 % of outputs differ from PyTorch by one step",
)
QUANTIZED_HERE = Rule(
    id="quantization.quantize",
    kind="quantization",
    title="QUANTIZE inside the model",
    why="quantize_per_tensor is an NNAPI operation of its own. Ties: PyTorch rounds to even, NNAPI away from zero.",
    formula="q = clamp(zp + round(x / s))",
    source="NNAPI QUANTIZE (feature level 3); AOSP 13 Quantize.cpp",
    effect="values exactly between two steps differ by one step",
)
DEQUANTIZED_HERE = Rule(
    id="quantization.dequantize",
    kind="quantization",
    title="DEQUANTIZE inside the model",
    why="dequantize is an NNAPI operation of its own.",
    formula="x = s · (q - zp)",
    source="NNAPI DEQUANTIZE; AOSP 13 Dequantize.cpp",
    effect="none",
)
FIXED_PARAMETERS = Rule(
    id="quantization.fixed_parameters",
    kind="quantization",
    title="Output parameters prescribed by NNAPI",
    why="A quantized LOGISTIC, SOFTMAX or TANH has its output scale and zero point written into the standard.",
    formula="LOGISTIC, SOFTMAX: s = 1/256, zp = 0; TANH: s = 1/128, zp = 128",
    source="NNAPI LOGISTIC, SOFTMAX, TANH: output scale",
    effect="other parameters are refused by the reference",
)
