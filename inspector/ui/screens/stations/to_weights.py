"""Draw the stations from a query and a key to the row of attention weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.analysis import maps
from inspector.learn import walkthrough
from inspector.ui import state
from inspector.ui.components.heatmap import attention_map
from inspector.ui.components.strips import Panel, aligned, weight_row
from inspector.ui.markdown import count, plain
from inspector.ui.progress import attempt
from inspector.ui.screens.common import label, number
from inspector.ui.screens.labs.frame import proof, word
from inspector.ui.screens.stations.at import At, formula, terms

if TYPE_CHECKING:
    from inspector.text import Progress


def pair(at: At) -> None:
    """Draw one score as a sum of products."""
    at.words.markdown(
        "How well does a key answer a query? Multiply the two vectors dimension by dimension and add up: the **dot "
        "product** is the **attention score**, large where both vectors point the same way."
    )
    steps = at.steps
    formula(
        at,
        r"\text{score} = q \cdot k = \sum_{i=1}^{d_\text{head}} q_i\,k_i",
        ("q, k", f"[d_head] = [{at.info.d_head}]" + (", after RoPE" if at.info.rope is not False else "")),
        ("score", "one number"),
    )
    so_far = np.cumsum(steps.product)
    dimensions = [str(d) for d in range(len(so_far))]
    aligned(
        [
            Panel("strip", f"query of {at.query_label}", steps.query, "query"),
            Panel("strip", f"× key of {at.key_label}", steps.key, "key"),
            Panel("strip", "= product", steps.product, "product"),
            Panel("bars", f"the sum so far, from left to right: ends at {number(steps.score)}", so_far, "sum so far"),
        ],
        names=[f"dimension {d}" for d in dimensions],
        axis=dimensions,
        axis_name="dimension",
        label="Query, key, their product and its running sum, a column per dimension",
        key="building up",
    )
    st.caption(
        f"Adding the {count(len(so_far), 'product')} gives {number(float(so_far[-1]))}; the score is "
        f"{number(steps.score)}. Choose another key token and see another sum."
    )
    terms(at, "attention score", "query token", "key token", "query vector", "key vector")


def scores(at: At) -> None:
    """Draw the query's scores with all keys."""
    at.words.markdown(
        "The same query meets the key of **every** token: a row of scores. All queries together make the grid of "
        "n × n scores, in one matrix product."
    )
    n = at.trace.n
    formula(
        at,
        r"s_j = q \cdot k_j \qquad S = Q K^\top",
        ("Q, K", f"[n, d_head] = [{n:,}, {at.info.d_head}]"),
        ("S", f"[n, n] = [{n:,}, {n:,}]"),
        ("this row", f"[{n:,}]"),
    )
    _row(at, [Panel("bars", f"scores of query token {at.query_label}", at.row["score"], "score")], "scores row")
    seen = at.row["score"].to_numpy()
    st.caption(
        f"From {number(seen.min())} to {number(seen.max())}. Any number is possible: a score is not yet a share."
    )
    terms(at, "attention score", "query token", "key token")


def scaling(at: At) -> None:
    """Draw the scores before and after scaling."""
    info, trace = at.info, at.trace
    at.words.markdown(
        f"A sum of {info.d_head} products, each with variance 1, has variance {info.d_head}: its typical size grows "
        "with √d_head. Dividing by √d_head brings scores back to where the softmax still weighs several tokens."
    )
    usual = math.isclose(info.scale, info.d_head**-0.5, rel_tol=1e-6)
    formula(
        at,
        r"\text{scaled score} = \frac{s_j}{\sqrt{d_\text{head}}}" if usual else r"\text{scaled score} = s_j \cdot c",
        ("√d_head", f"= √{info.d_head} = {number(info.d_head**0.5)}")
        if usual
        else ("c", f"= {number(info.scale)}, this model's own (1/√d_head would be {number(info.d_head**-0.5)})"),
    )
    _row(
        at,
        [
            Panel("bars", "score", at.row["score"], "score"),
            Panel("bars", "scaled score", at.row["scaled score"], "scaled score"),
        ],
        "scaled row",
    )
    if info.bias:
        st.caption("This model adds a bias to each scaled score; the lower bars include it.")
    if info.softcap is not None:
        st.caption(f"This model then soft-caps: {info.softcap:g} · tanh(scaled score / {info.softcap:g}).")
    width = _d_model(at)
    if width is None:
        return
    table = walkthrough.scalings(trace, at.layer, at.head, at.query, width)
    with proof("The same row through the softmax under three scales: d_head's root, not d_model's"):
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "what": st.column_config.TextColumn("scale"),
                "scale": st.column_config.NumberColumn("factor", format="%.5f"),
                "spread": st.column_config.NumberColumn("spread of the scores", format="%.4f"),
                "largest": st.column_config.NumberColumn("largest weight", format="%.6f"),
                "entropy": st.column_config.NumberColumn("entropy in bits", format="%.4f"),
            },
        )
        if info.softcap is not None or info.bias or info.sinks:
            st.caption("This table is about the scale alone: this model's soft-cap, bias or sink is left out of it.")
        choice = count(int(at.row["allowed"].sum()), "token")
        bits = math.log2(at.row["allowed"].sum())
        st.caption(f"Entropy of a row that looks at all its {choice} alike: {bits:.3f} bits.")
    terms(at, "scale", "scaled score", "d_head", "d_model", "entropy")


