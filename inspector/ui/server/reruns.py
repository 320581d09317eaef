"""Keep one visitor's reruns to few threads: Streamlit starts a thread for each, and stops the one before.

A stopped thread goes on until it reaches Streamlit's next call, so that a hundred messages at once are a hundred
threads that keep everybody waiting. Here a session has two at most. What arrives meanwhile waits, merged into one rerun
by Streamlit's own rule: the newest state counts, and no click is lost.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests

MOST_THREADS = 2  # of a session: one that was stopped and has not noticed it yet, and the present one
EVERY_SECONDS = 0.05  # between two looks whether one has ended

_start = AppSession._create_scriptrunner  # Streamlit's own
_threads: weakref.WeakKeyDictionary[AppSession, list[threading.Thread]] = weakref.WeakKeyDictionary()
_waiting: weakref.WeakKeyDictionary[AppSession, ScriptRequests] = weakref.WeakKeyDictionary()


def bound_reruns() -> None:
    """Have every session of this server start its reruns here."""
    setattr(AppSession, "_create_scriptrunner", _start_or_wait)  # noqa: B010 - a method, replaced on purpose


def _start_or_wait(session: AppSession, data: Any) -> None:
    """Start a rerun, or merge it into the one that waits; Streamlit calls this on its event loop alone."""
    if (waiting := _waiting.get(session)) is not None:
        waiting.request_rerun(data)
    elif _room(session):
        _start_now(session, data)
    else:
        _waiting[session] = ScriptRequests()
        _waiting[session].request_rerun(data)
        _look_later(weakref.ref(session))


def _look_later(session: weakref.ref[AppSession]) -> None:
    """Start what waits as soon as a thread has ended."""

    def look() -> None:
        found = session()
        if found is None or found._state == AppSessionState.SHUTDOWN_REQUESTED:
            return
        if _room(found):
            _start_now(found, _waiting.pop(found).on_scriptrunner_ready().rerun_data)
        else:
            _look_later(session)

    found = session()
    if found is not None:
        found._event_loop.call_later(EVERY_SECONDS, look)


def _room(session: AppSession) -> bool:
    """Whether another thread of this session may start."""
    _threads[session] = [thread for thread in _threads.get(session, []) if thread.is_alive()]
    return len(_threads[session]) < MOST_THREADS


def _start_now(session: AppSession, data: Any) -> None:
    """Start a rerun as Streamlit does, and remember its thread."""
    _start(session, data)
    runner = session._scriptrunner
    if runner is not None and runner._script_thread is not None:
        _threads.setdefault(session, []).append(runner._script_thread)
