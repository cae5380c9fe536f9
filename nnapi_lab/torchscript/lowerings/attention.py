"""Scaled dot-product attention: two BATCH_MATMULs around a SOFTMAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnapi_lab.ir.torch_graph import TensorData, TorchValue
from nnapi_lab.rewrites.matrices import MASK_BOUNDED
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import DECOMPOSED
from nnapi_lab.torchscript.layouts import padded_shape, read_broadcast
from nnapi_lab.torchscript.lowerings.chain import FLOAT
from nnapi_lab.torchscript.lowerings.contraction import contract
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side
from nnapi_lab.torchscript.site import Site

MASKED = -1e4
FORMULA = "SOFTMAX(scale · q·kᵀ + mask)·v"


@lowers("aten::scaled_dot_product_attention")
def attention(
    site: Site, query: TorchValue, key: TorchValue, value: TorchValue, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> None:  # fmt: skip
    """Without a mask the scale is SOFTMAX's beta; with one, scores are multiplied before it is added."""
    if dropout_p:
        site.forbid("ATTENTION_DROPOUT", f"attention with dropout_p={dropout_p} draws random numbers",
                    fix="pass dropout_p=0.0 in eval mode", source="torch scaled_dot_product_attention")  # fmt: skip
    shape, keys = query.type.shape or (), key.type.shape or ()
    if shape[:-2] != keys[:-2] or keys[:-2] != (value.type.shape or ())[:-2]:
        site.not_yet("ATTENTION_BATCH", f"query {list(shape)} and key {list(keys)} have different batch dimensions"
                     + (" (enable_gqa)" if enable_gqa else ""), fix="repeat the key and value heads first")  # fmt: skip
    if len(shape) > 4:
        site.not_yet("ATTENTION_RANK", f"attention of rank {len(shape)}", fix="merge batch dimensions first")
    factor = 1 / math.sqrt(shape[-1]) if scale is None else float(scale)
    batch = "ab"[: len(shape) - 2]
    scores, layout = contract(site, query, f"{batch}qe", key, f"{batch}ke", f"{batch}qk", suffix="scores")
    scores = _plain(site, scores, layout)
    layout = Layout.plain(layout.dims)
    mask = _mask(site, attn_mask, layout) or (_causal(site, layout) if is_causal else None)
    facts = {"formula": FORMULA, "scale": factor}
    if mask is not None or factor <= 0:
        number = _constant(site, "scale", np.array([factor], np.float32))
        scores = site.add("MUL", input0=scores, input1=number, fuse="NONE", suffix="scaled", rule=DECOMPOSED,
                          facts=facts)  # fmt: skip
        factor = 1.0
    if mask is not None:
        scores = site.add("ADD", input0=scores, input1=mask, fuse="NONE", suffix="masked", rule=MASK_BOUNDED)
    weights = site.add("SOFTMAX", input=scores, beta=factor, axis=len(shape) - 1, suffix="weights", rule=DECOMPOSED,
                       facts=facts)  # fmt: skip
    right = site.plain(value)
    result = site.add("BATCH_MATMUL", input0=weights, input1=right, adj_x=False, adj_y=False, rule=DECOMPOSED,
                      facts=facts)  # fmt: skip
    site.place(result, Layout.plain(site.out_shape))


def _plain(site: Site, operand: str, layout: Layout) -> str:
    """Scores in the order [batch, queries, keys], whatever order the batch dimensions lay in."""
    plain = Layout.plain(layout.dims)
    if layout.is_plain:
        return site.reshape(operand, plain.stored_dims, site.out)
    return site.reordered(operand, layout, plain, site.out)


def _mask(site: Site, mask: Any, layout: Layout) -> str | None:
    """The mask as an addend: truth values and minus infinities become a large negative number."""
    if not isinstance(mask, TorchValue):
        return None
    data = mask.constant
    if isinstance(data, TensorData):
        return _constant_mask(site, mask, data.array, layout)
    operand = read_broadcast(site, mask, layout)
    if mask.type.dtype != "bool":
        return operand
    number = site.as_number(operand, mask, FLOAT)
    one = _constant(site, "one", np.array([1], np.float32))
    size = _constant(site, "size", np.array([-MASKED], np.float32))
    absent = site.add("SUB", input0=number, input1=one, fuse="NONE", suffix="absent", rule=MASK_BOUNDED)
    return site.add("MUL", input0=absent, input1=size, fuse="NONE", suffix="mask", rule=MASK_BOUNDED)


def _constant_mask(site: Site, mask: TorchValue, array: np.ndarray, layout: Layout) -> str:
    if array.dtype == np.bool_:
        array = np.where(array, 0.0, MASKED)
    array = np.maximum(array.astype(np.float32), np.float32(MASKED))
    if (np.broadcast_to(array, layout.dims) <= MASKED).all(axis=-1).any():
        site.forbid("ATTENTION_MASK", "a row of the mask leaves no key: PyTorch gives NaN or 0 there, by version",
                    fix="let every query see at least one key", source=MASK_BOUNDED.source)  # fmt: skip
    return _constant(site, "mask", array.reshape(padded_shape(array.shape, len(layout.dims))), [mask.name])


def _causal(site: Site, layout: Layout) -> str:
    rows, columns = layout.dims[-2:]
    return _constant(site, "causal", np.where(np.tri(rows, columns), 0.0, MASKED).astype(np.float32))


def _constant(site: Site, label: str, array: np.ndarray, values: list[str] | None = None) -> str:
    name = f"{site.out.name}.{label}"
    values = values or [site.out.name]
    step = site.log(MASK_BOUNDED, after=[array_side(name, array)], values=values)
    operand = site.builder.constant(name, array.astype(np.float32), values=values, steps=[step])
    site.note_operands(step, operand)
    return operand
