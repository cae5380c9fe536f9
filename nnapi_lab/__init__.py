"""nnapi_lab: see, explain, run and measure how PyTorch models are lowered to Android's NNAPI.

    import nnapi_lab as lab
    lowered = lab.lower(model, example_inputs)
    lowered.diff()

Names are loaded when they are first used: `import nnapi_lab.numerics` loads neither torch nor a graph. Inside
IPython, importing this package teaches it to show what nnapi_lab returns (`%load_ext nnapi_lab` does so too).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnapi_lab import device as device
    from nnapi_lab import errors as errors
    from nnapi_lab.compare import Diff as Diff
    from nnapi_lab.compare import Row as Row
    from nnapi_lab.diagnosis import Diagnosis as Diagnosis
    from nnapi_lab.diagnosis import diagnose as diagnose
    from nnapi_lab.encode import load as load
    from nnapi_lab.errors import CaptureError as CaptureError
    from nnapi_lab.errors import FormatError as FormatError
    from nnapi_lab.errors import InvalidModel as InvalidModel
    from nnapi_lab.errors import LoweringError as LoweringError
    from nnapi_lab.errors import MissingDependency as MissingDependency
    from nnapi_lab.errors import NnapiLabError as NnapiLabError
    from nnapi_lab.errors import NotThereYet as NotThereYet
    from nnapi_lab.errors import OutputError as OutputError
    from nnapi_lab.errors import SimulationError as SimulationError
    from nnapi_lab.ir.model import Model as Model
    from nnapi_lab.lab import Explanation as Explanation
    from nnapi_lab.lab import LoweredModel as LoweredModel
    from nnapi_lab.lab import lower as lower
    from nnapi_lab.notebook.options import options as options
    from nnapi_lab.notebook.workbench import workbench as workbench
    from nnapi_lab.simulate import simulate as simulate
    from nnapi_lab.simulate import trace as trace
    from nnapi_lab.validate import Report as Report
    from nnapi_lab.validate import check as check

__version__ = "0.1.0"

# What the package shows, by the module it lives in.
_SHOWN = {
    "nnapi_lab.lab": ("Explanation", "LoweredModel", "lower"),
    "nnapi_lab.diagnosis": ("Diagnosis", "diagnose"),
    "nnapi_lab.encode": ("load",),
    "nnapi_lab.compare": ("Diff", "Row"),
    "nnapi_lab.simulate": ("simulate", "trace"),
    "nnapi_lab.validate": ("Report", "check"),
    "nnapi_lab.ir.model": ("Model",),
    "nnapi_lab.notebook.options": ("options",),
    "nnapi_lab.notebook.workbench": ("workbench",),
    "nnapi_lab.errors": (
        "CaptureError", "FormatError", "InvalidModel", "LoweringError", "MissingDependency", "NnapiLabError",
        "NotThereYet", "OutputError", "SimulationError",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _SHOWN.items() for name in names}
# Verbs of the front door that are also packages: `lab.simulate(…)` and `nnapi_lab.simulate.compile_model`.
_VERBS = ("simulate",)
# Packages that are asked for by their own name: `lab.device.install()`.
_PACKAGES = ("device", "errors")

__all__ = [*_HOME, *_PACKAGES]


class _Verb(ModuleType):
    """A package that is called like the function of its own name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)

    @property
    def _function(self) -> Any:
        return vars(self)[self.__name__.rpartition(".")[2]]

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)


class _FrontDoor(ModuleType):
    """This package. Whichever import comes first, `lab.simulate` stays both the package and the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    """PEP 562: import the module behind a name when the name is asked for."""
    if name in _PACKAGES:
        return importlib.import_module(f"nnapi_lab.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    return module if name in _VERBS else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({name for name in globals() if not name.startswith("_")} | set(__all__))


def load_ipython_extension(ip: Any) -> None:
    """`%load_ext nnapi_lab`: what nnapi_lab returns shows itself in this IPython."""
    from nnapi_lab.notebook.display import register

    register(ip)


sys.modules[__name__].__class__ = _FrontDoor

# In a notebook, what this package returns shows itself; registered by name, so nothing is loaded yet.
if "IPython" in sys.modules:
    importlib.import_module("nnapi_lab.notebook.display").register()
