"""Bit-exact integer building blocks of NNAPI's quantized arithmetic, on NumPy arrays and nothing else.

Layer 0: no model types, no torch. Sources are the kernels behind Android 13's CPU path, named function by
function. Import from the modules: `rounding`, `requantize`, `activation_range`, `quantize`, `fixed_point`,
`elementwise`, `softmax`, `averages`, `normalization`.
"""
