"""Run what a visitor asked for, with progress and errors on screen.

Every screen begins with `current()`. When a request fails or is cancelled its sentence is shown and the last prompt
that worked stays on screen.
"""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from inspector.errors import InspectorError
from inspector.text import Progress
from inspector.ui import state
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import count, plain, short
from inspector.ui.server import traces
from inspector.ui.server.settings import model_choice

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from inspector import Trace
    from inspector.model.cost import Cost

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_SHOWN, _CANCELLED = "shown_request", "cancelled_steps"
_NUMBERS = itertools.count()  # a Cancel button appears anew at each wait, and no two of a run may share a key
PATIENCE_SECONDS = 0.25  # what is done within it needs no progress bar, which would only flicker


@dataclass(frozen=True)
class Current:
    """The prompt on screen."""

    request: state.Request
    trace: Trace


def current() -> Current | None:
    """Return the prompt to show, run now if need be.

    Returns:
        The prompt; None, with the reason on screen, if there is none yet.
    """
    uploaded = state.uploaded()
    if uploaded is not None:
        return _file(uploaded)
    asked = state.request()
    if state.problem() is None:
        try:
            if not model_choice().allows(asked.model):
                names = ", ".join(model_choice().models)
                raise InspectorError(f"'{asked.model}' is not among this server's models: {names}; choose one of them.")
            if not asked.prompt.strip():
                raise InspectorError(f'The prompt is empty: type some text, for example "{EXAMPLES[0].prompt}".')
            if not state.agreed() and _asks_first(asked):
                return _last_one()
            with show_progress(_cancel_prompt) as report:
                traced = traces.trace(asked, report)
        except Exception as error:
            state.fail(sentence(error))
        else:
            st.session_state[_SHOWN] = asked
            if traced.lost:
                st.caption(plain(traced.lost_in_words()))
            return Current(asked, traced)
    return _last_one()


def shown_now() -> Current | None:
    """Return what the page on screen shows, without running anything.

    Returns:
        The prompt; None where nothing is shown, or its trace is no longer stored.
    """
    request: state.Request | None = state.uploaded() or st.session_state.get(_SHOWN)
    if request is None or not traces.is_stored(request):
        return None
    return Current(request, traces.trace(request))


def _asks_first(asked: state.Request) -> bool:
    """Show what running a long prompt costs, with buttons that run it; False where it can just be run."""
    with show_progress(_cancel_prompt) as report:
        found = traces.costs(asked, report)
    if found is None:
        return False
    with st.container(border=True):
        st.markdown(f"**This is a long prompt.** {plain(_cost(found.exact))}")
        if found.refused:
            st.caption(plain(found.refused))
        with st.container(horizontal=True):
            if not found.refused:
                st.button("Run it", type="primary", key="run_long", on_click=state.agree)
            if found.half is not None:
                label = f"Run it with vectors rounded to float16 ({found.half.stored_bytes / 1e9:.2f} GB)"
                st.button(label, key="run_long_half", on_click=state.agree, args=("float16",))
    return True


def _cost(found: Cost) -> str:
    """Say what a run takes: 2,317 tokens: about 39 s, 0.5 GB."""
    time_taken = "" if found.seconds is None else f"about {_duration(found.seconds)}, "
    memory = found.peak_bytes
    size = f"{memory / 1e9:.1f} GB" if memory >= 1e8 else f"{memory / 1e6:,.1f} MB"
    return f"{count(found.tokens, 'token')}: {time_taken}{size}."


def _duration(seconds: float) -> str:
    """Round a time to what one wants to know before waiting."""
    return f"{max(1, round(seconds)):,} s" if seconds < 120 else f"{round(seconds / 60):,} min"


