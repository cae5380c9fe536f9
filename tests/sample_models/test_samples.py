"""What every entry point promises: the same bits twice, a trace that agrees, realistic activations."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

import pytest
import torch

import sample_models
from sample_models import ENGINES, SAMPLES
from sample_models.quantization import engine

IMAGE = (1, 3, 224, 224)

# Sample → shape and dtype of the example input, shape and dtype of the output.
INTERFACES = {
    "sample_models.mobilenet_v2:none": (IMAGE, torch.float32, (1, 1000), torch.float32),
    "sample_models.mobilenet_v2:core": (IMAGE, torch.float32, (1, 1000), torch.float32),
    "sample_models.mobilenet_v2:full": (IMAGE, torch.quint8, (1, 1000), torch.quint8),
    "sample_models.mobilenet_v2:inside": (IMAGE, torch.float32, (1, 1000), torch.float32),
    "sample_models.mobilenet_v2:core_x86": (IMAGE, torch.float32, (1, 1000), torch.float32),
    "sample_models.resnet18:float32": (IMAGE, torch.float32, (1, 1000), torch.float32),
    "sample_models.resnet18:full": (IMAGE, torch.quint8, (1, 1000), torch.quint8),
    "sample_models.resnet18:core_x86": (IMAGE, torch.float32, (1, 1000), torch.float32),
    "sample_models.segmenter:float32": ((1, 3, 144, 256), torch.float32, (1, 1, 144, 256), torch.float32),
    "sample_models.segmenter:quantized": ((1, 3, 144, 256), torch.float32, (1, 1, 144, 256), torch.float32),
    "sample_models.mlp:float32": ((4, 3, 16, 16), torch.float32, (4, 10), torch.float32),
    "sample_models.digits:float32": ((1, 1, 8, 8), torch.float32, (1, 10), torch.float32),
    "sample_models.digits:quantized": ((1, 1, 8, 8), torch.float32, (1, 10), torch.float32),
}

each_sample = pytest.mark.parametrize("name", SAMPLES)
each_float = pytest.mark.parametrize("name", [name for name in SAMPLES if name not in ENGINES])
each_quantized = pytest.mark.parametrize("name", ENGINES)


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """No gradients, and the engine the sample needs."""
    with torch.no_grad(), engine(ENGINES[name]) if name in ENGINES else contextlib.nullcontext():
        yield


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.int_repr() if tensor.is_quantized else tensor


def values(name: str, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    """Every tensor a leaf module gives back, in order of execution; a module called twice counts twice."""
    seen: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
            # A copy: the next module may write into this tensor.
            seen[f"{path}#{len(seen)}"] = output.clone()

        return hook

    # A quantized linear keeps its packed weights in a child, and is a leaf nevertheless.
    leaves = [
        (path, part) for path, part in module.named_modules() if not list(part.children()) or hasattr(part, "scale")
    ]
    handles = [part.register_forward_hook(keep(path)) for path, part in leaves]
    try:
        with running(name):
            seen["output"] = module(*inputs).clone()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def test_the_tables_list_every_entry_point() -> None:
    # An entry point is what needs no argument and says it returns a module with example inputs.
    found = set()
    for found_module in pkgutil.iter_modules(sample_models.__path__):
        module = importlib.import_module(f"sample_models.{found_module.name}")
        for function_name, function in inspect.getmembers(module, inspect.isfunction):
            signature = inspect.signature(function)
            is_public_here = function.__module__ == module.__name__ and not function_name.startswith("_")
            needs_nothing = all(parameter.default is not parameter.empty for parameter in signature.parameters.values())
            if is_public_here and needs_nothing and "nn.Module, tuple" in str(signature.return_annotation):
                found.add(f"{module.__name__}:{function_name}")
    assert found == set(SAMPLES) == set(INTERFACES)
    assert set(ENGINES) < set(SAMPLES)


@each_sample
def test_interface(name: str, sample) -> None:
    module, inputs = sample(name)
    (image,) = inputs
    in_shape, in_dtype, out_shape, out_dtype = INTERFACES[name]
    assert not any(part.training for part in module.modules())
    assert (tuple(image.shape), image.dtype, image.is_contiguous()) == (in_shape, in_dtype, True)
    with running(name):
        output = module(image)
    assert (tuple(output.shape), output.dtype) == (out_shape, out_dtype)


@each_sample
def test_two_builds_agree_to_the_bit_and_leave_no_trace(name: str, sample, fresh) -> None:
    first, inputs = sample(name)
    random_state, active_engine = torch.get_rng_state(), torch.backends.quantized.engine
    second, inputs_again = fresh(name)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.backends.quantized.engine == active_engine
    assert torch.equal(bits(inputs[0]), bits(inputs_again[0]))
    ours, theirs = values(name, first, inputs), values(name, second, inputs_again)
    assert list(ours) == list(theirs)
    different = [path for path in ours if not torch.equal(bits(ours[path]), bits(theirs[path]))]
    assert different == []


@each_sample
def test_trace_computes_the_same_bits(name: str, sample) -> None:
    module, inputs = sample(name)
    with running(name):
        traced = torch.jit.trace(module, inputs, check_trace=False)
        assert torch.equal(bits(traced(*inputs)), bits(module(*inputs)))


@each_float
def test_float_activations_look_trained(name: str, sample) -> None:
    module, inputs = sample(name)
    for path, value in values(name, module, inputs).items():
        # Untrained, unsettled networks leave this band within a few layers, by factors of ten per block.
        assert 0.02 < float(value.std()) < 8, path
        assert float(value.abs().max()) < 50, path
        assert bool(value.isfinite().all()), path


@each_float
def test_batch_norm_is_settled_and_not_the_identity(name: str, sample) -> None:
    module, inputs = sample(name)
    seen = values(name, module, inputs)
    norms = {path for path, part in module.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    for path, value in seen.items():
        if path.split("#")[0] in norms:
            # Weights of 0.5…1.5 on inputs of variance 1, a quarter of that where MobileNetV2 adds a residual branch.
            assert 0.6 / 4 < float(value.std()) < 2, path
    for path in norms:
        norm = module.get_submodule(path)
        assert float(norm.weight.detach().std()) > 0.03, path
        assert float(norm.bias.detach().std()) > 0.03, path
        assert norm.momentum == 0.1, path


@each_quantized
def test_quantized_activations_use_their_range(name: str, sample) -> None:
    module, inputs = sample(name)
    top = 127 if ENGINES[name] == "x86" else 255
    # Only what has a scale of its own: pooled values keep their input's. The picture is left out, too: an
    # overexposed sky or full ink is clipped for good reason.
    own_scale = {path for path, part in module.named_modules() if hasattr(part, "scale")}
    quantized = {
        path: value
        for path, value in values(name, module, inputs).items()
        if path.split("#")[0] in own_scale and "quant#" not in path
    }
    assert len(quantized) >= 4
    for path, value in quantized.items():
        codes = value.int_repr()
        # A scale chosen too small clips many values, one chosen too large leaves most codes unused.
        assert float((codes >= top).float().mean()) < 0.02, path
        if value.numel() > 1000:
            assert int(codes.max()) - int(codes.min()) > 0.4 * top, path


@each_sample
def test_logits_are_worth_comparing(name: str, sample) -> None:
    module, inputs = sample(name)
    output = values(name, module, inputs)["output"]
    output = output.dequantize() if output.is_quantized else output
    if "segmenter" in name:
        # Probabilities: both sides present, few of them stuck at 0 or 1.
        assert 0.1 < float((output > 0.5).float().mean()) < 0.9
        assert float(((output < 0.01) | (output > 0.99)).float().mean()) < 0.05
    else:
        assert 0.5 < float(output.std()) < 6


@each_sample
def test_output_depends_on_the_picture(name: str, sample) -> None:
    module, (image,) = sample(name)
    with running(name):
        plain, mirrored = module(image), module(image.flip(-1))
    assert not torch.equal(bits(plain), bits(mirrored))
