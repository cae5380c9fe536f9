"""Tables by number, by key and by hash."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from nnapi_lab.build import broken_rules
from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.numerics.fingerprint import fingerprint64
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
DENSE, SPARSE, SPARSE_DEPRECATED = 2, 3, 1


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def table(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_embedding_lookup_gives_rows() -> None:
    assert run("EMBEDDING_LOOKUP", lookups=ints(2, 0, 2), values=table(3, 2)).tolist() == [[4, 5], [0, 1], [4, 5]]


def test_embedding_lookup_stops_at_a_row_it_only_sees_at_execution() -> None:
    with pytest.raises(SimulationError, match=r"row 3 is not in \[0, 2\]"):
        run("EMBEDDING_LOOKUP", lookups=ints(3), values=table(3, 2))


def test_hashtable_lookup_gives_rows_and_hits() -> None:
    rows, hits = run("HASHTABLE_LOOKUP", lookups=ints(7, 5, 99, -8), keys=ints(-8, 0, 7), values=table(3, 2) + 1)
    assert rows.tolist() == [[5, 6], [0, 0], [0, 0], [1, 2]]
    assert hits.tolist() == [1, 0, 0, 1]


def test_a_missing_key_gives_stored_zeros() -> None:
    values = (np.array([5], np.uint8), Quant(0.5, 9))
    call = use("HASHTABLE_LOOKUP", lookups=ints(1), keys=ints(0), values=values)
    rows, hits = run(call)
    assert rows.tolist() == [0]
    assert call.results[0].quant == Quant(0.5, 9)
    assert call.results[1].quant == Quant(1.0, 0)
    assert hits.dtype == np.uint8


def bit(seed: float, rows: np.ndarray, weights: list[float]) -> int:
    """The sign of the weighted sum of hashes, written out."""
    score = 0.0
    for row, weight in zip(rows, weights, strict=True):
        hashed = fingerprint64(struct.pack("<f", seed) + row.tobytes())
        score += weight * float(np.uint64(hashed).astype(np.int64))
    return int(score > 0)


SEEDS = np.array([[0.123, 0.456], [-0.321, 1.234], [5.678, -4.321]], np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32])
def test_dense_projection_gives_a_bit_per_seed(dtype: type) -> None:
    rows, weights = np.array([[1, 2], [3, 4], [5, 6]], dtype), [0.5, -1.0, 2.0]
    out = run("LSH_PROJECTION", hash=SEEDS, input=rows, weight=np.array(weights, np.float32), type=DENSE)
    assert out.tolist() == [bit(float(seed), rows, weights) for seed in SEEDS.ravel()]


def test_sparse_projection_gives_a_number_per_function() -> None:
    rows = ints(12345, 54321)
    bits = [[bit(float(seed), rows, [1.0, 1.0]) for seed in pair] for pair in SEEDS]
    numbers = [2 * first + second for first, second in bits]
    arguments = {"hash": SEEDS, "input": rows, "weight": None}
    assert run("LSH_PROJECTION", **arguments, type=SPARSE_DEPRECATED).tolist() == numbers
    shifted = [number + 4 * function for function, number in enumerate(numbers)]
    assert run("LSH_PROJECTION", **arguments, type=SPARSE).tolist() == shifted


def test_32_bits_wrap_into_an_int32() -> None:
    seeds = np.linspace(-2, 2, 32, dtype=np.float32)[None]
    rows = ints(1, 2, 3)
    out = run("LSH_PROJECTION", hash=seeds, input=rows, weight=None, type=SPARSE_DEPRECATED)
    bits = [bit(float(seed), rows, [1.0] * 3) for seed in seeds[0]]
    assert int(out[0]) % 2**32 == int("".join(map(str, bits)), 2)


@pytest.mark.parametrize(("weight", "kind"), [(None, DENSE), (np.ones(1, np.float32), SPARSE)])
def test_weights_belong_to_dense_projections(weight: np.ndarray | None, kind: int) -> None:
    with pytest.raises(SimulationError, match="dense"):
        run("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=weight, type=kind)


def test_result_shapes() -> None:
    values = OperandType(F32, (5, 2, 3))
    lookups = OperandType(I32, (Dim("n"),))
    assert use("EMBEDDING_LOOKUP", lookups=lookups, values=values).out.shape == (Dim("n"), 2, 3)
    rows, hits = use("HASHTABLE_LOOKUP", lookups=lookups, keys=OperandType(I32, (5,)), values=values).results
    assert rows.shape == (Dim("n"), 2, 3)
    assert hits.shape == (Dim("n"),)
    assert use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=None, type=SPARSE).out.shape == (3,)
    weight = np.ones(1, np.float32)
    assert use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=weight, type=DENSE).out.shape == (6,)


BROKEN: dict[str, Callable[[], Call]] = {
    "EMBEDDING_LOOKUP.C1": lambda: use("EMBEDDING_LOOKUP", lookups=ints(-1), values=table(2, 2)),
    "HASHTABLE_LOOKUP.C1": lambda: use("HASHTABLE_LOOKUP", lookups=ints(1), keys=ints(1), values=table(2)),
    "HASHTABLE_LOOKUP.C2": lambda: use("HASHTABLE_LOOKUP", lookups=ints(1), keys=ints(2, 1), values=table(2)),
    "LSH_PROJECTION.C1": lambda: use("LSH_PROJECTION", hash=table(1, 33), input=ints(1), weight=None, type=SPARSE),
    "LSH_PROJECTION.C2": lambda: use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=None, type=0),
    "LSH_PROJECTION.C3": lambda: use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=None, type=DENSE),
    "LSH_PROJECTION.C4": lambda: use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=table(2), type=DENSE),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


def test_a_weight_that_may_be_left_out_at_execution_is_no_fault() -> None:
    weight = OperandType(F32, (Dim("n"),))
    call = use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=weight, type=SPARSE)
    assert broken_rules(call, "here") == []


LEVELS: dict[str, tuple[Callable[[], Call], int]] = {
    "float": (lambda: use("EMBEDDING_LOOKUP", lookups=ints(0), values=table(1, 1)), 1),
    "int": (lambda: use("EMBEDDING_LOOKUP", lookups=ints(0), values=ints(1)[None]), 3),
    "half": (lambda: use("EMBEDDING_LOOKUP", lookups=ints(0), values=np.zeros((1, 1), np.float16)), 4),
    "hash": (lambda: use("LSH_PROJECTION", hash=SEEDS, input=ints(1), weight=None, type=SPARSE), 1),
    "hash_of_half": (
        lambda: use("LSH_PROJECTION", hash=SEEDS, input=np.zeros(1, np.float16), weight=None, type=SPARSE),
        3,
    ),
}


@pytest.mark.parametrize("row", LEVELS)
def test_levels(row: str) -> None:
    make, level = LEVELS[row]
    assert required_level(make())[0] == level
