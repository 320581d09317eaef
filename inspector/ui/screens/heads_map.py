"""Draw the lower part of the screen Heads: the chosen head's map, its strongest pairs, and how to save them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from inspector.analysis import maps
from inspector.ui import downloads, state
from inspector.ui.components.heatmap import attention_map, exact_map
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.server import pictures, results

ARROW = ":material/arrow_forward:"
ZOOM = 48  # tokens on a side of the exact picture around a cell of a pooled one

_HERE = Path(__file__).resolve().parent
_READ = (
    "Each row is a query token, each column a key token: the stronger the colour, the more of its attention the row's "
    "token gives to the column's. Each row adds up to 1. Grey cells are masked: they lie in the row token's future."
)


def draw(shown: Current, chosen: state.Selection) -> None:
    """Draw the chosen head with its controls.

    Args:
        shown: the prompt on screen.
        chosen: the selection.
    """
    trace, layer = shown.trace, shown.trace.layers[chosen.layer]
    st.subheader(f"Layer {chosen.layer}, head {chosen.head}", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        common.head_pickers(trace.layers, chosen)
        common.choice("Show", "show", state.SHOWS, chosen.show)
        if chosen.show != "scaled_scores":
            common.choice("Colour scale", "scale", state.SCALES, chosen.scale)
        if chosen.show == "weights":
            common.choice("Cells", "unit", state.UNITS, chosen.unit)
        if chosen.show != "scaled_scores":
            _first_token_toggle(chosen)
    st.caption(common.sharing(layer, chosen.head) + _notes(shown, chosen))
    if trace.prompt_length < trace.n:
        _continuation(shown)
    left, right = st.columns([5, 4], gap="large")
    with left:
        _map(shown, chosen)
        st.caption(_READ)
    with right:
        _pairs(shown, chosen)
    downloads.panel(shown, chosen)


def _first_token_toggle(chosen: state.Selection) -> None:
    """Draw the switch that leaves the first token's column out."""
    st.session_state["sink_field"] = chosen.sink == "without"

    def take() -> None:
        state.select(sink="without" if st.session_state["sink_field"] else "with")

    st.toggle("Hide first token", key="sink_field", on_change=take, width="content")


def _notes(shown: Current, chosen: state.Selection) -> str:
    """Say what is particular about this head and about the numbers shown."""
    layer, notes = shown.trace.layers[chosen.layer], ""
    if layer.window:
        notes += f" Each query token can look back at {count(layer.window, 'token')} at most."
    if layer.sinks:
        notes += " This head has an attention sink of its own: rows add up to less than 1, the rest is the sink's."
    if chosen.show == "scaled_scores":
        notes += " Scaled scores are query · key times the scale, before mask and softmax: any number."
    if chosen.show == "weighted_values":
        notes += " Each weight times the length of its value vector: how much arrives, not only how much is attended."
    if chosen.show != "scaled_scores" and chosen.sink == "without":
        notes += " The first token's column is left out, and each row's other weights are scaled up to its sum."
    return notes


def _continuation(shown: Current) -> None:
    """Say from where on the model wrote the text itself."""
    trace = shown.trace
    st.caption(
        f"From token {trace.prompt_length} on (dashed lines) the model wrote the text itself; prompt and continuation "
        "were then run as one text, whose numbers are shown."
    )
    if trace.model is None:
        return
    if (written := trace.n - trace.prompt_length) < shown.request.generate:
        st.caption(f"It ended its text after {count(written, 'token')} of the {shown.request.generate} asked for.")
    same = attempt(lambda report: results.own_choices(shown.request, report))
    if same is not None:
        st.caption(f"In that run {same[0]} of its {same[1]} tokens are the most probable ones again.")


# -- the map ---------------------------------------------------------------------------------------------


