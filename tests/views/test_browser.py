"""What only a browser can tell: the saved page in a real Chromium, from disk, by pointer and by keyboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnapi_lab.views.html import srcdoc_iframe, view_script, view_style, workbench_html
from nnapi_lab.views.parts import WorkbenchPart
from nnapi_lab.views.payload import payload
from nnapi_lab.views.svg import workbench_svg

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Open = Callable[..., "playwright.Page"]


@pytest.fixture(scope="module")
def browser(chromium_path: Path) -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as session:
        running = session.chromium.launch(executable_path=str(chromium_path), args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: playwright.Browser, tmp_path: Path) -> Iterator[Open]:
    """`open_page(html, width, scheme)`: a page from disk. After the test: nothing said, nothing asked for."""
    said: list[str] = []
    asked: list[str] = []
    pages: list[playwright.Page] = []

    def open_one(html: str, width: int = 1400, scheme: str = "light", selector: str = ".nl-node") -> playwright.Page:
        file = tmp_path / f"page{len(pages)}.html"
        file.write_text(html, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector(selector)
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file://", "data:", "about:"))] == []


@pytest.fixture
def page(open_page: Open, mobilenet: WorkbenchPart) -> playwright.Page:
    return open_page(workbench_html(mobilenet))


def wait_until(page: playwright.Page, expression: str) -> None:
    """Ask again and again, for ten seconds: the page's own policy forbids Playwright's waiting, which evaluates."""
    end = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never became true: {expression}"
        page.wait_for_timeout(20)


def node(page: playwright.Page, side: str, label: str) -> playwright.Locator:
    return page.locator(f"[data-side={side}] .nl-node").filter(has_text=label).first


def labels(page: playwright.Page, side: str, state: str) -> list[str]:
    return page.locator(f"[data-side={side}] .nl-node.{state} .nl-t-label").all_text_contents()


def test_every_node_is_drawn_and_named(page: playwright.Page, mobilenet: WorkbenchPart) -> None:
    for side, graph in (("left", mobilenet.left), ("right", mobilenet.right)):
        names = page.locator(f"[data-side={side}] .nl-node").evaluate_all(
            "all => all.map(one => [one.getAttribute('role'), one.getAttribute('aria-label')])"
        )
        assert len(names) == len(graph.nodes)
        assert all(role == "button" and name for role, name in names)
    identifiers = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(identifiers) == len(set(identifiers))


def test_hover_lights_the_partners_and_says_so(page: playwright.Page) -> None:
    node(page, "left", "aten::conv2d").hover()
    page.wait_for_selector("[data-side=right] .is-linked")
    assert sorted(labels(page, "right", "is-linked")) == ["%features.0.0.bias", "%features.0.0.weight", "CONV_2D"]
    assert page.locator(".nl-status").inner_text() == "aten::conv2d conv0 → 3 NNAPI items"
    assert page.locator(".nl-rope").count() == 1
    node(page, "right", "%features.0.0.bias").hover()
    page.wait_for_selector("[data-side=left] .is-linked")
    assert labels(page, "left", "is-linked") == ["aten::conv2d"]
    assert labels(page, "right", "is-linked") == []
    page.locator(".nl-title").hover()
    assert page.locator(".is-linked, .is-hover, .is-near").count() == 0


def test_click_pins_and_explains(page: playwright.Page) -> None:
    node(page, "right", "%features.0.0.weight").click()
    said = page.locator(".nl-inspector").inner_text()
    for expected in (
        "Convolution weights: OIHW to OHWI",
        "W'[o,h,w,i] = W[o,i,h,w]",
        "NNAPI wants the input channel last",
        "scale 0.00312 zp 128",
        "-12",
        "NNAPI CONV_2D input 1",
        "mobilenet.py:40",
    ):
        assert expected in said
    step = page.locator('.nl-step[data-step="2"]')
    assert step.locator(".nl-dims").nth(0).inner_text().split() == ["O", "32", "I", "32", "H", "3", "W", "3"]
    assert step.locator(".nl-dims").nth(1).inner_text().split() == ["O", "32", "H", "3", "W", "3", "I", "32"]
    assert step.locator(".nl-crossing path").count() == 4
    assert labels(page, "left", "is-partner") == ["aten::conv2d"]
    page.locator(".nl-title").hover()
    assert labels(page, "left", "is-partner") == ["aten::conv2d"]  # pinned: it stays
    page.keyboard.press("Escape")
    assert page.locator(".is-partner, .is-pinned").count() == 0


def test_click_brings_the_partner_into_view(open_page: Open, deep: WorkbenchPart) -> None:
    page = open_page(workbench_html(deep))
    page.locator(".nl-search").fill("conv51")
    page.keyboard.press("Enter")
    wait_until(
        page,
        """() => ["left", "right"].every((side) => {
          const pane = document.querySelector(`[data-side=${side}] .nl-scroll`).getBoundingClientRect();
          const box = document.querySelector(`[data-side=${side}] .is-partner`).getBoundingClientRect();
          return box.top >= pane.top && box.bottom <= pane.bottom;
        })""",
    )
    centres = page.evaluate(
        """() => [".nl-torch.is-partner", ".nl-operation.is-partner"].map((one) => {
          const box = document.querySelector(one).getBoundingClientRect();
          return box.top + box.height / 2;
        })"""
    )
    assert centres[0] == pytest.approx(centres[1], abs=2)  # level, to the pixel of rounding and borders


def test_panes_scroll_together(open_page: Open, deep: WorkbenchPart) -> None:
    page = open_page(workbench_html(deep))
    page.evaluate("document.querySelector('[data-side=left] .nl-scroll').scrollTop = 2000")
    wait_until(page, "document.querySelector('[data-side=right] .nl-scroll').scrollTop === 2000")


def test_keyboard_alone(page: playwright.Page) -> None:
    page.keyboard.press("/")
    page.locator("[data-side=left] .nl-node[tabindex='0']").focus()
    focused = "document.activeElement.getAttribute('aria-label')"
    for key, expected in [
        ("ArrowDown", "aten::conv2d"),
        ("ArrowDown", "aten::batch_norm"),
        ("ArrowUp", "aten::conv2d"),
        ("m", "CONV_2D"),
        ("ArrowUp", "%x"),
        ("ArrowDown", "CONV_2D"),
        ("ArrowRight", "%features.0.0"),
        ("m", "aten::conv2d"),
        ("End", "aten::add"),
        ("Home", "input, x"),
    ]:
        page.keyboard.press(key)
        assert expected in page.evaluate(focused), key
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert labels(page, "left", "is-pinned") == ["aten::conv2d"]
    assert page.locator("[aria-pressed=true].nl-node").count() == 1
    page.keyboard.press("?")
    assert page.locator(".nl-help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".nl-help").is_visible()
    assert labels(page, "left", "is-pinned") == ["aten::conv2d"]  # Escape closed the help only


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("batch_norm", 10),
        ("layout:OHWI", 7),
        ("layout:1hwc", 3),
        ("kind:constant rewrite:layout", 10),
        ("op:depthwise", 3),
        ("err>0.002", 2),
        ("err<0.0002", 2),
        ("features.2 kind:operation", 3),
        ("no such thing", 0),
    ],
)
def test_search(page: playwright.Page, query: str, count: int) -> None:
    page.locator(".nl-search").fill(query)
    assert page.locator(".nl-node.is-match").count() == count
    assert page.locator(".nl-found").inner_text() == f"{count} match{'' if count == 1 else 'es'}"


def test_search_cycles(page: playwright.Page) -> None:
    page.locator(".nl-search").fill("op:batch_norm")
    found = []
    for key in ("Enter", "Enter", "Shift+Enter", "Shift+Enter"):
        page.keyboard.press(key)
        found.append(page.locator(".nl-found").inner_text())
        assert labels(page, "left", "is-pinned") == ["aten::batch_norm"]
    assert found == ["1 of 10", "2 of 10", "1 of 10", "10 of 10"]


def test_difference_table_sorts_and_selects(page: playwright.Page) -> None:
    page.click("[data-tab=diff]")
    rows = page.locator(".nl-tab-diff .nl-list .nl-row")
    assert rows.first.inner_text().split()[:2] == ["%relu3", "0.0022"]
    page.click("[data-column=sqnr_db]")
    assert rows.first.inner_text().split()[:4] == ["%relu9", "0.0018", "99.5", "51"]  # low is worse here
    page.click("[data-column=sqnr_db]")
    assert rows.first.inner_text().split()[0] == "%relu0"
    rows.first.click()
    assert labels(page, "right", "is-pinned") == ["%0"]
    assert labels(page, "left", "is-partner") == ["aten::hardtanh"]
    page.keyboard.press("ArrowDown")
    assert labels(page, "right", "is-pinned") == ["%1"]


def test_rewrite_log_filters_and_shows(page: playwright.Page, mobilenet: WorkbenchPart) -> None:
    page.click("[data-tab=log]")
    page.locator(".nl-tab-log select").select_option("quantization.bias_int32")
    rows = page.locator(".nl-tab-log .nl-list .nl-row")
    assert rows.first.get_attribute("aria-setsize") == "10"
    rows.first.click()
    assert "b_q[o] = round(b[o] / (s_in · s_w))" in page.locator(".nl-detail").inner_text()
    assert sorted(labels(page, "right", "is-partner")) == ["%features.0.0.bias", "CONV_2D"]


def test_overlays(page: playwright.Page) -> None:
    chip = page.locator(".nl-node .nl-glyph.nl-k-layout").first
    assert chip.is_visible()
    page.click("[data-overlay=layout]")
    assert not chip.is_visible()
    assert page.locator(".nl-badge:visible").count() == 0
    page.click("[data-overlay=error]")
    assert page.locator(".nl-badge:visible").count() == 20  # ten values, on both sides


def test_theme_follows_system_host_and_reader(open_page: Open, mobilenet: WorkbenchPart) -> None:
    page = open_page(workbench_html(mobilenet), scheme="dark")
    theme = "document.querySelector('.nl-root').dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    wait_until(page, f"{theme} === 'light'")
    page.click("[aria-label^=Theme]")
    assert page.evaluate(theme) == "dark"
    assert page.evaluate("getComputedStyle(document.querySelector('.nl-root')).backgroundColor") == "rgb(19, 23, 28)"


@pytest.mark.parametrize(("width", "shape"), [(1400, "wide"), (1000, "middle"), (700, "narrow")])
def test_width_decides_where_tables_stand(open_page: Open, mobilenet: WorkbenchPart, width: int, shape: str) -> None:
    page = open_page(workbench_html(mobilenet), width)
    assert page.evaluate("document.querySelector('.nl-root').dataset.shape") == shape
    left, right, panel = (
        page.locator(one).bounding_box()
        for one in ("[data-side=left].nl-pane", "[data-side=right].nl-pane", ".nl-panel")
    )
    assert (right["y"] > left["y"] + 100) == (shape == "narrow")
    assert (panel["y"] > right["y"] + 100) == (shape != "wide")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_splitter_moves_by_keyboard(page: playwright.Page) -> None:
    before = page.locator("[data-side=left].nl-pane").bounding_box()["width"]
    page.locator(".nl-split").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("[data-side=left].nl-pane").bounding_box()["width"] > before + 10


def test_markup_in_labels_is_shown_as_text(open_page: Open, hostile: WorkbenchPart) -> None:
    page = open_page(workbench_html(hostile))
    page.locator("[data-side=left] .nl-node").click()
    for tab in ("inspector", "log", "diff", "problems"):
        page.click(f"[data-tab={tab}]")
    page.click("[data-tab=log]")
    page.locator(".nl-tab-log .nl-row").first.click()
    assert page.locator(".nl-root img, .nl-root script").count() == 0
    assert "<script>alert(1)</script>" in page.locator(".nl-title").inner_text()


def test_iframe_is_alive_without_a_kernel(open_page: Open, mobilenet: WorkbenchPart) -> None:
    output = srcdoc_iframe(workbench_html(mobilenet), workbench_svg(mobilenet))
    page = open_page(f"<!DOCTYPE html><body>{output}</body>", selector="iframe")
    frame = page.frame_locator("iframe")
    frame.locator("[data-side=left] .nl-node").nth(1).hover()
    frame.locator("[data-side=right] .is-linked").first.wait_for()


def test_host_protocol_selects_both_ways_and_cleans_up(open_page: Open, mobilenet: WorkbenchPart) -> None:
    """What anywidget does: render with a model that changes, then call what render returned."""
    page = open_page("<!DOCTYPE html><body><div id=host>…</div></body>", selector="#host")
    page.add_style_tag(content=view_style())
    page.evaluate(
        """async ([source, data]) => {
          const { default: view } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
          const handlers = {}, held = { payload: data };
          const model = {
            get: (name) => held[name],
            set: (name, value) => { held[name] = value; },
            save_changes: () => {},
            on: (event, handler) => (handlers[event] ??= new Set()).add(handler),
            off: (event, handler) => handlers[event]?.delete(handler),
          };
          const el = document.getElementById("host");
          globalThis.host = { held, handlers, fire: (name) => handlers[name].forEach((one) => one()),
            cleanup: view.render({ model, el }) };
        }""",
        [view_script(), payload(mobilenet)],
    )
    node(page, "left", "aten::batch_norm").click()
    assert page.evaluate("host.held.selected") == {"side": "left", "id": "bn0"}
    page.evaluate("host.held.selected = {side: 'right', id: '%1'}; host.fire('change:selected')")
    assert labels(page, "right", "is-pinned") == ["%1"]
    page.evaluate("host.held.payload = {...host.held.payload, title: 'another'}; host.fire('change:payload')")
    assert page.locator(".nl-root").count() == 1
    assert page.locator(".nl-title").inner_text() == "another"
    page.evaluate("host.cleanup()")
    assert page.locator(".nl-root").count() == 0
    assert page.evaluate("Object.values(host.handlers).every((set) => set.size === 0)")
