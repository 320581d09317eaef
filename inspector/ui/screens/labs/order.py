"""Draw two parts of "How does RoPE encode distance?": all tokens moved on together, and tokens shuffled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.learn import shift as shifting
from inspector.learn.shuffle import SHUFFLED_UP_TO
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import plain, short
from inspector.ui.progress import Current, attempt
from inspector.ui.screens.common import label
from inspector.ui.screens.labs import frame
from inspector.ui.server import results

if TYPE_CHECKING:
    from inspector.learn.shuffle import Shuffled
    from inspector.trace.trace import Trace

NAMED_UP_TO = 24  # shuffled tokens that are listed


def shift(trace: Trace, layer: int, head: int, query: int) -> None:
    """Show that scores stay when all positions move on alike, and change when only the keys' do.

    Args:
        trace: the trace on screen.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        query: the query token's position.
    """
    place, beside = st.columns([3, 2], gap="large")
    by = beside.slider("Move all positions on by", 1, 1000, 100, key="position_shift")
    found = attempt(lambda _: shifting.shifted(trace, layer, head, query, by))
    if found is None:
        return
    if found.note:
        beside.info(plain(found.note), icon=":material/info:")
    if len(found.tokens) < trace.n:
        beside.caption(
            f"Of {trace.n:,} tokens, the {len(found.tokens)} from {found.tokens.start} to {found.tokens.stop - 1} are "
            "compared."
        )
    values = found.row[["score", "both shifted", "only keys shifted"]].to_numpy().T
    limit = float(np.abs(values).max()) or 1.0
    titles = (
        f"scores of query token {query} at its own positions",
        f"queries and keys both moved on by {by}",
        f"only keys moved on by {by}",
    )
    names = [label(trace, at) for at in found.row["position"]]
    with place:
        aligned(
            [Panel("bars", title, row, "score", limit) for title, row in zip(titles, values, strict=True)],
            names=[f"key token {name}" for name in names],
            axis=names,
            turned=True,
            label="Scores of one query token, a column per key token: as they are, all shifted, only keys shifted",
            key="shift_row",
        )
    with (
        beside,
        frame.proof("Moving all on changes no score; moving only the keys does", found.both),
    ):
        st.caption("Scores before the mask; the checks compare every query token with every key token.")
        show_verdict(found.both, f"All positions + {by}, in the model's own precision")
        show_verdict(found.exact, f"All positions + {by}, in float64")
        show_verdict(found.keys_only, f"Only the keys' positions + {by}", control=True)


def shuffle(shown: Current, layer: int) -> None:
    """Run the layer on its own attention input in another order, with RoPE and mask on and off.

    Args:
        shown: the prompt on screen.
        layer: counts attention layers from 0.
    """
    st.markdown(
        "The layer's attention inputs are put in another order and the layer is run on them. If it has no way to know "
        "the order, each token's output stays what it was and merely moves with its token. RoPE tells it the order; "
        "so does the causal mask, by which the first token sees one key and the last sees all: so both must be off."
    )
    trace = shown.trace
    seed = int(st.number_input("Shuffle number", 0, 9999, 0, key="shuffle_seed", width=150))

    found = attempt(lambda report: results.shuffled(shown.request, layer, seed, report), may_lack=True)
    if found is None:
        return
    if found.note:
        st.info(plain(found.note), icon=":material/info:")
    if len(found.order) < trace.n:
        st.caption(f"Of {trace.n:,} tokens, the first {SHUFFLED_UP_TO} are shuffled.")
    listed = ", ".join(label(trace, int(at)) for at in found.order[:NAMED_UP_TO])
    more = ", …" if len(found.order) > NAMED_UP_TO else ""
    st.caption(f"New order: {plain(short(listed, 600))}{more}")
    _variants(trace, found)


def _variants(trace: Trace, found: Shuffled) -> None:
    """Draw how far each token's output changes in each variant."""
    switch = {True: "on", False: "off"}
    table = pd.DataFrame(
        {
            "RoPE": [switch[one.rope] for one in found.variants],
            "mask": [switch[one.mask] for one in found.variants],
            "outputs move with their tokens": ["✓ yes" if one.check.ok else "✗ no" for one in found.variants],
            "largest difference": [one.check.max_abs for one in found.variants],
            "tolerance": [one.check.tolerance for one in found.variants],
            "tolerance is for": [one.check.reason for one in found.variants],
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.3g") for name in ("largest difference", "tolerance")}
    st.dataframe(table, hide_index=True, width="stretch", column_config=numbers)
    limit = max(float(one.differences.max()) for one in found.variants) or 1.0
    names = [label(trace, at) for at in range(len(found.order))]
    aligned(
        [
            Panel(
                "bars",
                f"RoPE {switch[one.rope]}, mask {switch[one.mask]}: how far each token's output changes",
                one.differences,
                "largest difference",
                limit,
            )
            for one in found.variants
        ],
        names=[f"token {name}" for name in names],
        axis=names,
        turned=True,
        label="How far each token's output changes when the tokens are shuffled, in each variant",
        key="shuffle_rows",
    )
