"""Bound what visitors' uploads take of this server's memory: Streamlit bounds one file, and keeps any number of them.

An upload lies in memory, whether a page asked for it or not. Each session has room for as much as the page with the
largest uploads takes, and all sessions together for a part of what the server may use.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from streamlit import config, runtime

from inspector.model.memory import memory_budget
from inspector.ui.server.shared import note_files

MOST_FILES = 500  # of one session; a dump has up to 400
PART = 8  # all uploads together take at most this part of what the server may keep
MEGABYTE = 2**20
FIRST_SECONDS, SLOWEST = 30.0, 100_000  # an upload has so long, and a second more for each so many bytes of it

_lock = threading.Lock()
_arriving: dict[str, list[int]] = {}  # by session, bytes of the uploads on their way


class Refused(Exception):
    """Raised for an upload that there is no room for.

    Attributes:
        status: what the browser is answered with.
    """

    def __init__(self, status: HTTPStatus, why: str) -> None:
        """Say why.

        Args:
            status: what the browser is answered with.
            why: a sentence.
        """
        super().__init__(why)
        self.status = status


@contextmanager
def upload_room(session: str, said: str | None) -> Iterator[float]:
    """Hold room for an upload while it arrives.

    Args:
        session: the session that it is for.
        said: how long it is, as its header says; the server reads no more than that of it.

    Yields:
        The seconds in which it must arrive: one that never ends would keep its room from the others.

    Raises:
        Refused: it does not say how long it is, or there is no room.
    """
    if said is None or not said.isascii() or not said.isdigit() or len(said) > 15:
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "An upload must say how long it is: send Content-Length.")
    length = int(said)
    one = MEGABYTE * int(config.get_option("server.maxUploadSize"))
    if length > one + MEGABYTE:  # a file comes with a few lines around it
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A file may have {one // MEGABYTE:,} MB here.")
    everybody = max(memory_budget() // PART, one + MEGABYTE)
    with _lock:
        files, of_session, of_all = _stored(session)
        if files >= MOST_FILES or of_session + length > one + MEGABYTE:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"This page holds {files} files of {of_session // MEGABYTE:,} MB, and may hold {MOST_FILES} of "
                f"{one // MEGABYTE:,} MB: remove some, or reload it.",
            )
        if of_all + length > everybody:
            raise Refused(
                HTTPStatus.INSUFFICIENT_STORAGE,
                f"Visitors' files take {of_all // MEGABYTE:,} MB of this server, and may take "
                f"{everybody // MEGABYTE:,} MB: try again when others have left.",
            )
        _arriving.setdefault(session, []).append(length)
    note_files(session)
    try:
        yield FIRST_SECONDS + length / SLOWEST
    finally:
        with _lock:
            _arriving[session].remove(length)
            if not _arriving[session]:
                del _arriving[session]


def _stored(session: str) -> tuple[int, int, int]:
    """Return how many files this session has, and how many bytes it and all sessions have, those on their way too."""
    manager = _manager()
    with manager._lock:
        mine = [len(file.data) for file in manager.file_storage.get(session, {}).values()]
        everybodys = sum(len(file.data) for files in manager.file_storage.values() for file in files.values())
    coming = _arriving.get(session, [])
    on_its_way = sum(sum(lengths) for lengths in _arriving.values())
    return len(mine) + len(coming), sum(mine) + sum(coming), everybodys + on_its_way


def _manager() -> Any:
    """Return what holds uploads in this server."""
    return runtime.get_instance().uploaded_file_mgr