def mask(at: At) -> None:
    """Draw what the query may look at."""
    seen = int(at.row["allowed"].sum())
    at.words.markdown(
        "A causal model is trained to predict the next token, so no token may look at what comes after it. The "
        "**mask** takes those scores out before the softmax: what cannot be looked at is grey and gets no weight."
    )
    formula(
        at,
        r"m_j = \begin{cases} \text{scaled score}_j & \text{if the query may look at } j \\ -\infty & \text{else}"
        r"\end{cases}",
        ("this row", f"may look at {seen:,} of {count(at.trace.n, 'token')}"),
    )
    rules = [f"“{word(at.trace, at.query)}” may look at {count(seen, 'token')} and not at {at.trace.n - seen:,}."]
    if at.info.window:
        rules.append(f"This layer has a window: a token sees the last {count(at.info.window, 'token')} only.")
    if at.info.chunk:
        rules.append(f"This layer looks within stretches of {count(at.info.chunk, 'token')} only.")

    def draw(report: Progress) -> maps.Picture:
        report("Computing this head's scores", None)
        return maps.picture(at.trace, at.layer, at.head, kind="scaled_scores")

    picture = attempt(draw)
    if picture is not None:
        attention_map(
            picture,
            at.trace.tokens.labels,
            kind="scaled_scores",
            scale="linear",
            label="Scaled scores of every query token (row) and key token (column), grey where masked",
            key="masked scores",
        )
    st.caption(plain(" ".join(rules)))
    terms(at, "mask", "scaled score", "query token", "key token")


def softmax(at: At) -> None:
    """Draw how scores become weights."""
    at.words.markdown(
        "The **softmax** makes shares of a row: e to the power of each scaled score, divided by the sum of all. Every "
        "weight is positive, a row adds up to 1, and the largest score gets the largest share."
    )
    steps = at.steps
    formula(
        at,
        r"a_j = \frac{e^{m_j}}{\sum_{l} e^{m_l}}",
        ("a, the row of attention weights,", f"[{at.trace.n:,}]"),
        ("sum", "over the tokens this query may look at"),
    )
    if steps.no_weight:
        st.warning(plain(steps.no_weight), icon=":material/warning:")
        return
    table = walkthrough.with_exponentials(at.row)
    weight_row(
        table,
        query=at.query_label,
        chosen=at.key,
        scale="linear",
        sink=at.info.sinks,
        on_pick=lambda position: state.select(key=position),
        name="softmax row",
    )
    with proof("The exponentials, their sum and the weights"):
        st.dataframe(
            table.assign(key=[label(at.trace, position) for position in table["position"]]),
            hide_index=True,
            height=min(330, 37 + 35 * len(table)),
            column_order=["key", "scaled score", "exponential", "weight"],
            column_config={
                "key": st.column_config.TextColumn("key token"),
                "scaled score": st.column_config.NumberColumn(format="%.4f"),
                "exponential": st.column_config.NumberColumn("e^(scaled − largest)", format="%.4g"),
                "weight": st.column_config.NumberColumn(format="%.4g"),
            },
        )
        st.caption(
            f"Exponentials add up to {number(float(table['exponential'].sum()))}"
            + (f", with the sink's to {number(steps.total)}" if at.info.sinks else "")
            + ", weights to "
            f"{table['weight'].sum():.6f}. Taking the largest score off all of them first changes no share, and "
            "prevents e^x from overflowing."
        )
    if at.info.sinks:
        st.caption("This head has an attention sink: one more score, without a value, that takes the rest.")
    st.caption("Weights are activations: this row is about this prompt. At inference no dropout acts on them.")
    terms(at, "softmax", "attention weight", "activation")


def _row(at: At, panels: list[Panel], key: str) -> None:
    """Draw bars over the key tokens, the chosen one marked."""
    names = [label(at.trace, position) for position in range(at.trace.n)]
    aligned(
        panels,
        names=[f"key token {name}" for name in names],
        axis=names,
        turned=True,
        marked=at.key,
        label=f"{' and '.join(panel.series for panel in panels)} of this query token, a column per key token",
        key=key,
        on_pick=lambda position: state.select(key=position),
    )


def _d_model(at: At) -> int | None:
    """Return the width of the model's vectors, where the attention input can be read."""
    found = at.residual_stream()
    return None if found is None or found.input is None else len(found.input)
