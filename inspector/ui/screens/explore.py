"""Show where every head looks, one head in full, the text and the next tokens: the screen where the app opens."""

from __future__ import annotations

import streamlit as st

from inspector.loading.source import PACKAGED
from inspector.ui import state
from inspector.ui.components.explore import explore_screen, talk
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt, current
from inspector.ui.screens import common
from inspector.ui.server import explore, results
from inspector.views.provenance import model_name

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
    message = attempt(lambda report: explore.message(shown.request, _telling(shown), report))
    if message is None:
        return
    explore_screen(message, key="explore")
    _talk(shown)


def _sentence(shown: Current | None) -> str:
    """Return the heading: what is on screen, in one sentence."""
    if shown is None:
        return "Where attention heads look"
    heads = sum(layer.heads for layer in shown.trace.layers)
    return f"Where each of {heads:,} attention heads looks when {model_name(shown.trace)} reads your text"


def _telling(shown: Current) -> tuple[int, int] | None:
    """Return the head that shows best what an example is there for; None for any other prompt."""
    if shown.request.model != PACKAGED:
        return None
    return next((example.where for example in EXAMPLES if example.prompt == shown.request.prompt), None)


def _written(shown: Current) -> None:
    """Say what an example shows, and what the model wrote."""
    trace = shown.trace
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
def _talk(shown: Current) -> None:
    """Hear what is chosen and answer what is asked; nothing else on the page runs again for it."""
    asked: explore.Question | None = st.session_state.pop(_QUESTION, None)
    answer = None if asked is None else attempt(lambda _: explore.answer(shown.request, asked))

    def hear(said: object) -> None:
        st.session_state[_QUESTION] = explore.question(said)

    talk(answer, on_selection=state.select_said, on_question=hear, key="talk")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
