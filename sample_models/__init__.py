"""Real architectures with seeded weights, one file each; entry points return (module, example_inputs).

The module is in eval mode, example_inputs is a tuple of tensors, and two calls give equal bits. Image models
look at a real photograph. What each file teaches about PyTorch and NNAPI stands at its top; SAMPLES has it in
a line. A sample listed in ENGINES is quantized: run it inside `with sample_models.quantization.engine(…):`.
"""

from __future__ import annotations

# "module:function", as the command line takes it → what it teaches.
SAMPLES: dict[str, str] = {
    "sample_models.mobilenet_v2:none": "float32: depthwise weights, folded batch norm, ReLU6, shortcuts",
    "sample_models.mobilenet_v2:core": "int8 between a quantizer and a dequantizer that stay in PyTorch",
    "sample_models.mobilenet_v2:full": "int8 with a quantized interface: quint8 tensors in and out",
    "sample_models.mobilenet_v2:inside": "int8 with quantize and dequantize as NNAPI operations",
    "sample_models.mobilenet_v2:core_x86": "one weight scale per channel, which PyTorch's converter refuses",
    "sample_models.resnet18:float32": "in-place ReLU and add, strided shortcuts, padded max pooling",
    "sample_models.segmenter:float32": "bilinear upsampling, concatenation, long-lived skips, sigmoid",
    "sample_models.segmenter:quantized": "int8: concatenation of different scales, sigmoid's fixed scale",
    "sample_models.resnet18:full": "int8 residuals between quantized borders, per-tensor weights",
    "sample_models.resnet18:core_x86": "int8 residuals with one weight scale per output channel",
    "sample_models.mlp:float32": "flattening a real picture permutes weight columns; a linear without bias",
    "sample_models.digits:float32": "trained weights and real data: differences read as accuracy",
    "sample_models.digits:quantized": "what int8 costs in accuracy, in PyTorch and in NNAPI",
}

# Quantized samples → the engine that packed their weights.
ENGINES: dict[str, str] = {
    "sample_models.mobilenet_v2:core": "qnnpack",
    "sample_models.mobilenet_v2:full": "qnnpack",
    "sample_models.mobilenet_v2:inside": "qnnpack",
    "sample_models.mobilenet_v2:core_x86": "x86",
    "sample_models.resnet18:full": "qnnpack",
    "sample_models.resnet18:core_x86": "x86",
    "sample_models.segmenter:quantized": "qnnpack",
    "sample_models.digits:quantized": "qnnpack",
}
