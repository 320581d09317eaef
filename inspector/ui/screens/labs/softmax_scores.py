"""Show why scores are divided by √d_head, measured on the model's own (a part of softmax.py)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd
import streamlit as st

from inspector.learn import spread
from inspector.ui.components.chart import show_chart
from inspector.ui.components.scale import scale_slider
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens.common import label, number
from inspector.ui.screens.labs import frame
from inspector.ui.screens.labs.frame import word
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
        chosen: the selection, with a query token.
    """
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    left, right = st.columns([3, 2], gap="large")
    with left:
        _one_row(trace, chosen)

    def make(report: Progress) -> tuple[pd.DataFrame, spread.Variance]:
        heads = traces.from_trace(
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
        return heads, found

    found = attempt(make)
    if found is None:
        return
    heads, why = found
    row = heads[(heads["layer"] == layer) & (heads["head"] == head)].iloc[0]
    with right:
        _sentences(row, why)
        for sentence in _else(trace, layer):
            st.caption(sentence)
    _all_heads(heads, layer, head)
    with frame.proof("Measured: this head's numbers, shuffled and as they are"):
        _measured(trace, layer, row, why)
        columns = ["layer", "head", "pairs", "score std", "scaled std", "entropy unscaled", "entropy"]
        form = {name: st.column_config.NumberColumn(format="%.5g") for name in columns[3:]}
        st.dataframe(heads, hide_index=True, height=240, column_order=columns, column_config=form)


def _one_row(trace: Trace, chosen: Selection) -> None:
    """Draw one row of scores with a slider for the scale."""
    layer, head, query = chosen.layer, chosen.head, chosen.query
    info = trace.layers[layer]
    table = attempt(lambda _: spread.row_by_scale(trace, layer, head, query))
    if table is None:
        return
    st.markdown(f"## What “{plain(word(trace, query))}” looks at, by scale")
    usual = math.isclose(info.scale, info.d_head**-0.5, rel_tol=1e-6)
    own = f"÷ √d_head = √{info.d_head}" if usual else f"this model's: ÷ {number(1 / info.scale)}"
    scale_slider(
        table["score"].tolist(),
        [label(trace, at) for at in table["position"]],
        divisor=1 / info.scale,
        marks=[("no scale", 1.0), (own, 1 / info.scale), ("÷ d_head", float(info.d_head))],
        name="one_row",
    )


def _measured(trace: Trace, layer: int, row: pd.Series, why: spread.Variance) -> None:
    """List what was measured on this head."""
    rows = spread.sample(trace.n)
    of = f"{len(range(trace.n)[rows])} of {count(trace.n, 'query token')}, evenly spaced" if rows.step > 1 else ""
    info = trace.layers[layer]
    _table(row)
    st.caption(
        f"The {row['pairs']:,.0f} pairs the mask allows{f' ({of})' if of else ''}. This layer's scale is "
        f"{number(info.scale)}; 1 / √d_head is {number(info.d_head**-0.5)}."
    )
    st.markdown(
        f"**Check of the root.** This head's own numbers, brought to mean 0 and variance 1 and put in random order, "
        f"give dot products with a standard deviation of {why.shuffled_std:.4g} over {why.pairs:,} pairs; √{why.d_head}"
        f" = {why.expected:.4g}. The real vectors' numbers do not have variance 1 (standard deviation "
        f"{why.query_std:.4g} in queries, {why.key_std:.4g} in keys), and training made them dependent: over all pairs "
        f"these scores have a standard deviation of {why.score_std:.4g}."
    )


def _table(row: pd.Series) -> None:
    """List how far scores spread, before and after scaling."""
    made = pd.DataFrame(
        {
            "scores": ["raw scores, query · key", "what softmax sees, scaled"],
            "standard deviation": [row["score std"], row["scaled std"]],
            "smallest": [row["score min"], row["scaled min"]],
            "largest": [row["score max"], row["scaled max"]],
            "entropy of a row, bits": [row["entropy unscaled"], row["entropy"]],
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.5g") for name in made.columns[1:]}
    st.dataframe(made, hide_index=True, column_config=numbers)


def _sentences(row: pd.Series, why: spread.Variance) -> None:
    """Explain the root, and what it does in this head."""
    before, after = row["entropy unscaled"], row["entropy"]
    d = why.d_head
    st.markdown(
        f"**Why the root.** A score is a sum of d_head = {d} products. Were they independent, each with variance 1, "
        f"the sum would have variance {d}: a standard deviation of √{d} = {why.expected:.4g}, which the division takes "
        "back to 1."
    )
    if after == after:  # not NaN
        st.markdown(
            f"**In this head**, with the scale left out, a row of weights would be like {2**before:.3g} equally likely "
            f"tokens; with it, like {2**after:.3g} (entropy {before:.3f} and {after:.3f} bits, means over query tokens "
            "that have a choice)."
        )
    st.caption("The width of one head, d_head, counts, and not d_model: a query and a key have d_head numbers each.")


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
    names = {"spread": ("score std", "scaled std"), "entropy": ("entropy unscaled", "entropy")}
    titles = {"spread": "standard deviation", "entropy": "entropy of a row, bits (mean)"}
    which = st.segmented_control(
        "Of every head", list(names), format_func=titles.__getitem__, default="entropy", required=True, key="of_heads"
    )
    columns = names[which if which in names else "entropy"]
    long = frame.melt(["layer", "head"], list(columns), "kind", "value").replace(
        {"kind": {columns[0]: UNSCALED, columns[1]: SCALED}}
    )
    drawn = _chart(long, titles[which], layer, head)
    show_chart(drawn, long, title=f"{titles[which].capitalize()} of every head", key="heads_chart")
    first, second = (frame[column] for column in columns)
    st.caption(
        f"A point per head and layer. Mean over all {len(frame)} heads: {first.mean():.4g} with the scale left out, "
        f"{second.mean():.4g} with it. A grey ring marks layer {layer}, head {head}."
    )


def _chart(long: pd.DataFrame, title: str, layer: int, head: int) -> alt.LayerChart | alt.FacetChart:
    """Draw a point per head."""
    across = alt.Scale(domain=[-0.5, int(long["layer"].max()) + 0.5], nice=False)
    base = alt.Chart(long).encode(
        x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=across),
        y=alt.Y("value:Q", title=title),
        tooltip=["layer", "head", "kind", alt.Tooltip("value", format=".5g")],
    )
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=[UNSCALED, SCALED], range=["#8a94a3", "#3584d4"]),
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
