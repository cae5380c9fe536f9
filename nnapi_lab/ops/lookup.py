"""Tables: EMBEDDING_LOOKUP by row number, HASHTABLE_LOOKUP by key, LSH_PROJECTION by hash.

Source: AOSP 13 EmbeddingLookup.cpp, HashtableLookup.cpp, LSHProjection.cpp.
"""

from __future__ import annotations

import struct

import numpy as np

from nnapi_lab.errors import SimulationError
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant, shape_text
from nnapi_lab.numerics.fingerprint import fingerprint64
from nnapi_lab.ops.axes import times
from nnapi_lab.ops.shape import integers
from nnapi_lab.ops.spec import Call, Constraint, Form, OpSpec, Slot, fixed, same, scalar, tensor

F32, F16 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
I32 = OperandCode.TENSOR_INT32

ANY_RANK = (1, 1 << 16)


# --- EMBEDDING_LOOKUP ---------------------------------------------------------------------------------------


def looked_up_type(call: Call) -> tuple[OperandType, ...]:
    """One row of `values` for each entry of `lookups`."""
    values, lookups = call["values"], call["lookups"]
    if values.shape is None:
        return (values.with_shape(None),)
    count = Dim("?") if lookups.shape is None else lookups.shape[0]
    return (values.with_shape((count, *values.shape[1:])),)


