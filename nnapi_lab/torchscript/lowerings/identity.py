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


@lowers("aten::dropout", "aten::dropout_", "aten::feature_dropout", "aten::alpha_dropout", ignores=("p",))
def dropout(site: Site, input: TorchValue, train: bool) -> None:
    if train:
        site.forbid("DROPOUT", "dropout in training mode draws random numbers", fix="call model.eval() first")
    drop(site, input)


@lowers("aten::contiguous", "aten::clone", ignores=("memory_format",))
def contiguous(site: Site, self: TorchValue) -> None:
    drop(site, self)


@lowers("aten::detach", "aten::alias", "aten::detach_")
def detach(site: Site, self: TorchValue) -> None:
    drop(site, self)


@lowers("aten::to", ignores=("dtype", "device", "layout", "pin_memory", "non_blocking", "copy", "memory_format",
                             "other"))  # fmt: skip
def to(site: Site, self: TorchValue) -> None:
    """What matters is what came out: another element type is a conversion, anything else does nothing."""
    if site.out.type.dtype != self.type.dtype:
        site.not_yet("CAST", f"conversion from {self.type.dtype} to {site.out.type.dtype}",
                     fix="convert outside the model", source="NNAPI CAST (feature level 3)")  # fmt: skip
    drop(site, self)


@lowers("aten::expand", "aten::expand_as", ignores=("implicit", "size", "other"))
def expand(site: Site, self: TorchValue) -> None:
    if site.out.type.shape != self.type.shape:
        site.not_yet("EXPAND", f"expand from {self.type.shape} to {site.out.type.shape}")
    drop(site, self)


