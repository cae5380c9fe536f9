"""Products of matrices and vectors, sums of them with an addend, triangles and running sums."""

from __future__ import annotations

import math

import numpy as np

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.approximation import RUNNING_SUM
from nnapi_lab.rewrites.constants import PLACED
from nnapi_lab.rewrites.islands import FLOAT_ISLAND
from nnapi_lab.rewrites.matrices import MASKED_TRIANGLE
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.torchscript.lowerings.chain import INT, Chain
from nnapi_lab.torchscript.lowerings.contraction import contract
from nnapi_lab.torchscript.lowerings.dtype import converted
from nnapi_lab.torchscript.lowerings.identity import drop
from nnapi_lab.torchscript.lowerings.linear import fully_connected
from nnapi_lab.torchscript.lowerings.shape import transposed
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.sides import array_side, torch_side
from nnapi_lab.torchscript.site import Site

BATCH = "abcdefghij"
LONGEST_SUM = 4096  # a running sum of n elements is an n×n constant


@lowers("aten::matmul", "aten::linalg_matmul")
def matmul(site: Site, self: TorchValue, other: TorchValue) -> None:
    """FULLY_CONNECTED for a constant matrix on the right, BATCH_MATMUL for everything else."""
    rank = len(self.type.shape or ())
    if other.is_constant and len(other.type.shape or ()) == 2 and rank >= 2 and self.type.dtype == "float32":
        fully_connected(site, self, other, None, transposed=True)
        return
    _place(site, *_product(site, self, other))


@lowers("aten::mm", "aten::bmm", ignores=("out_dtype",))
def mm(site: Site, self: TorchValue, mat2: TorchValue) -> None:
    matmul(site, self, mat2)


@lowers("aten::mv")
def mv(site: Site, self: TorchValue, vec: TorchValue) -> None:
    _place(site, *_product(site, self, vec))


@lowers("aten::dot", "aten::vdot")
def dot(site: Site, self: TorchValue, tensor: TorchValue | None = None, other: TorchValue | None = None) -> None:
    _place(site, *_product(site, self, tensor or other))


@lowers("aten::inner")
def inner(site: Site, self: TorchValue, other: TorchValue) -> None:
    """Over the last dimension of both; a number of either side multiplies."""
    left, right = _ranks(self, other)
    if not left or not right:
        chain = Chain(site, [self, other], "a · b")
        chain.done("MUL", chain.read(self), chain.read(other))
        return
    rows, columns = BATCH[: left - 1], BATCH[left - 1 : left + right - 2]
    _place(site, *contract(site, self, rows + "z", other, columns + "z", rows + columns))


@lowers("aten::outer", "aten::ger")
def outer(site: Site, self: TorchValue, vec2: TorchValue) -> None:
    _place(site, *contract(site, self, "a", vec2, "b", "ab"))


@lowers("aten::tensordot")
def tensordot(
    site: Site, self: TorchValue, other: TorchValue, dims_self: tuple[int, ...], dims_other: tuple[int, ...]
) -> None:
    left, right = _ranks(self, other)
    names = "abcdefghijklmnopqrstuvwxyz"
    first = list(names[:left])
    second = list(names[left : left + right])
    for mine, theirs in zip(dims_self, dims_other, strict=True):
        second[theirs % right] = first[mine % left]
    summed = {first[mine % left] for mine in dims_self}
    out = [label for label in (*first, *second) if label not in summed]
    _place(site, *contract(site, self, "".join(first), other, "".join(second), "".join(out)))


@lowers("aten::einsum", ignores=("path",))
def einsum(site: Site, equation: str, tensors: tuple[TorchValue, ...]) -> None:
    """One operand: a permutation. Two: one BATCH_MATMUL. More are not written."""
    inputs, output = parsed(site, equation, [len(value.type.shape or ()) for value in tensors])
    if len(tensors) == 1:
        (labels,) = inputs
        if sorted(labels) != sorted(output):
            site.not_yet("EINSUM_SUM", f"einsum {equation!r} sums over one operand", fix="use permute and sum")
        transposed(site, tensors[0], tuple(labels.index(label) for label in output))
        return
    if len(tensors) != 2:
        site.not_yet("EINSUM_OPERANDS", f"einsum {equation!r} of {len(tensors)} operands",
                     fix="write it as einsums of two operands")  # fmt: skip
    left, right = tensors
    shared = set(inputs[0]) & set(inputs[1])
    if not shared and set(inputs[0]) | set(inputs[1]) == set(output) and not (left.type.shape and right.type.shape):
        site.not_yet("EINSUM_SCALAR", f"einsum {equation!r} with a tensor of no dimensions", fix="multiply")
    _place(site, *contract(site, left, inputs[0], right, inputs[1], output))


