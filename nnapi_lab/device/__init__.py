"""The simulated `libneuralnetworks.so`, behind PyTorch's own NNAPI loader or any other caller of its C interface.

lab.device.install()
torch.jit.load("m.pt")(x)      # as a phone would run it
"""

from __future__ import annotations

from nnapi_lab.device.codes import DeviceError, Result
from nnapi_lab.device.door import install, original_errors, run
from nnapi_lab.device.faults import last_error

__all__ = ["DeviceError", "Result", "install", "last_error", "original_errors", "run"]
