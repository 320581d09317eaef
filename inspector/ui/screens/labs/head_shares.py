"""Take the attention output of one token apart into a share for each head: "What does each head contribute?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.ui import state
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import quoted
from inspector.ui.screens.labs import frame
from inspector.ui.server import results

if TYPE_CHECKING:
    from inspector.analysis.shares import Output

NAME = "head_shares"


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "Each head's context vector times its own slice of W_o is its **share**, a vector as wide as the output. The "
        "shares add up to the attention output of one token. Click a head to take it out.",
    )
    if page is None:
        return
    shown, chosen = page
    frame.head_and_query(shown, chosen)
    _heads(shown, chosen.layer, chosen.head, chosen.query)
    common.terms("context vector", "W_o", "attention output", "head")
    frame.end(NAME)


def _heads(shown: Current, layer: int, head: int, query: int) -> None:
    """Draw each head's share of the attention output."""
    trace = shown.trace
    found = attempt(lambda report: results.output(shown.request, layer, query, report), may_lack=True)
    if found is None:
        return
    if found.why_not:
        st.info(plain(found.why_not), icon=":material/info:")
        return
    st.markdown(f"## What each head of layer {layer} gives to {quoted(trace, query)}")
    parts = found.frame["part"].to_list()
    aligned(
        [
            Panel("bars", "length of each share", found.frame["length"], "length"),
            Panel("bars", "projection on the output", found.frame["projection"], "projection"),
        ],
        names=parts,
        axis=[part.removeprefix("head ") for part in parts],
        axis_name="head: a click chooses it",
        label="Each head's share of the attention output: its length and its projection on the output",
        key="head_bars",
        marked=head,
        on_pick=lambda at: state.select(head=at) if at < len(found.shares) else None,
    )
    projected = float(found.frame["projection"].sum())
    st.markdown(
        "**Length** is how large a share is; **projection**, how far it goes in the output's direction (below zero: "
        f"against it). Projections add up to **{projected:.6g}**; the output is **{found.length:.6g}** long."
    )
    _one_head(found, head)
    words = "The sum of all shares" if found.bias is None else "The sum of all shares and W_o's bias"
    with frame.proof("Shares add up to the library's own output", found.check):
        show_verdict(found.check, f"{words} against the library's own attention output")
        st.caption(
            "Projections and the output's length differ by "
            f"{frame.small(abs(projected - found.length), 1e-5 * found.length)}."
        )
    with st.expander("All shares: numbers and dimensions"):
        config = {name: st.column_config.NumberColumn(format="%.5f") for name in ("length", "cosine", "projection")}
        st.dataframe(found.frame, hide_index=True, height=min(300, 37 + 35 * len(parts)), column_config=config)
        rows = found.shares if found.bias is None else np.vstack((found.shares, found.bias))
        matrix_map(rows, name="share", row_name="part", column_name="dimension", rows=parts, key="share_map")


def _one_head(found: Output, head: int) -> None:
    """Draw the output with one head alone, and without it."""
    share = found.shares[head]
    without = found.library - share
    rows = {
        "the whole output": found.library,
        f"only head {head}": share,
        f"without head {head}": without,
    }
    st.markdown(f"## Only head {head}, and all without it")
    limit = float(max(np.abs(values).max() for values in rows.values())) or 1.0
    aligned(
        [
            Panel("strip", f"{title}: length {common.number(float(np.linalg.norm(values)))}", values, title, limit)
            for title, values in rows.items()
        ],
        names=[f"dimension {at}" for at in range(len(share))],
        axis=[str(at) for at in range(len(share))],
        axis_name="dimension",
        label=f"The attention output, head {head}'s share of it, and the rest, a column per dimension",
        key="one_head",
    )
    st.caption("Lengths do not add up as vectors do: two shares that point apart cancel.")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
