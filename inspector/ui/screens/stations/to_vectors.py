"""Draw the stations from the token to its query, key and value vectors, rotated by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.analysis import rope_planes
from inspector.learn import position, token_vectors
from inspector.ui.components.clock import rope_clock
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.markdown import count, plain
from inspector.ui.progress import attempt
from inspector.ui.screens.common import number, quoted
from inspector.ui.screens.labs.frame import proof, word
from inspector.ui.screens.stations.at import At, formula, terms

if TYPE_CHECKING:
    import numpy.typing as npt


def strips(panels: Sequence[tuple[str, npt.ArrayLike]], key: str, *, limit: float | None = None) -> None:
    """Draw vectors of equal width below each other.

    Args:
        panels: a title and numbers for each.
        key: the component's key.
        limit: the number that takes full colour; None: each vector's own largest.
    """
    width = len(np.asarray(panels[0][1]))
    aligned(
        [Panel("strip", title, values, title, limit) for title, values in panels],
        names=[f"dimension {d}" for d in range(width)],
        axis=[str(d) for d in range(width)],
        axis_name="dimension",
        label="; ".join(title for title, _ in panels),
        key=key,
    )


def tokens(at: At) -> None:
    """Draw the prompt's tokens and the query token's embedding."""
    at.words.markdown(
        "The prompt is cut into **tokens**, pieces of text the model knows by number. Each number is the row of a "
        "learned table, and that row is the token's **embedding**: the same vector wherever the token stands."
    )
    ids = at.trace.tokens.ids
    left, right = st.columns([2, 3], gap="large")
    with left:
        frame = pd.DataFrame({"token": at.trace.tokens.labels, "id": ids}).rename_axis("position")
        frame["here"] = ["●" if i == at.query else "" for i in range(len(frame))]
        st.dataframe(
            frame,
            height=min(330, 37 + 35 * len(frame)),
            column_order=["here", "token", "id"],
            column_config={"here": st.column_config.TextColumn("●", width=26)},
        )
    with right:
        found = at.residual_stream()
        if found is None:
            return
        if found.embedding is None:
            st.info("What the first block receives could not be read from this model.")
            return
        row = token_vectors.look_up(at.trace, at.query, found.embedding)
        width = len(found.embedding)
        if row is not None:
            formula(
                at,
                rf"\text{{embedding}} = E[\,{ids[at.query]}\,]",
                ("E", f"[{row.rows:,}, {width}] parameters"),
                ("embedding", f"[{width}]"),
            )
        whole = row is None or row.same or np.isfinite(row.factor)
        title = "embedding of" if whole else "what the first block receives for"
        strips([(f"{title} {at.query_label}", found.embedding)], "embedding")
        if row is not None and row.same:
            with proof("Looked up here, and received by the model: equal"):
                st.caption(
                    f"Row {ids[at.query]:,} of the table, and what the first block received when the model ran: equal "
                    f"in all {count(width, 'number')}."
                )
        elif row is not None and np.isfinite(row.factor):
            st.caption(f"This model multiplies row {ids[at.query]:,} of its table by {number(row.factor)}.")
        elif row is not None:
            st.caption("This model adds something to the table's row (a position, a norm) before its first block.")
    terms(at, "token", "embedding", "parameter", "activation")


def attention_input(at: At) -> None:
    """Draw what the layer receives for the query token."""
    at.words.markdown(
        "A vector travels with each token through all layers, the **residual**. It begins as the embedding; each "
        "layer adds to it. What attention receives is, in most models, the residual after the block's norm, which "
        "brings it to a common size."
    )
    found = at.residual_stream()
    if found is None or found.input is None:
        return
    received = found.input
    panels = [("attention input", received)]
    if found.residual is not None:
        panels.insert(0, ("residual", found.residual))
    formula(
        at,
        r"x = \mathrm{norm}(\text{residual})",
        ("residual", f"[d_model] = [{len(received)}]"),
        ("x, the attention input,", f"[{len(received)}]"),
    )
    strips([(f"{title} of {at.query_label}", values) for title, values in panels], "attention input")
    if found.residual is not None and np.array_equal(found.residual, received):
        st.caption("In this model attention receives the residual itself: no norm stands before it.")
    lengths = ", ".join(f"{title} {number(float(np.linalg.norm(values)))}" for title, values in panels)
    st.caption(f"Lengths at layer {at.layer}: {lengths}. Each strip has its own colour scale.")
    terms(at, "residual", "attention input", "d_model", "activation")


def matrices(at: At) -> None:
    """Draw this head's learned matrices."""
    at.words.markdown(
        "Three learned matrices make vectors out of the attention input: **W_q** says what a token looks for, **W_k** "
        "what it advertises, **W_v** what it passes on. They are **parameters**: change the prompt, and these pictures "
        "stay."
    )
    found = attempt(lambda _: token_vectors.matrices(at.trace, at.layer, at.head), may_lack=True)
    if found is None:
        return
    limit = max(float(np.quantile(np.abs(found[name]), 0.995)) for name in ("W_q", "W_k", "W_v")) or 1.0
    for name, makes in (("W_q", "query"), ("W_k", "key"), ("W_v", "value")):
        rows, columns = found[name].shape
        st.markdown(f"**{name}** of layer {at.layer}, head {at.head} · parameters · [{rows}, {columns}]")
        matrix_map(
            found[name],
            name=name,
            row_name=f"{makes} dimension",
            column_name="input dimension",
            limit=limit,
            key=f"matrix {name}",
            max_height=170,
        )
    share = at.info.heads // at.info.kv_heads
    st.caption(
        f"{sum(found[name].size for name in token_vectors.MATRICES):,} parameters with W_o. Full colour is "
        f"±{number(limit)}; at most one number in 200 of each matrix is larger."
        + (f" W_k and W_v are shared by {share} query heads." if share > 1 else "")
    )
    terms(at, "W_q", "W_k", "W_v", "parameter", "activation", "head", "d_head", "d_model")


