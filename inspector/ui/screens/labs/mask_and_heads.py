"""Show one head's weights with and without its mask, and the output by heads: the laboratory Mask and heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.analysis.maps import Picture
from inspector.learn.unmasked import mask_on_off
from inspector.ui import state
from inspector.ui.components.heatmap import attention_map, matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label, number, quoted
from inspector.ui.server import results

if TYPE_CHECKING:
    from inspector.analysis.shares import Output
    from inspector.learn.unmasked import MaskOnOff
    from inspector.trace.trace import Trace


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "Above, one head's weights as the model computes them and as they would be if every query token could look at "
        "every key token. Below, what each head of the layer gives to one token's attention output: a share of its "
        "own, and the shares add up to the output."
    )
    if page is None:
        return
    shown, chosen = page
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    query = chosen.query if chosen.query >= 0 else trace.n - 1
    st.subheader(f"Layer {layer}, head {head}", anchor=False)
    with st.container(horizontal=True):
        common.head_pickers(trace.layers, chosen)
        common.token_picker(
            "Query token", "query_field", range(trace.n), query, trace, lambda at: state.select(query=at)
        )
    common.terms("mask", "attention weight", "context vector", "W_o", "attention output")
    _mask(trace, chosen)
    _heads(shown, layer, head, query)


# -- the mask ----------------------------------------------------------------------------------------------------


def _mask(trace: Trace, chosen: state.Selection) -> None:
    """Draw the head's map with and without the mask."""
    st.markdown("#### The mask, on and off")
    found = attempt(lambda _: mask_on_off(trace, chosen.layer, chosen.head), may_lack=True)
    if found is None:
        return
    n = len(found.free)
    labels = list(trace.tokens.labels[:n])
    if n < trace.n:
        st.caption(f"Of {trace.n:,} tokens, the first {n} are shown, and look at no others.")
    maps = {
        "With the model's own mask": ("mask_on", found.masked),
        "With every key allowed": ("mask_off", found.free),
    }
    for place, (title, (key, values)) in zip(st.columns(2, gap="large"), maps.items(), strict=True):
        with place:
            st.markdown(f"**{title}**")
            attention_map(
                Picture(values, 1, n),
                labels,
                kind="weights",
                scale=chosen.scale,
                label=f"Attention weights of layer {chosen.layer}, head {chosen.head}. {title}",
                key=key,
            )
    show_verdict(found.check, "The map with the mask against the trace's own weights")
    _forbidden(trace, chosen.layer, found)


def _forbidden(trace: Trace, layer: int, found: MaskOnOff) -> None:
    """Show how much weight would go where the mask forbids looking."""
    later, earlier = found.forbidden["later"], found.forbidden["earlier"]
    panels = [Panel("bars", "weight on later tokens, mask off", later, "on later tokens", scale="linear")]
    said = f"Without the mask, {later.mean():.1%} of the weight goes to later tokens, on average over the query tokens."
    if earlier.any():
        panels.append(
            Panel(
                "bars",
                "on earlier tokens that the layer hides, mask off",
                earlier,
                "on hidden earlier tokens",
                scale="linear",
            )
        )
        info = trace.layers[layer]
        rule = f"a window of {info.window} tokens" if info.window else "its own rule"
        said += f" {earlier.mean():.1%} goes to earlier tokens beyond what this layer's mask allows ({rule})."
    st.markdown(said)
    names = [label(trace, at) for at in found.forbidden["position"]]
    aligned(
        panels,
        names=[f"query token {name}" for name in names],
        axis=names,
        turned=True,
        label="Share of each query token's weight that goes where the mask forbids looking, once it is off",
        key="forbidden",
    )
    st.caption(
        "Why the mask: in training every position is asked for the next token at once, and a token that could look at "
        "later ones would read the answer there. And while the model writes, later tokens do not exist yet. So this "
        "head has never been trained on the weights above the diagonal: they show what its queries and keys happen to "
        "say, not something the model uses."
    )


# -- the heads ---------------------------------------------------------------------------------------------------


def _heads(shown: Current, layer: int, head: int, query: int) -> None:
    """Draw each head's share of the attention output."""
    trace = shown.trace
    st.markdown(f"#### What each head gives to the output of query token {quoted(trace, query)}")

    found = attempt(lambda report: results.output(shown.request, layer, query, report), may_lack=True)
    if found is None:
        return
    if found.why_not:
        st.info(plain(found.why_not), icon=":material/info:")
        return
    st.markdown(
        "Each head's context vector times its own slice of W_o is a vector as wide as the output: its **share**. "
        "**Length** says how large a share is; **projection**, how far it goes in the output's direction (below zero: "
        "against it)."
    )
    parts = found.frame["part"].to_list()
    aligned(
        [
            Panel("bars", "length of each share", found.frame["length"], "length"),
            Panel("bars", "projection on the output", found.frame["projection"], "projection"),
        ],
        names=parts,
        axis=[part.removeprefix("head ") for part in parts],
        axis_name="head",
        label="Each head's share of the attention output: its length and its projection on the output",
        key="head_bars",
        marked=head,
        on_pick=lambda at: state.select(head=at) if at < len(found.shares) else None,
    )
    projected = float(found.frame["projection"].sum())
    st.markdown(
        f"The projections add up to **{projected:.6g}**; the output is **{found.length:.6g}** long "
        f"(difference {abs(projected - found.length):.2g})."
    )
    st.dataframe(
        found.frame,
        hide_index=True,
        height=min(420, 37 + 35 * len(parts)),
        column_config={
            name: st.column_config.NumberColumn(format="%.5f") for name in ("length", "cosine", "projection")
        },
    )
    rows = found.shares if found.bias is None else np.vstack((found.shares, found.bias))
    st.markdown("**All shares, dimension by dimension**")
    matrix_map(rows, name="share", row_name="part", column_name="dimension", rows=parts, key="share_map")
    words = "The sum of all shares" if found.bias is None else "The sum of all shares and W_o's bias"
    show_verdict(found.check, f"{words} against the library's own attention output")
    _one_head(found, head)


def _one_head(found: Output, head: int) -> None:
    """Draw the output with one head alone, and without it."""
    st.markdown(f"#### Only head {head}, and all without it")
    share = found.shares[head]
    without = found.library - share
    rows = {
        "the whole output, as the library computed it": found.library,
        f"only head {head} speaks: its share": share,
        f"without head {head}: the output less its share": without,
    }
    limit = float(max(np.abs(values).max() for values in rows.values())) or 1.0
    aligned(
        [Panel("strip", title, values, title.split(":")[0], limit) for title, values in rows.items()],
        names=[f"dimension {at}" for at in range(len(share))],
        axis=[str(at) for at in range(len(share))],
        axis_name="dimension",
        label=f"The attention output, head {head}'s share of it, and the rest, a column per dimension",
        key="one_head",
    )
    titles = ("whole output", f"only head {head}", f"without head {head}")
    with st.container(horizontal=True, gap="small"):
        for title, values in zip(titles, rows.values(), strict=True):
            st.metric(f"length: {title}", number(float(np.linalg.norm(values))), border=True, width="content")
    st.caption(
        "Lengths of vectors do not add up, as vectors do: two shares that point apart cancel. The next layer would "
        "read something else from the shortened output."
    )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
