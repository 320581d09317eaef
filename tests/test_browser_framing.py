"""A foreign page cannot put the app into a frame: the browser is told so by the app itself, without a proxy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.packaged]


class Foreign(BaseHTTPRequestHandler):
    """A page of another origin with the app in a frame."""

    app = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<h1>Foreign</h1><iframe src='{self.app}' width=900 height=700></iframe>".encode())

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture
def foreign(address: str) -> Iterator[str]:
    Foreign.app = address
    server = ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_foreign_page_cannot_frame_the_app(foreign, address, browser):
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(foreign)
    page.wait_for_function("document.readyState === 'complete'")
    (frame,) = page.frames[1:]
    assert frame.locator('[data-testid="stApp"]').count() == 0
    assert any("frame-ancestors" in text for text in said), said
    page.goto(address)  # a negative control: by itself it opens
    page.locator('[data-testid="stApp"]').wait_for()
    context.close()
