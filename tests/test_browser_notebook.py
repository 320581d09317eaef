"""The Explore screen outside the app, in a real browser: as a page of one file, opened from the disk with the network
cut; and (slow, where JupyterLab is installed) two widgets in JupyterLab, apart, light and dark."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import nbformat
import pytest
from test_browser_accessibility import AXE

from inspector import views

ROOT = Path(__file__).parent.parent
LAB_SECONDS = 120
pytestmark = [pytest.mark.browser, pytest.mark.packaged]


@pytest.fixture
def wrong() -> list[str]:
    """What went wrong in pages; nothing may have, at the end."""
    found: list[str] = []
    yield found
    assert found == []


def listen(page: Any, wrong: list[str], *, own: tuple[str, ...]) -> None:
    """Write down errors, and requests to anybody but `own`."""
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def asked(request: Any) -> None:
        url = urlparse(request.url)
        if url.scheme not in ("data", "blob") and (url.hostname or url.scheme) not in own:
            wrong.append(request.url)

    page.on("request", asked)


def test_the_page_works_from_the_disk_and_axe_finds_nothing(browser, houston, tmp_path, wrong):
    file = views.explore_page(houston, 5, 2).save(tmp_path / "explore.html")
    for scheme, width in (("light", 1280), ("dark", 420)):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        page = context.new_page()
        listen(page, wrong, own=("file",))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(file.as_uri())
        title = page.locator(".title")
        title.wait_for()
        assert title.inner_text() == "Layer 5, head 2"
        grid = page.locator("canvas.grid")
        grid.focus()
        grid.press("ArrowRight")
        assert title.inner_text() == "Layer 5, head 3"
        page.locator(".chip").nth(1).click()
        assert page.locator(".chip").nth(1).get_attribute("aria-pressed") == "true"
        assert page.locator('select[name="show"]').is_disabled()
        assert not page.locator("button.gone").is_visible()
        page.evaluate(AXE)
        found = page.evaluate(
            "async () => (await axe.run(document)).violations.map(({ id, nodes }) => [id, nodes[0].html])"
        )
        assert found == []
        context.close()


# -- JupyterLab -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed here")
    pytest.importorskip("anywidget")
    notebook = nbformat.v4.new_notebook()
    begin = "import inspector\nfrom inspector import views\nmodel = inspector.load()\n"
    notebook.cells = [
        nbformat.v4.new_code_cell(begin + 'views.explore(model.trace("Houston, we have a problem"), 5, 2)'),
        nbformat.v4.new_code_cell('views.explore(model.trace("The cat sat on the mat"), 7, 1)'),
    ]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp.root_dir": tmp_path,
        "IdentityProvider.token": "",
        "LabApp.news_url": "",
        "ServerApp.port": port,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in settings.items()]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "JUPYTER_CONFIG_DIR": str(tmp_path / "settings")}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + LAB_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1)  # noqa: S310  (loopback)
                break
            except OSError:
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


SHOWN = "(at) => document.querySelectorAll('.attention-inspector')[at].firstElementChild.shadowRoot"
CLICK = """async ([at, x, y]) => {
  const root = document.querySelectorAll(".attention-inspector")[at].firstElementChild.shadowRoot;
  const grid = root.querySelector("canvas.grid");
  const { left, top } = grid.getBoundingClientRect();
  const began = performance.now();
  grid.dispatchEvent(new MouseEvent("click", { clientX: left + x, clientY: top + y, bubbles: true }));
  return [root.querySelector(".title").textContent, performance.now() - began];
}"""


@pytest.mark.slow
def test_two_widgets_in_jupyterlab_are_apart_and_follow_its_theme(browser, lab, wrong):
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    page = context.new_page()
    listen(page, wrong, own=("127.0.0.1", "localhost", "ws"))
    page.goto(f"{lab}/lab/tree/a.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=LAB_SECONDS * 1000)
    page.wait_for_timeout(3000)  # until the kernel answers
    page.click(".jp-Cell >> nth=0")
    for _ in range(2):
        page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".attention-inspector[data-painted=true] >> nth=1", timeout=LAB_SECONDS * 1000)
    page.wait_for_timeout(1000)

    def title(at: int) -> str:
        return page.evaluate(f"(at) => ({SHOWN})(at).querySelector('.title').textContent", at)

    assert (title(0), title(1)) == ("Layer 5, head 2", "Layer 7, head 1")
    words = page.locator("text=interactive picture that a running kernel fills").all()
    assert [each.is_visible() for each in words] == [False, False]  # they are for places where nothing runs
    now, milliseconds = page.evaluate(CLICK, [0, 150, 120])
    assert now not in ("Layer 5, head 2", "Layer 7, head 1")
    assert milliseconds < 200
    assert (title(0), title(1)) == (now, "Layer 7, head 1")
    page.wait_for_timeout(1500)
    notes = page.evaluate("[...document.querySelectorAll('.attention-inspector > p')].map((each) => each.textContent)")
    assert notes == ["", ""]  # the kernel answered
    page.keyboard.press("Escape")
    page.click("text=Settings")
    page.hover("text=Theme >> nth=0")
    page.click("text=JupyterLab Dark >> nth=0")
    page.wait_for_timeout(1500)
    assert page.evaluate(f"(at) => ({SHOWN})(at).querySelector('.explore').classList.contains('dark')", 0)
    context.close()
