"""Know whether a page or a click is being answered, so that what nobody waits for lets it go first."""

from __future__ import annotations

import threading
import time
from typing import Any

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

PAUSE_SECONDS, EVERY_SECONDS = 1.0, 0.02  # how long the background waits at most at each step, and between two looks

_run_script = ScriptRunner._run_script  # Streamlit's own
_lock = threading.Lock()
_running = 0  # pages and parts of pages, all visitors' together


def count_pages() -> None:
    """Have the pages of this server counted while they run."""
    setattr(ScriptRunner, "_run_script", _run_counted)  # noqa: B010 - a method, replaced on purpose


def let_pages_go_first() -> None:
    """Wait a moment while a page or a click is being answered, between two steps of what nobody waits for."""
    end = time.monotonic() + PAUSE_SECONDS
    while _running and time.monotonic() < end:
        time.sleep(EVERY_SECONDS)


def _run_counted(runner: ScriptRunner, data: Any) -> None:
    """Run a page or a part of one as Streamlit does."""
    _count(1)
    try:
        _run_script(runner, data)
    finally:
        _count(-1)


def _count(more: int) -> None:
    """Count what is running."""
    global _running
    with _lock:
        _running += more
