"""Sizes that slots share by name, and kernels that take their tensors by name."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType
from nnapi_lab.ops.by_name import Tensors, given_all_or_none, kernel_by_name, named_sizes, sizes_seen
from nnapi_lab.ops.spec import Call, scalar, tensor
from nnapi_lab.ops.use import use

F32 = OperandCode.TENSOR_FLOAT32
TABLE = {
    "input": ("batch", "features"),
    "weights": ("units", "features"),
    "recurrent_weights": ("units", "units"),
    "bias": ("units",),
}


def rnn(**shapes: Any) -> Call:
    given = {"input": (2, 3), "weights": (4, 3), "recurrent_weights": (4, 4), "bias": (4,), "hidden_state_in": (2, 4)}
    types = {name: OperandType(F32, shape) for name, shape in {**given, **shapes}.items()}
    return use("RNN", **types, activation=0)


def test_a_name_is_one_size() -> None:
    assert named_sizes(rnn(), TABLE) == {"batch": 2, "features": 3, "units": 4}
    assert sizes_seen(rnn(), TABLE) is None


def test_what_one_slot_does_not_know_another_may() -> None:
    call = rnn(input=(Dim("n"), Dim("?")), weights=None)
    assert named_sizes(call, TABLE) == {"batch": Dim("n"), "features": Dim("?"), "units": 4}
    assert sizes_seen(call, TABLE) is None


@pytest.mark.parametrize(
    ("shapes", "seen"),
    [
        ({"bias": (5,)}, r"bias \[5\] has 5 along axis 0, but the number of units is 4 by weights \[4,3\]"),
        ({"weights": (4, 9)}, r"weights \[4,9\] has 9 along axis 1, .* features is 3 by input \[2,3\]"),
        ({"recurrent_weights": (4, 5)}, r"has 5 along axis 1"),
    ],
)
def test_contradictions_name_both_slots(shapes: dict[str, Any], seen: str) -> None:
    told = sizes_seen(rnn(**shapes), TABLE)
    assert told is not None
    assert re.search(seen, told)


def test_operands_of_open_size_may_be_omitted_later() -> None:
    names = ("fw_aux_weights", "bw_aux_weights")
    call = use(
        "BIDIRECTIONAL_SEQUENCE_RNN", input=OperandType(F32, (1, 1, 1)), activation=0, time_major=False,
        merge_outputs=False, aux_input=None, fw_aux_weights=OperandType(F32, (Dim("?"), 1)), bw_aux_weights=None,
        **{
            f"{prefix}{name}": OperandType(F32, (1,) * rank)
            for prefix in ("fw_", "bw_")
            for name, rank in (("weights", 2), ("recurrent_weights", 2), ("bias", 1), ("hidden_state_in", 2))
        },
    )  # fmt: skip
    assert given_all_or_none(call, names) is None


def compute(tensors: Tensors, *, factor: int, call: Call | None = None) -> np.ndarray:
    """Doubled."""
    result: np.ndarray = tensors["a"] * factor - tensors["b"]
    return result


def test_a_kernel_takes_tensors_in_slot_order() -> None:
    kernel = kernel_by_name(compute, [tensor("a"), scalar("factor"), tensor("b")])
    assert str(inspect.signature(kernel)).startswith("(a, b, *, factor: 'int'")
    assert kernel.__doc__ == "Doubled."
    assert kernel(np.array(5), np.array(1), factor=2) == 9
    with pytest.raises(TypeError, match="missing a required argument: 'b'"):
        kernel(np.array(5), factor=2)
