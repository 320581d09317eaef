"""The app in a process of its own and a real chromium with the network cut, for test_browser.py.

Every console error, page error and request to another host is collected and fails the test.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "::1", ""}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Cuts the network inside the browser: no name but this machine's resolves.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
]


def missing() -> str | None:
    """Why browser tests cannot run here, or None. In CI that is an error, not a reason to skip."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install -e .[dev]"
    if chromium() is None:
        return "no chromium on the path: apt-get install -y chromium-headless-shell (or chromium)"
    return None


def chromium() -> str | None:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def require() -> None:
    """Skips with the reason where there is no browser; fails in CI."""
    reason = missing()
    if reason and os.environ.get("CI"):
        pytest.fail(f"Browser tests could not run in CI: {reason}")
    if reason:
        pytest.skip(reason)


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until it is true; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - started


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the app that this process runs answers."""

    def answers() -> bool:
        assert process.poll() is None, "the app ended at once"
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()  # noqa: S310
        except OSError:
            return False
        return True

    until(answers, 60)


@contextmanager
def running_app(
    *extra: str,
    environment: dict[str, str] | None = None,
    script: str = "",
    bare: bool = False,
    says: Path | None = None,
) -> Iterator[str]:
    """`streamlit run app.py` in the checkout, as closed as its config.toml says; yields the address. `script`: another
    one in place of the app's own; `bare`: without the app's checks in front; `says`: the file its output goes to."""
    port = free_port()
    place = script if bare else "tests/scripted_app.py" if script else "app.py"
    module = "streamlit" if bare else "inspector.ui.server.streamlit_process"
    command = [sys.executable, "-m", module, "run", place, f"--server.port={port}", *extra]
    environment = {**os.environ, **(environment or {}), "SCRIPT": str(ROOT / script)}
    log = open(says or os.devnull, "wb")  # noqa: SIM115 - closed below, with the process
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://localhost:{port}"
        wait_for(process, address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


@dataclass
class Visitor:
    """One browser context on the app, and everything that went wrong in it."""

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        # Streamlit looks for its health address below a page's own path first; that 404 is its way.
        own = "/_stcore/" in (message.location or {}).get("url", "")
        if message.type == "error" and not own:
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if urlparse(request.url).scheme not in ("data", "blob") and urlparse(request.url).hostname not in LOOPBACK:
            self.wrong.append(f"request to {request.url}")

    def open(self, path: str = "/") -> Visitor:
        self.page.goto(self.address + path)
        self.idle()
        return self

    def idle(self) -> None:
        """Wait until the script has run, and a component (where there is one) has painted."""
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)

    def still(self, frames: int = 10) -> None:
        """Wait until for so many frames nothing has faded, moved or grown."""
        script = """(frames) => new Promise((done) => {
            let [quiet, size] = [0, ""];
            const look = () => {
                const main = document.querySelector('[data-testid="stMain"]');
                const now = `${main.scrollHeight} ${main.querySelectorAll("*").length}`;
                const fading = document.getAnimations().some((each) => each.playState === "running");
                quiet = fading || now !== size ? 0 : quiet + 1;
                size = now;
                if (quiet < frames) requestAnimationFrame(look);
                else done();
            };
            look();
        })"""
        self.page.evaluate(script, frames)

    def painted(self, test_id: str = "map", *, unlike: str | None = None) -> str:
        """Wait until the canvas has painted (something other than `unlike`); returns what."""
        canvas = self.page.locator(f'canvas[data-testid="{test_id}"]').first
        canvas.wait_for(timeout=60_000)
        from playwright.sync_api import expect

        # "rough": the weights in 16 bits that are shown until the exact ones have come.
        other = "(?!rough)" if unlike is None else f"(?!rough)(?!{re.escape(unlike)}$)"
        expect(canvas).to_have_attribute("data-painted", re.compile(f"^{other}.+", re.DOTALL), timeout=30_000)
        return str(canvas.get_attribute("data-painted"))

    def holds(self) -> dict[str, int]:
        """What the page holds after a search for unused objects: bytes of JavaScript, nodes, listeners."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("HeapProfiler.collectGarbage")
        session.send("Performance.enable")
        found = {each["name"]: int(each["value"]) for each in session.send("Performance.getMetrics")["metrics"]}
        session.detach()
        names = {"heap_bytes": "JSHeapUsedSize", "nodes": "Nodes", "listeners": "JSEventListeners"}
        return {name: found[said] for name, said in names.items()}

    def open_bar(self, name: str) -> None:
        """Open a part of the bar: model, prompt, badge, share or export."""
        self.page.locator(f"[class*='st-key-bar_{name}_'] button").first.click()

    def choose_picture(self, title: str) -> None:
        """Choose what is saved, in the open Export."""
        self.page.get_by_role("combobox", name=re.compile("Picture")).click()
        self.page.evaluate(
            """() => {
                const app = document.querySelector('[data-testid="stApp"]');
                window.ranAgain = false;
                new MutationObserver(() => (window.ranAgain ||= app.dataset.testScriptState !== "notRunning")).observe(
                    app, { attributes: true, attributeFilter: ["data-test-script-state"] });
            }"""
        )
        self.page.get_by_role("option", name=title, exact=True).click()
        self.page.wait_for_function("window.ranAgain")  # its buttons are of the last picture until then
        self.idle()

    def ask(self, prompt: str) -> None:
        """Type a prompt and run it; do not wait for it."""
        self.open_bar("prompt")
        field = self.page.get_by_role("textbox", name="Prompt")
        field.fill(prompt)
        field.press("Control+Enter")

    def run_prompt(self, prompt: str) -> None:
        before = self.painted()
        self.ask(prompt)
        self.painted(unlike=before)
        self.idle()

    def hover_cell(self, row: int, column: int) -> str:
        """Point at a cell of the map; the line beneath it."""
        self.idle()  # a page still growing would move the canvas away under the pointer
        canvas = self.page.locator('canvas[data-testid="map"]').first
        canvas.scroll_into_view_if_needed()
        at = {name: float(canvas.get_attribute(f"data-{name}")) for name in ("x", "y", "step-x", "step-y")}
        position = {
            "x": at["x"] + (column + 0.5) * at["step-x"],
            "y": at["y"] + (row + 0.5) * at["step-y"],
        }
        canvas.hover(position=position)
        return self.reading()

    def colours(self, rows: int, columns: int) -> list[list[list[int]]]:
        """Red, green and blue in the middle of every cell of the first map, as painted; no pointer is on it."""
        canvas = self.page.locator('canvas[data-testid="map"]').first
        canvas.scroll_into_view_if_needed()
        script = """(canvas, [rows, columns]) => {
            const at = (name) => Number(canvas.getAttribute("data-" + name)), ratio = canvas.width / canvas.clientWidth;
            const box = canvas.getContext("2d");
            const cell = (start, step, index) => Math.floor((start + (index + 0.5) * step) * ratio);
            return Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => [
                ...box.getImageData(cell(at("x"), at("step-x"), column), cell(at("y"), at("step-y"), row), 1, 1).data,
            ].slice(0, 3)));
        }"""
        return canvas.evaluate(script, [rows, columns])

    def reading(self) -> str:
        return self.page.locator('[data-testid="readout"]').first.text_content()

    def click_head(self, layer: int, head: int, kv_share: int) -> str:
        """Click a head's small picture on the Explore screen, its layers as rows; what the map has painted then."""
        before = self.painted()
        canvas = self.page.locator('canvas[data-testid="heads"]')
        at = {name: float(canvas.get_attribute(f"data-{name}")) for name in ("x", "y", "size", "rows", "block", "gap")}
        block, row = divmod(layer, int(at["rows"]))
        x = at["x"] + block * at["block"] + (head + 0.5) * at["size"] + head // kv_share * at["gap"]
        canvas.click(position={"x": x, "y": at["y"] + (row + 0.5) * at["size"]})
        return self.painted(unlike=before)

    def click_saved_head(self, layer: int, head: int, kv_share: int) -> str:
        """Click a head's small picture in a saved page, its layers as columns; what the map has painted then."""
        before = self.painted()
        canvas = self.page.locator('canvas[data-testid="heads"]')
        canvas.scroll_into_view_if_needed()
        names = ("x", "y", "size", "columns", "band-height", "split")
        at = {name: float(canvas.get_attribute(f"data-{name}")) for name in names}
        band, column = divmod(layer, int(at["columns"]))
        x = at["x"] + (column + 0.5) * at["size"]
        y = at["y"] + band * at["band-height"] + (head + 0.5) * at["size"] + head // kv_share * at["split"]
        canvas.click(position={"x": x, "y": y})
        return self.painted(unlike=before)

    def assert_nothing_wrong(self) -> None:
        assert not self.wrong, "\n".join(self.wrong)


def number_in(reading: str) -> float:
    """The number at the end of a reading."""
    text = re.findall(r"[−-]?\d+(?:\.\d+)?(?:e[+-−]?\d+)?", reading.split("·")[-1])[-1]
    return float(text.replace("−", "-"))


def same(shown: str, value: float) -> None:
    """The number on screen has four significant digits, and each is true."""
    assert number_in(shown) == float(f"{value:.3e}"), shown