def vectors(at: At) -> None:
    """Draw the query token's own query, key and value."""
    at.words.markdown(
        f"Each matrix times the attention input of token {quoted(at.trace, at.query)} gives one vector of this head: "
        "its **query**, its **key**, its **value**. Every token gets all three."
    )
    trace = at.trace
    found = at.residual_stream()
    if found is None or found.input is None:
        return
    formula(
        at,
        r"q = W_q\,x \qquad k = W_k\,x \qquad v = W_v\,x",
        ("x", f"[{len(found.input)}]"),
        ("W_q, W_k", f"[{at.info.d_head}, {len(found.input)}]"),
        ("q, k", f"[d_head] = [{at.info.d_head}]"),
    )
    received = found.input
    drawn = list(token_vectors.own_vectors(trace, at.layer, at.head, at.query).items())
    alike = len({len(vector) for _, vector in drawn}) == 1
    for together in [drawn] if alike else [drawn[:2], drawn[2:]]:  # value vectors may have a width of their own
        strips(together, " ".join(name for name, _ in together))
    table = attempt(lambda _: token_vectors.made_vectors(trace, at.layer, at.head, at.query, received), may_lack=True)
    if table is None:
        return
    with proof("Computed here, and what the model had: the first number of each"):
        st.dataframe(
            table,
            hide_index=True,
            column_order=["vector", "matrix", "first", "model", "differing", "elements"],
            column_config={
                "first": st.column_config.NumberColumn("matrix · input", format="%.6f"),
                "model": st.column_config.NumberColumn("in the model", format="%.6f"),
                "differing": st.column_config.NumberColumn(
                    "numbers that differ", help="By more than verification allows."
                ),
                "elements": st.column_config.NumberColumn("of"),
            },
        )
    if more := token_vectors.beyond_the_matrices(trace, at.layer):
        st.caption(f"This layer does more than multiply: it {more}.")
    elif table["differing"].any():
        st.caption("Numbers differ by more than rounding, which this layer's description does not explain: see Verify.")
    terms(at, "query vector", "key vector", "value vector", "d_head")


def rope(at: At) -> None:
    """Draw query and key before and after rotation."""
    at.words.markdown(
        "**RoPE** turns the query and the key by their token's position, two dimensions at a time: some pairs fast, "
        "some slowly. Rotation preserves length; the product of two rotated vectors depends on positions only by their "
        "distance."
    )
    if at.info.rope is False:
        st.info("This layer does not use RoPE: queries and keys are compared as they are.", icon=":material/info:")
        return
    steps = at.steps
    if steps.query_before is None or steps.key_before is None:
        st.info(plain(steps.no_before), icon=":material/info:")
        return
    formula(
        at,
        r"\begin{pmatrix} a' \\ b' \end{pmatrix} = \begin{pmatrix} \cos p\,\theta_i & -\sin p\,\theta_i \\ "
        r"\sin p\,\theta_i & \cos p\,\theta_i \end{pmatrix} \begin{pmatrix} a \\ b \end{pmatrix}",
        ("p", "the token's position"),
        ("θᵢ", "the speed of plane i"),
        ("a, b", "its two dimensions"),
    )
    planes = attempt(lambda _: position.turned_planes(at.trace, at.layer, at.head, at.query, at.key), may_lack=True)
    if planes is not None:
        names = word(at.trace, at.query), word(at.trace, at.key)
        rope_clock(planes, score=steps.score, query=at.query, key=at.key, names=names, name="clock")
    for kind, where, before, after in (
        ("query", at.query_label, steps.query_before, steps.query),
        ("key", at.key_label, steps.key_before, steps.key),
    ):
        limit = float(np.abs(np.concatenate((before, after))).max()) or 1.0
        strips([(f"{kind} of {where}, before", before), ("after RoPE", after)], f"turned {kind}", limit=limit)
        st.caption(
            f"Length before {number(float(np.linalg.norm(before)))}, after {number(float(np.linalg.norm(after)))}."
            + (" Position 0 is not turned." if where.startswith("0 ") else "")
        )
    factor = attempt(lambda _: rope_planes.turning(at.trace, at.layer).factor, may_lack=True)
    if factor is not None and factor != 1:
        st.caption(f"This model's RoPE rule also multiplies what it turns by {number(factor)}.")
    terms(at, "RoPE", "query vector", "key vector")
