"""The laboratory "it → cat": the documents' toy of five numbers, then which heads of the real model look from one token
to another."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from inspector import Trace
from inspector.errors import InspectorError
from inspector.learn import contexts, toy
from inspector.learn.softmax import parse
from inspector.text import Progress
from inspector.ui import state
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.markdown import count, ordered, plain, short
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label, number
from inspector.ui.server import traces

_PAGES = Path(common.__file__).resolve().parent


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "In “The cat sat on the mat because it was tired.”, what does “it” look at? First as a toy of five numbers per "
        "vector, to change as you like; then in every head of the real model."
    )
    if page is None:
        return
    shown, chosen = page
    _toy()
    _model(shown, chosen)


# -- the toy -------------------------------------------------------------------------------------------------------


def _toy() -> None:
    st.markdown("#### The toy: two words, five numbers each")
    picture, fields = st.columns([3, 2], gap="large")
    with fields:
        for kind, name in (("q", "query"), ("k", "key"), ("v", "value")):
            for word, place in zip(toy.KEYS, st.columns(2), strict=True):
                field = f"{kind}_{word}"
                st.session_state.setdefault(field, _text(field))
                place.text_input(f"{name} of “{word}”", key=field, max_chars=400)
        st.button("The documents' numbers again", on_click=_reset)

    def make(_: Progress) -> tuple[dict[str, list[float]], toy.Toy]:
        vectors = {field: parse(st.session_state[field], what=field) for field in toy.VECTORS}
        return vectors, toy.toy(vectors)

    with picture:
        found = attempt(make)
        if found is None:
            return
        vectors, made = found
        _product(vectors, made)
    _weights(made)


def _text(field: str) -> str:
    return ", ".join(f"{each:g}" for each in toy.VECTORS[field])


def _reset() -> None:
    for field in toy.VECTORS:
        st.session_state[field] = _text(field)


def _product(vectors: dict[str, list[float]], made: toy.Toy) -> None:
    query, key = vectors["q_it"], vectors["k_cat"]
    product = [one * other for one, other in zip(query, key, strict=True)]
    aligned(
        [
            Panel("strip", "query of “it”", query, "query"),
            Panel("strip", "× key of “cat”", key, "key"),
            Panel("bars", f"= product, adds up to the score {number(made.unscaled.scores[1])}", product, "product"),
        ],
        names=[f"dimension {d}" for d in range(made.d)],
        axis=[str(d) for d in range(made.d)],
        axis_name="dimension",
        label="Query of it, key of cat and their elementwise product, a column per dimension",
        key="toy",
    )


def _weights(made: toy.Toy) -> None:
    weight, scaled = made.unscaled.weights[1], made.scaled.weights[1]
    with st.container(horizontal=True, gap="small"):
        st.metric("Score it · cat", number(made.unscaled.scores[1]), border=True, width="content")
        st.metric("Score it · it", number(made.unscaled.scores[0]), border=True, width="content")
        st.metric("Weight of cat", number(weight), border=True, width="content", help="Softmax of the two scores.")
        st.metric(
            f"with scores / √{made.d}",
            number(scaled),
            border=True,
            width="content",
            help="Softmax of the two scores, each divided by the square root of the vectors' length.",
        )
    needed = toy.scale_for(made, toy.ASSUMED)
    how = "equal scores never give it" if needed is None else f"it would take a scale of {number(needed)}"
    st.markdown(
        f"The documents go on with a weight of {toy.ASSUMED:.2f}, which they assume. The softmax over these two "
        f"scores gives “cat” **{weight:.3f}**, and **{scaled:.3f}** with scores divided by √{made.d}; for "
        f"{toy.ASSUMED:.2f}, {how}."
    )
    frame = pd.DataFrame(
        {
            "context vector of “it”": ["scores as they are", f"scores / √{made.d}"],
            **{
                f"{d}": [one, other]
                for d, (one, other) in enumerate(zip(made.unscaled.context, made.scaled.context, strict=True))
            },
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%.4g") for name in frame.columns[1:]}
    st.dataframe(frame, hide_index=True, column_config=numbers)
    st.caption("The context vector: both values, each times its weight, added up. The same loops as everywhere here.")


# -- the model -----------------------------------------------------------------------------------------------------


def _model(shown: Current, chosen: state.Selection) -> None:
    st.markdown("#### The real model: which heads look there")
    trace = shown.trace
    it, cat = (_last_token(trace, word) for word in toy.KEYS)
    at_words = 0 <= cat < it
    if not at_words:
        st.button(f"Run “{toy.SENTENCE}”", type="primary", on_click=_run_sentence)
    query = chosen.query if chosen.query >= 0 else it if at_words else trace.n - 1
    keys = toy.visible(trace, query)
    usual = cat if at_words and cat in keys else max((key for key in keys if key != query), default=query)
    key = chosen.key if chosen.key in keys else usual
    if at_words and (query, key) != (it, cat):
        st.button("Back to it → cat", on_click=lambda: state.select(query=it, key=cat))
    with st.container(horizontal=True):
        common.token_picker(
            "Query token", "query_field", range(trace.n), query, trace, lambda at: state.select(query=at, key=-1)
        )
        common.token_picker("Key token", "key_field", keys, key, trace, lambda at: state.select(query=query, key=at))
        common.head_pickers(trace.layers, chosen)
    for position in (query, key):
        _several(trace, position)

    def rank(traced: Trace, say: Progress) -> pd.DataFrame:
        return toy.ranking(traced, query, key, on_layer=lambda done, total: say("Asking every head", done / total))

    frame = attempt(lambda report: traces.from_trace(shown.request, ("ranking", query, key), rank, progress=report))
    if frame is not None:
        _ranked(trace, frame, chosen, query, key)


def _last_token(trace: Trace, word: str) -> int:
    """Where the word's last token stands; -1 where the prompt has no such word."""
    try:
        return contexts.find(trace.tokens, word).last
    except InspectorError:
        return -1


