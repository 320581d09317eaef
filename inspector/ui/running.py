"""What a visitor asked for goes in; the prompt that can be shown comes out, with progress and errors on screen.

Every screen begins with `current()`. When a request fails its sentence is shown and the last prompt that
worked stays on screen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from inspector.errors import InspectorError
from inspector.store import Report
from inspector.ui import cached, state
from inspector.ui.examples import EXAMPLES
from inspector.ui.offer import offer
from inspector.ui.text import plain, short

if TYPE_CHECKING:
    from inspector import Trace

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_SHOWN = "shown_request"
PATIENCE_SECONDS = 0.25  # what is done within it needs no progress bar, which would only flicker


@dataclass(frozen=True)
class Current:
    """The prompt on screen."""

    request: state.Request
    trace: Trace


def current() -> Current | None:
    """The prompt to show, computed now if need be; None (with the reason on screen) if there is none yet."""
    uploaded = state.opened()
    if uploaded is not None:
        return _file(uploaded)
    asked = state.request()
    if state.problem() is None:
        try:
            if not offer().allows(asked.model):
                raise InspectorError(f"'{asked.model}' is not among this server's models: {', '.join(offer().models)}.")
            if not asked.prompt.strip():
                raise InspectorError(f'The prompt is empty: type some text, for example "{EXAMPLES[0].prompt}".')
            if not state.agreed() and _asks_first(asked):
                return _last_one()
            with progress() as report:
                traced = cached.trace(asked, report)
        except Exception as error:
            state.fail(sentence(error))
        else:
            st.session_state[_SHOWN] = asked
            if traced.lost:
                st.caption(plain(traced.lost_in_words()))
            return Current(asked, traced)
    return _last_one()


def _asks_first(asked: state.Request) -> bool:
    """Of a long prompt what running it costs, and the buttons that run it; False where it can just be run."""
    with progress() as report:
        found = cached.costs(asked, report)
    if found is None:
        return False
    with st.container(border=True):
        st.markdown(f"**This is a long prompt.** {plain(str(found.exact))}")
        if found.refused:
            st.caption(plain(found.refused))
        with st.container(horizontal=True):
            if not found.refused:
                st.button("Run it", type="primary", key="run_long", on_click=state.agree)
            if found.half is not None:
                label = f"Run it, keeping float16 vectors ({found.half.kept_bytes / 1e9:.2f} GB)"
                st.button(label, key="run_long_half", on_click=state.agree, args=("float16",))
    return True


def _file(uploaded: state.Request) -> Current | None:
    """A trace that the visitor opened from a file, and the line that says so."""
    with st.container(border=True):
        words, close = st.columns([6, 1], vertical_alignment="center")
        close.button("Close the file", key="close_file", on_click=state.close_file, width="stretch")
        try:
            traced = cached.trace(uploaded)
        except InspectorError as error:
            words.error(plain(str(error)), icon=":material/warning:")
            return None
        source = traced.source
        versions = [f"{name} {source[name]}" for name in ("transformers", "torch") if source.get(name)]
        made = ", ".join([*versions, *(str(source[name]) for name in ("dtype", "device") if source.get(name))])
        words.markdown(
            f"**Opened from the file {plain(short(uploaded.file_name))}:** captured with "
            f"{plain(short(uploaded.model or 'a model without a name', 80))}{f' ({plain(made)})' if made else ''}. "
            "What needs the model itself is not available: vectors before RoPE that were not saved, verification."
        )
    return Current(uploaded, traced)


def _last_one() -> Current | None:
    """The failure's sentence, and what was on screen before it."""
    failed = state.problem()
    if failed is not None:
        st.error(plain(failed.sentence), icon=":material/warning:")
    shown: state.Request | None = st.session_state.get(_SHOWN)
    if shown is None:
        st.info("Nothing to show yet: choose a model and a prompt in the sidebar, then press Run.")
        return None
    st.caption(f"Still showing “{plain(short(shown.prompt))}” in {plain(shown.model)}.")
    with progress() as report:
        return Current(shown, cached.trace(shown, report))


def sentence(error: Exception) -> str:
    """An error in words a visitor can act on; one we did not foresee goes to the log with its traceback."""
    if isinstance(error, InspectorError):
        return str(error)
    _LOG.error("Unexpected error", exc_info=error)
    return (
        f"This did not work ({type(error).__name__}: {short(str(error), 200)}). "
        "The terminal where the app was started has the details."
    )


@contextmanager
def progress() -> Iterator[Report]:
    """A progress bar that appears only when something takes long enough to be worth it, and then goes."""
    place = st.empty()
    started = time.monotonic()

    def report(message: str, fraction: float | None) -> None:
        if time.monotonic() - started < PATIENCE_SECONDS or not message:
            return
        # A bar without a known end would lie: a turning sign then.
        if fraction is None:
            place.status(f"{plain(message)} …")
        else:
            place.progress(min(max(fraction, 0.0), 1.0), text=f"{plain(message)} …")

    try:
        yield report
    finally:
        place.empty()


def attempt(make: Callable[[Report], T], *, may_lack: bool = False) -> T | None:
    """`make` with progress; None, and the error's sentence on screen, where it fails. may_lack: a refusal is no failure
    there, but what this model or trace does not have."""
    try:
        with progress() as report:
            return make(report)
    except Exception as error:
        if may_lack and isinstance(error, InspectorError):
            st.info(plain(str(error)), icon=":material/info:")
        else:
            st.error(plain(sentence(error)), icon=":material/warning:")
        return None
