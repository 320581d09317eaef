"""Show why scores are divided by √d_head, measured on the model's own (a part of the laboratory Softmax)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import pandas as pd
import streamlit as st

from inspector.learn import spread
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import number
from inspector.ui.server import traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.text import Progress
    from inspector.ui.state import Selection

UNSCALED, SCALED = "scale left out", "with the scale"


def draw(shown: Current, chosen: Selection) -> None:
    """Draw this part for the prompt on screen.

    Args:
        shown: the prompt on screen.
        chosen: the selection.
    """
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    info = trace.layers[layer]
    st.markdown("#### Why scores are divided by √d_head: this model's real scores")

    def make(report: Progress) -> tuple[pd.DataFrame, spread.Variance]:
        frame = traces.from_trace(
            shown.request,
            ("softmax spreads",),
            lambda traced, say: spread.spreads(
                traced, on_layer=lambda done, total: say("Measuring the scores of every head", done / total)
            ),
            progress=report,
        )
        found = traces.from_trace(
            shown.request,
            ("softmax variance", layer, head),
            lambda traced, _: spread.variance(traced, layer, head),
            progress=report,
        )
        return frame, found

    found = attempt(make)
    if found is None:
        return
    frame, why = found
    with st.container(horizontal=True):
        common.head_pickers(trace.layers, chosen)
    row = frame[(frame["layer"] == layer) & (frame["head"] == head)].iloc[0]
    rows = spread.sample(trace.n)
    of = f"{len(range(trace.n)[rows])} of {count(trace.n, 'query token')}, evenly spaced" if rows.step > 1 else ""
    st.caption(
        f"Layer {layer}, head {head}: the {row['pairs']:,.0f} pairs the mask allows{f' ({of})' if of else ''}. This "
        f"layer's scale is {number(info.scale)}; 1 / √d_head is {number(info.d_head**-0.5)}."
    )
    _table(row)
    _sentences(row, why)
    for sentence in _else(trace, layer):
        st.caption(sentence)
    _all_heads(frame, layer, head)


def _table(row: pd.Series) -> None:
    """List how far scores spread, before and after scaling."""
    made = pd.DataFrame(
        {
            "": ["raw scores, query · key", "what softmax sees, scaled"],
            "standard deviation": [row["score std"], row["scaled std"]],
            "smallest": [row["score min"], row["scaled min"]],
            "largest": [row["score max"], row["scaled max"]],
            "entropy of a row, bits": [row["entropy unscaled"], row["entropy"]],
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.5g") for name in made.columns[1:]}
    st.dataframe(made, hide_index=True, column_config=numbers)


def _sentences(row: pd.Series, why: spread.Variance) -> None:
    """Explain the numbers of the table."""
    before, after = row["entropy unscaled"], row["entropy"]
    if after == after:  # not NaN
        st.markdown(
            f"With the scale left out, a row of weights would have an entropy of {before:.3f} bits on average, like "
            f"{2**before:.3g} equally likely tokens; with it, {after:.3f} bits, like {2**after:.3g} (means over "
            "query tokens that have a choice)."
        )
    d = why.d_head
    st.markdown(
        f"**Why the root.** A score is a sum of d_head = {d} products. If the numbers of queries and keys were "
        f"independent, with mean 0 and variance 1, each product would have variance 1 and the sum variance {d}: a "
        f"standard deviation of √{d} = {why.expected:.4g}, which the division takes back to 1. Check: this head's own "
        f"numbers, brought to mean 0 and variance 1 and put in random order, give {why.shuffled_std:.4g} over "
        f"{why.pairs:,} dot products."
    )
    st.markdown(
        f"**What the real vectors do.** Their numbers do not have variance 1 (standard deviation {why.query_std:.4g} "
        f"in queries, {why.key_std:.4g} in keys), and they are not independent: training made them so. Over all pairs, "
        f"masked or not, these scores have a standard deviation of {why.score_std:.4g}."
    )
    st.caption(
        "It is the width of one head, d_head, and not d_model, that counts: a query and a key of one head have d_head "
        "numbers each."
    )


def _else(trace: Trace, layer: int) -> list[str]:
    """Say what else stands between score and softmax in this layer."""
    stored = trace.stored[layer]
    said = []
    if stored.info.softcap is not None:
        said.append(f"This layer soft-caps scaled scores at ±{stored.info.softcap:g}: what softmax sees is after that.")
    if stored.info.bias:
        said.append("This layer adds a bias to scaled scores: what softmax sees is with it.")
    if stored.info.sinks:
        said.append(
            "This layer has attention sinks: its rows add up to less than 1, their entropy leaves the sink out."
        )
    if stored.unexplained:
        said.append(f"No entropy for this layer: {plain(stored.unexplained)}.")
    return said


def _all_heads(frame: pd.DataFrame, layer: int, head: int) -> None:
    """Draw the same for every head."""
    st.markdown("**The same over all heads**")
    names = {"spread": ("score std", "scaled std"), "entropy": ("entropy unscaled", "entropy")}
    titles = {"spread": "standard deviation", "entropy": "entropy of a row, bits (mean)"}
    which = st.segmented_control(
        "Of every head", list(names), format_func=titles.__getitem__, default="entropy", required=True, key="of_heads"
    )
    columns = names[which if which in names else "entropy"]
    long = frame.melt(["layer", "head"], list(columns), "kind", "value").replace(
        {"kind": {columns[0]: UNSCALED, columns[1]: SCALED}}
    )
    st.altair_chart(_chart(long, titles[which], layer, head), width="stretch", key="heads_chart")
    first, second = (frame[column] for column in columns)
    st.caption(
        f"A point per head and layer. Mean over all {len(frame)} heads: {first.mean():.4g} with the scale left out, "
        f"{second.mean():.4g} with it. A grey ring marks layer {layer}, head {head}."
    )
    with st.expander("Numbers: a row per head"):
        shown = ["layer", "head", "pairs", "score std", "scaled std", "entropy unscaled", "entropy"]
        form = {name: st.column_config.NumberColumn(format="%.5g") for name in shown[3:]}
        st.dataframe(frame, hide_index=True, column_order=shown, column_config=form)


def _chart(long: pd.DataFrame, title: str, layer: int, head: int) -> alt.LayerChart | alt.FacetChart:
    """Draw a point per head."""
    base = alt.Chart(long).encode(
        x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("value:Q", title=title),
        tooltip=["layer", "head", "kind", alt.Tooltip("value", format=".5g")],
    )
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=[UNSCALED, SCALED], range=["#d97a2b", "#3584d4"]),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=[UNSCALED, SCALED], range=["triangle", "circle"]))
    points = base.mark_point(filled=True, size=36, opacity=0.75).encode(color=colour, shape=shape)
    ring = (
        base.transform_filter((alt.datum.layer == layer) & (alt.datum.head == head))
        .mark_point(filled=False, size=160, strokeWidth=2)
        .encode(shape=shape, color=alt.value("gray"))
    )
    return alt.layer(points, ring).properties(height=300)
