"""Draw the stations from the attention weights to the attention output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.analysis import shares
from inspector.learn import walkthrough
from inspector.ui import state
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import count, plain
from inspector.ui.pages import file_of
from inspector.ui.progress import attempt
from inspector.ui.screens.common import label, number, quoted
from inspector.ui.screens.labs.frame import proof
from inspector.ui.screens.stations.at import At, formula, terms
from inspector.ui.screens.stations.to_vectors import strips
from inspector.ui.server import reasons, results

if TYPE_CHECKING:
    from inspector.learn.walkthrough import WeightedValues


def values(at: At) -> None:
    """Draw the value vectors, each times its weight."""
    at.words.markdown(
        "A weight says **how much**; the value vector says **what**. Each key token's value vector is multiplied by "
        "its weight: strong rows below are what this query token takes in."
    )
    found = _weighted(at)
    if found is None:
        return
    formula(
        at,
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
        max_height=430,
    )
    if found.rest is not None:
        st.caption(
            f"The {count(len(found.positions), 'key token')} this query looks at most; the others are added up in the "
            "last row."
        )
    terms(at, "weighted values", "value vector", "attention weight")


def context(at: At) -> None:
    """Draw the sum of the weighted values."""
    at.words.markdown(
        "Add the weighted values up, dimension by dimension: the **context vector**, what this head has gathered for "
        "this token."
    )
    found = _weighted(at)
    if found is None:
        return
    formula(
        at,
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
    terms(at, "context vector", "weighted values")


def heads(at: At) -> None:
    """Draw the context vectors of all heads."""
    total = at.info.heads
    at.words.markdown(
        f"All of this happens in **{count(total, 'head')}** side by side, each with a W_q of its own, so that one "
        "token can look in several ways at once. Their context vectors are laid end to end."
    )
    formula(
        at,
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
        f"Query token {quoted(at.trace, at.query)} in layer {at.layer}. The longest context vector is head "
        f"{longest}'s, {number(float(lengths[longest]))}; head {at.head}'s is {number(float(lengths[at.head]))}."
    )
    terms(at, "head", "context vector")


def output(at: At) -> None:
    """Draw the attention output as a sum of the heads' shares."""
    at.words.markdown(
        "**W_o** projects the heads' vectors: the long vector times W_o is the **attention output**. A matrix product "
        "is a sum, so each head has its own share, and the shares add up to the output."
    )
    found = attempt(lambda report: results.output(at.shown.request, at.layer, at.query, report), may_lack=True)
    if found is None:
        return
    width, d_value = found.shares.shape[1], at.info.d_value
    formula(
        at,
        r"o = W_o\,c_\text{all} = \sum_h W_o^{(h)} c_h" + (" + b" if found.bias is not None else ""),
        ("W_o", f"[d_model, heads × d_value] = [{width}, {at.info.heads * d_value:,}] parameters"),
        ("W_o of one head", f"[{width}, {d_value}]"),
        ("o", f"[{width}]"),
    )
    if found.why_not:
        st.info(plain(found.why_not), icon=":material/info:")
        return
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
    with proof("The shares add up to the library's own output", found.check):
        show_verdict(found.check, "The shares add up to the library's own output, compared just now")
    _written(at)
    terms(at, "W_o", "attention output", "head", "parameter")


def _written(at: At) -> None:
    """Say which next tokens the chosen head's share speaks for and against, read off the output embeddings."""
    both = attempt(lambda say: reasons.promoted(at.shown.request, at.layer, at.head, at.query, say), may_lack=True)
    if both is None:
        return
    up, down = (
        ", ".join(f"“{plain(name)}” {number(share)}" for name, share in both[side])
        for side in ("promoted", "suppressed")
    )
    st.markdown(
        f"**What head {at.head}'s share says about the next token.** Held against every token of the vocabulary, it "
        f"raises {up}; it lowers {down} (change of the logit, less the mean of all tokens)."
    )
    st.caption("Computed with the final norm frozen at its scale. What later layers make of the share is not in it.")
    st.page_link(file_of("Why"), label="Why this next token? All heads", icon=":material/account_tree:")


def _weighted(at: At) -> WeightedValues | None:
    """Return the weighted values; None, with the reason on screen, where there are none."""
    return attempt(lambda _: walkthrough.weighted_values(at.trace, at.layer, at.head, at.query), may_lack=True)
