"""Feature maps of any rank as NNAPI's [N,H,W,C]: [N,C,L] gets H = 1, [C,H,W] gets N = 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnapi_lab.ir.operand_types import Dim
from nnapi_lab.ir.torch_graph import TorchValue
from nnapi_lab.rewrites.placement import Layout
from nnapi_lab.rewrites.shapes import MAP_WIDENED
from nnapi_lab.torchscript.site import Site


def map_layout(shape: tuple[int, ...], spatial: int) -> Layout:
    """Channels last for a value whose last `spatial` dimensions are its image."""
    rank = len(shape)
    channel = rank - spatial - 1
    return Layout(shape, (*range(channel), *range(channel + 1, rank), channel))


def map_dims(shape: tuple[int, ...], spatial: int) -> tuple[int, int, int, int]:
    """N, C, H, W of such a value: missing dimensions are 1."""
    channel = len(shape) - spatial - 1
    batch, image = math.prod(shape[:channel]), shape[channel + 1 :]
    height, width = (1, *image) if spatial == 1 else image
    return batch, shape[channel], height, width


def read_map(site: Site, value: TorchValue, spatial: int = 2) -> str:
    """The operand of a feature map as [N,H,W,C]. Refuses a rank that no image of `spatial` dimensions has."""
    shape = value.type.shape or ()
    if len(shape) not in (spatial + 1, spatial + 2):
        site.not_yet("MAP_RANK", f"{site.node.kind} over rank {len(shape)}",
                     fix="give the input shape [N,C,H,W] or [N,C,L]", source="NNAPI CONV_2D: rank 4")  # fmt: skip
    operand = site.read(value, map_layout(shape, spatial))
    if len(shape) == 4:
        return operand
    wide = site.reshape(operand, Layout.nhwc(map_dims(shape, spatial)).stored_dims, value)
    site.note_operands(site.log(MAP_WIDENED, facts={"from": shape, "to": map_dims(shape, spatial)}), wide)
    return wide


def place_map(site: Site, operand: str, value: TorchValue | None = None, spatial: int = 2) -> None:
    """Place a result that was computed as [N,H,W,C]; it is given its own rank when somebody reads it."""
    value = value or site.out
    check_map(site, operand, value, spatial)
    site.place(operand, map_layout(value.type.shape or (), spatial), value)


def check_map(site: Site, operand: str, value: TorchValue, spatial: int = 2) -> None:
    """The inferred NNAPI shape must be torch's, permuted: a guard against any mistake in pads or strides."""
    shape = site.builder.type_of(operand).shape
    expected = Layout.nhwc(map_dims(value.type.shape or (), spatial)).stored_dims
    if shape is not None and not any(isinstance(size, Dim) for size in shape) and shape != expected:
        site.not_yet("SHAPE", f"NNAPI would give {shape} where PyTorch gives {expected} (NHWC); "
                     "this combination of padding and stride is not written")  # fmt: skip


def two(numbers: Sequence[int], spatial: int, fill: int) -> tuple[int, int]:
    """Height and width of a torch argument: one number stands for both, or for the width of a 1-D operation."""
    if spatial == 1:
        return fill, numbers[0]
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[-1])
