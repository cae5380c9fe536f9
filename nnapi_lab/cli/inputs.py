"""What MODEL and `--input` mean: modules with example inputs, and arrays for saved models."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnapi_lab.cli.outcome import DEBUG, BadInput

if TYPE_CHECKING:
    import torch

ENTRY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
SHAPE = re.compile(r"(?P<sizes>\d+(,\d+)*|scalar)(:(?P<dtype>\w+))?")
DTYPES = ("float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool")
SEED = 0


def model_and_inputs(
    model: str, shapes: Sequence[str] = (), files: Sequence[str] = ()
) -> tuple[Any, tuple[torch.Tensor, ...]]:
    """What MODEL stands for, and its example inputs: (module or path of a file, tensors).

    `files` (`--input`) win over `shapes` (`--input-shape`), these over what the function returned.
    Raises BadInput with one sentence.
    """
    given = _given_inputs(shapes, files)
    if os.path.exists(model):
        if given is None:
            raise BadInput(
                f"{model} is a file and says nothing of its inputs: add --input-shape 1,3,224,224 (or "
                "1,3,224,224:uint8), or --input X.npy, once for each input"
            )
        return model, given
    if not ENTRY.fullmatch(model):
        raise BadInput(f"{model}: there is no such file; give a TorchScript file or package.module:function")
    module, inputs = made_by(model)
    return module, inputs if given is None else given


def _given_inputs(shapes: Sequence[str], files: Sequence[str]) -> tuple[torch.Tensor, ...] | None:
    if shapes and files:
        raise BadInput("give --input or --input-shape, not both")
    if files:
        return tuple(tensor for path in files for tensor in tensors_of(path))
    return tuple(random_input(text, SEED + n) for n, text in enumerate(shapes)) if shapes else None


def made_by(entry: str) -> tuple[Any, Any]:
    """(module, example inputs) from `package.module:function`; the current folder can be imported from.

    Raises BadInput when there is no such function, when it fails, or when it returns something else.
    """
    module_name, _, function_name = entry.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    held: Any = _by_the_user(f"importing {module_name}", lambda: _imported(module_name))
    for name in function_name.split("."):
        if not hasattr(held, name):
            raise BadInput(f"{module_name} has no function {function_name}{_offered(held)}")
        held = getattr(held, name)
    if not callable(held):
        raise BadInput(f"{entry} is a {type(held).__name__}; give a function that returns (module, example_inputs)")
    made = _by_the_user(f"{entry}()", held)
    if not (isinstance(made, tuple) and len(made) == 2):
        raise BadInput(f"{entry}() returned {_described(made)}; it has to return (module, example_inputs)")
    return made


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise BadInput(
                f"there is no module {error.name}, neither in the current folder nor among the installed packages"
            ) from error
        raise


def _by_the_user(action: str, run: Callable[[], Any]) -> Any:
    """Run someone else's code: what it prints goes to stderr, what it raises becomes a sentence with its line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return run()
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise BadInput(
            f"{action} failed: {type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno}); "
            f"{DEBUG}=1 shows the traceback"
        ) from error


def _offered(module: Any) -> str:
    names = [
        name for name, held in vars(module).items()
        if not name.startswith("_") and callable(held) and getattr(held, "__module__", None) == module.__name__
        and not isinstance(held, type)
    ] if hasattr(module, "__name__") else []  # fmt: skip
    return f"; it has {', '.join(names[:8])}" if names else ""


def _described(held: Any) -> str:
    return f"a tuple of {len(held)}" if isinstance(held, tuple) else f"a {type(held).__name__}"


# --- tensors -------------------------------------------------------------------------------------------------


