"""Make a file when a visitor asks for it: for their own session alone, within memory, and with our sentences.

Streamlit runs a button's maker for any session that knows its id, keeps what it made uncounted until two scripts later,
and where it fails says its own words to the visitor and ours, which may name a file, to the log.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streamlit.proto.ForwardMsg_pb2 import BackendOperationResponse, DeferredFileResponsePayload
from streamlit.runtime.backend_operation_handler import DeferredFileHandler

from inspector.errors import InspectorError
from inspector.model.memory import memory_budget
from inspector.ui.server.shared import note_files

PART = 8  # files that were made and not yet let go of take at most this part of what the server may keep
MEGABYTE = 2**20
COORDINATES = "the newest download"  # where Streamlit notes which files a session uses
NOT_YOURS = "This page has changed since: click once more."


def answer_downloads_here() -> None:
    """Have this server's requests for files answered here."""
    setattr(DeferredFileHandler, "handle", _handle)  # noqa: B010 - a method, replaced on purpose


async def _handle(handler: DeferredFileHandler, request: Any, session_id: str) -> Any:
    """Answer one request for a file: with its address, or with a sentence that the button shows."""
    try:
        url = await asyncio.to_thread(_make, handler._get_media_file_mgr(), request.deferred_file.file_id, session_id)
    except Exception as error:
        return BackendOperationResponse(request_id=request.request_id, error_msg=_said(error))
    return BackendOperationResponse(request_id=request.request_id, deferred_file=DeferredFileResponsePayload(url=url))


def _make(manager: Any, file_id: str, session: str) -> str:
    """Make the file, and return its address."""
    with manager._lock:
        entry = manager._deferred_callables.get(file_id)
    if entry is None or entry["session_id"] != session:
        raise InspectorError(NOT_YOURS)
    limit = memory_budget() // PART
    if _stored(manager) > limit:
        manager.remove_orphaned_files()  # what was fetched, or asked for and not fetched, a while ago
    if (stored := _stored(manager)) > limit:
        raise InspectorError(
            f"Visitors' downloads take {stored // MEGABYTE:,} MB of this server, and may take "
            f"{limit // MEGABYTE:,} MB: try again in a moment."
        )
    note_files(session)
    url = str(manager.execute_deferred(file_id))
    with manager._lock:  # the session's newest one stays until its page runs again, however busy the others are
        manager._files_by_session_and_coord[session][COORDINATES] = url.rpartition("/")[2].partition(".")[0]
    return url


def _stored(manager: Any) -> int:
    """Return the bytes of all files that were made and not yet let go of."""
    return sum(file.content_size for file in list(manager._storage._files_by_id.values()))


def _said(error: Exception) -> str:
    """Return the sentence for what went wrong; the log gets its kind and place."""
    from inspector.ui.progress import sentence

    cause = error.__cause__  # Streamlit wraps what a maker raised
    return sentence(cause if isinstance(cause, Exception) else error)
