"""Hold what all visitors of this server share: the store, who uses which part of it, and work in the background.

Streamlit keeps only these three objects; all that is made lies in the store (`store.py`).
"""

from __future__ import annotations

from collections.abc import Hashable

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from inspector.ui.server.background import Background
from inspector.ui.server.sessions import Sessions
from inspector.ui.server.store import Store


@st.cache_resource(show_spinner=False)
def shared_store() -> Store:
    """Return the one store of this server."""
    return Store()


@st.cache_resource(show_spinner=False)
def shared_sessions() -> Sessions:
    """Return which session uses which trace; what no session uses any longer is let go of."""
    return Sessions(shared_store().forget, _connected)


@st.cache_resource(show_spinner=False)
def shared_background() -> Background:
    """Return what this server does while nobody waits."""
    return Background(lambda: shared_store().busy)


def note_use(key: Hashable) -> None:
    """Note that the visitor whose script runs now uses a key of the store.

    Args:
        key: the key; it stays stored as long as anybody who uses it is connected.
    """
    run = get_script_run_ctx(suppress_warning=True)
    if run is not None:  # else no visitor asks, but a script or a test
        shared_sessions().use(run.session_id, key)


def _connected(session: str) -> bool:
    """Whether this session's page is open; Streamlit knows at once when a tab is closed."""
    return not runtime.exists() or runtime.get_instance().is_active_session(session)