def _map(shown: Current, chosen: state.Selection) -> None:
    """Draw the head's picture: of tokens or words, exact or pooled, with what was clicked beneath it."""
    trace = shown.trace
    without_first = chosen.sink == "without" and chosen.show != "scaled_scores"
    if chosen.unit == "words" and chosen.show == "weights" and trace.n <= maps.EXACT_UP_TO:
        _map_of_words(shown, chosen, without_first=without_first)
        return
    kind = common.kind_of(chosen)
    picture = attempt(
        lambda report: pictures.picture(
            shown.request, chosen.layer, chosen.head, kind, without_first=without_first, progress=report
        )
    )
    if picture is None:
        return
    if picture.pool > 1:
        st.info(
            f"The prompt has {count(trace.n, 'token')}, more than a picture can show one by one: each cell is "
            f"the largest of {picture.pool} × {picture.pool} {state.SHOWS[chosen.show].lower()}. "
            "Click a cell to see exact ones near it.",
            icon=":material/search:",
        )
    threshold = 0.0
    if chosen.show != "scaled_scores":
        threshold = st.slider(
            "Hide weights below", 0.0, 1.0, 0.0, 0.01, key="threshold",
            help="Of the largest number there can be. Readings stay exact.",
        )  # fmt: skip
    selected = (chosen.query, chosen.key) if min(chosen.query, chosen.key) >= 0 else None
    top = float(np.nanmax(picture.values)) if kind == "weighted_values" else 1.0
    attention_map(
        picture,
        trace.tokens.labels,
        kind=kind,
        scale=chosen.scale,
        label=_label(chosen),
        key="map",
        threshold=threshold * top,
        selected=selected,
        join=trace.prompt_length if trace.prompt_length < trace.n else None,
        note=_note(without_first=without_first),
        on_pick=lambda query, key: state.select(query=query, key=key),
    )
    if selected is not None:
        _clicked(shown, chosen, picture.pool, without_first=without_first)


def _map_of_words(shown: Current, chosen: state.Selection, *, without_first: bool) -> None:
    """Draw the weights between whole words."""
    trace, groups = shown.trace, shown.trace.tokens.words
    values = maps.by_words(trace, chosen.layer, chosen.head, groups, without_first=without_first)
    st.caption("Whole words: weights summed over a word's key tokens and averaged over its query tokens.")
    attention_map(
        maps.Picture(values, 1, len(groups)),
        trace.tokens.word_labels(),
        kind=common.kind_of(chosen),
        scale=chosen.scale,
        label=f"{_label(chosen)}, by words",
        key="map",
        note=_note(without_first=without_first),
    )


def _label(chosen: state.Selection) -> str:
    """Name the picture for those who cannot see it."""
    return f"{state.SHOWS[chosen.show]} of layer {chosen.layer}, head {chosen.head}"


def _note(*, without_first: bool) -> str:
    """Return what a reading says beside its number."""
    return ", without the first token" if without_first else ""


def _clicked(shown: Current, chosen: state.Selection, pool: int, *, without_first: bool) -> None:
    """Draw what is under the locked cell: the way to its pair, and in a pooled picture the exact cells near it."""
    trace, labels = shown.trace, shown.trace.tokens.labels
    if pool > 1:
        rows, columns = (_near(at, trace.n) for at in (chosen.query, chosen.key))
        kind = common.kind_of(chosen)
        values = maps.window(trace, chosen.layer, chosen.head, rows, columns, kind=kind, without_first=without_first)
        said = _note(without_first=without_first)
        st.markdown(f"**Exact cells** of query tokens {rows.start} to {rows.stop - 1}{said}")
        exact_map(
            values, [f"{i} {labels[i]}" for i in range(*rows.indices(trace.n))],
            [f"{i} {labels[i]}" for i in range(*columns.indices(trace.n))], kind=kind, scale=chosen.scale, key="exact",
        )  # fmt: skip
    pair = f"query token {chosen.query} “{labels[chosen.query]}”, key token {chosen.key} “{labels[chosen.key]}”"
    st.page_link(_HERE / "pair.py", label=f"Explain this score: {plain(pair)}", icon=ARROW)


def _near(at: int, n: int) -> slice:
    """Return up to ZOOM positions on both sides of one."""
    start = max(0, min(at - ZOOM // 2, n - ZOOM))
    return slice(start, min(n, start + ZOOM))


# -- the pairs -------------------------------------------------------------------------------------------


def _pairs(shown: Current, chosen: state.Selection) -> None:
    """List the head's largest weights."""
    st.markdown("**Strongest pairs**")
    without = chosen.sink == "without"
    if without:
        st.caption("The first token's column is left out here too; these are the model's own weights, not scaled up.")
    frame = pictures.strongest_pairs(shown.request, chosen.layer, chosen.head, first_token=not without)
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