def parsed(site: Site, equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Labels of every operand and of the result, the ellipsis written out with labels of its own (digits)."""
    text = equation.replace(" ", "")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        site.forbid("EINSUM", f"einsum {equation!r} names {len(inputs)} operands, {len(ranks)} are given")
    spans = [rank - len(labels.replace("...", "")) for labels, rank in zip(inputs, ranks, strict=True)]
    widest = max([span for labels, span in zip(inputs, spans, strict=True) if "..." in labels], default=0)
    digits = "0123456789"[:widest]
    if not arrow:
        letters = "".join(inputs).replace("...", "")
        output = "..." + "".join(sorted(label for label in set(letters) if letters.count(label) == 1))
    written = [labels.replace("...", digits[widest - span :]) for labels, span in zip(inputs, spans, strict=True)]
    return written, output.replace("...", digits)


def _ranks(*values: TorchValue) -> tuple[int, ...]:
    return tuple(len(value.type.shape or ()) for value in values)


def _product(site: Site, left: TorchValue, right: TorchValue | None, suffix: str = "") -> tuple[str, Layout]:
    """torch.matmul: vectors are rows or columns, batch dimensions are aligned at their ends."""
    if right is None:
        site.not_yet("MATMUL", f"{site.node.kind} of one operand")
    rows, columns = _ranks(left, right)
    longest = max(rows, columns) - 2
    batch = BATCH[: max(0, longest)]
    first = batch[len(batch) - (rows - 2) :] + "yz" if rows > 1 else "z"
    second = batch[len(batch) - (columns - 2) :] + "zx" if columns > 1 else "z"
    out = batch + ("y" if rows > 1 else "") + ("x" if columns > 1 else "")
    return contract(site, left, first, right, second, out, suffix=suffix)


def _place(site: Site, operand: str, layout: Layout) -> None:
    """The result where it lies; a quantized one through QUANTIZE."""
    if site.out.type.quant is not None:
        steps = [site.log(FLOAT_ISLAND, after=[torch_side(site.out)]), *site.shift_step(site.out)]
        operand = site.add("QUANTIZE", input=operand, quant=site.quant_of(site.out), steps=steps)
    site.place(operand, layout)


@lowers("quantized::matmul", ignores=("scale", "zero_point"))
def quantized_matmul(site: Site, qa: TorchValue, qb: TorchValue) -> None:
    """BATCH_MATMUL takes no TENSOR_QUANT8_ASYMM: real numbers in, real numbers out, rounded once."""
    _place(site, *_product(site, qa, qb, suffix="real"))


# --- with an addend ------------------------------------------------------------------------------------------


@lowers("aten::addmm", ignores=("out_dtype",))
def addmm(site: Site, self: TorchValue, mat1: TorchValue, mat2: TorchValue, beta: float = 1, alpha: float = 1) -> None:
    """FULLY_CONNECTED where the matrix and a bias per column are constants."""
    columns = site.out_shape[-1]
    is_bias = self.is_constant and (self.type.shape or ()) in ((), (1,), (columns,), (1, 1), (1, columns))
    if mat2.is_constant and is_bias and (beta, alpha) == (1, 1) and mat1.type.dtype == "float32":
        fully_connected(site, mat1, mat2, self, transposed=True)
        return
    _added(site, self, beta, alpha, _product(site, mat1, mat2, suffix="product"))


@lowers("aten::baddbmm", "aten::addbmm", ignores=("out_dtype",))
def baddbmm(
    site: Site, self: TorchValue, batch1: TorchValue, batch2: TorchValue, beta: float = 1, alpha: float = 1
) -> None:
    """addbmm sums over the batch as well: one more inner dimension."""
    out = "yx" if site.node.kind == "aten::addbmm" else "ayx"
    _added(site, self, beta, alpha, contract(site, batch1, "ayz", batch2, "azx", out, suffix="product"))


@lowers("aten::addmv")
def addmv(site: Site, self: TorchValue, mat: TorchValue, vec: TorchValue, beta: float = 1, alpha: float = 1) -> None:
    _added(site, self, beta, alpha, _product(site, mat, vec, suffix="product"))


@lowers("aten::addr")
def addr(site: Site, self: TorchValue, vec1: TorchValue, vec2: TorchValue, beta: float = 1, alpha: float = 1) -> None:
    _added(site, self, beta, alpha, contract(site, vec1, "a", vec2, "b", "ab", suffix="product"))


def _added(site: Site, addend: TorchValue, beta: float, alpha: float, product: tuple[str, Layout]) -> None:
    """beta · addend + alpha · product; beta 0 ignores the addend, as torch does."""
    operand, layout = product
    if beta == 0:
        chain = Chain(site, [], f"{alpha}·product", layout=layout)
        chain.done("MUL", operand, alpha)
        return
    chain = Chain(site, [addend], f"{beta}·x + {alpha}·product", layout=layout)
    term = chain.read(addend)
    scaled = term if beta == 1 else chain("MUL", term, beta)
    chain.done("ADD", operand if alpha == 1 else chain("MUL", operand, alpha), scaled)


# --- triangles and running sums ------------------------------------------------------------------------------


@lowers("aten::tril", "aten::tril_")
def tril(site: Site, self: TorchValue, diagonal: int = 0) -> None:
    _triangle(site, self, _lower(self, diagonal))


@lowers("aten::triu", "aten::triu_")
def triu(site: Site, self: TorchValue, diagonal: int = 0) -> None:
    _triangle(site, self, 1 - _lower(self, diagonal - 1))


def _lower(input: TorchValue, diagonal: int) -> np.ndarray:
    """Ones up to a diagonal of the last two dimensions."""
    rows, columns = (input.type.shape or ())[-2:]
    return np.tri(rows, columns, diagonal)


def _triangle(site: Site, input: TorchValue, mask: np.ndarray) -> None:
    if mask.all():
        drop(site, input)
        return
    rank = len(input.type.shape or ())
    chain = Chain(site, [input], MASKED_TRIANGLE.formula, rule=MASKED_TRIANGLE)
    array = mask.reshape((1,) * (rank - 2) + mask.shape).astype(chain.code.numpy)
    stored = Layout(array.shape, chain.layout.perm).store(array)
    chain.done("MUL", chain.read(input), _constant(site, "mask", stored))


def _constant(site: Site, label: str, array: np.ndarray) -> str:
    step = site.log(PLACED, after=[array_side(f"{site.out.name}.{label}", array)])
    name = site.builder.constant(f"{site.out.name}.{label}", array, steps=[step])
    site.note_operands(step, name)
    return name


@lowers("aten::cumsum", "aten::cumsum_", ignores=("dtype",))
def cumsum(site: Site, self: TorchValue, dim: int) -> None:
    """Rows times a triangle of ones: FULLY_CONNECTED, or BATCH_MATMUL for integers."""
    shape = self.type.shape or ()
    if not shape:
        drop(site, self)
        return
    dim = dim % len(shape)
    length = shape[dim]
    if length > LONGEST_SUM:
        site.not_yet("CUMSUM_LENGTH", f"a running sum of {length} elements is a constant of {length}² numbers",
                     fix="sum in blocks")  # fmt: skip
    order = (*(axis for axis in range(len(shape)) if axis != dim), dim)
    layout = Layout(shape, order)
    code = site.code_of(site.out)
    operand = converted(site, site.read(self, layout), self, code)
    rows = site.reshape(operand, (math.prod(shape) // length, length), self)
    ones = _constant(site, "ones", np.tri(length, dtype=code.numpy))
    facts = {"formula": RUNNING_SUM.formula}
    if code == INT:
        name = site.add("BATCH_MATMUL", input0=rows, input1=ones, adj_x=False, adj_y=True, rule=RUNNING_SUM,
                        facts=facts, suffix="rows")  # fmt: skip
    else:
        zeros = _constant(site, "bias", np.zeros(length, code.numpy))
        name = site.add("FULLY_CONNECTED", input=rows, weights=ones, bias=zeros, fuse="NONE", rule=RUNNING_SUM,
                        facts=facts, suffix="rows")  # fmt: skip
    site.place(site.reshape(name, layout.stored_dims, site.out, site.out.name), layout)