def _file(uploaded: state.Request) -> Current | None:
    """Return a trace that the visitor uploaded, and draw the line that says so."""
    with st.container(border=True):
        words, close = st.columns([6, 1], vertical_alignment="center")
        close.button("Close the file", key="close_file", on_click=state.close_upload, width="stretch")
        try:
            traced = traces.trace(uploaded)
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
    """Draw the failure's sentence, and return what was on screen before it."""
    failed = state.problem()
    if failed is not None:
        st.error(plain(failed.sentence), icon=":material/warning:")
    shown: state.Request | None = st.session_state.get(_SHOWN)
    if shown is None:
        st.info("Nothing to show yet: choose a model and a prompt in the bar above, then press Run.")
        return None
    st.caption(f"Still showing “{plain(short(shown.prompt))}” in {plain(shown.model)}.")
    try:
        with show_progress(_forget_shown) as report:
            return Current(shown, traces.trace(shown, report))
    except Exception as error:
        st.error(plain(sentence(error)), icon=":material/warning:")
        return None


def _cancel_prompt() -> None:
    """Do not run this prompt again until it is asked for."""
    state.fail(f"Cancelled “{short(state.request().prompt)}”; press Run to start it again.")


def _forget_shown() -> None:
    """Show nothing but the failure."""
    st.session_state.pop(_SHOWN, None)


def sentence(error: Exception) -> str:
    """Put an error in words that a visitor can act on.

    An error that we did not foresee goes to the log with where it happened. Its own words may quote the prompt: they
    go to the visitor alone.

    Args:
        error: any error.

    Returns:
        A sentence, or two.
    """
    if isinstance(error, InspectorError):
        return str(error)
    where = "".join(traceback.format_tb(error.__traceback__))
    _LOG.error("Unexpected %s:\n%s", type(error).__name__, where)
    return (
        f"This did not work ({type(error).__name__}: {short(str(error), 200)}). "
        "The terminal where the app was started has the details."
    )


@contextmanager
def show_progress(cancel: Callable[..., None], *args: object) -> Iterator[Progress]:
    """Show a progress bar with a button to cancel, only when something takes long enough to be worth it.

    The button ends this run of the script (and with it the wait; the store ends what nobody waits for).

    Args:
        cancel: called before the next run, to see to it that the same is not asked for again.
        args: what it is called with.

    Yields:
        What to report progress to.
    """
    whole = st.empty()
    place: DeltaGenerator | None = None
    started = time.monotonic()

    def report(message: str, fraction: float | None) -> None:
        nonlocal place
        if time.monotonic() - started < PATIENCE_SECONDS or not message:
            return
        if place is None:
            words, button = whole.container().columns([6, 1], vertical_alignment="center")
            place = words.empty()
            button.button("Cancel", key=f"cancel_{next(_NUMBERS)}", on_click=cancel, args=args, width="stretch")
        # A bar without a known end would lie: a turning sign then.
        if fraction is None:
            place.status(f"{plain(message)} …")
        else:
            place.progress(min(max(fraction, 0.0), 1.0), text=f"{plain(message)} …")

    try:
        yield report
    finally:
        whole.empty()


def attempt(
    make: Callable[[Progress], T], *, may_lack: bool = False, on_cancel: Callable[[], None] | None = None
) -> T | None:
    """Make something with progress on screen.

    Args:
        make: makes it, and reports its progress.
        may_lack: a refusal is no failure there, but says what this model or trace does not have.
        on_cancel: puts the page back to before it was asked for; without it a button starts it again.

    Returns:
        What was made; None, and the error's sentence on screen, where it failed or was cancelled.
    """
    step = (make.__module__, make.__qualname__, state.uploaded() or state.request())
    if step in st.session_state.get(_CANCELLED, ()):
        st.info("Cancelled.", icon=":material/cancel:")
        st.button("Start it again", key=f"again_{step[0]}_{step[1]}", on_click=_start_again, args=(step,))
        return None
    try:
        with show_progress(on_cancel or _cancel_step, *(() if on_cancel else (step,))) as report:
            return make(report)
    except Exception as error:
        if may_lack and isinstance(error, InspectorError):
            st.info(plain(str(error)), icon=":material/info:")
        else:
            st.error(plain(sentence(error)), icon=":material/warning:")
        return None


def _cancel_step(step: object) -> None:
    """Do not make this again until it is asked for."""
    st.session_state[_CANCELLED] = {*st.session_state.get(_CANCELLED, ()), step}


def _start_again(step: object) -> None:
    """Make it again in the next run."""
    st.session_state[_CANCELLED] = st.session_state.get(_CANCELLED, set()) - {step}
