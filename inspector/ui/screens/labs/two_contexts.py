"""Follow one word through two prompts, and see how far its vectors move apart: "Does context change a word?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import InspectorError
from inspector.learn import context_controls, contexts
from inspector.ui import state
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.screens.labs import frame
from inspector.ui.screens.labs import two_contexts_parts as parts
from inspector.ui.screens.labs.two_contexts_parts import Pair
from inspector.ui.server import traces

if TYPE_CHECKING:
    from inspector.text import Progress
    from inspector.trace.trace import Trace

NAME = "two_contexts"
FIRST, SECOND, WORD, EXAMPLE = "contexts_first", "contexts_second", "contexts_word", "contexts_example"
MOST_CHARACTERS = 2000


def show() -> None:
    """Draw the screen for two prompts of its own; the prompt on screen stays as it is."""
    page = frame.begin(
        NAME,
        "The same word in two prompts. It begins as the same embedding, distance 0; the line is how far apart its two "
        "vectors are when they enter each layer.",
    )
    if page is None:
        return
    shown, chosen = page
    frame.about(shown)
    if shown.request.file:
        st.info("This page runs the model on two prompts of its own: close the file to use it.", icon=":material/info:")
        return
    _fields()
    texts, word = (st.session_state[FIRST], st.session_state[SECOND]), st.session_state[WORD]
    pair = attempt(lambda report: _pair(shown.request.model, texts, word, report))
    if pair is None:
        return
    parts.where(pair)
    parts.chart(pair)
    parts.rows(pair, chosen)
    with st.popover(f"Layer {chosen.layer}, head {chosen.head}", icon=":material/tune:"):
        common.head_pickers(shown.trace.layers, chosen)
    with frame.proof("The control, position alone, and every number"):
        parts.position_alone(pair)
        parts.vectors(pair, chosen)
        parts.numbers(pair)
    common.terms("embedding", "residual", "attention input", "RoPE", "attention weight")
    frame.end(NAME)


def _fields() -> None:
    """Draw fields for two prompts and a word, typed or from a ready example."""
    usual = contexts.EXAMPLES[0]
    for key, value in ((FIRST, usual.first), (SECOND, usual.second), (WORD, usual.word)):
        # A widget's own key goes with its page; written anew it stays.
        st.session_state[key] = st.session_state.get(key, value)

    def take() -> None:
        for example in contexts.EXAMPLES:
            if example.title == st.session_state[EXAMPLE]:
                st.session_state[FIRST], st.session_state[SECOND] = example.first, example.second
                st.session_state[WORD] = example.word

    titles = [example.title for example in contexts.EXAMPLES]
    st.pills("Ready examples", titles, key=EXAMPLE, on_change=take)
    with st.form("contexts_form", border=False):
        places = st.columns([5, 5, 2, 2], vertical_alignment="bottom")
        places[0].text_input("First prompt", key=FIRST, max_chars=MOST_CHARACTERS)
        places[1].text_input("Second prompt", key=SECOND, max_chars=MOST_CHARACTERS)
        places[2].text_input("Word", key=WORD, max_chars=100)
        places[3].form_submit_button("Compare", type="primary", width="stretch")


def _pair(model: str, texts: tuple[str, str], word: str, report: Progress) -> Pair:
    """Run both prompts, each stored as any other prompt is, and compare them; the comparison is stored too."""
    if empty := [name for name, text in zip(("first", "second"), texts, strict=True) if not text.strip()]:
        raise InspectorError(f'The {empty[0]} prompt is empty: type some text with the word in it, such as "we have".')
    requests = [state.Request(model, text) for text in texts]
    first, second = (traces.trace(request, report) for request in requests)
    at, other = contexts.find(first.tokens, word), contexts.find(second.tokens, word)

    def make(_: Trace, say: Progress) -> Pair:
        say("Comparing the two contexts, layer by layer", None)
        moved, cut, why = None, None, ""
        try:
            moved = context_controls.moved(first, at.last, abs(other.last - at.last) or 1)
            if at.last != other.last:
                cut = context_controls.at_one_position(first, at.last, second, other.last)
        except InspectorError as error:
            why = str(error)
        return Pair(
            first=first,
            at=at,
            second=second,
            other=other,
            residuals=contexts.residuals(first, at.last, second, other.last),
            inputs=contexts.inputs(first, at.last, second, other.last),
            control=context_controls.repeated(first, at.last),
            moved=moved,
            cut=cut,
            why=why,
        )

    name = ("contexts", texts[1], at, other)
    return traces.from_trace(requests[0], name, make, size=lambda _: first.nbytes + second.nbytes, progress=report)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
