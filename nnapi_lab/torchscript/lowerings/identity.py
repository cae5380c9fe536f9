"""Operations that change no value in inference."""

from __future__ import annotations

from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.shapes import IDENTITY_DROPPED
from nnapi_lab.torchscript.registry import lowers
from nnapi_lab.torchscript.site import Site


def drop(site: Site, value: TorchValue) -> None:
    """The result is the input: same operand, same layout, one entry in the log."""
    step = site.log(IDENTITY_DROPPED, values=[value.name, site.out.name], facts={"node": site.node.kind})
    site.alias(value)
    site.note_operands(step, site.held(value).operand)
    site.builder.also_from(site.held(value).operand, [site.out.name])


@lowers("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", ignores=("p",))
def dropout(site: Site, input: TorchValue, train: bool) -> None:
    if train:
        site.forbid("DROPOUT", "dropout in training mode draws random numbers", fix="call model.eval() first")
    drop(site, input)


@lowers("aten::dropout_", "aten::feature_dropout_", "aten::alpha_dropout_", ignores=("p",))
def dropout_(site: Site, self: TorchValue, train: bool) -> None:
    dropout(site, self, train)


@lowers("aten::contiguous", "aten::clone", ignores=("memory_format",))
def contiguous(site: Site, self: TorchValue) -> None:
    drop(site, self)


@lowers("aten::detach", "aten::alias", "aten::detach_")
def detach(site: Site, self: TorchValue) -> None:
    drop(site, self)
