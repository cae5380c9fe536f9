"""Trying out one operation by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnapi_lab.errors import InvalidModel, SimulationError
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel, Quant
from nnapi_lab.ops.use import run, tensor_argument, use

ONE_PIXEL = np.ones((1, 1, 1, 1), np.float32)
POOL = {"stride_w": 1, "stride_h": 1, "filter_w": 1, "filter_h": 1, "fuse": 0, "padding": "VALID"}

TENSORS: dict[str, tuple[Any, str]] = {
    "float32": (np.zeros((1, 2), np.float32), "f32[1,2]"),
    "float16": (np.zeros(3, np.float16), "f16[3]"),
    "int32": (np.zeros(3, np.int32), "i32[3]"),
    "bool": (np.zeros(3, bool), "b8[3]"),
    "uint8": ((np.zeros(3, np.uint8), Quant(0.5, 7)), "q8a[3] scale=0.5 zp=7"),
    "int8": ((np.zeros(3, np.int8), Quant(0.5, -7)), "q8i[3] scale=0.5 zp=-7"),
    "int16": ((np.zeros(3, np.int16), Quant(0.5)), "q16s[3] scale=0.5 zp=0"),
    "uint16": ((np.zeros(3, np.uint16), Quant(0.5, 9)), "q16a[3] scale=0.5 zp=9"),
    "bias": ((np.zeros(3, np.int32), Quant(0.25)), "i32[3] scale=0.25 zp=0"),
    "per_channel": (
        (np.zeros((2, 1), np.int8), PerChannel((1.0, 2.0), 0)),
        "q8c[2,1] per-channel(2 scales 1…2 along axis 0)",
    ),
    "type": (OperandType(OperandCode.TENSOR_FLOAT32, None), "f32[*]"),
    "typed": ((OperandType(OperandCode.TENSOR_QUANT8_SYMM, (2,), Quant(1)), [1, 2]), "q8s[2] scale=1.0 zp=0"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_finds_its_type(name: str) -> None:
    given, text = TENSORS[name]
    type_, value = tensor_argument(given)
    assert str(type_) == text
    assert value is None or value.dtype == type_.code.numpy


@pytest.mark.parametrize("given", [np.zeros(3, np.uint8), 1.0, [1, 2]])
def test_a_tensor_without_a_type_is_refused(given: Any) -> None:
    with pytest.raises(TypeError):
        tensor_argument(given)


def test_words_and_defaults_become_scalars() -> None:
    call = use("AVERAGE_POOL_2D", input=ONE_PIXEL, **{**POOL, "fuse": "RELU6"})
    assert (call["padding"], call["fuse"], call["nchw"]) == (2, 3, False)
    assert call.form.name == "implicit_padding"
    assert "nchw" not in call.given


def test_a_scalar_may_be_unknown() -> None:
    call = use("AVERAGE_POOL_2D", input=ONE_PIXEL, **{**POOL, "fuse": OperandType(OperandCode.INT32)})
    assert call["fuse"] is None


def test_real_scalars_follow_the_key_type() -> None:
    half = ONE_PIXEL.astype(np.float16)
    call = use("RESIZE_BILINEAR", input=half, width_scale=1.5, height_scale=2)
    assert call.form.name == "by_scale"


def test_the_result_scale_is_the_callers() -> None:
    codes = (np.zeros((1, 1), np.uint8), Quant(0.5))
    bias = (np.zeros(1, np.int32), Quant(0.25))
    call = use("FULLY_CONNECTED", input=codes, weights=codes, bias=bias, fuse=0, quant=Quant(2, 3))
    assert call.out.quant == Quant(2, 3)


def test_run_rounds_float16_once_at_the_end() -> None:
    x = np.array([1, 2, 2**-11], np.float16).reshape(1, 1, 3, 1)
    mean = run("AVERAGE_POOL_2D", input=x, **{**POOL, "filter_w": 3})
    assert mean.dtype == np.float16
    assert mean.item() == np.float16(np.float32(3 + 2**-11) / np.float32(3))


REFUSED: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "no_form": (InvalidModel, r"FULLY_CONNECTED\.FORM", lambda: use("FULLY_CONNECTED", input=ONE_PIXEL)),
    "wrong_type": (
        InvalidModel,
        r"AVERAGE_POOL_2D\.FORM.*TENSOR_INT32",
        lambda: use("AVERAGE_POOL_2D", input=ONE_PIXEL.astype(np.int32), **POOL),
    ),
    "no_content": (
        SimulationError,
        "the content of input is not given",
        lambda: run("AVERAGE_POOL_2D", input=OperandType(OperandCode.TENSOR_FLOAT32, (1, 1, 1, 1)), **POOL),
    ),
    "unknown_kind": (KeyError, "GELU", lambda: use("GELU", input=ONE_PIXEL)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(name: str) -> None:
    error, message, attempt = REFUSED[name]
    with pytest.raises(error, match=message):
        attempt()
