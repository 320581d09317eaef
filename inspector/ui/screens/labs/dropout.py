"""Show what dropout does to a row of weights at training time: the laboratory "What does dropout do?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.learn import dropout
from inspector.ui.components.chart import show_chart
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label, quoted
from inspector.ui.screens.labs import frame
from inspector.ui.server import traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.text import Progress

NAME = "dropout"
P, SEED = "dropout_p", "dropout_seed"
DRAWN_UP_TO = 24  # key tokens in the picture: those with the largest weights
KINDS = {"without dropout": "#8a94a0", "this draw": "#3584d4", f"mean of {max(dropout.DRAWS):,} draws": "#8fc1ec"}


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "In training, some models set weights to 0 at random and scale the others up, so that no weight is relied on "
        "alone. One draw changes the row; the mean over many draws comes back to it.",
    )
    if page is None:
        return
    shown, chosen = page
    frame.head_and_query(shown, chosen)
    trace, query = shown.trace, chosen.query
    with st.container(horizontal=True, vertical_alignment="bottom"):
        p = st.slider("Dropout p", 0.0, 0.9, 0.3, step=0.1, key=P, width=260)
        seed = st.number_input("Seed", 0, 10**6, 0, step=1, key=SEED, width=140)

    def make(_: Progress) -> tuple[list[int], pd.DataFrame, pd.DataFrame]:
        keys, row = dropout.row_of(trace, chosen.layer, chosen.head, query)
        once = dropout.dropped(row, p, seed=int(seed))[0]
        table, mean = dropout.averages(row, p, seed=int(seed))
        weights = pd.DataFrame(dict(zip(KINDS, (row, once, mean), strict=True)))
        return keys, weights, table

    found = attempt(make)
    if found is not None:
        _row(trace, query, p, *found)
    _here(shown, chosen.layer)
    common.terms("attention weight", "softmax")
    frame.end(NAME)


def _here(shown: Current, layer: int) -> None:
    """Say what the config asks for, and whether two runs are equal."""

    def make(report: Progress) -> tuple[str, bool]:
        def again(trace: Trace, say: Progress) -> dropout.AtInference:
            say("Running the prompt a second time", None)
            return dropout.at_inference(trace, layer)

        try:
            found = traces.from_trace(shown.request, ("at inference", layer), again, progress=report)
        except InspectorError as error:
            return str(error), False
        mode = "is in training mode" if found.training else "is not in training mode, so nothing is dropped"
        return (
            f"This model's config asks for a dropout of {found.rate:g} on attention weights at training time. Here the "
            f"model {mode}: of {found.elements:,} numbers (queries, keys and values of all layers, last logits), "
            f"{found.differing:,} differ between two runs of this prompt."
        ), True

    made = attempt(make)
    if made is not None:
        said, known = made
        (st.markdown if known else st.info)(plain(said))


def _row(trace: Trace, query: int, p: float, keys: list[int], weights: pd.DataFrame, means: pd.DataFrame) -> None:
    """Draw one row without dropout, with it, and the mean over many draws."""
    kinds = list(KINDS)
    once = weights[kinds[1]]
    lost = int(((once == 0) & (weights[kinds[0]] != 0)).sum())
    st.markdown(
        f"The row of {quoted(trace, query)}, {count(len(keys), 'weight')}, with torch's own dropout of p = "
        f"{p:g}: **{lost} set to 0**, the others divided by 1 − p = {1 - p:g}. One draw adds up to "
        f"{once.sum():.4f}; only the mean over many draws comes back to the row."
    )
    names = [label(trace, key) for key in keys]
    top = np.sort(np.argsort(-weights[kinds[0]].to_numpy(), kind="stable")[:DRAWN_UP_TO])
    long = weights.assign(key=names, position=keys).iloc[top].melt(["key", "position"], kinds, "kind", "weight")
    show_chart(_chart(long), long, title="Attention weights with and without dropout", key="dropout_chart")
    if len(keys) > DRAWN_UP_TO:
        st.caption(f"Drawn: the {DRAWN_UP_TO} largest of {len(keys):,} weights.")
    with st.expander("Numbers: this draw, and means over more and more draws"):
        _numbers(names, weights, means)


def _numbers(names: list[str], weights: pd.DataFrame, means: pd.DataFrame) -> None:
    """List every weight, and how far the mean is from the row."""
    left, right = st.columns(2, gap="large")
    with left:
        table = weights.assign(key=names)[["key", *KINDS]]
        numbers = {name: st.column_config.NumberColumn(format="%.6f") for name in KINDS}
        st.dataframe(table, hide_index=True, height=min(320, 37 + 35 * len(table)), column_config=numbers)
    with right:
        form = {name: st.column_config.NumberColumn(format="%.3g") for name in means.columns[1:]}
        st.dataframe(means, hide_index=True, column_config=form)
        st.caption(
            "Largest difference between the row and the mean over so many draws; expected: the largest weight's "
            "standard deviation, weight × √(p / (1 − p) / draws)."
        )


def _chart(long: pd.DataFrame) -> alt.Chart:
    """Draw the weights as bars."""
    colour = alt.Scale(domain=list(KINDS), range=list(KINDS.values()))
    chart: alt.Chart = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("key:N", sort=alt.SortField("position"), title="key token", axis=alt.Axis(labelAngle=-45)),
            xOffset=alt.XOffset("kind:N", sort=list(KINDS)),
            y=alt.Y("weight:Q", title="attention weight"),
            color=alt.Color("kind:N", scale=colour, title=None, legend=alt.Legend(orient="top", columns=2)),
            tooltip=["key", "kind", alt.Tooltip("weight", format=".6f")],
        )
        .properties(height=340)
    )
    return chart


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
