"""Show one head's weights with and without its mask: the laboratory "What does the mask prevent?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.learn.unmasked import mask_on_off
from inspector.ui import state
from inspector.ui.components.mask import mask_slider
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.verdict import show_verdict
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label
from inspector.ui.screens.labs import frame

if TYPE_CHECKING:
    from inspector.learn.unmasked import MaskOnOff
    from inspector.trace.trace import Trace

NAME = "mask_and_heads"


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "One head's weights as the model computes them. Move the slider to take its mask off, until every token can "
        "look at every other: what appears above the diagonal is what the mask prevents.",
    )
    if page is None:
        return
    shown, chosen = page
    frame.head_and_query(shown, chosen, query=False)
    _mask(shown.trace, chosen)
    common.terms("mask", "attention weight", "query token", "key token")
    frame.end(NAME)


def _mask(trace: Trace, chosen: state.Selection) -> None:
    """Draw the head's map with and without the mask."""
    found = attempt(lambda _: mask_on_off(trace, chosen.layer, chosen.head), may_lack=True)
    if found is None:
        return
    n = len(found.free)
    labels = list(trace.tokens.labels[:n])
    if n < trace.n:
        st.caption(f"Of {trace.n:,} tokens, the first {n} are shown, and look at no others.")
    picture, beside = st.columns([5, 4], gap="large")
    with picture:
        mask_slider(
            found.free,
            found.masked,
            labels,
            scale=chosen.scale,
            label=f"Attention weights of layer {chosen.layer}, head {chosen.head}",
            name="mask",
        )
    with beside:
        _forbidden(trace, chosen.layer, found)
        st.markdown(
            "**Why.** In training, every position has to predict its next token. A token that could look ahead would "
            "copy the answer; while the model writes, later tokens do not exist yet. So this head was never trained on "
            "what stands above the diagonal."
        )
        with frame.proof("Under its mask, the map equals the model's own weights", found.check):
            show_verdict(found.check, "The map with the mask against the trace's own weights")


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
    st.markdown(f"## {said}")
    names = [label(trace, at) for at in found.forbidden["position"]]
    aligned(
        panels,
        names=[f"query token {name}" for name in names],
        axis=names,
        turned=True,
        label="Share of each query token's weight that goes where the mask forbids looking, once it is off",
        key="forbidden",
    )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
