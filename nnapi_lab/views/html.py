"""Workbench part → one self-contained page that asks nothing of a network, and the iframe that carries it.

Labels come from models and are data: they travel inside a JSON block in which `<` is escaped, and the script writes
them as text nodes only.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from nnapi_lab.views.layout.engine import Engine
from nnapi_lab.views.parts import WorkbenchPart
from nnapi_lab.views.payload import payload

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
EXPORT = "export default { render };"
# The host's side of view.js in a page without a kernel: there is a payload, and nobody to talk to.
SHIM = """
const data = JSON.parse(document.getElementById("nl-payload").textContent);
const model = {
  get: (name) => (name === "payload" ? data : undefined),
  set() {}, save_changes() {}, send() {}, on() {}, off() {},
};
render({ model, el: document.getElementById("nl-host") });
"""


@cache
def view_script() -> str:
    """The text of static/view.js, as anywidget's `_esm` takes it."""
    return files("nnapi_lab.views").joinpath("static/view.js").read_text(encoding="utf-8")


@cache
def view_style() -> str:
    """The text of static/view.css, as anywidget's `_css` takes it."""
    return files("nnapi_lab.views").joinpath("static/view.css").read_text(encoding="utf-8")


def embed_json(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&` survives, nor a line separator."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def workbench_html(part: WorkbenchPart, engine: Engine = "auto") -> str:
    """A whole page, readable from disk without a network: both graphs, inspector, log, differences, problems."""
    script, marker, tail = view_script().partition(EXPORT)
    if not marker or tail.strip() or "</script" in script:
        raise ValueError(f"static/view.js must end with `{EXPORT}` and hold no closing script tag")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(part.title)}</title>",
            f"<style>\n{view_style()}\nhtml,body{{margin:0;height:100%}}\n#nl-host{{height:100%}}\n</style>",
            "</head>",
            '<body><div id="nl-host" class="nl-page"></div>',
            "<noscript>This page draws itself with its own script; scripts are switched off.</noscript>",
            f'<script type="application/json" id="nl-payload">{embed_json(payload(part, engine))}</script>',
            f'<script type="module">\n{script}{SHIM}</script>',
            "</body>",
            "</html>",
            "",
        ]
    )


def srcdoc_iframe(html: str, fallback_svg: str = "", *, height: int = 680, title: str = "nnapi_lab") -> str:
    """A page inside a notebook's output: alive where scripts run, a picture where the iframe is taken away.

    A trusted notebook and nbconvert show the live page; an untrusted one strips the iframe and keeps the image
    inside. The iframe may run its script and nothing else: no same origin, no network (see POLICY).
    """
    image = ""
    if fallback_svg:
        encoded = base64.b64encode(fallback_svg.encode()).decode()
        image = f'<img alt="{escape(title)}" style="max-width:100%" src="data:image/svg+xml;base64,{encoded}">'
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(title)}" loading="lazy" '
        f'style="width:100%;height:{height}px;border:0" srcdoc="{escape(html)}">{image}</iframe>'
    )
