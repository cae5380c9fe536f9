"""Workbench part → one static SVG of both graphs with a legend: no script, no custom properties, any viewer."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from nnapi_lab.views.arrange import Drawing, arrange
from nnapi_lab.views.cards import TAG_CELL, TAG_PAD, Card, cells
from nnapi_lab.views.glyphs import CHANNELS_LAST, GLYPHS, KIND_TITLES, outline
from nnapi_lab.views.layout.engine import Engine
from nnapi_lab.views.layout.plane import Box, Route
from nnapi_lab.views.palette import THEMES, Theme
from nnapi_lab.views.parts import NodePart, Rewrite, WorkbenchPart

MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
HEAD, LEGEND, GAP, SIDE = 64.0, 62.0, 40.0, 16.0


def workbench_svg(part: WorkbenchPart, engine: Engine = "auto", theme: Theme = "light") -> str:
    """Both graphs side by side at the same heights, as standalone SVG text."""
    drawings = arrange(part, engine)
    planes = [drawing.plane for drawing in drawings]
    width = max(planes[0].width + planes[1].width + GAP + 2 * SIDE, 560)
    height = HEAD + max(plane.height for plane in planes) + LEGEND
    colour = THEMES[theme]
    starts = (SIDE, SIDE + planes[0].width + GAP)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{_attribute(part.title)}">',
        f"<title>{_text(part.title)}</title>",
        f'<rect width="100%" height="100%" fill="{colour["ground"]}"/>',
        _words(SIDE, 26, part.title, 16, colour["ink"], SANS, bold=True),
        f'<path d="M{starts[1] - GAP / 2:g} {HEAD - 18:g}V{height - LEGEND:g}" stroke="{colour["line"]}"/>',
    ]
    for drawing, start in zip(drawings, starts, strict=True):
        body.append(_words(start, 50, drawing.part.title, 12.5, colour["muted"], SANS, bold=True))
        body.append(f'<g transform="translate({start:g} {HEAD:g})">')
        body.extend(_edge(route, theme) for route in drawing.plane.routes)
        body.extend(_nodes(drawing, theme))
        body.append("</g>")
    body.extend(_legend(part, height - LEGEND + 22, theme))
    body.append("</svg>")
    return "\n".join(body)


def path_data(route: Route) -> str:
    """Cubic segments as SVG path data."""
    numbers = [f"{x:.1f} {y:.1f}" for x, y in route]
    return f"M{numbers[0]}C" + " ".join(numbers[1:])


def _edge(route: Route, theme: Theme) -> str:
    stroke = THEMES[theme]["edge"]
    (bend, level), (x, y) = route[-2:]
    # A constant beside its reader comes from the side, everything else from above.
    side = 0 if level != y or bend == x else 6 if bend > x else -6
    first, second = ((side, -3.5), (side, 3.5)) if side else ((-3.5, -6), (3.5, -6))
    return (
        f'<path d="{path_data(route)}" fill="none" stroke="{stroke}" stroke-width="1.2"/>'
        f'<path d="M{x + first[0]:.1f} {y + first[1]:.1f}L{x:.1f} {y:.1f}'
        f'L{x + second[0]:.1f} {y + second[1]:.1f}Z" fill="{stroke}"/>'
    )


def _nodes(drawing: Drawing, theme: Theme) -> Iterator[str]:
    for node, face, box in zip(drawing.part.nodes, drawing.cards, drawing.plane.boxes, strict=True):
        yield _node(node, face, box, theme)


def _node(node: NodePart, face: Card, box: Box, theme: Theme) -> str:
    colour = THEMES[theme]
    fill = colour["card-op"] if node.kind in ("operation", "torch") else colour["card"]
    border = colour["outline"]
    if node.state == "failed":
        fill, border = colour["error-ground"], colour["error"]
    dash = ' stroke-dasharray="4 3"' if node.state == "unreached" else ""
    weight = 1.8 if node.kind in ("input", "output") or node.state == "failed" else 1
    parts = [
        f'<g transform="translate({box.x:.1f} {box.y:.1f})">',
        f"<title>{_text(f'{KIND_TITLES[node.kind]} {node.label} {node.sublabel}'.strip())}</title>",
        f'<path d="{outline(node.kind, face.width, face.height)}" fill="{fill}" stroke="{border}" '
        f'stroke-width="{weight}"{dash}/>',
    ]
    for index, kind in enumerate(face.glyphs):
        tall = (face.height - 12) / len(face.glyphs)
        parts.append(f'<rect x="4" y="{6 + index * tall:.1f}" width="3.5" height="{tall:.1f}" fill="{colour[kind]}"/>')
        parts.append(_glyph(kind, face.width - 10 - 18 * (len(face.glyphs) - index) + 4, 6, theme))
    for line in face.lines:
        small = line.style != "label"
        shade = colour["muted"] if small else colour["ink"]
        parts.append(_words(13, line.y, line.text, 10 if small else 12, shade, MONO, bold=not small))
    if face.tag:
        parts.append(_tag(face, node.layout in CHANNELS_LAST, theme))
    parts.append("</g>")
    return "".join(parts)


def _tag(face: Card, filled: bool, theme: Theme) -> str:
    colour = THEMES[theme]
    wide = cells(face.tag) * TAG_CELL + TAG_PAD
    y = face.lines[1].y - 9.5
    fill, ink = (colour["layout"], colour["layout-ink"]) if filled else ("none", colour["ink"])
    return (
        f'<rect x="{face.width - wide - 9:.1f}" y="{y:.1f}" width="{wide:.1f}" height="12" rx="3" fill="{fill}" '
        f'stroke="{colour["layout"]}"/>' + _words(face.width - wide - 5, y + 9.2, face.tag, 9, ink, MONO)
    )


def _glyph(kind: Rewrite, x: float, y: float, theme: Theme) -> str:
    colour, glyph = THEMES[theme], GLYPHS[kind]
    return (
        f'<g transform="translate({x:.1f} {y:.1f})"><title>{glyph.title}</title>'
        f'<path d="{glyph.outline}" fill="{colour[kind]}" stroke="{colour["outline"]}" stroke-width="0.5"/>'
        f'<path d="{glyph.mark}" fill="none" stroke="{colour[f"{kind}-ink"]}" stroke-width="1.3"/></g>'
    )


def _legend(part: WorkbenchPart, y: float, theme: Theme) -> Iterator[str]:
    """The glyphs that occur, with their names; below them what the corners of a card mean."""
    seen = {kind for graph in (part.left, part.right) for node in graph.nodes for kind in node.rewrites}
    colour = THEMES[theme]
    x = SIDE
    for kind, glyph in GLYPHS.items():
        if kind in seen and kind != "operation":
            yield _glyph(kind, x, y, theme)
            yield _words(x + 19, y + 11, glyph.title, 11, colour["ink"], SANS)
            x += 19 + len(glyph.title) * 6.6 + 18
    shapes = "rounded box: operation · stadium: value · cut corners: constant · notch: input · point: output"
    yield _words(SIDE, y + 32, shapes, 10, colour["muted"], SANS)


def _words(x: float, y: float, words: str, size: float, fill: str, family: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-family="{family}" font-size="{size}"{weight} '
        f'fill="{fill}">{_text(words)}</text>'
    )


def _text(words: str) -> str:
    """XML text; characters that XML forbids become the replacement character."""
    allowed = (c if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff") else "\ufffd" for c in words)
    return escape("".join(allowed), quote=False)


def _attribute(words: str) -> str:
    return _text(words).replace('"', "&quot;")
