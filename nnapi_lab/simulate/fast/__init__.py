"""Twins: faster kernels for the operations that carry the time, integers equal to the reference.

They use torch and numba; nothing outside this package imports either for the simulator.
"""

from __future__ import annotations

from nnapi_lab.simulate.fast import conv, elementwise, join, linear, pool, resize
from nnapi_lab.simulate.fast.twins import TWINS, twin

__all__ = ["TWINS", "conv", "elementwise", "join", "linear", "pool", "resize", "twin"]