def embedding_lookup(lookups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rows of `values` [rows, …] that `lookups` [n] names: [n, …].

    Raises SimulationError for a row that is not there.
    """
    seen = _row_outside(lookups, values.shape[0])
    if seen is not None:
        raise SimulationError(f"EMBEDDING_LOOKUP: {seen}")
    return np.take(values, lookups, axis=0)


def _row_outside(lookups: np.ndarray, rows: int) -> str | None:
    wrong = lookups[(lookups < 0) | (lookups >= rows)]
    return f"row {wrong[0]} is not in [0, {rows - 1}]" if wrong.size else None


def _lookup_outside(call: Call) -> str | None:
    lookups, shape = call.value("lookups"), call["values"].shape
    if lookups is None or shape is None or isinstance(shape[0], Dim):
        return None
    return _row_outside(np.asarray(lookups), shape[0])


_EMBEDDING_LOOKUP = OpSpec(
    kind="EMBEDDING_LOOKUP",
    code=7,
    since=1,
    summary="Rows of a table by number.",
    types={F32: 1, F16: 4, I32: 3, Q8: 3, Q8S: 4},
    forms=(Form("only", (integers("lookups"), tensor("values", rank=(2, ANY_RANK[1])))),),
    result=looked_up_type,
    kernel=embedding_lookup,
    source="AOSP 13 EmbeddingLookup.cpp",
    key="values",
    constraints=(Constraint("C1", "every row that is looked up is there", _lookup_outside),),
    half="native",
)


# --- HASHTABLE_LOOKUP ---------------------------------------------------------------------------------------


def found_types(call: Call) -> tuple[OperandType, ...]:
    """(a row of `values` per lookup, 1 or 0 per lookup with scale 1.0)."""
    (rows,) = looked_up_type(call)
    count = Dim("?") if call["lookups"].shape is None else call["lookups"].shape[0]
    return rows, OperandType(Q8, (count,), Quant(1.0, 0))


def hashtable_lookup(lookups: np.ndarray, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose key is looked up, hits): keys ascend; a miss gives stored zeros and hit 0.

    Zeros are stored zeros also for codes, whose real value is then -scale · zero_point.
    """
    at = np.minimum(np.searchsorted(keys, lookups), keys.size - 1)
    hits = keys[at] == lookups
    rows = np.where(hits.reshape(-1, *[1] * (values.ndim - 1)), values[at], values.dtype.type(0))
    return rows, hits.astype(np.uint8)


def _keys_and_rows(call: Call) -> str | None:
    keys, values = call["keys"].shape, call["values"].shape
    if keys is None or values is None or isinstance(keys[0], Dim) or isinstance(values[0], Dim):
        return None
    return None if keys[0] == values[0] else f"{keys[0]} keys for values {shape_text(values)}"


def _keys_descend(call: Call) -> str | None:
    keys = call.value("keys")
    if keys is None or np.all(np.diff(keys.astype(np.int64)) > 0):
        return None
    return "keys do not ascend"


_HASHTABLE_LOOKUP = OpSpec(
    kind="HASHTABLE_LOOKUP",
    code=10,
    since=1,
    summary="Rows of a table by key; a second result tells which keys were found.",
    types={F32: 1, I32: 1, Q8: 1},
    forms=(
        Form(
            "only",
            (integers("lookups"), integers("keys"), tensor("values", rank=ANY_RANK)),
            (Slot("out", same), Slot("hits", fixed(Q8))),
        ),
    ),
    result=found_types,
    kernel=hashtable_lookup,
    source="AOSP 13 HashtableLookup.cpp",
    key="values",
    constraints=(
        Constraint("C1", "there are as many keys as rows", _keys_and_rows),
        Constraint("C2", "keys ascend, each once: they are searched by halving", _keys_descend),
    ),
    half="native",
    notes=("The documentation asks for values of rank 2; the kernel takes rank 1 too.",),
)


# --- LSH_PROJECTION -----------------------------------------------------------------------------------------

SPARSE_DEPRECATED, DENSE, SPARSE = 1, 2, 3


def projected_type(call: Call) -> tuple[OperandType, ...]:
    """Sparse: one signature per hash function; dense: one bit per seed."""
    hashes, kind = call["hash"].shape, call["type"]
    if hashes is None or kind is None:
        return (OperandType(I32, (Dim("?"),)),)
    return (OperandType(I32, (times(*hashes) if kind == DENSE else hashes[0],)),)


def lsh_projection(hash: np.ndarray, input: np.ndarray, weight: np.ndarray | None, *, type: int) -> np.ndarray:
    """Locality-sensitive hash: a bit per seed, the sign of the weighted sum of the hashes of (seed, row).

    hash [functions, bits] holds float seeds; input [rows, …] of any type is hashed by its bytes; weight [rows].
    DENSE gives the bits; SPARSE one number per function, offset by function · 2^bits (the deprecated one
    without offset). Sums run in double, row by row. Raises SimulationError when weight and type do not go together.
    """
    if (weight is None) == (type == DENSE):
        raise SimulationError(f"LSH_PROJECTION: {_WEIGHT_RULE}")
    rows = [row.tobytes() for row in np.ascontiguousarray(input)]
    weights = [1.0] * len(rows) if weight is None else [float(one) for one in weight]
    bits = np.array([[_sign_bit(float(seed), rows, weights) for seed in seeds] for seeds in hash], np.int64)
    if type == DENSE:
        return bits.reshape(-1).astype(np.int32)
    functions, count = bits.shape
    signatures = bits @ (1 << np.arange(count - 1, -1, -1, dtype=np.int64))
    if type == SPARSE:
        signatures = signatures + (np.arange(functions, dtype=np.int64) << count)
    return signatures.astype(np.int32)  # 32 bits wrap, as in C


def _sign_bit(seed: float, rows: list[bytes], weights: list[float]) -> int:
    key, score = struct.pack("<f", seed), 0.0
    for row, weight in zip(rows, weights, strict=True):
        hashed = fingerprint64(key + row)
        score += weight * float(hashed - (1 << 64) if hashed >> 63 else hashed)
    return int(score > 0)


_WEIGHT_RULE = "a dense projection needs weights, a sparse one takes none"


def _too_many_bits(call: Call) -> str | None:
    shape = call["hash"].shape
    if shape is None or isinstance(shape[1], Dim) or shape[1] <= 32:
        return None
    return f"hash {shape_text(shape)} asks for {shape[1]} bits"


def _unknown_type(call: Call) -> str | None:
    kind = call["type"]
    return None if kind in (None, 1, 2, 3) else f"type={kind} is not 1 SPARSE (deprecated), 2 DENSE or 3 SPARSE"


def _weight_and_type(call: Call) -> str | None:
    kind, weight = call["type"], call["weight"]
    if kind == DENSE and weight is None:
        return "type=2 DENSE without weight"
    # A weight that is not constant may still be left out at execution.
    if kind in (SPARSE, SPARSE_DEPRECATED) and call.value("weight") is not None:
        return f"type={kind} SPARSE with weight {weight}"
    return None


def _weight_count(call: Call) -> str | None:
    weight, input, kind = call["weight"], call["input"].shape, call["type"]
    if weight is None or weight.shape is None or input is None or kind != DENSE:
        return None
    sizes = (weight.shape[0], input[0])
    if any(isinstance(size, Dim) for size in sizes) or sizes[0] == sizes[1]:
        return None
    return f"{sizes[0]} weights for {sizes[1]} rows of input"


_LSH_PROJECTION = OpSpec(
    kind="LSH_PROJECTION",
    code=15,
    since=1,
    summary="Hash a tensor so that similar ones share bits.",
    types={F32: 1, F16: 3},
    forms=(
        Form(
            "only",
            (
                tensor("hash", rank=2),
                tensor("input", fixed(F16, F32, I32, Q8)),
                tensor("weight", rank=1, optional=True),
                scalar("type"),
            ),
            (Slot("out", fixed(I32)),),
        ),
    ),
    result=projected_type,
    kernel=lsh_projection,
    source="AOSP 13 LSHProjection.cpp",
    constraints=(
        Constraint("C1", "a signature has at most 32 bits", _too_many_bits),
        Constraint("C2", "type is 1, 2 or 3", _unknown_type),
        Constraint("C3", _WEIGHT_RULE, _weight_and_type),
        Constraint("C4", "there is one weight per row of the input", _weight_count),
    ),
    half="native",
    notes=("The hash is FarmHash's Fingerprint64 of the seed's four bytes followed by the row's.",),
)

SPECS: tuple[OpSpec, ...] = (_EMBEDDING_LOOKUP, _HASHTABLE_LOOKUP, _LSH_PROJECTION)