def random_input(text: str, seed: int = SEED) -> torch.Tensor:
    """`1,3,224,224` or `1,3,224,224:uint8` as a tensor, the same at every call for the same seed.

    Floats are drawn from the standard normal distribution, uint8 from 0…255, int8 from -128…127; int32, int64 and
    bool are 0 or 1, so that they can be indices. `scalar` is the shape of a 0-d tensor.
    """
    import torch

    match = SHAPE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise BadInput(f"--input-shape {text} is not a shape; write it like 1,3,224,224 or 1,3,224,224:uint8")
    dtype = match["dtype"] or "float32"
    if dtype not in DTYPES:
        hint = "; give quantized inputs with --input X.pt" if dtype.startswith("q") else ""
        raise BadInput(f"--input-shape {text}: the type {dtype} is not one of {', '.join(DTYPES)}{hint}")
    sizes = [] if match["sizes"] == "scalar" else [int(size) for size in match["sizes"].split(",")]
    generator = torch.Generator().manual_seed(seed)
    if dtype.startswith("float"):
        return torch.randn(sizes, generator=generator).to(getattr(torch, dtype))
    low, high = {"uint8": (0, 256), "int8": (-128, 128)}.get(dtype, (0, 2))
    return torch.randint(low, high, sizes, generator=generator).to(getattr(torch, dtype))


def tensors_of(path: str) -> tuple[torch.Tensor, ...]:
    """The tensor of an .npy, or the tensor or tuple of tensors of a .pt written by torch.save."""
    import torch

    if not path.endswith((".pt", ".pth")):
        return (torch.from_numpy(np.array(array_of(path))),)
    held = _torch_saved(path)
    tensors = (held,) if isinstance(held, torch.Tensor) else held
    if not isinstance(tensors, tuple | list) or not all(isinstance(one, torch.Tensor) for one in tensors):
        raise BadInput(f"{path} holds {_described(held)}; an input file holds a tensor or a tuple of tensors")
    return tuple(tensors)


def _torch_saved(path: str) -> Any:
    import pickle

    import torch

    _existing(path)
    try:
        return torch.load(path, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} cannot be read as tensors written by torch.save ({_first_line(error)})") from error


# --- arrays for saved models ---------------------------------------------------------------------------------


def array_of(path: str) -> np.ndarray:
    """The array of an .npy. Raises BadInput when it is something else, or pickled."""
    _existing(path)
    held = _numpy_loaded(path)
    if not isinstance(held, np.ndarray):
        raise BadInput(f"{path} holds several arrays; give it alone, its names being those of the model's inputs")
    return held


def arrays_for(names: Sequence[str], files: Sequence[str]) -> Sequence[np.ndarray] | Mapping[str, np.ndarray]:
    """The inputs of a saved model: one .npz by name, or `--input NAME=X.npy`, or .npy files in the model's order."""
    if len(files) == 1 and files[0].endswith(".npz"):
        _existing(files[0])
        held = _numpy_loaded(files[0])
        if isinstance(held, Mapping):
            return {name: _numpy_member(files[0], held, name) for name in held}
    named = [_named(text, names) for text in files]
    if any(name for name, _ in named):
        if not all(name for name, _ in named):
            raise BadInput("name all inputs (--input NAME=X.npy) or none")
        return {name: _array(path) for name, path in named}
    return [_array(path) for _, path in named]


def _named(text: str, names: Sequence[str]) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    name = name.removeprefix("%")
    return (name, path) if equals and name in names else ("", text)


def _array(path: str) -> np.ndarray:
    """An .npy as it is; a tensor of a .pt as its stored elements."""
    if not path.endswith((".pt", ".pth")):
        return array_of(path)
    (tensor,) = tensors_of(path)
    return np.asarray((tensor.int_repr() if tensor.is_quantized else tensor).numpy())


def _existing(path: str) -> None:
    if not os.path.isfile(path):
        raise BadInput(f"{path}: there is no such file")


def _numpy_loaded(path: str) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} is not readable as an array written by numpy.save ({_first_line(error)})") from error


def _numpy_member(path: str, held: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return held[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: {name} is damaged ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
