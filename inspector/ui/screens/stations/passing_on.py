"""Stations from the attention weights to the next layer. Each draws itself for an At."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.analysis import shares
from inspector.learn import walkthrough
from inspector.ui import state
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import count, plain
from inspector.ui.progress import attempt
from inspector.ui.screens.common import label, number, terms
from inspector.ui.screens.stations.at import At, formula
from inspector.ui.screens.stations.from_token import strips
from inspector.ui.server import results

if TYPE_CHECKING:
    from inspector.learn.walkthrough import WeightedValues


def values(at: At) -> None:
    st.markdown(
        "A weight says **how much**; the value vector says **what**. Each key token's value vector is multiplied by "
        "its weight: strong rows below are what this query token takes in."
    )
    found = _weighted(at)
    if found is None:
        return
    formula(
        r"a_j\,v_j",
        ("a_j", "one number"),
        ("v_j", f"[d_value] = [{at.info.d_value}]"),
        ("all weighted values", f"[{at.trace.n:,}, {at.info.d_value}]"),
    )
    rows = [
        f"{weight:.3f} × {label(at.trace, position)}"
        for position, weight in zip(found.positions, found.weights, strict=True)
    ]
    picture = found.values
    if found.rest is not None:
        rows.append(f"{found.rest_weight:.3f} × all others")
        picture = np.vstack((picture, found.rest))
    matrix_map(
        picture,
        name="weighted value",
        row_name="key token",
        column_name="dimension",
        rows=rows,
        key="weighted values",
        max_height=620,
    )
    if found.rest is not None:
        st.caption(
            f"The {count(len(found.positions), 'key token')} this query looks at most; the others are added up in the "
            "last row."
        )
    terms("weighted values", "value vector", "attention weight")


def context(at: At) -> None:
    st.markdown(
        "Add the weighted values up, dimension by dimension: the **context vector**, what this head has gathered for "
        "this token. A blend of value vectors, by the weights of one row."
    )
    found = _weighted(at)
    if found is None:
        return
    formula(
        r"c = \sum_j a_j\,v_j \qquad C = A\,V",
        ("c", f"[d_value] = [{at.info.d_value}]"),
        ("A", f"[n, n] = [{at.trace.n:,}, {at.trace.n:,}]"),
        ("V", f"[{at.trace.n:,}, {at.info.d_value}]"),
    )
    strongest = int(np.argmax(found.weights))
    strips(
        [
            (
                f"largest part: {found.weights[strongest]:.3f} × value of "
                f"{label(at.trace, found.positions[strongest])}",
                found.values[strongest],
            ),
            (f"context vector of {at.query_label}: the sum of all", found.context),
        ],
        "context vector",
        limit=float(np.abs(found.context).max()) or 1.0,
    )
    parts = found.values.astype(np.float64).sum(0) + (0 if found.rest is None else found.rest)
    st.caption(
        f"Dimension 0: the weighted values add up to {number(float(parts[0]))}, the context vector has "
        f"{number(float(found.context[0]))}. Its length is {number(float(np.linalg.norm(found.context)))}."
    )
    terms("context vector", "weighted values")


def heads(at: At) -> None:
    total = at.info.heads
    st.markdown(
        f"All of this happens in **{count(total, 'head')}** side by side, each with a W_q of its own, so that one "
        "token can look in several ways at once. Their context vectors are laid end to end."
    )
    formula(
        r"c_\text{all} = [\,c_0 \mid c_1 \mid \dots \mid c_{h-1}\,]",
        ("each c", f"[{at.info.d_value}]"),
        ("laid end to end", f"[{total} × {at.info.d_value}] = [{total * at.info.d_value:,}]"),
    )
    found = attempt(lambda _: shares.numbers(walkthrough.compute_contexts(at.trace, at.layer, at.query)), may_lack=True)
    if found is None:
        return
    matrix_map(
        found,
        name="context vector",
        row_name="head",
        column_name="dimension",
        rows=[f"head {head}" + (" ●" if head == at.head else "") for head in range(total)],
        key="contexts",
    )
    lengths = np.linalg.norm(found, axis=1)
    longest = int(lengths.argmax())
    st.caption(
        f"Query token {plain(at.query_label)} in layer {at.layer}. The longest context vector is head {longest}'s, "
        f"{number(float(lengths[longest]))}; head {at.head}'s is {number(float(lengths[at.head]))}."
    )
    terms("head", "context vector")


def output(at: At) -> None:
    st.markdown(
        "**W_o** blends the heads: the long vector times W_o is the **attention output**. A matrix product is a sum, "
        "so each head has its own share: its context vector times its slice of W_o. The shares add up to the output."
    )
    found = attempt(lambda report: results.output(at.shown.request, at.layer, at.query, report), may_lack=True)
    if found is None:
        return
    width, d_value = found.shares.shape[1], at.info.d_value
    formula(
        r"o = W_o\,c_\text{all} = \sum_h W_o^{(h)} c_h" + (" + b" if found.bias is not None else ""),
        ("W_o", f"[d_model, heads × d_value] = [{width}, {at.info.heads * d_value:,}] parameters"),
        ("W_o of one head", f"[{width}, {d_value}]"),
        ("o", f"[{width}]"),
    )
    if found.why_not:
        st.info(plain(found.why_not), icon=":material/info:")
        return
    show_verdict(found.check, "The shares add up to the library's own output, compared just now")
    lengths = found.frame["length"][: len(found.shares)]
    heads_ = found.frame["part"][: len(found.shares)].to_list()
    aligned(
        [Panel("bars", "length of each head's share", lengths, "length of its share")],
        names=heads_,
        axis=[str(head) for head in range(len(lengths))],
        axis_name="head: a click chooses it",
        marked=at.head,
        label="Length of each head's share of the attention output",
        key="share lengths",
        on_pick=lambda head: state.select(head=head),
    )
    panels = [
        (f"share of head {at.head}", found.shares[at.head]),
        ("sum of all heads' shares" + (" and W_o's bias" if found.bias is not None else ""), found.total),
        ("attention output in the library's forward pass", found.library),
    ]
    strips(panels, "output", limit=float(np.abs(found.library).max()) or 1.0)
    terms("W_o", "attention output", "head", "parameter")


def residual(at: At) -> None:
    st.markdown(
        "The attention output does not replace the token's vector: it is **added** to it. Attention *updates* what is "
        "known about a token with what it found at others."
    )
    found = at.residual_stream()
    if found is None or found.residual is None or found.output is None:
        return
    if not found.added_to:
        strips(
            [
                (f"residual of {at.query_label} before layer {at.layer}", found.residual),
                ("attention output", found.output),
            ],
            "residual",
        )
        st.info(
            "No part of this block was called with residual + attention output: this model normalises or weighs the "
            "attention output before it adds it, or adds the feed-forward network's output at the same time.",
            icon=":material/info:",
        )
        terms("residual", "attention output", "activation")
        return
    formula(
        r"\text{residual} \leftarrow \text{residual} + o",
        ("residual", f"[{len(found.residual)}]"),
        ("o", f"[{len(found.output)}]"),
    )
    after = found.residual + found.output
    strips(
        [
            (f"residual of {at.query_label} before layer {at.layer}", found.residual),
            ("+ attention output", found.output),
            ("= sum", after),
        ],
        "residual",
    )
    lengths = [float(np.linalg.norm(vector)) for vector in (found.residual, found.output, after)]
    st.caption(
        f"Lengths: {number(lengths[0])} + {number(lengths[1])} gives {number(lengths[2])}: vectors that do not point "
        "the same way. Each strip has its own colour scale."
    )
    st.success(
        plain(
            f"Measured: the block's next part, {found.added_to}, was called with exactly this sum: equal in all "
            f"{count(len(after), 'number')}."
        ),
        icon=":material/check_circle:",
    )
    terms("residual", "attention output", "activation")


def following(at: At) -> None:
    last = at.layer == len(at.trace.layers) - 1
    st.markdown(
        "The rest of the block, a feed-forward network that works on each token alone, adds its own part. Then the "
        "next layer begins with the updated vectors: new queries, new keys, new values."
        if not last
        else "This was the last layer with attention. After the rest of its block and a last norm, what the token's "
        "vector has become is turned into a score for every token of the vocabulary: what comes next?"
    )
    found = at.residual_stream()
    if found is None or found.residual is None or found.output is None:
        return
    if not last and found.next_residual is not None:
        skipped = _blocks_between(at)
        after = found.residual + found.output
        rest = found.next_residual - after
        parts = [("+ attention output", found.output), ("+ what the rest of the block added", rest)]
        if not found.added_to:
            parts = [("+ all that was added in between", found.next_residual - found.residual)]
        strips(
            [
                (f"residual of {at.query_label} before layer {at.layer}", found.residual),
                *parts,
                (f"= residual before {'the next block' if skipped else f'layer {at.layer + 1}'}", found.next_residual),
            ],
            "next residual",
        )
        turned = float(
            found.residual
            @ found.next_residual
            / (np.linalg.norm(found.residual) * np.linalg.norm(found.next_residual))
        )
        if skipped:
            st.caption(
                f"Before layer {at.layer + 1} this model has {count(skipped, 'block')} without attention: that layer "
                "receives what is made of the vector there."
            )
        st.caption(f"Cosine between the residual before and after this layer: {turned:.5f} (1: the same direction).")

        layer, heads = at.layer + 1, at.trace.layers[at.layer + 1].heads
        following_head = min(at.head, heads - 1)

        def go_on() -> None:  # Streamlit keeps it longer than the page: it holds numbers, not the trace
            state.select(layer=layer, head=following_head, station="input")

        st.button(f"Go on in layer {at.layer + 1}", on_click=go_on, icon=":material/arrow_forward:")
    elif last:
        likely = attempt(lambda _: at.trace.next_tokens(8), may_lack=True)
        if likely is not None:
            st.markdown(f"**Most probable next tokens** after the last token of the prompt, {plain(_last(at))}")
            frame = pd.DataFrame(likely, columns=["token", "id", "probability"])
            st.dataframe(
                frame,
                hide_index=True,
                column_config={"probability": st.column_config.NumberColumn(format="%.4f")},
            )
    terms("residual", "attention input")


def _blocks_between(at: At) -> int:
    """How many blocks without attention stand before the next layer."""
    return max(0, at.trace.layers[at.layer + 1].block - at.info.block - 1)


def _last(at: At) -> str:
    return label(at.trace, at.trace.n - 1)


def _weighted(at: At) -> WeightedValues | None:
    return attempt(lambda _: walkthrough.weighted_values(at.trace, at.layer, at.head, at.query), may_lack=True)
