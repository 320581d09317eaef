"""Hold what all visitors of this server share: the store, who uses which part of it, and work in the background.

These three objects live in this module, and not in `st.cache_resource`: any visitor's browser may send Streamlit's
`clear_cache` message, which empties that for everybody. All that is made lies in the store (`store.py`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from inspector.ui.server.background import Background
from inspector.ui.server.freed_memory import give_back
from inspector.ui.server.sessions import Sessions
from inspector.ui.server.store import Store
from inspector.ui.server.visitor_files import free_files

T = TypeVar("T")
_FILES = "files of a session"

_lock = threading.RLock()  # entered again where making one of the three asks for another
_made: dict[str, Any] = {}  # by the name of the function that makes it


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """Have a function make its object when it is first called, and return the same one ever after."""

    @functools.wraps(make)
    def made() -> T:
        with _lock:
            if make.__name__ not in _made:
                _made[make.__name__] = make()  # where that fails, the next to ask tries again
            found: T = _made[make.__name__]
            return found

    return made


@_once
def shared_store() -> Store:
    """Return the one store of this server."""
    return Store()


@_once
def shared_sessions() -> Sessions:
    """Return which session uses which trace; what no session uses any longer is let go of."""
    return Sessions(_forget, _connected, freed=give_back)


@_once
def shared_background() -> Background:
    """Return what this server does while nobody waits."""
    return Background(lambda: shared_store().busy)


def start_anew() -> None:
    """Let go of all three, so that the next to ask makes them anew; for tests, nothing in the app calls it."""
    with _lock:
        _made.clear()


def note_use(key: Hashable) -> None:
    """Note that the visitor whose script runs now uses a key of the store.

    Args:
        key: the key; it stays stored as long as anybody who uses it is connected.
    """
    run = get_script_run_ctx(suppress_warning=True)
    if run is not None:  # else no visitor asks, but a script or a test
        shared_sessions().use(run.session_id, key)


def note_files(session: str) -> None:
    """Note that a visitor has files in this server's memory, which go with their page.

    Args:
        session: the session's name.
    """
    shared_sessions().use(session, (_FILES, session))


def _forget(key: Hashable) -> None:
    """Let go of what nobody who is connected uses."""
    if isinstance(key, tuple) and key[0] == _FILES:
        free_files(key[1])
    else:
        shared_store().forget(key)


def _connected(session: str) -> bool:
    """Whether this session's page is open; Streamlit knows at once when a tab is closed."""
    return not runtime.exists() or runtime.get_instance().is_active_session(session)
