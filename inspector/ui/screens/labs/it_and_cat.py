"""Show which heads look from one token to another, then a toy of five numbers: "What does “it” look at?"."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from inspector import Trace
from inspector.errors import InspectorError
from inspector.learn import contexts, toy
from inspector.text import Progress
from inspector.ui import state
from inspector.ui.bar import ask_for
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.markdown import count, ordered, plain, short
from inspector.ui.pages import file_of
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label, number, quoted
from inspector.ui.screens.labs import frame
from inspector.ui.screens.labs import toy as toy_part
from inspector.ui.server import reasons, traces

NAME = "it_and_cat"
PARTS = 4  # of a score that are named


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "In “The cat sat on the mat because it was tired.”, what does “it” look at? Every head answers differently: a "
        "few look straight at “cat”.",
    )
    if page is None:
        return
    _model(page[0], common.selection(page[0]))
    st.info(
        "A large weight says where a head looks: whose value vector it passes on. It does not say that the model has "
        "understood who is tired; a head may look at a token for its position or its spelling.",
        icon=":material/info:",
    )
    with st.expander("By hand: two words, five numbers each"):
        toy_part.draw()
    common.terms("attention weight", "attention score", "value vector")
    frame.end(NAME)


def _model(shown: Current, chosen: state.Selection) -> None:
    """Draw the real model's heads, sorted by how much they look from one token to the other."""
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
    words = f"“{plain(frame.word(trace, query))}” → “{plain(frame.word(trace, key))}”"
    with frame.choices(shown, f"{words} · layer {chosen.layer}, head {chosen.head}"):
        common.token_picker(
            "Query token", "query_field", range(trace.n), query, trace, lambda at: state.select(query=at, key=-1)
        )
        common.token_picker("Key token", "key_field", keys, key, trace, lambda at: state.select(query=query, key=at))
        common.head_pickers(trace.layers, chosen)
    for position in (query, key):
        _several(trace, position)

    def rank(traced: Trace, say: Progress) -> pd.DataFrame:
        return toy.ranking(traced, query, key, on_layer=lambda done, total: say("Asking every head", done / total))

    ranking = attempt(lambda report: traces.from_trace(shown.request, ("ranking", query, key), rank, progress=report))
    if ranking is not None:
        _ranked(shown, ranking, chosen, query, key)


def _last_token(trace: Trace, word: str) -> int:
    """Return where the word's last token stands; -1 where the prompt has no such word."""
    try:
        return contexts.find(trace.tokens, word).last
    except InspectorError:
        return -1


def _run_sentence() -> None:
    """Run the example's sentence, with no token chosen."""
    ask_for(toy.SENTENCE)
    state.select(query=-1, key=-1)


def _several(trace: Trace, position: int) -> None:
    """Say which token is meant where a word is several."""
    group = toy.word_of(trace.tokens, position)
    if len(group) > 1:
        word = "".join(trace.tokens.texts[i] for i in group)
        st.caption(
            f"The word “{plain(short(word, 30))}” is {count(len(group), 'token')}, at {ordered(list(group))}; "
            f"using the token {quoted(trace, position)} alone."
        )


def _ranked(shown: Current, ranking: pd.DataFrame, chosen: state.Selection, query: int, key: int) -> None:
    """Draw the heads as a map and as a table."""
    trace = shown.trace
    first = ranking.iloc[0]
    most = int((ranking["place"] == 1).sum())
    here, there = (quoted(trace, position) for position in (query, key))
    st.markdown(
        f"Of all {count(len(ranking), 'head')}, layer {first['layer']:.0f}, head {first['head']:.0f} gives the largest "
        f"attention weight from {here} to {there}: **{first['weight']:.3f}**. "
        f"Token {there} is the top token in {count(most, 'head')}; the mean over "
        f"all heads is {ranking['weight'].mean():.3f}."
    )
    matrix_map(
        toy.head_map(trace, ranking).T,
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
        if rows and 0 <= rows[0] < len(ranking):
            at = ranking.iloc[rows[0]]
            state.select(layer=int(at["layer"]), head=int(at["head"]), query=query, key=key)

    table = ranking.assign(most=[label(trace, position) for position in ranking["strongest"]])
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
        height=min(300, 37 + 35 * len(table)),
        column_order=["rank", "layer", "head", "weight", "place", "most", "strongest weight"],
        column_config={"most": st.column_config.TextColumn("looks most at"), **numbers},
        on_select=take,
        selection_mode="single-row",
    )
    mine = ranking[(ranking["layer"] == chosen.layer) & (ranking["head"] == chosen.head)]
    if len(mine):
        row = mine.iloc[0]
        st.markdown(
            f"Chosen: layer {chosen.layer}, head {chosen.head}, weight {row['weight']:.6f}, rank {row['rank']:.0f} of "
            f"{len(ranking)}."
        )
        _made(shown, chosen, query, key)
    with st.container(horizontal=True):
        st.page_link(file_of("Heads"), label="This head's whole map", icon=":material/grid_on:")
        if (chosen.query, chosen.key) == (query, key):
            st.page_link(file_of("Pair"), label="Explain this score", icon=":material/swap_horiz:")
        st.page_link(file_of("Why"), label="What heads write into the next token", icon=":material/account_tree:")
    left_out = sum(bool(layer.unexplained) for layer in trace.stored)
    if left_out:
        st.caption(f"{count(left_out, 'layer')} left out: their weights cannot be shown for this model.")


def _made(shown: Current, chosen: state.Selection, query: int, key: int) -> None:
    """Say which parts of the model wrote what the chosen head found at the key token."""
    found = attempt(
        lambda say: reasons.key_parts(shown.request, chosen.layer, chosen.head, query, key, say), may_lack=True
    )
    if found is None:
        return
    score, parts, warning = found
    listed = ", ".join(f"{plain(name)} ({number(share)})" for name, share in parts[:PARTS])
    rest = sum(share for _, share in parts[PARTS:])
    others = f", {count(len(parts) - PARTS, 'other part')} ({number(rest)})" if len(parts) > PARTS else ""
    st.markdown(
        f"**What made this score.** The scaled score of {quoted(shown.trace, key)}, less the mean of its row, is "
        f"{number(score)}. By what had written that token's vector: {listed}{others}. These add up to it."
    )
    st.caption(f"Computed with norms frozen at the scale they had. {warning}".strip())


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
