"""Show the head, model and neuron view that many know from papers, of the same weights, offline: the screen BertViz."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui import state
from inspector.ui.components.frame import page_frame
from inspector.ui.progress import Current, attempt, current
from inspector.ui.screens import common
from inspector.views import View, head_view, model_view, neuron_view
from inspector.views.bertviz import most_heads

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo

HOW = {
    "head": "Lines run from each query token on the left to the key tokens it looks at on the right. The "
    "stronger a line, the larger its attention weight. Lines of the chosen head are orange, those of other heads blue. "
    "Hover over a token to see only its lines; click a head's square to hide it, double-click it to see only that "
    "head.",
    "model": "Each small picture is one head: a row per layer, a column per head, query tokens at its left edge, "
    "key tokens at its right. The stronger a line, the larger the attention weight. The chosen head is orange. Click a "
    "picture to enlarge it.",
    "neuron": "From left to right as in the formula: the chosen token's query, every key, their product element by "
    "element, and its sum q·k; blue is below zero, orange above. The stronger the line and the token on the "
    "right, the larger the attention weight. Hover over a token on the left to choose it.",
}
NEIGHBOURS = 2  # layers on both sides of the selected one in the model view


def show() -> None:
    """Draw the screen for the prompt on screen."""
    common.heading("Lines")
    shown = current()
    if shown is None:
        return
    common.facts(shown)
    chosen = common.selection(shown)
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        common.choice("View", "view", state.VIEWS, chosen.view)
        make = {"head": _head, "model": _model, "neuron": _neuron}[chosen.view](shown, chosen)
    view = attempt(lambda _: make())
    if view is None:
        return
    page_frame(view, key="bertviz")
    st.caption(HOW[chosen.view])


def _head(shown: Current, chosen: state.Selection) -> Callable[[], View]:
    """Draw the head view's fields, and return what makes the view."""
    layers = shown.trace.layers
    st.session_state["layer_field"] = chosen.layer
    st.number_input(
        "Layer",
        0,
        len(layers) - 1,
        step=1,
        key="layer_field",
        on_change=lambda: state.select(layer=st.session_state["layer_field"]),
        width=130,
    )
    heads = _heads(layers[chosen.layer], chosen.head, most_heads("head", shown.trace.n))
    return lambda: head_view(shown.trace, [chosen.layer], heads, chosen=chosen.head)


def _model(shown: Current, chosen: state.Selection) -> Callable[[], View]:
    """Draw the model view's fields, and return what makes the view."""
    layers = shown.trace.layers
    near = [layer.index for layer in layers if abs(layer.index - chosen.layer) <= NEIGHBOURS]
    named = _picked("Layers", len(layers), f"{near[0]} to {near[-1]}") or near
    heads = _heads(layers[chosen.layer], chosen.head, most_heads("model", shown.trace.n) // len(named))
    at = (chosen.layer, chosen.head)
    return lambda: model_view(shown.trace, named, heads, chosen=at)


def _neuron(shown: Current, chosen: state.Selection) -> Callable[[], View]:
    """Draw the neuron view's fields, and return what makes the view."""
    common.head_pickers(shown.trace.layers, chosen)
    return lambda: neuron_view(shown.trace, chosen.layer, chosen.head)


def _heads(layer: LayerInfo, head: int, fit: int) -> list[int]:
    """Return the heads that were picked; without any, all, or as many near the selected one as a page can show."""
    first = max(0, min(head - fit // 2, layer.heads - fit))
    usual = list(range(layer.heads))[first : first + max(fit, 1)]
    words = f"all {layer.heads}"
    if len(usual) < layer.heads:
        words = f"{usual[0]} to {usual[-1]}, as many as fit" if len(usual) > 1 else f"{usual[0]}, one at a time"
    return _picked("Heads", layer.heads, words) or usual


def _picked(label: str, options: int, nothing: str) -> list[int]:
    """Return the numbers below `options` that the visitor picked; `nothing` says what is drawn without any."""
    key = f"bertviz_{label.lower()}"
    # Those picked for another model may not exist in this one.
    st.session_state[key] = [number for number in st.session_state.get(key, []) if number < options]
    return sorted(st.multiselect(label, range(options), key=key, placeholder=nothing, width=220))


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
