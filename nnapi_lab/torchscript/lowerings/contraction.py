"""Sums of products over common dimensions: the one machinery behind matmul, bmm, einsum and their kin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnapi_lab.ir.operand_types import OperandCode
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.matrices import CONTRACTED
from nnapi_lab.rewrites.placement import RANK_LIMIT, Layout
from nnapi_lab.torchscript.lowerings.chain import chain_code
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.site import Site

Labels = str


@dataclass(frozen=True, slots=True)
class Groups:
    """Which labels are batch (in all three), rows (left and result), inner (left and right), columns."""

    batch: Labels
    rows: Labels
    inner: Labels
    columns: Labels


def contract(
    site: Site, left: TorchValue, left_labels: Labels, right: TorchValue, right_labels: Labels, out_labels: Labels,
    *, suffix: str = "",
) -> tuple[str, Layout]:  # fmt: skip
    """The sum over every label that is not in `out_labels` of left · right: its operand and layout.

    One letter per dimension. A dimension of size 1 where the other side has more is broadcast. The operand has the
    layout's stored dims, the layout's dims are in the order of `out_labels`.
    """
    sizes = label_sizes(site, (left, right), (left_labels, right_labels))
    groups = grouped(site, left, left_labels, right, right_labels, out_labels, sizes)
    code = chain_code(site)
    lead = _leading(left, right, groups.batch, sizes)
    first, adj_x = _matrices(site, left, left_labels, (groups.batch, groups.rows, groups.inner), lead, code)
    second, adj_y = _matrices(site, right, right_labels, (groups.batch, groups.columns, groups.inner), lead, code)
    order = groups.batch + groups.rows + groups.columns
    missing = "".join(label for label in out_labels if label not in order)
    full = missing + order  # labels of size 1 on both sides lie anywhere
    layout = Layout(tuple(sizes[label] for label in out_labels), tuple(out_labels.index(label) for label in full))
    product = site.add(
        "BATCH_MATMUL", input0=first, input1=second, adj_x=adj_x, adj_y=not adj_y, rule=CONTRACTED,
        facts={"batch": groups.batch, "rows": groups.rows, "inner": groups.inner, "columns": groups.columns,
               "equation": f"{left_labels},{right_labels}->{out_labels}"},
        suffix=suffix or "product",
    )  # fmt: skip
    return site.reshape(product, layout.stored_dims, site.out, f"{site.out.name}{suffix and '.' + suffix}"), layout


def label_sizes(site: Site, values: Sequence[TorchValue], labels: Sequence[Labels]) -> dict[str, int]:
    """The size each label stands for; 1 gives way to more."""
    sizes: dict[str, int] = {}
    for value, names in zip(values, labels, strict=True):
        if len(set(names)) != len(names):
            site.not_yet("EINSUM_DIAGONAL", f"{names} names one dimension of {value.name} twice: a diagonal",
                         fix="take the diagonal outside the model")  # fmt: skip
        for label, size in zip(names, value.type.shape or (), strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return sizes


def grouped(
    site: Site, left: TorchValue, left_labels: Labels, right: TorchValue, right_labels: Labels, out_labels: Labels,
    sizes: Mapping[str, int],
) -> Groups:  # fmt: skip
    """Every label of more than one element in its group, each group in the order the left (or right) one lies."""
    in_left, in_right = _lying(site, left, left_labels), _lying(site, right, right_labels)
    both = [label for label in in_left if label in in_right]
    alone = [label for label in (*in_left, *in_right) if label not in both and label not in out_labels]
    if alone:
        site.not_yet("EINSUM_SUM", f"{''.join(alone)} is summed over in one operand only",
                     fix="sum over it before the product")  # fmt: skip
    return Groups(
        "".join(label for label in both if label in out_labels),
        "".join(label for label in in_left if label not in both),
        "".join(label for label in both if label not in out_labels),
        "".join(label for label in in_right if label not in both),
    )


def _lying(site: Site, value: TorchValue, labels: Labels) -> Labels:
    """The labels of more than one element in the order the value is stored."""
    shape = value.type.shape or ()
    layout = site.layout_of(value)
    order = layout.perm if layout is not None and layout.dims == shape else range(len(shape))
    return "".join(labels[axis] for axis in order if shape[axis] != 1)


def _matrices(
    site: Site, value: TorchValue, labels: Labels, groups: tuple[Labels, Labels, Labels],
    lead: tuple[int, ...], code: OperandCode,
) -> tuple[str, bool]:  # fmt: skip
    """The operand as [*lead, outer, inner], or as [*lead, inner, outer] and True where that needs no TRANSPOSE."""
    batch, outer, inner = groups
    shape = value.type.shape or ()
    size = {label: shape[labels.index(label)] for label in labels}
    lying = _lying(site, value, labels)
    swapped = lying != batch + outer + inner and lying == batch + inner + outer
    wanted = batch + (inner + outer if swapped else outer + inner)
    ones = "".join(label for label in labels if label not in wanted)
    layout = Layout(shape, tuple(labels.index(label) for label in (*ones, *wanted)))
    operand = converted(site, site.read(value, layout), value, code)
    rows, columns = (math.prod(size[label] for label in group) for group in (outer, inner))
    matrix = (columns, rows) if swapped else (rows, columns)
    return site.reshape(operand, (*lead, *matrix), value), swapped


def _leading(left: TorchValue, right: TorchValue, batch: Labels, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The batch dimensions, at most two; ones both operands begin with are kept, so that nothing is reshaped."""
    dims = [sizes[label] for label in batch]
    if len(dims) > 2:
        return (math.prod(dims),)
    ranks = [len(value.type.shape or ()) for value in (left, right)]
    ones = max(0, min(ranks) - 2 - len(dims)) if ranks[0] == ranks[1] <= RANK_LIMIT else 0
    return (*(1 for _ in range(ones)), *dims)
