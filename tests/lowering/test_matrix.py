"""Products of computed tensors, einsum, attention, triangles and running sums, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F

from tests.lowering.against_torch import (
    FLOAT_TOLERANCE,
    Written,
    kinds_of,
    lowered_in,
    refusals,
    rules_of,
    same_numbers,
)

Shapes = tuple[tuple[int, ...], ...]

PRODUCTS: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "mm": (torch.mm, ((3, 4), (4, 5))),
    "mm_transposed": (lambda a, b: a.t() @ b.t(), ((4, 3), (5, 4))),
    "bmm": (torch.bmm, ((2, 3, 4), (2, 4, 5))),
    "matmul_4": (torch.matmul, ((2, 3, 4, 5), (2, 3, 5, 6))),
    "broadcast_both": (torch.matmul, ((2, 1, 3, 4), (5, 4, 6))),
    "broadcast_right": (torch.matmul, ((2, 5, 3, 4), (5, 4, 6))),
    "broadcast_left": (torch.matmul, ((3, 4), (5, 4, 6))),
    "matrix_vector": (torch.matmul, ((2, 5, 3, 4), (4,))),
    "vector_matrix": (torch.matmul, ((4,), (2, 5, 4, 3))),
    "vector_vector": (torch.matmul, ((4,), (4,))),
    "ones": (torch.matmul, ((1, 1, 4), (1, 4, 1))),
    "mv": (torch.mv, ((3, 4), (4,))),
    "dot": (lambda a, b: torch.dot(a, b) + 1.0, ((4,), (4,))),
    "inner": (torch.inner, ((2, 3, 4), (5, 4))),
    "outer": (torch.outer, ((3,), (4,))),
    "tensordot": (lambda a, b: torch.tensordot(a, b, ([2, 3], [2, 1])), ((2, 4, 6, 8), (3, 8, 6))),
    "tensordot_count": (lambda a, b: torch.tensordot(a, b, 2), ((2, 4, 6), (4, 6, 3))),
    "constant_left": (lambda a: torch.ones(3, 6) @ a, ((2, 4, 6, 5),)),
    "constant_right": (lambda a: a @ torch.ones(5, 3), ((2, 4, 6, 5),)),
    "constant_batches": (lambda a: a @ torch.ones(4, 5, 3), ((2, 4, 6, 5),)),
    "addmm": (torch.addmm, ((3, 5), (3, 4), (4, 5))),
    "addmm_bias": (lambda a: torch.addmm(torch.ones(5), a, torch.ones(4, 5)), ((3, 4),)),
    "addmm_scaled": (lambda a: torch.addmm(torch.ones(5), a, torch.ones(4, 5), beta=2.0, alpha=0.5), ((3, 4),)),
    "baddbmm": (lambda a, b, c: torch.baddbmm(a, b, c, beta=0.5, alpha=2), ((3, 5), (2, 3, 4), (2, 4, 5))),
    "baddbmm_beta_0": (lambda a, b, c: torch.baddbmm(a, b, c, beta=0, alpha=2), ((3, 5), (2, 3, 4), (2, 4, 5))),
    "addbmm": (torch.addbmm, ((3, 5), (2, 3, 4), (2, 4, 5))),
    "addmv": (torch.addmv, ((3,), (3, 5), (5,))),
    "addr": (torch.addr, ((3, 5), (3,), (5,))),
    "tril_triu": (lambda a: torch.tril(a, 1) + torch.triu(a, -1), ((2, 4, 6, 5),)),
    "triu_whole": (lambda a: torch.triu(a, -9), ((4, 5),)),
    "cumsum": (lambda a: a.cumsum(1) + a.cumsum(-1), ((2, 4, 6, 5),)),
    "cumsum_vector": (lambda a: a.cumsum(0), ((7,),)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_product(name: str) -> None:
    formula, shapes = PRODUCTS[name]
    same_numbers(Written(formula), tuple(torch.randn(shape) for shape in shapes), ("auto",))


BEHIND: dict[str, Callable[[Any], Any]] = {
    "with_its_transpose": lambda x: x @ x.transpose(-1, -2),
    "transposed_first": lambda x: x.transpose(-1, -2) @ x,
    "with_a_number_added": lambda x: x @ x.mT + 1.0,
    "constant_right": lambda x: x @ torch.ones(6, 3),
    "einsum_pixels": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    "einsum_channels": lambda x: torch.einsum("bchw,dc->bdhw", x, torch.ones(3, 4)),
    "einsum_permutes": lambda x: torch.einsum("bchw->bhwc", x),
    "cumsum_channels": lambda x: x.cumsum(1),
    "tril": torch.tril,
}


@pytest.mark.parametrize("name", BEHIND)
def test_behind_a_convolution(name: str) -> None:
    """The operands lie channels last."""
    same_numbers(Written(lambda conv, x: BEHIND[name](conv(x)), nn.Conv2d(4, 4, 1)), (torch.randn(2, 4, 5, 6),))


EINSUMS: dict[str, Shapes] = {
    "bchw,bdhw->bcd": ((2, 4, 6, 8), (2, 5, 6, 8)), "bhid,bhjd->bhij": ((2, 3, 4, 5), (2, 3, 6, 5)),
    "bhij,bhjd->bihd": ((2, 3, 4, 6), (2, 3, 6, 5)), "nc,cd->nd": ((3, 4), (4, 5)),
    "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)), "ij,jk": ((3, 4), (4, 5)), "i,j->ij": ((3,), (4,)),
    "bn,bn->b": ((3, 4), (3, 4)), "bij,bkj->bki": ((2, 3, 4), (2, 5, 4)), "nctv,vw->nctw": ((2, 4, 6, 8), (8, 8)),
    "bhwc,hkc->bhwk": ((2, 4, 6, 8), (4, 5, 8)), "i,i->": ((4,), (4,)), "ab,cd->acbd": ((2, 3), (4, 5)),
    "... d, ... d -> ...": ((2, 3, 4), (2, 3, 4)), "ij->ji": ((3, 4),),
}  # fmt: skip


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation: str) -> None:
    inputs = tuple(torch.randn(shape) for shape in EINSUMS[equation])
    same_numbers(Written(lambda *x: torch.einsum(equation, *x)), inputs, ("auto",))


@settings(max_examples=60)
@given(st.data())
def test_any_contraction(data: st.DataObject) -> None:
    """Random labels for both operands and the result, random order, random sizes (1 among them)."""
    sizes = {label: data.draw(st.integers(1, 3), label=label) for label in "abcdef"}
    roles = {label: data.draw(st.sampled_from(["batch", "left", "right", "inner"])) for label in "abcdef"}
    left = [label for label, role in roles.items() if role != "right"][:4]
    right = [label for label, role in roles.items() if role != "left"][:4]
    shared = set(left) & set(right)
    out = [label for label in dict.fromkeys(left + right) if label not in shared or roles[label] == "batch"]
    if not left or not right:
        return
    left, right, out = (data.draw(st.permutations(labels)) for labels in (left, right, out))
    equation = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    inputs = tuple(torch.randn([sizes[label] for label in labels]) for labels in (left, right))
    if len(out) > 4:
        return
    module = Written(lambda a, b: torch.einsum(equation, a.relu(), b.relu())).eval()
    _, diff = lowered_in(module, inputs, "auto")
    assert all(row.relative <= FLOAT_TOLERANCE or row.max_abs <= 1e-6 for row in diff.rows), equation


def test_integers_multiply_exactly() -> None:
    left, right = torch.randint(-99, 99, (2, 3, 4)), torch.randint(-99, 99, (2, 4, 5))
    lowered = same_numbers(Written(lambda a, b: (a @ b).cumsum(1)), (left, right), ("auto",))
    assert kinds_of(lowered).count("BATCH_MATMUL") == 2


def test_half_precision_stays_half() -> None:
    """float16 rounds at 2^-11: 2e-3 of the range is four roundings."""
    lowered, diff = lowered_in(Written(lambda a, b: a @ b).eval(),
                               (torch.randn(3, 4).half(), torch.randn(4, 5).half()), "auto")  # fmt: skip
    assert kinds_of(lowered) == ["BATCH_MATMUL"]
    assert diff.outputs[0].relative <= 2e-3


def test_nothing_is_moved_for_a_transposed_matrix() -> None:
    inputs = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5)
    lowered = same_numbers(Written(lambda a, b: a @ b.transpose(-2, -1)), inputs, ("auto",))
    assert kinds_of(lowered) == ["BATCH_MATMUL"]
    inputs = torch.randn(4, 3), torch.randn(5, 4)
    lowered = same_numbers(Written(lambda a, b: a.t() @ b.t()), inputs, ("auto",))
    assert kinds_of(lowered) == ["BATCH_MATMUL"]


def test_quantized_matmul_is_within_a_step() -> None:
    def formula(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        left, right = (torch.quantize_per_tensor(value, 0.03, 120, torch.quint8) for value in (x, y))
        return torch.ops.quantized.matmul(left, right, 0.1, 120).dequantize()

    lowered, diff = lowered_in(Written(formula).eval(), (torch.randn(2, 3, 4), torch.randn(2, 4, 5)), "auto")
    assert max(row.max_steps or 0 for row in diff.rows) <= 1
    assert "BATCH_MATMUL" in kinds_of(lowered)


# --- attention -----------------------------------------------------------------------------------------------

Q, K, V = (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7)
attend = F.scaled_dot_product_attention
INFINITE = torch.full((5, 6), -torch.inf).triu(2)
ATTENTION: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "plain": (attend, (Q, K, V)),
    "scaled": (lambda q, k, v: attend(q, k, v, scale=0.3), (Q, K, V)),
    "negative_scale": (lambda q, k, v: attend(q, k, v, scale=-0.3), (Q, K, V)),
    "rank_3": (attend, (Q[1:], K[1:], V[1:])),
    "causal": (lambda q, k, v: attend(q, k, v, is_causal=True), (Q, K, V)),
    "truth_constant": (lambda q, k, v: attend(q, k, v, attn_mask=torch.ones(5, 6).tril(1).bool()), (Q, K, V)),
    "infinite_constant": (lambda q, k, v: attend(q, k, v, attn_mask=INFINITE), (Q, K, V)),
    "additive": (lambda q, k, v, mask: attend(q, k, v, attn_mask=mask), (Q, K, V, (2, 1, 5, 6))),
    "truth_computed": (lambda q, k, v, mask: attend(q, k, v, attn_mask=mask > -1.5), (Q, K, V, (2, 1, 1, 6))),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    formula, shapes = ATTENTION[name]
    same_numbers(Written(formula), tuple(torch.randn(shape) for shape in shapes), ("auto",))


def test_the_scale_of_unmasked_attention_costs_nothing() -> None:
    lowered = same_numbers(Written(attend), tuple(torch.randn(shape) for shape in (Q, K, V)), ("auto",))
    assert kinds_of(lowered) == ["BATCH_MATMUL", "SOFTMAX", "BATCH_MATMUL"]


def test_a_transformer_encoder_layer() -> None:
    layer = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True, activation="gelu")
    same_numbers(layer, (torch.randn(2, 5, 12),), ("auto",))


REFUSED: dict[str, tuple[Callable[..., Any], Shapes, str, str]] = {
    "dropout": (lambda q, k, v: attend(q, k, v, dropout_p=0.5), (Q, K, V), "ATTENTION_DROPOUT", "FORBIDDEN"),
    "nothing_left": (lambda q, k, v: attend(q, k, v, attn_mask=torch.zeros(5, 6).bool()), (Q, K, V),
                     "ATTENTION_MASK", "FORBIDDEN"),
    "batch": (lambda q, k, v: attend(q, k, v), (Q, (1, *K[1:]), (1, *V[1:])), "ATTENTION_BATCH", "NOT_YET"),
    "diagonal": (lambda a: torch.einsum("ii,ij->ij", a, a), ((3, 3),), "EINSUM_DIAGONAL", "NOT_YET"),
    "summed_alone": (lambda a, b: torch.einsum("ij,jk->k", a, b), ((3, 4), (4, 5)), "EINSUM_SUM", "NOT_YET"),
    "three": (lambda a: torch.einsum("ij,jk,kl->il", a, a, a), ((3, 3),), "EINSUM_OPERANDS", "NOT_YET"),
    "summed_one": (lambda a: torch.einsum("ij->i", a), ((3, 3),), "EINSUM_SUM", "NOT_YET"),
    "long_sum": (lambda a: a.cumsum(0), ((5000,),), "CUMSUM_LENGTH", "NOT_YET"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    formula, shapes, rule, kind = REFUSED[name]
    found = refusals(Written(formula), tuple(torch.randn(shape) for shape in shapes))
    assert rules_of(found) == [rule]
    assert found[0].kind == kind
