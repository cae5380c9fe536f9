"""Take the pictures of README from the running software: `.venv/bin/python scripts/screenshots.py`.

Lowers a sample model, writes its page, opens it in headless Chromium and photographs what a reader would see.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import nnapi_lab as lab
from sample_models import digits, mobilenet_v2

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = {"width": 1360, "height": 820}
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def select(page: Page, label: str) -> None:
    """Click the first node whose accessible name starts with `label`."""
    page.locator(f'[aria-label^="{label}"]').first.click()
    page.wait_for_timeout(400)


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("screenshots: chromium is not installed (apt-get install chromium)", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = {}
        for name, (module, inputs) in {"float": mobilenet_v2.none(), "int8": digits.quantized()}.items():
            lowered = lab.lower(module, inputs)
            pages[name] = Path(folder) / f"{name}.html"
            lowered.save_html(pages[name], lowered.diff())
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for shot, model, scheme, label, tab in (
            ("workbench", "float", "light", "NNAPI operation, DEPTHWISE_CONV_2D", ""),
            ("quantization", "int8", "light", "NNAPI operation, CONV_2D, q8a[1,8,8,24]", ""),
            ("differences", "int8", "dark", "", "Differences"),
        ):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(pages[model].as_uri())
            page.wait_for_timeout(800)
            if label:
                select(page, label)
            if tab:
                page.get_by_role("tab", name=tab).click()
                page.wait_for_timeout(300)
            page.screenshot(path=IMAGES / f"{shot}.png")
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
