"""A client of Streamlit's websocket protocol: it can send what no button of a page sends."""

from __future__ import annotations

import time
import urllib.request
from typing import Any
from urllib.parse import urlparse

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect


class Client:
    """One visitor's connection."""

    def __init__(self, address: str) -> None:
        """Connect as a browser does, with the cookie against cross-site requests."""
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=20) as answer:  # noqa: S310
            cookie = answer.headers["set-cookie"].split(";")[0]
        self._socket = connect(
            f"ws://{urlparse(address).netloc}/_stcore/stream",
            origin=address,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookie},
            subprotocols=["streamlit", cookie.split("=", 1)[1]],  # type: ignore[list-item]
            max_size=None,
        )

    def send(self, **what: Any) -> None:
        """Send one message, such as clear_cache=True."""
        self._socket.send(BackMsg(**what).SerializeToString())

    def run(self, *, seconds: float = 120) -> list[ForwardMsg]:
        """Run the page's script as a reload does; all messages until it has finished."""
        message = BackMsg()
        message.rerun_script.query_string = ""
        self._socket.send(message.SerializeToString())
        found, end = [], time.monotonic() + seconds
        while not found or found[-1].WhichOneof("type") != "script_finished":
            found.append(ForwardMsg.FromString(self._socket.recv(timeout=end - time.monotonic())))  # type: ignore[arg-type]
        return found

    def close(self) -> None:
        """Leave."""
        self._socket.close()
