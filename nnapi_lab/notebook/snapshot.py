"""The workbench as an output that needs no kernel: a live page in an iframe, or a picture.

Output 1 of two. The live widget (output 2) hides it by its id; when the kernel is gone, it is what is left.
"""

from __future__ import annotations

import base64
import uuid
from html import escape

from nnapi_lab.views.html import srcdoc_iframe, workbench_html
from nnapi_lab.views.parts import WorkbenchPart
from nnapi_lab.views.svg import workbench_svg

# Beyond this, the picture inside the iframe (seen only where iframes are stripped) costs more than it is worth.
FALLBACK_BYTES = 1_500_000
PICTURE_HEIGHT = 640  # px; a taller picture scrolls


def new_id() -> str:
    """An element id that no other output of any notebook has."""
    return f"nl-{uuid.uuid4().hex[:12]}"


def one_line(part: WorkbenchPart) -> str:
    """What a viewer without HTML shows instead."""
    nodes = sum(node.kind == "torch" for node in part.left.nodes)
    operations = sum(node.kind == "operation" for node in part.right.nodes)
    said = f"{part.title}: {_count(nodes, 'TorchScript node')} → {_count(operations, 'NNAPI operation')}"
    return f"{said}, {_count(len(part.problems), 'problem')}" if part.problems else said


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def page_output(part: WorkbenchPart, element_id: str = "") -> str:
    """The whole workbench in a sandboxed iframe with a picture inside, under one id."""
    picture = workbench_svg(part)
    frame = srcdoc_iframe(workbench_html(part), picture if len(picture) <= FALLBACK_BYTES else "", title=part.title)
    name = element_id or new_id()
    return f'{stand_aside(name)}<div id="{name}" class="nl-snapshot">{frame}</div>'


def stand_aside(element_id: str) -> str:
    """A style for JupyterLab and Notebook 7: of snapshot and widget exactly one is seen.

    With a kernel the widget has drawn itself (`.nl-live`), and the snapshot goes. Without one, Jupyter writes
    "Error displaying widget: model not found" where the widget was, and that goes. Other front ends ignore this;
    there the widget hides the snapshot by its id.
    """
    mine = f".jp-OutputArea-child:has(#{element_id})"
    return (
        f"<style>{mine}:has(+ .jp-OutputArea-child .nl-live){{display:none}}"
        f"{mine} + .jp-OutputArea-child:has(.jupyter-widgets):not(:has(.nl-live)){{display:none}}</style>"
    )


def picture_output(part: WorkbenchPart) -> str:
    """Both graphs as an image that survives every sanitizer; it scrolls where it is taller than the screen."""
    encoded = base64.b64encode(workbench_svg(part).encode()).decode()
    return (
        f'<div style="max-height:{PICTURE_HEIGHT}px;overflow:auto">'
        f'<img alt="{escape(one_line(part))}" src="data:image/svg+xml;base64,{encoded}"></div>'
    )
