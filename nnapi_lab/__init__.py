"""nnapi_lab: see, explain, run and measure how PyTorch models are lowered to Android's NNAPI."""

__version__ = "0.1.0"
