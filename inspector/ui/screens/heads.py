"""The screen Heads: every head of the model as a small picture, and the chosen one in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.analysis import maps
from inspector.analysis.head_scores import BY_NAME, FARTHEST, find, ordered
from inspector.loading.source import PACKAGED
from inspector.ui import downloads, state
from inspector.ui.components.grid import head_grid
from inspector.ui.components.heatmap import attention_map, exact_map
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import count, plain, short
from inspector.ui.progress import Current, attempt, current
from inspector.ui.screens import common
from inspector.ui.server import results

if TYPE_CHECKING:
    from inspector.analysis.thumbnails import Thumbnails
    from inspector.capture.records import LayerInfo

ARROW = ":material/arrow_forward:"
BEST = 60  # heads shown when they are put in order of a measure
ZOOM = 48  # tokens on a side of the exact picture around a cell of a pooled one

_HERE = Path(__file__).resolve().parent
_NOT_FOUND, _PICKED = "order_not_found", "picked_in_the_grid"
REDRAWN_SECONDS = 4.0  # between two looks at what has been drawn behind

Order = list[tuple[int, int, str]]  # layer, head, what to read at it


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
    st.session_state.pop(_PICKED, None)
    pictures = attempt(lambda report: results.thumbnails(shown.request, report))
    if pictures is None:
        return
    chosen = common.selection(shown, pictures)
    _what_to_see(shown, chosen)
    every_head = st.container()
    _one_head(shown, chosen)  # first: it is what a click waits for
    with every_head:
        _all_heads(shown, chosen, pictures)
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


def _all_heads(shown: Current, chosen: state.Selection, pictures: Thumbnails) -> None:
    """The grid, by layer or in the order of a measure, and the field that chooses it."""
    order = None
    if chosen.order != "layers":
        frame = attempt(lambda report: results.measures(shown.request, report))
        if frame is not None:
            measure = BY_NAME[chosen.order]
            best = ordered(frame, measure).head(BEST)
            order = [
                (int(row.layer), int(row.head), f"{measure.name} {value:.4g}")
                for row, value in zip(best.itertuples(), best[measure.name], strict=True)
            ]
    _order_field(chosen)
    if order is not None and shown.trace.n > maps.EXACT_UP_TO:
        st.caption(f"The prompt is long: the order is measured on {results.SAMPLE} of its query tokens.")
    if pictures.left:
        _grid_being_drawn(shown.request, pictures, shown.trace.layers, chosen, order)
    else:
        if pictures.failed:
            st.caption(f"The prompt is long: small pictures are {pictures.said()}.")
        _grid(pictures, shown.trace.layers, chosen, order)


@st.fragment(run_every=REDRAWN_SECONDS)
def _grid_being_drawn(
    request: state.Request,
    pictures: Thumbnails,
    layers: Sequence[LayerInfo],
    chosen: state.Selection,
    order: Order | None,
) -> None:
    """The grid of a long prompt: from a sample at once, from all its rows as they are drawn behind. Streamlit keeps
    these arguments as long as the page: a trace is none of them."""
    if st.session_state.pop(_PICKED, False):
        st.rerun()  # the rest of the page is another head's now
    found = results.drawn_behind(request)
    if found is not None and not found.left:
        st.rerun()  # all are there: nothing to wait for any more
    said = "The others follow by themselves."
    if found is None:  # and it is not run again unasked: another's prompt would have to go for it in turn
        said = "This prompt had to make room for others: what you choose next runs it again."
    pictures = found or pictures
    st.caption(f"The prompt is long: small pictures are {pictures.said()}. {said}")
    _grid(pictures, layers, chosen, order)


def _grid(pictures: Thumbnails, layers: Sequence[LayerInfo], chosen: state.Selection, order: Order | None) -> None:
    def pick(layer: int, head: int) -> None:
        state.select(layer=layer, head=head)
        st.session_state[_PICKED] = True

    head_grid(
        pictures,
        layers,
        selected=(chosen.layer, chosen.head),
        scale=chosen.scale,
        on_pick=pick,
        key="grid",
        order=order,
        ordered_by=chosen.order,
    )


def _order_field(chosen: state.Selection) -> None:
    st.session_state["order_field"] = state.ORDERS[chosen.order]

    def take() -> None:
        said = st.session_state["order_field"] or ""
        measure = find(said)
        if measure is not None:
            state.select(order=measure.name)
        elif said in ("", state.ORDERS["layers"]):
            state.select(order="layers")
        else:
            st.session_state[_NOT_FOUND] = said

    st.selectbox(
        "Which heads?",
        list(state.ORDERS.values()),
        key="order_field",
        on_change=take,
        accept_new_options=True,
        help='Puts the heads in order of what they do with this prompt. You may also type, such as "look back 2".',
    )
    if unknown := st.session_state.pop(_NOT_FOUND, None):
        st.caption(
            f"Nothing is measured under “{plain(short(unknown))}”: choose from the list, or type a distance such as "
            f"“look back 3” (1 to {FARTHEST})."
        )
    elif chosen.order != "layers":
        st.caption(
            f"**{BY_NAME[chosen.order].title}**: {BY_NAME[chosen.order].meaning}. "
            f"The first {BEST}; above each its layer.head."
        )


def _one_head(shown: Current, chosen: state.Selection) -> None:
    trace, layer = shown.trace, shown.trace.layers[chosen.layer]
    st.subheader(f"Layer {chosen.layer}, head {chosen.head}", anchor=False)
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        common.head_pickers(trace.layers, chosen)
        common.choice("Show", "show", state.SHOWS, chosen.show)
        if chosen.show != "scaled_scores":
            common.choice("Colour scale", "scale", state.SCALES, chosen.scale)
            common.choice("First token", "sink", state.SINKS, chosen.sink)
        if chosen.show == "weights":
            common.choice("Cells", "unit", state.UNITS, chosen.unit)
    st.caption(common.sharing(layer, chosen.head) + _notes(shown, chosen))
    if trace.prompt_length < trace.n:
        _continuation(shown)
    left, right = st.columns([5, 4], gap="large")
    with left:
        _map(shown, chosen)
    with right:
        _pairs(shown, chosen)
    downloads.panel(shown, chosen)


def _continuation(shown: Current) -> None:
    trace = shown.trace
    st.caption(
        f"From token {trace.prompt_length} on (dashed lines) the model wrote the text itself; prompt and continuation "
        "were then run as one text, whose numbers are shown."
    )
    if trace.model is None:
        return
    same = attempt(lambda report: results.own_choices(shown.request, report))
    if same is not None:
        st.caption(f"In that run {same[0]} of its {same[1]} tokens are the most probable ones again.")


def _notes(shown: Current, chosen: state.Selection) -> str:
    """What is particular about this head and about the numbers shown."""
    layer, notes = shown.trace.layers[chosen.layer], ""
    if layer.window:
        notes += f" Each query token can look back at {count(layer.window, 'token')} at most."
    if layer.sinks:
        notes += " This head has an attention sink of its own: rows add up to less than 1, the rest is the sink's."
    if chosen.show == "scaled_scores":
        notes += " Scaled scores are query · key times the scale, before mask and softmax: any number."
    if chosen.show == "weighted_values":
        notes += (
            " Each weight times the length of the value vector it brings: how much arrives, not only how much is given."
        )
    if chosen.show != "scaled_scores" and chosen.sink == "without":
        notes += " The first token's column is left out, and each row's other weights are scaled up to its sum."
    return notes


def _map(shown: Current, chosen: state.Selection) -> None:
    """The head's picture: of tokens or words, exact or pooled, with what was clicked beneath it."""
    trace, kind = shown.trace, common.kind_of(chosen)
    without_first = chosen.sink == "without" and chosen.show != "scaled_scores"
    words = chosen.unit == "words" and chosen.show == "weights"
    label = f"{state.SHOWS[chosen.show]} of layer {chosen.layer}, head {chosen.head}"
    note = ", without the first token" if without_first else ""
    if words and trace.n <= maps.EXACT_UP_TO:
        groups = trace.tokens.words
        values = maps.by_words(trace, chosen.layer, chosen.head, groups, without_first=without_first)
        picture = maps.Picture(values, 1, len(groups))
        st.caption("Whole words: weights summed over a word's key tokens and averaged over its query tokens.")
        attention_map(
            picture, trace.tokens.word_labels(), kind=kind, scale=chosen.scale, label=f"{label}, by words",
            key="map", note=note,
        )  # fmt: skip
        return
    drawn = attempt(
        lambda report: results.picture(
            shown.request, chosen.layer, chosen.head, kind, without_first=without_first, progress=report
        )
    )
    if drawn is None:
        return
    picture = drawn
    if picture.pool > 1:
        st.info(
            f"The prompt has {count(trace.n, 'token')}, more than a picture can show one by one: each cell is "
            f"the largest of {picture.pool} × {picture.pool} {state.SHOWS[chosen.show].lower()}. "
            "Click a cell to see exact ones around it.",
            icon=":material/search:",
        )
    threshold = 0.0
    if chosen.show != "scaled_scores":
        threshold = st.slider(
            "Leave unpainted what is below", 0.0, 1.0, 0.0, 0.01, key="threshold",
            help="Of the largest number there can be. Readings stay exact.",
        )  # fmt: skip
    selected = (chosen.query, chosen.key) if min(chosen.query, chosen.key) >= 0 else None
    top = float(np.nanmax(picture.values)) if kind == "weighted_values" else 1.0
    attention_map(
        picture,
        trace.tokens.labels,
        kind=kind,
        scale=chosen.scale,
        label=label,
        key="map",
        threshold=threshold * top,
        selected=selected,
        join=trace.prompt_length if trace.prompt_length < trace.n else None,
        note=note,
        on_pick=lambda query, key: state.select(query=query, key=key),
    )
    if selected is not None:
        _clicked(shown, chosen, picture.pool, without_first=without_first)


