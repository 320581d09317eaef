"""A way to a server that can be cut, and that can then lead to another one: a lost connection, a restarted server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Way:
    """Listens on a port of its own and passes everything on, both ways, while it is open."""

    def __init__(self, to: str) -> None:
        """Open a way to a server at this address."""
        self.to, self.open = to, True
        self._ends: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://localhost:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and let nobody in."""
        self.open = False
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self, to: str | None = None) -> None:
        """Let everybody in again, perhaps to another server."""
        self.to, self.open = to or self.to, True

    def close(self) -> None:
        """End for good."""
        self.cut()
        for end in (self._listening, *self._ends):
            end.close()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:  # closed
                return
            if not self.open:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", int(self.to.rsplit(":", 1)[1])))
            except OSError:  # nobody is there any more
                near.close()
                continue
            self._ends += [near, far]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, until either end closes."""
    with suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def way(to: str) -> Iterator[Way]:
    """A way to a server."""
    opened = Way(to)
    try:
        yield opened
    finally:
        opened.close()
