"""Draw cross-attention: this prompt's queries, another text's keys and values (a part of "Same numbers, four ways")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.learn import cross
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens.common import label, number
from inspector.ui.server import traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.text import Progress
    from inspector.ui.state import Selection

OTHER = "cross_text"
DEFAULT = "The rocket is on its way to the moon."
MOST_CHARACTERS = 4000


def draw(shown: Current, chosen: Selection) -> None:
    """Draw this part for the prompt on screen.

    Args:
        shown: the prompt on screen.
        chosen: the selection.
    """
    st.markdown("#### Cross-attention: queries from this prompt, keys and values from another text")
    st.markdown(
        "**The model on screen never does this itself**: a decoder's queries, keys and values come from one text. "
        "Models that translate let the text they write look at the text they read. Here it is the same mathematics, on "
        "real vectors: no mask, and a rectangle instead of a square."
    )
    if shown.request.file:
        st.info("This needs the model itself, which a trace opened from a file does not bring along.")
        return
    st.session_state.setdefault(OTHER, DEFAULT)
    st.text_input("The other text", key=OTHER, max_chars=MOST_CHARACTERS)
    other = replace(shown.request, prompt=st.session_state[OTHER], generate=0)

    def make(report: Progress) -> tuple[Trace, cross.Crossed]:
        theirs = traces.trace(other, report)
        report("Crossing both texts", None)
        return theirs, cross.crossed(shown.trace, theirs, chosen.layer, chosen.head)

    found = attempt(make)
    if found is None:
        return
    theirs, made = found
    _picture(shown.trace, theirs, made, chosen)


def _picture(ours: Trace, theirs: Trace, made: cross.Crossed, chosen: Selection) -> None:
    """Draw the map between both texts, and where each query token looks most."""
    rows, columns = made.weights.shape
    st.caption(
        f"Layer {chosen.layer}, head {chosen.head}: {count(rows, 'query token')} × {count(columns, 'key token')}. Each "
        f"row adds up to 1. {made.why}"
    )
    matrix_map(
        made.weights,
        name="attention weight",
        row_name="query token of this prompt",
        column_name="key token of the other text",
        rows=[label(ours, at) for at in range(rows)],
        columns=[label(theirs, at) for at in range(columns)],
        limit=1.0,
        scale=chosen.scale,
        legend="attention weight",
        key="crossed",
    )
    strongest = made.weights.argmax(1)
    frame = pd.DataFrame(
        {
            "query token": [label(ours, at) for at in range(rows)],
            "looks most at": [label(theirs, int(at)) for at in strongest],
            "weight": made.weights.max(1),
            "row adds up to": made.weights.sum(1),
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.5f") for name in frame.columns[2:]}
    st.dataframe(frame, hide_index=True, height=min(300, 37 + 35 * len(frame)), column_config=numbers)
    if made.loops is not None:
        st.caption(
            f"The last query token's context vector in plain loops differs from this by at most "
            f"{number(made.loops.max_abs)} (tolerance {number(made.loops.tolerance)}, {plain(made.loops.reason)}): "
            f"{'✓ equal' if made.loops.ok else '✗ not equal'}."
        )