def _clicked(shown: Current, chosen: state.Selection, pool: int, *, without_first: bool) -> None:
    """What is under the locked cell: the way to its pair, and in a pooled picture the exact cells around it."""
    trace, labels = shown.trace, shown.trace.tokens.labels
    if pool > 1:
        rows, columns = (_around(at, trace.n) for at in (chosen.query, chosen.key))
        kind = common.kind_of(chosen)
        values = maps.window(trace, chosen.layer, chosen.head, rows, columns, kind=kind, without_first=without_first)
        said = ", without the first token" if without_first else ""
        st.markdown(f"**Exact cells** of query tokens {rows.start} to {rows.stop - 1}{said}")
        exact_map(
            values, [f"{i} {labels[i]}" for i in range(*rows.indices(trace.n))],
            [f"{i} {labels[i]}" for i in range(*columns.indices(trace.n))], kind=kind, scale=chosen.scale, key="exact",
        )  # fmt: skip
    pair = f"query token {chosen.query} {labels[chosen.query]} · key token {chosen.key} {labels[chosen.key]}"
    st.page_link(_HERE / "pair.py", label=f"See how this pair's score comes about: {plain(pair)}", icon=ARROW)


def _around(at: int, n: int) -> slice:
    """Up to ZOOM positions around one."""
    start = max(0, min(at - ZOOM // 2, n - ZOOM))
    return slice(start, min(n, start + ZOOM))


def _pairs(shown: Current, chosen: state.Selection) -> None:
    st.markdown("**Strongest pairs**")
    without = chosen.sink == "without"
    if without:
        st.caption("The first token's column is left out here too; these are the model's own weights, not scaled up.")
    frame = results.strongest_pairs(shown.request, chosen.layer, chosen.head, first_token=not without)
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


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