def _run_sentence() -> None:
    state.ask(prompt=toy.SENTENCE, generate=0)
    state.select(query=-1, key=-1)
    st.session_state["prompt_field"] = toy.SENTENCE  # the sidebar's field says what runs
    st.session_state["generate_field"] = 0


def _several(trace: Trace, position: int) -> None:
    """Say which token is meant where a word is several."""
    group = toy.word_of(trace.tokens, position)
    if len(group) > 1:
        word = "".join(trace.tokens.texts[i] for i in group)
        st.caption(
            f"The word “{plain(short(word, 30))}” is {count(len(group), 'token')}, at {ordered(list(group))}; meant is "
            f"the token {plain(label(trace, position))} alone."
        )


def _ranked(trace: Trace, frame: pd.DataFrame, chosen: state.Selection, query: int, key: int) -> None:
    first = frame.iloc[0]
    most = int((frame["place"] == 1).sum())
    here, there = (plain(label(trace, position)) for position in (query, key))
    st.markdown(
        f"Of all {count(len(frame), 'head')}, layer {first['layer']:.0f}, head {first['head']:.0f} gives the largest "
        f"attention weight from {here} to {there}: **{first['weight']:.3f}**. In {count(most, 'head')} no other token "
        f"gets more from {here}; the mean over all heads is {frame['weight'].mean():.3f}."
    )
    matrix_map(
        toy.head_map(trace, frame).T,
        name=f"attention weight from {label(trace, query)} to {label(trace, key)}",
        row_name="head",
        column_name="layer",
        key="head_map",
        limit=1.0,
        scale=chosen.scale,
        legend="attention weight",
    )
    st.caption("A row per head, a column per layer. Click a row of the table to choose that head.")

    def take() -> None:
        rows = st.session_state["ranking"]["selection"]["rows"]
        if rows and 0 <= rows[0] < len(frame):
            at = frame.iloc[rows[0]]
            state.select(layer=int(at["layer"]), head=int(at["head"]), query=query, key=key)

    table = frame.assign(most=[label(trace, position) for position in frame["strongest"]])
    numbers = {
        name: st.column_config.NumberColumn(title, format=form, help=meaning)
        for name, title, form, meaning in (
            ("weight", "weight", "%.6f", "How much of the query token's attention this key token gets."),
            ("place", "place in its row", "%d", "1: the key token that this head looks at most from here."),
            ("strongest weight", "its weight", "%.4f", "The largest weight in this head's row."),
        )
    }
    st.dataframe(
        table,
        key="ranking",
        hide_index=True,
        height=min(380, 37 + 35 * len(table)),
        column_order=["rank", "layer", "head", "weight", "place", "most", "strongest weight"],
        column_config={"most": st.column_config.TextColumn("looks most at"), **numbers},
        on_select=take,
        selection_mode="single-row",
    )
    mine = frame[(frame["layer"] == chosen.layer) & (frame["head"] == chosen.head)]
    if len(mine):
        row = mine.iloc[0]
        st.markdown(
            f"Chosen: layer {chosen.layer}, head {chosen.head}, weight {row['weight']:.6f}, rank {row['rank']:.0f} of "
            f"{len(frame)}."
        )
    with st.container(horizontal=True):
        st.page_link(_PAGES / "heads.py", label="This head's whole map", icon=":material/grid_on:")
        if (chosen.query, chosen.key) == (query, key):
            st.page_link(_PAGES / "pair.py", label="How this pair's weight comes about", icon=":material/swap_horiz:")
    left_out = sum(bool(kept.unexplained) for kept in trace.stored)
    if left_out:
        st.caption(f"{count(left_out, 'layer')} left out: their weights cannot be shown for this model.")
    st.info(
        "A large weight says where a head looks: whose value vector it passes on. It does not say that the model has "
        "understood who is tired. A head may look at a token for its position or its spelling, and what it passes on "
        "is blended with what all other heads do.",
        icon=":material/info:",
    )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
