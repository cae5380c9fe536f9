"""A JupyterLab of its own on the loopback, and a Chromium that tells what was said and asked for."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parent.parent.parent
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SERVER = (
    "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
    "--ServerApp.password=", "--ServerApp.allow_root=True", "--LabApp.news_url=", "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)  # fmt: skip
START_SECONDS = 90
RUN_SECONDS = 120


@dataclass
class Server:
    """A running JupyterLab: its address, the folder whose notebooks it serves, and where its signatures are."""

    url: str
    folder: Path
    data: Path
    process: subprocess.Popen[bytes]

    def open(self, notebook: str) -> str:
        """The address of a notebook with the saved workspace thrown away."""
        return f"{self.url}/lab/tree/{notebook}?reset"


@dataclass
class Heard:
    """What a page said on its console and asked of the network."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab on a copy of the notebooks; no settings of the machine's user reach it."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    home = tmp_path_factory.mktemp("home")
    folder = home / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "NNAPI_LAB"))},
        "HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        *SERVER,
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder}",
    ]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, home / "server.log")
        yield Server(url, folder, home / "data", process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"JupyterLab ended with {process.returncode}:\n{log.read_text('utf-8')[-2000:]}", pytrace=False)
        try:
            with urllib.request.urlopen(f"{url}/api", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer in {START_SECONDS} s:\n{log.read_text('utf-8')[-2000:]}", pytrace=False)


@pytest.fixture(scope="session")
def chromium(chromium_path: Path) -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as session:
        running = session.chromium.launch(executable_path=str(chromium_path), args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def page(chromium: playwright.Browser, heard: Heard) -> Iterator[playwright.Page]:
    """A page; what it says and asks for is in `heard`. Asking beyond the loopback fails the test."""
    one = chromium.new_page(viewport={"width": 1440, "height": 960})
    one.set_default_timeout(30_000)
    one.on("console", lambda message: heard.errors.append(message.text) if message.type == "error" else None)
    one.on("pageerror", lambda error: heard.errors.append(str(error)))
    one.on("request", lambda request: _note(request.url, heard))
    yield one
    one.close()
    assert heard.outside == []


def _note(url: str, heard: Heard) -> None:
    if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "file://", "data:", "blob:", "about:")):
        heard.outside.append(url)


@pytest.fixture
def run_all(page: playwright.Page) -> Callable[[], None]:
    """`run_all()`: run every cell of the open notebook by the menu, and wait until none is running."""

    def run() -> None:
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        end = time.monotonic() + RUN_SECONDS
        while not all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts()):
            failed = page.locator("[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type$='error']")
            assert failed.count() == 0, failed.first.inner_text()
            assert time.monotonic() < end, f"still running: {prompts()}"
            page.wait_for_timeout(200)

    def prompts() -> list[str]:
        return page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()

    return run
