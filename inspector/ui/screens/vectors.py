"""Show query and key before and after RoPE and the value of one head, as pictures and numbers: the screen Vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from inspector.analysis import vectors as head_vectors
from inspector.ui.components.chart import show_chart
from inspector.ui.components.heatmap import similarity_map, vector_map
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.server import pictures

BETWEEN_UP_TO = 512  # tokens whose angles are drawn
LABELS_UP_TO = 40  # tokens that are named on the plane; beyond, hovering names them

WHAT = {
    "query": "what each token looks for",
    "key": "what each token advertises",
    "value": "what each token passes on when it is looked at",
}


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "Each row is a token, each column one of the vector's dimensions; blue is below zero, orange above. RoPE turns "
        "query and key by the token's position, so that their product depends on how far apart two tokens are; values "
        "are not turned.",
        title="Vectors",
    )
    if page is None:
        return
    shown, chosen = page
    trace, layer = shown.trace, shown.trace.layers[chosen.layer]
    st.header(f"Layer {chosen.layer}, head {chosen.head}", anchor=False)
    with st.container(horizontal=True):
        common.head_pickers(trace.layers, chosen)
    st.caption(common.sharing(layer, chosen.head))
    if layer.rope is None:
        st.info("This layer's rotation cannot be switched off: its vectors are shown after it.", icon=":material/info:")
    elif not layer.rope:
        st.info("This layer does not use RoPE: queries and keys are compared as they are.", icon=":material/info:")
    found = attempt(lambda report: pictures.vectors(shown.request, chosen.layer, chosen.head, report))
    if found is None:
        return
    labels = list(trace.tokens.labels)
    for kind, meaning in WHAT.items():
        names = [name for name in found if name.startswith(kind)]
        # One colour scale for before and after: turning moves numbers, it does not make them larger.
        limit = max(float(np.abs(found[name]).max(initial=0.0)) for name in names) or 1.0
        st.markdown(f"### {kind.capitalize()}: {meaning}")
        places = st.columns(2, gap="large")
        for place, name in zip(places, names, strict=False):
            with place:
                st.markdown(f"**{name[0].upper()}{name[1:]}**")
                vector_map(head_vectors.pool_rows(found[name]), labels, name=name, limit=limit, key=f"map {name}")
        if kind == "value":
            with places[1]:
                _lengths(found, labels)
    _between(found, labels)
    _numbers(found, labels)


def _between(found: dict[str, np.ndarray], labels: list[str]) -> None:
    """Show how the tokens' vectors lie to each other: angles, and a plane to look at."""
    st.markdown("### Between tokens: which vectors point the same way")
    if len(labels) > BETWEEN_UP_TO:
        st.caption(f"Drawn for prompts of up to {BETWEEN_UP_TO} tokens; this one has {len(labels):,}.")
        return
    left, right = st.columns(2, gap="large")
    names = list(found)
    after = [next(name for name in names if name in (f"{kind} after RoPE", kind)) for kind in ("query", "key")]
    with left:
        which = st.selectbox("Cosine similarity of", names, index=names.index(after[1]), key="cosines_of")
        named = [f"{i} {label}" for i, label in enumerate(labels)]
        similarity_map(
            head_vectors.cosines(found[which]), named, name=f"cosine similarity of {which} vectors", key="cosines"
        )
    with right:
        frame, share = head_vectors.projection(found[after[0]], found[after[1]], labels)
        st.markdown("**Queries and keys on one plane**")
        st.caption(
            "Their first two principal components (a query near a key need not look at it: only the product says "
            f"so). The plane shows {share:.0%} of how they differ."
        )
        spec = _scatter(labelled=len(frame) <= 2 * LABELS_UP_TO)
        show_chart(spec, frame, title="Queries and keys on one plane", key="projection")


def _scatter(*, labelled: bool) -> dict[str, Any]:
    """Say how points are drawn in two shapes and colours, each with its token, in Vega-Lite's words."""
    look = {"field": "vector", "type": "nominal", "title": None}
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": "first component"},
        "y": {"field": "y", "type": "quantitative", "title": "second component"},
        "color": look | {"scale": {"domain": ["query", "key"], "range": ["#3584d4", "#d97a2b"]}},
        "shape": look | {"scale": {"domain": ["query", "key"], "range": ["circle", "triangle"]}},
        "tooltip": [
            {"field": "vector", "type": "nominal"},
            {"field": "position", "type": "quantitative"},
            {"field": "token", "type": "nominal"},
            {"field": "x", "type": "quantitative", "format": ".4f"},
            {"field": "y", "type": "quantitative", "format": ".4f"},
        ],
    }
    layers: list[dict[str, Any]] = [{"mark": {"type": "point", "filled": True, "size": 60}, "encoding": encoding}]
    if labelled:
        words = {"type": "text", "align": "left", "dx": 7, "fontSize": 12}
        layers.append({"mark": words, "encoding": encoding | {"text": {"field": "token", "type": "nominal"}}})
    return {"layer": layers, "height": 430}


def _numbers(found: dict[str, np.ndarray], labels: list[str]) -> None:
    """Draw the vectors as a table."""
    st.markdown("### Numbers: a row per token, a column per dimension")
    names = list(found)
    which = st.segmented_control("Vectors", names, default=names[0], required=True, key="numbers")
    frame = head_vectors.vector_frame(found[which if which in found else names[0]], labels).rename_axis("position")
    numbers = {name: st.column_config.NumberColumn(format="%.5f") for name in frame.columns[1:]}
    st.dataframe(frame, column_config={"token": st.column_config.TextColumn(pinned=True), **numbers})


def _lengths(found: dict[str, np.ndarray], labels: list[str]) -> None:
    """List each vector's length."""
    st.markdown("**How long each vector is**")
    before = {name: values for name, values in found.items() if "before" in name}
    st.caption(
        "Rotation preserves length: query and key vectors are as long after RoPE as before."
        if before
        else "Euclidean length."
    )
    frame = head_vectors.lengths({name: v for name, v in found.items() if name not in before}, labels).rename_axis(
        "position"
    )
    numbers = {name: st.column_config.NumberColumn(format="%.3f", width=105) for name in frame.columns[1:]}
    config = {"token": st.column_config.TextColumn(pinned=True), **numbers}
    st.dataframe(frame, height=min(320, 37 + 35 * len(frame)), column_config=config)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
