"""Check each request and each websocket before Streamlit sees it, and say in each answer who may frame the app.

Streamlit compares the Host with the allowed ones for websockets alone, takes websockets from any page of the visitor's
own machine, lets any page frame the app, and bounds one upload, not their sum. This stands in front of it as ASGI
middleware, the place that Streamlit gives to an app's own checks (asgi.py).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlparse

from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from inspector.ui.server.upload_limits import Refused, upload_room

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEALTH = "/_stcore/health"  # a proxy asks for it by an address of its own
CLOSED = ("/_stcore/metrics",)  # counts of this server's sessions and memory are nobody's business
UPLOADS = "/_stcore/upload_file/"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what storing fails with
HEADERS = (
    # Only this server's own pages may frame it: a foreign page around it could lead a visitor's clicks.
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class RequestChecks:
    """Refuse what no page of this server sends, and pass everything else on."""

    def __init__(self, app: App) -> None:
        """Stand in front of an app.

        Args:
            app: the app that answers what is not refused.
        """
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request or websocket.

        Args:
            scope: what is asked for, as ASGI says it.
            receive: gives the next part of what the browser sends.
            send: sends a part of the answer.
        """
        if scope["type"] == "websocket":
            if not _same_origin(_header(scope, b"origin"), _header(scope, b"host")):
                await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the browser gets a 403
                return
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, _with_headers(send))
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        path = str(scope.get("path", ""))
        if path != HEALTH and not is_host_allowed(_header(scope, b"host")):
            await _refuse(send, HTTPStatus.FORBIDDEN, "This server does not answer to that name: see --allow-host.")
        elif path in CLOSED:
            await _refuse(send, HTTPStatus.NOT_FOUND, "There is nothing here.")
        elif path.startswith(UPLOADS) and scope["method"] == "PUT":
            session = path.removeprefix(UPLOADS).partition("/")[0]
            begun = False

            async def sending(message: Message) -> None:
                nonlocal begun
                begun = True
                await send(message)

            try:
                with upload_room(session, _header(scope, b"content-length")) as seconds:
                    await self.app(scope, _within(seconds, receive), sending)
            except Refused as refused:
                await _refuse(send, refused.status, str(refused))
            except OSError as error:  # it lies in a temporary file while it arrives
                if begun or error.errno not in FULL:
                    raise
                why = f"This server could not store the upload ({error.strerror}): try again later."
                await _refuse(send, HTTPStatus.INSUFFICIENT_STORAGE, why)
        else:
            await self.app(scope, receive, send)


def _same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a websocket comes from a page of this server; a program that is no browser sends no origin."""
    return is_host_allowed(host) and (origin is None or urlparse(origin).netloc.lower() == (host or "").lower())


def _header(scope: Message, name: bytes) -> str | None:
    """Return a header's value; None where there is none, and of two the first."""
    found: Iterable[tuple[bytes, bytes]] = scope.get("headers", ())
    return next((value.decode("latin-1") for key, value in found if key.lower() == name), None)


def _within(seconds: float, receive: Receive) -> Receive:
    """Receive what arrives within so many seconds from now; Refused is raised where the rest comes later."""
    end = asyncio.get_running_loop().time() + seconds

    async def receiving() -> Message:
        try:
            async with asyncio.timeout_at(end):
                return await receive()
        except TimeoutError:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT, f"The upload took more than {seconds:.0f} seconds: send it again."
            ) from None

    return receiving


def _with_headers(send: Send) -> Send:
    """Add our headers to the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: HTTPStatus, why: str) -> None:
    """Answer with one sentence, and end the connection: what was to follow is not read."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
