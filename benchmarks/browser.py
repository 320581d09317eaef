"""Start the app as a user does, open it in a real browser, and time there when something has been painted.

A time begins when the browser gets the click (`event.timeStamp`) and ends in the first task after the frame in which
the map's canvas was drawn, so that up to 17 ms of waiting for the screen's next frame are in it. The network is cut, as
in the tests, and what goes wrong in a page (an error, a request to another host) ends the measurement.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.process import ROOT
from tests.browser_app import FLAGS, Visitor, chromium, missing, until

WIDTH, HEIGHT = 1440, 900
START_SECONDS = 60.0
SETTLED_MS = 60_000

# Runs in each page before its own scripts.
TIMER = """() => {
  const timed = (window.timed = { start: 0, painted: 0, first: 0, page: 0 });
  const afterFrame = (done) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now());
    port2.postMessage(0);
  });
  addEventListener("click", (event) => Object.assign(timed, { start: event.timeStamp, painted: 0, page: 0 }), true);
  const canvases = () => [...document.querySelectorAll("*")].flatMap((each) =>
    each.shadowRoot ? [...each.shadowRoot.querySelectorAll("canvas[data-testid]")] : []);
  timed.canvases = canvases;
  let watched = null;
  const drawn = new MutationObserver(() => {
    const { start } = timed;
    if (start && !timed.painted) afterFrame((now) => {
      if (timed.start === start && !timed.painted) timed.painted = now - start;
    });
  });
  // The page is there once its script has ended, nothing of the last one is left, and each canvas has been painted.
  const whole = (title) =>
    document.title.startsWith(title + " ") &&
    document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]') &&
    document.querySelector('[data-testid="stMain"] h1') &&
    !document.querySelector('[data-stale="true"]') &&
    canvases().every((each) => each.dataset.painted);
  const look = () => {
    const map = canvases().find((each) => each.dataset.testid === "map");
    if (map && map !== watched) {
      drawn.disconnect();
      drawn.observe(map, { attributes: true, attributeFilter: ["data-painted"] });
      watched = map;
    }
    if (!timed.first && map?.dataset.painted) afterFrame((now) => (timed.first ||= now));
    if (timed.to && !timed.page && timed.start && whole(timed.to)) {
      const { start } = timed;
      afterFrame((now) => (timed.page = now - start));
      timed.to = "";
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@dataclass
class App:
    """The running app.

    Attributes:
        address: where it answers.
        server: its process, not the launcher's.
    """

    address: str
    server: Any

    def cpu(self) -> float:
        """Return the seconds of processor time that the server has used; the system counts in hundredths."""
        used = self.server.cpu_times()
        return float(used.user + used.system)

    def resident(self) -> int:
        """Return the server's resident bytes now."""
        return int(self.server.memory_info().rss)


@contextmanager
def running() -> Iterator[App]:
    """Run the app by its own launcher, as `attention-inspector app` does, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from inspector.ui.server.launch import start_server; "
    code += f"sys.exit(start_server(port={port}, open_browser=False))"
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://localhost:{port}"

        def answers() -> bool:
            assert launcher.poll() is None, "the app ended at once"
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()  # noqa: S310 - http, our own
            except OSError:
                return False
            return True

        until(answers, START_SECONDS)
        yield App(address, psutil.Process(launcher.pid).children()[0])
    finally:
        launcher.terminate()
        launcher.wait(timeout=20)


@contextmanager
def browsing() -> Iterator[Any]:
    """Start a browser."""
    if why := missing():
        raise RuntimeError(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


def new_tab(browser: Any, app: App) -> Tab:
    """Open the app in a browser that has never been there.

    Args:
        browser: the browser.
        app: the app.

    Returns:
        The tab; its map has been painted.
    """
    page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
    page.add_init_script(f"({TIMER})()")
    tab = Tab(page, app.address)
    tab.open()
    tab.painted()
    return tab


class Tab(Visitor):
    """A visitor whose page keeps time."""

    def first_picture(self) -> float:
        """Return the milliseconds from the address being entered until the map was painted for the first time."""
        return self._told("first")

    def click(self, x: float, y: float) -> float:
        """Click at a place of the window that paints the map.

        Args:
            x: in CSS pixels.
            y: in CSS pixels.

        Returns:
            Milliseconds until it was painted.
        """
        self.page.evaluate("timed.start = timed.painted = 0")
        self.page.mouse.click(x, y)
        return self._told("painted")

    def go(self, link: str, title: str) -> float:
        """Click a link to another page of the app.

        Args:
            link: its words.
            title: the page's title.

        Returns:
            Milliseconds until the whole page was there.
        """
        self.page.evaluate("(to) => Object.assign(timed, { to, start: 0, page: 0 })", title)
        self.page.get_by_role("link", name=link, exact=True).first.click()
        return self._told("page")

    def settle(self) -> None:
        """Wait until the exact numbers of the chosen head are here and the server has nothing left to do."""
        self.painted()
        self.idle()

    def _told(self, name: str) -> float:
        """Wait for a time that the page takes."""
        self.page.wait_for_function(f"timed.{name} > 0", timeout=SETTLED_MS)
        return float(self.page.evaluate(f"timed.{name}"))
