"""Let visitors try the softmax on the model's own scores and on numbers: "Why divide by the square root?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.learn import softmax
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import number
from inspector.ui.screens.labs import frame, softmax_scores
from inspector.views.softmax_page import page_of_softmax

if TYPE_CHECKING:
    from inspector.learn.softmax import Shares

NAME = "softmax"
NUMBERS, SCALE, ADDED = "softmax_numbers", "softmax_scale", "softmax_added"
SCALES = [0.01, 0.02, 0.05, 0.1, 0.125, 0.2, 0.5, 1.0, 2.0, 5.0, 8.0, 10.0, 20.0, 50.0, 100.0]
FACTORS = (0.1, 1.0, 10.0, 100.0)


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "Softmax turns any numbers into positive shares that add up to 1. Large scores would give one token nearly "
        "everything; divided by √d_head, several tokens are heard.",
    )
    if page is None:
        return
    shown, chosen = page
    frame.head_and_query(shown, chosen)
    softmax_scores.draw(shown, chosen)
    with st.expander("Try it on your own numbers"):
        _try_it()
    common.terms("softmax", "scale", "entropy", "d_head")
    frame.end(NAME)


# -- typed numbers -------------------------------------------------------------------------------------------------


def _try_it() -> None:
    """Draw fields for numbers, and their softmax."""
    st.session_state.setdefault(NUMBERS, _text(softmax.EXAMPLES[0]))
    st.session_state.setdefault(SCALE, 1.0)
    st.session_state.setdefault(ADDED, 0.0)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.text_input("Numbers, separated by commas or spaces", key=NUMBERS, max_chars=800)
        with st.container(horizontal=True):
            for example in softmax.EXAMPLES:
                st.button(_text(example), key=f"example {_text(example)}", on_click=_take, args=(example,))
        scale = st.select_slider("Scale: all numbers times", SCALES, key=SCALE, format_func=lambda scale: f"{scale:g}")
        added = st.slider("Added to every number first", -10.0, 10.0, step=0.5, key=ADDED)
    made = attempt(lambda _: softmax.shares(softmax.parse(st.session_state[NUMBERS]), scale=scale, added=added))
    if made is None:
        return
    with left:
        st.download_button(
            "Download this as one HTML page",
            page_of_softmax(made.numbers, scale=scale, added=added),
            file_name="softmax.html",
            mime="text/html",
            icon=":material/download:",
            on_click="ignore",
            help="Opens in any browser, without a network, and computes by itself.",
        )
    with right:
        _picture(made)
    _what_changes(made, scale, added)


def _take(example: tuple[float, ...]) -> None:
    """Take an example's numbers."""
    st.session_state[NUMBERS], st.session_state[SCALE], st.session_state[ADDED] = _text(example), 1.0, 0.0


def _text(numbers: tuple[float, ...]) -> str:
    """Write numbers as one types them."""
    return ", ".join(f"{each:g}" for each in numbers)


def _picture(made: Shares) -> None:
    """Draw the numbers and their shares."""
    aligned(
        [
            Panel("bars", "what softmax sees: (number + added) × scale", made.inputs, "what softmax sees"),
            Panel("bars", "softmax, from 0 to 1", made.weights, "softmax", limit=1.0, scale="linear"),
        ],
        names=[f"number {i}: {each:g}" for i, each in enumerate(made.numbers)],
        axis=[f"{each:g}" for each in made.numbers],
        label="The numbers and their softmax, a column per number",
        key="shares",
    )
    frame = pd.DataFrame({"number": made.numbers, "what softmax sees": made.inputs, "softmax": made.weights})
    st.dataframe(
        frame,
        hide_index=True,
        height=min(250, 37 + 35 * len(frame)),
        column_config={
            "number": st.column_config.NumberColumn(format="%g", width=70),
            "what softmax sees": st.column_config.NumberColumn(format="%g", width=125),
            "softmax": st.column_config.NumberColumn(format="%.9g", width=120),
        },
    )
    st.caption(
        f"Entropy {made.entropy:.3f} bits: like {2**made.entropy:.3g} equally likely options, of {len(made.numbers)}."
    )


def _what_changes(made: Shares, scale: float, added: float) -> None:
    """Show that scaling sharpens and adding a constant does nothing, each with its numbers."""
    st.markdown("**Scaling sharpens.** The largest share of these numbers, by scale:")
    with st.container(horizontal=True, gap="small"):
        for factor in FACTORS:
            largest = max(softmax.shares(made.numbers, scale=factor).weights)
            st.metric(f"scale {factor:g}", f"{largest:.6g}", border=True, width="content")
    added = added or 100.0
    before, after = (softmax.shares(made.numbers, scale=scale, added=each).weights for each in (0.0, added))
    moved = max(abs(one - other) for one, other in zip(before, after, strict=True))
    st.markdown(
        f"**Adding a constant changes nothing.** With {number(added)} added to every number, the largest change of a "
        f"share is {frame.small(moved, 1e-12)}: softmax sees differences only. That is why the "
        "largest number may be taken off before anything is raised, and nothing overflows."
    )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
