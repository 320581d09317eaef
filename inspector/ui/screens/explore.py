"""Show where every head looks, one head in full, the text and the next tokens: the screen where the app opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import maps
from inspector.errors import InspectorError
from inspector.ui import state
from inspector.ui.components.explore import explore_screen, talk
from inspector.ui.components.heatmap import exact_map
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt, current
from inspector.ui.screens import common
from inspector.ui.server import explore, pictures, results, traces
from inspector.views.head_question import HeadQuestion, read_question
from inspector.views.provenance import model_name

if TYPE_CHECKING:
    from inspector.analysis.thumbnails import Thumbnails

ZOOM = 48  # tokens along one side of the exact cells near a locked one
REDRAWN_SECONDS = 4.0  # between two looks at what has been drawn in the background

_QUESTION = "explore_question"


def show() -> None:
    """Draw the screen for the prompt on screen."""
    place = st.container()
    shown = current()
    with place:
        common.heading("Heads", _sentence(shown))
    if shown is None:
        return
    _written(shown)
    small = attempt(lambda report: pictures.thumbnails(shown.request, report))
    if small is None:
        return
    first = common.of_example(shown) or small.telling(shown.trace.layers)
    message = attempt(lambda report: explore.message(shown.request, first, report))
    if message is None:
        return
    state.begin_with(*first)
    if shown.trace.n > maps.EXACT_UP_TO:
        _sample(shown.request, small)
    explore_screen(message, key="explore")
    _talk(shown.request)


def _sentence(shown: Current | None) -> str:
    """Return the heading: what is on screen, in one sentence."""
    if shown is None:
        return "Where attention heads look"
    heads = sum(layer.heads for layer in shown.trace.layers)
    return f"Where each of {heads:,} attention heads looks when {model_name(shown.trace)} reads your text"


def _written(shown: Current) -> None:
    """Say what an example shows, what the model wrote, and whether numbers are rounded."""
    trace = shown.trace
    if trace.precision:
        st.caption(f"Numbers are from vectors rounded to {plain(trace.precision)}.")
    if trace.prompt_length < trace.n:
        text = "".join(trace.tokens.texts[trace.prompt_length :])
        ended = trace.n - trace.prompt_length < shown.request.generate
        words = f"The model wrote {count(trace.n - trace.prompt_length, 'token')}" + (
            " and ended its text" if ended else ""
        )
        same = attempt(lambda report: results.own_choices(shown.request, report)) if trace.model is not None else None
        again = "" if same is None else f" Run as one text, {same[0]} of {same[1]} are the most probable ones again."
        st.markdown(f"**{words}:** {plain(text)}")
        st.caption(f"Prompt and continuation are shown as one text; what the model wrote is underlined.{again}")
        return
    for example in EXAMPLES:
        if example.prompt == shown.request.prompt:
            st.caption(f"**Look for:** {example.see}")


@st.fragment
def _talk(request: state.Request) -> None:
    """Hear what is chosen and answer what is asked; nothing else on the page runs again for it.

    Streamlit keeps a part's arguments as long as the page: the request, which finds the trace while that is stored.
    """
    # The last question stays: an answer that meets another run of the page is lost, and the same is not sent twice.
    asked: HeadQuestion | str | None = st.session_state.get(_QUESTION)
    answer = None
    if isinstance(asked, HeadQuestion):
        answer = attempt(lambda _: explore.answer(request, asked))
    elif asked is not None:
        st.error(plain(asked), icon=":material/warning:")

    def hear(said: object) -> None:
        try:
            st.session_state[_QUESTION] = read_question(said)
        except InspectorError as refused:
            st.session_state[_QUESTION] = str(refused)

    def choose(said: object) -> None:
        if explore.is_of(request, said):  # else it was chosen in a prompt that has gone from the screen
            state.select_said(said)

    talk(answer, on_selection=choose, on_question=hear, key="talk")
    if traces.is_stored(request) and traces.trace(request).n > maps.EXACT_UP_TO:
        attempt(lambda _: _exact(Current(request, traces.trace(request))))


# -- long prompts ----------------------------------------------------------------------------------------


@st.fragment(run_every=REDRAWN_SECONDS)
def _drawing(request: state.Request) -> None:
    """Have a long prompt's small pictures drawn from all its rows in the background, and say how far that is."""
    so_far = pictures.thumbnails_so_far(request)
    if so_far is None:
        return
    if not so_far.left:
        st.rerun()  # all are there: the screen shows them
    st.caption(f"The prompt is long: small pictures are {so_far.said()}. The others follow by themselves.")


def _sample(request: state.Request, small: Thumbnails) -> None:
    """Say from what a long prompt's small pictures and scores are made."""
    if small.left:
        _drawing(request)
    elif small.failed:
        st.caption(f"The prompt is long: small pictures are {small.said()}.")
    st.caption(f"Heads are scored by what {pictures.SAMPLE} of the prompt's query tokens do.")


def _exact(shown: Current) -> None:
    """Draw the exact cells near the locked one: the map's own stand for several tokens each."""
    trace, chosen = shown.trace, common.selection(shown)
    k = -(-trace.n // maps.EXACT_UP_TO)
    if min(chosen.query, chosen.key) < 0:
        st.caption(f"Each cell of the map is the largest of {k} × {k}: click one to see exact ones near it.")
        return
    labels, kind = trace.tokens.labels, common.kind_of(chosen)
    without_first = chosen.sink == "without" and kind != "scaled_scores"
    rows, columns = (_near(at, trace.n) for at in (chosen.query, chosen.key))
    values = maps.window(trace, chosen.layer, chosen.head, rows, columns, kind=kind, without_first=without_first)
    said = ", without the first token" if without_first else ""
    st.markdown(f"**Exact cells** of query tokens {rows.start} to {rows.stop - 1}{said}")
    named = [[f"{i} {labels[i]}" for i in range(*part.indices(trace.n))] for part in (rows, columns)]
    exact_map(values, *named, kind=kind, scale=chosen.scale, key="exact")


def _near(at: int, n: int) -> slice:
    """Return up to ZOOM positions on both sides of one."""
    start = max(0, min(at - ZOOM // 2, n - ZOOM))
    return slice(start, min(n, start + ZOOM))


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
