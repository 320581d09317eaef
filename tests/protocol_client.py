"""A client of Streamlit's websocket protocol: it can send what no button of a page sends, upload and download."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX
from websockets.sync.client import connect


class Raw(str):
    """Text that is sent as it stands, JSON or not."""


def component(messages: list[ForwardMsg], key: str) -> ForwardMsg:
    """The message of the component of this key."""
    return next(each for each in messages if key in each.delta.new_element.bidi_component.id.split("-"))


def _token(cookie: str) -> str:
    """What a cookie says."""
    return cookie.split("=", 1)[1]


class Client:
    """One visitor's connection.

    cookie: the browser's, against cross-site requests. session: the session's id, once a script has run.
    """

    def __init__(
        self, address: str, *, session: str = "", cookie: str = "", origin: str | None = None, host: str | None = None
    ) -> None:
        """Connect as a browser does. session: of an earlier connection, to come back to; cookie: of that browser.
        origin, host: what the browser says it is and asks for, if that is another address."""
        self.address, self.session = address, ""
        if not cookie:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=20) as answer:  # noqa: S310
                cookie = answer.headers["set-cookie"].split(";")[0]
        self.cookie = cookie
        place = urlparse(address)
        self._socket = connect(
            f"ws://{host or place.netloc}/_stcore/stream",
            sock=socket.create_connection((place.hostname or "", place.port or 80), timeout=20),
            origin=origin or address,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookie},
            subprotocols=["streamlit", _token(cookie), *filter(None, [session])],  # type: ignore[list-item]
            max_size=None,
        )

    def send(self, **what: Any) -> None:
        """Send one message, such as clear_cache=True."""
        self._socket.send(BackMsg(**what).SerializeToString())

    def run(
        self,
        *,
        seconds: float = 120,
        said: Any = None,
        by: ForwardMsg | None = None,
        event: str = "",
        page: str = "",
        widgets: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[ForwardMsg]:
        """Run the page's script as a reload does, or as a component does that sends something; all messages until it
        has finished. `by`: the component's own message, `event`: the name under which it sends `said`. `page`: the
        address of another page than the first. `widgets`: widget -> what its state is said to be."""
        message = BackMsg()
        message.rerun_script.query_string = ""
        message.rerun_script.page_name = page
        for name, value in (widgets or {}).items():
            message.rerun_script.widget_states.widgets.add(id=name, **value)
        if by is not None:
            component = by.delta.new_element.bidi_component.id
            message.rerun_script.widget_states.widgets.add(id=component, json_value="{}")
            widget = message.rerun_script.widget_states.widgets.add()
            widget.id = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{component}__events"
            text = said if isinstance(said, Raw) else json.dumps([{"event": event, "value": said}])
            widget.json_trigger_value = text
            message.rerun_script.fragment_id = by.delta.fragment_id
        self._socket.send(message.SerializeToString())
        return self._until("script_finished", seconds)

    def _until(self, kind: str, seconds: float = 120) -> list[ForwardMsg]:
        """All messages up to the first of this kind."""
        found: list[ForwardMsg] = []
        end = time.monotonic() + seconds
        while not found or found[-1].WhichOneof("type") != kind:
            found.append(ForwardMsg.FromString(self._socket.recv(timeout=end - time.monotonic())))  # type: ignore[arg-type]
            if found[-1].WhichOneof("type") == "new_session":
                self.session = found[-1].new_session.initialize.session_id
        return found

    def announce(self, length: int) -> None:
        """Begin a message of so many bytes, and send no more of it."""
        binary, masked = 0x82, 0xFF  # the whole message in one frame, its length in eight bytes
        self._socket.socket.sendall(bytes([binary, masked]) + length.to_bytes(8, "big") + bytes(4))

    def upload(self, content: bytes, *, name: str = "file", length: bool = True) -> int:
        """Upload a file that no page asked for; the answer's status. length: say how long it is."""
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
        connection = http.client.HTTPConnection(urlparse(self.address).netloc, timeout=60)
        headers = {"Cookie": self.cookie, "X-Xsrftoken": _token(self.cookie)}
        headers["Content-Type"] = f"multipart/form-data; boundary={edge}"
        headers |= {"Content-Length": str(len(body))} if length else {"Transfer-Encoding": "chunked"}
        try:
            connection.putrequest("PUT", f"/_stcore/upload_file/{self.session}/{uuid.uuid4()}")
            for key, value in headers.items():
                connection.putheader(key, value)
            connection.endheaders()
            if not select.select([connection.sock], [], [], 0.1)[0]:  # else it is refused before it is sent
                connection.send(body)
            return connection.getresponse().status
        finally:
            connection.close()

    def download(self, file: str, *, seconds: float = 60) -> str:
        """Ask for a file by its button's id: its address on this server, or the sentence that refuses it."""
        message = BackMsg()
        message.backend_operation_request.request_id = uuid.uuid4().hex
        message.backend_operation_request.session_id = self.session
        message.backend_operation_request.deferred_file.file_id = file
        self._socket.send(message.SerializeToString())
        answer = self._until("backend_operation_response", seconds)[-1].backend_operation_response
        return answer.deferred_file.url or answer.error_msg

    def close(self) -> None:
        """Leave."""
        self._socket.close()
