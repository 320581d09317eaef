"""The screen Heads: every head of the model as a small picture, and the chosen one in full."""

from __future__ import annotations

import streamlit as st

from inspector import metrics
from inspector.hub import PACKAGED
from inspector.ui import cached, state
from inspector.ui.components.grid import head_grid
from inspector.ui.components.heatmap import attention_map
from inspector.ui.examples import EXAMPLES
from inspector.ui.running import Current, attempt, current
from inspector.ui.screens import common
from inspector.ui.text import count


def show() -> None:
    """Draw the screen for the prompt on screen."""
    st.markdown(
        "**How to read it.** Each row is a query token, each column a key token: the stronger the colour, the "
        "more of its attention the row's token gives to the column's. Each row adds up to 1; grey cells are masked, "
        "they lie in the row token's future."
    )
    shown = current()
    if shown is None:
        return
    common.facts(shown)
    pictures = attempt(lambda report: cached.thumbnails(shown.request, report))
    if pictures is None:
        return
    chosen = common.selection(shown, pictures)
    _what_to_see(shown, chosen)
    every_head = st.container()
    _one_head(shown, chosen)  # first: it is what a click waits for
    with every_head:
        head_grid(
            pictures,
            shown.trace.layers,
            selected=(chosen.layer, chosen.head),
            scale=chosen.scale,
            on_pick=lambda layer, head: state.select(layer=layer, head=head),
            key="grid",
        )
    with st.expander("Parameters or activations?"):
        st.markdown(
            "`W_q`, `W_k`, `W_v` and `W_o` are the model's **parameters**: learned once, the same for every "
            "prompt. Attention weights and scores are **activations**: computed anew for each prompt from the "
            "query and key vectors that those parameters make. *Scaled scores* are query · key times the "
            "scale, any number; *attention weights* are their softmax after the mask, between 0 and 1."
        )


def _what_to_see(shown: Current, chosen: state.Selection) -> None:
    for example in EXAMPLES:
        if example.prompt != shown.request.prompt:
            continue
        st.caption(f"**To see here:** {example.see}")
        layer, head = example.where
        if shown.request.model == PACKAGED and (layer, head) != (chosen.layer, chosen.head):
            st.button(
                f"Show it in layer {layer}, head {head}",
                key="show_it",
                on_click=state.select,
                kwargs={"layer": layer, "head": head},
            )


def _one_head(shown: Current, chosen: state.Selection) -> None:
    trace, layer = shown.trace, shown.trace.layers[chosen.layer]
    st.subheader(f"Layer {chosen.layer}, head {chosen.head}", anchor=False)
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        common.head_pickers(trace.layers, chosen)
        _choice("Show", "show", state.SHOWS, chosen.show)
        if chosen.show == "weights":
            _choice("Colour scale", "scale", state.SCALES, chosen.scale)
    notes = f" Each query token can look back at {count(layer.window, 'token')} at most." if layer.window else ""
    if layer.sinks:
        notes += " This head has an attention sink of its own: rows add up to less than 1, the rest is the sink's."
    if chosen.show == "scaled_scores":
        notes += " Scaled scores are query · key times the scale, before mask and softmax: any number."
    st.caption(common.sharing(layer, chosen.head) + notes)
    kind: metrics.Kind = "scaled_scores" if chosen.show == "scaled_scores" else "weights"
    picture = metrics.picture(trace, chosen.layer, chosen.head, kind=kind)
    if picture.pool > 1:
        st.info(
            f"The prompt has {count(trace.n, 'token')}, more than a picture can show one by one: each cell is "
            f"the largest of {picture.pool} × {picture.pool} {state.SHOWS[chosen.show].lower()}. "
            "The table holds exact pairs.",
            icon=":material/search:",
        )
    left, right = st.columns([5, 4], gap="large")
    with left:
        attention_map(
            picture,
            trace.tokens.labels,
            kind=kind,
            scale=chosen.scale,
            label=f"{state.SHOWS[chosen.show]} of layer {chosen.layer}, head {chosen.head}",
            key="map",
        )
    with right:
        _pairs(shown, chosen)


def _pairs(shown: Current, chosen: state.Selection) -> None:
    st.markdown("**Strongest pairs**")
    first = st.toggle(
        "Leave out the first token",
        key="without_first",
        help="In many heads most attention goes to the first token (the attention sink) and hides the rest. "
        "This leaves its column out of the table; the weights stay as they are.",
    )
    frame = metrics.strongest_pairs(shown.trace, chosen.layer, chosen.head, first_token=not first)
    for kind in ("query", "key"):  # named as on the picture's axes: position and token
        frame[f"{kind} token"] = frame[f"{kind} position"].astype(str) + " " + frame[f"{kind} token"]
    st.dataframe(
        frame,
        hide_index=True,
        height=min(460, 37 + 35 * max(1, len(frame))),
        column_order=["query token", "key token", "weight"],
        column_config={
            "weight": st.column_config.ProgressColumn(
                "attention weight", format="%.4f", min_value=0.0, max_value=1.0, width=190
            ),
        },
    )


def _choice(label: str, name: str, options: dict[str, str], present: str) -> None:
    """A row of buttons bound to one field of the selection."""
    key = f"{name}_field"
    st.session_state[key] = present

    def take() -> None:
        state.select(**{name: st.session_state[key]})

    st.segmented_control(label, list(options), format_func=options.__getitem__, key=key, on_change=take, required=True)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
