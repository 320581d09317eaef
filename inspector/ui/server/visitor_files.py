"""Let go of what a visitor uploaded and downloaded, once their page is closed: Streamlit keeps it for minutes."""

from __future__ import annotations

from typing import Any

from streamlit import runtime


def free_files(session: str) -> None:
    """Let go of a session's uploads, and of the files that were made for it to download.

    Args:
        session: the session's name.
    """
    if not runtime.exists():
        return
    server: Any = runtime.get_instance()
    server.uploaded_file_mgr.remove_session_files(session)
    server.media_file_mgr.clear_session_refs(session)
    for _ in range(2):  # the first call marks files for download, the second deletes them
        server.media_file_mgr.remove_orphaned_files()
