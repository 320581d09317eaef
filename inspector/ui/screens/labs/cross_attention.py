"""Cross this prompt's queries with another text's keys and values: the laboratory "What is cross-attention?"."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.learn import cross
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import count
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label
from inspector.ui.screens.labs import frame
from inspector.ui.server import traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.text import Progress
    from inspector.ui.state import Selection

NAME = "cross_attention"
OTHER = "cross_text"
DEFAULT = "The rocket is on its way to the moon."
MOST_CHARACTERS = 4000


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "Queries from your text, keys and values from another: a translator's decoder looks at the text it reads this "
        "way. **The model on screen never does this itself**; here its real vectors meet by the same mathematics, "
        "without a mask.",
    )
    if page is None:
        return
    shown, chosen = page
    if common.lacks_model(shown, "A second text"):
        return
    frame.head_and_query(shown, chosen, query=False)
    _crossed(shown, chosen)
    common.terms("query token", "key token", "attention weight", "mask")
    frame.end(NAME)


def _crossed(shown: Current, chosen: Selection) -> None:
    """Run the other text, and draw the map between both."""
    st.session_state.setdefault(OTHER, DEFAULT)
    st.text_input("The other text", key=OTHER, max_chars=MOST_CHARACTERS)
    other = replace(shown.request, prompt=st.session_state[OTHER], generate=0)

    def make(report: Progress) -> tuple[Trace, cross.Crossed]:
        theirs = traces.trace(other, report)
        report("Crossing both texts", None)
        return theirs, cross.crossed(shown.trace, theirs, chosen.layer, chosen.head)

    found = attempt(make)
    if found is not None:
        _picture(shown.trace, *found, chosen)


def _picture(ours: Trace, theirs: Trace, made: cross.Crossed, chosen: Selection) -> None:
    """Draw the map between both texts, and where each query token looks most."""
    rows, columns = made.weights.shape
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
    st.caption(
        f"Layer {chosen.layer}, head {chosen.head}: {count(rows, 'query token')} × {count(columns, 'key token')}. Each "
        f"row adds up to 1. {made.why}"
    )
    if made.loops is not None:
        with frame.proof("Plain loops give the same context vector", made.loops):
            show_verdict(made.loops, "The last query token's context vector, by loops against matrices")
    strongest = made.weights.argmax(1)
    table = pd.DataFrame(
        {
            "query token": [label(ours, at) for at in range(rows)],
            "looks most at": [label(theirs, int(at)) for at in strongest],
            "weight": made.weights.max(1),
            "row adds up to": made.weights.sum(1),
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.5f") for name in table.columns[2:]}
    with st.expander("Numbers: where each token looks most"):
        st.dataframe(table, hide_index=True, height=min(300, 37 + 35 * len(table)), column_config=numbers)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
