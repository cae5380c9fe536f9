"""One glyph for each kind of rewrite: a silhouette and a mark, in a box of 14 by 14, told apart without colour."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from nnapi_lab.views.parts import NodeKind, Rewrite

# Storage orders with the channel last: their tag is filled, others are outlined.
CHANNELS_LAST = frozenset({"NHWC", "OHWI", "1HWC"})


@dataclass(frozen=True, slots=True)
class Glyph:
    """SVG path data: `outline` is filled with the kind's colour, `mark` stroked in its ink; `title` names it."""

    title: str
    outline: str
    mark: str


GLYPHS: MappingProxyType[Rewrite, Glyph] = MappingProxyType(
    {
        # a square with two crossing arrows: axes change places
        "layout": Glyph(
            "layout",
            "M2 0H12A2 2 0 0 1 14 2V12A2 2 0 0 1 12 14H2A2 2 0 0 1 0 12V2A2 2 0 0 1 2 0Z",
            "M3 4.2H5L9 9.8H11.2M9.6 8.2L11.2 9.8L9.6 11.4M3 9.8H5L9 4.2H11.2M9.6 2.6L11.2 4.2L9.6 5.8",
        ),
        # a disc with a staircase: steps
        "quantization": Glyph(
            "quantization",
            "M7 0A7 7 0 0 1 7 14A7 7 0 0 1 7 0Z",
            "M2.6 10.4H5.2V7.8H7.8V5.2H10.4V3",
        ),
        # a hexagon where two lines become one
        "fusion": Glyph("fusion", "M4 0H10L14 7L10 14H4L0 7Z", "M3.4 4L6.6 7L3.4 10M6.6 7H11M9.2 5.2L11 7L9.2 8.8"),
        # a shield where one line becomes two
        "decomposition": Glyph("decomposition", "M0 0H14V8L7 14L0 8Z", "M2.6 5H5.2L8 2.6H11M5.2 5L8 7.6H11"),
        # a diamond: a fixed value
        "constant": Glyph("constant", "M7 0L14 7L7 14L0 7Z", "M7 4.6V9.4M4.6 7H9.4"),
        # a wide frame with corners: other dimensions
        "shape": Glyph("shape", "M0 2H14V12H0Z", "M2.6 6.2V4.6H4.6M9.4 4.6H11.4V6.2M11.4 7.8V9.4H9.4M4.6 9.4H2.6V7.8"),
        # a ring with a slash: nothing left
        "identity": Glyph(
            "dropped",
            "M7 0A7 7 0 0 1 7 14A7 7 0 0 1 7 0Z",
            "M7 1.6A5.4 5.4 0 0 1 7 12.4A5.4 5.4 0 0 1 7 1.6M3.4 10.6L10.6 3.4",
        ),
        # a ring with a dot: translated one to one
        "operation": Glyph(
            "operation", "M7 0A7 7 0 0 1 7 14A7 7 0 0 1 7 0Z", "M7 1.6A5.4 5.4 0 0 1 7 12.4A5.4 5.4 0 0 1 7 1.6M6 7H8"
        ),
    }
)

KIND_TITLES: MappingProxyType[NodeKind, str] = MappingProxyType(
    {
        "torch": "TorchScript node",
        "operation": "NNAPI operation",
        "operand": "value",
        "constant": "constant",
        "scalar": "scalar",
        "input": "input",
        "output": "output",
    }
)


def outline(kind: NodeKind, w: float, h: float) -> str:
    """The border of a card as path data: each kind of node has its own corners.

    Operations are rounded boxes, values stadiums, constants have cut corners, inputs a notch on top, outputs a point
    below.
    """
    if kind in ("constant", "scalar"):
        c = 7
        return f"M{c} 0H{w - c}L{w} {c}V{h - c}L{w - c} {h}H{c}L0 {h - c}V{c}Z"
    if kind == "input":
        return f"M0 0H{w / 2 - 9:g}L{w / 2:g} 6L{w / 2 + 9:g} 0H{w}V{h}H0Z"
    if kind == "output":
        return f"M0 0H{w}V{h - 5:g}H{w / 2 + 9:g}L{w / 2:g} {h}L{w / 2 - 9:g} {h - 5:g}H0Z"
    r = min(h / 2, 16) if kind == "operand" else 6
    return (
        f"M{r:g} 0H{w - r:g}A{r:g} {r:g} 0 0 1 {w} {r:g}V{h - r:g}A{r:g} {r:g} 0 0 1 {w - r:g} {h}"
        f"H{r:g}A{r:g} {r:g} 0 0 1 0 {h - r:g}V{r:g}A{r:g} {r:g} 0 0 1 {r:g} 0Z"
    )
