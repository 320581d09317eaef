"""Show every head of the model as a small picture, and the chosen one in full: the screen Heads."""

from __future__ import annotations

import streamlit as st

from inspector.loading.source import PACKAGED
from inspector.ui import state
from inspector.ui.examples import EXAMPLES
from inspector.ui.progress import Current, attempt, current
from inspector.ui.screens import common, heads_grid, heads_map
from inspector.ui.server import pictures


def show() -> None:
    """Draw the screen for the prompt on screen."""
    shown = current()
    if shown is None:
        return
    common.facts(shown)
    heads_grid.forget_click()
    thumbnails = attempt(lambda report: pictures.thumbnails(shown.request, report))
    if thumbnails is None:
        return
    chosen = common.selection(shown, thumbnails)
    _what_to_see(shown, chosen)
    every_head = st.container()
    heads_map.draw(shown, chosen)  # first: it is what a click waits for
    with every_head:
        heads_grid.draw(shown, chosen, thumbnails)
    with st.expander("Parameters or activations?"):
        st.markdown(
            "`W_q`, `W_k`, `W_v` and `W_o` are the model's **parameters**: learned once, the same for every "
            "prompt. Attention weights and scores are **activations**: computed anew for each prompt from the "
            "query and key vectors that those parameters make. *Scaled scores* are query · key times the "
            "scale, any number; *attention weights* are their softmax after the mask, between 0 and 1."
        )


def _what_to_see(shown: Current, chosen: state.Selection) -> None:
    """Say what an example prompt shows, with a button that goes to the head that shows it best."""
    for example in EXAMPLES:
        if example.prompt != shown.request.prompt:
            continue
        st.caption(f"**Look for:** {example.see}")
        layer, head = example.where
        if shown.request.model == PACKAGED and (layer, head) != (chosen.layer, chosen.head):
            st.button(
                f"Show it in layer {layer}, head {head}",
                key="show_it",
                on_click=state.select,
                kwargs={"layer": layer, "head": head},
            )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
