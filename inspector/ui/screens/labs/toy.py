"""Draw the toy of two words with five numbers each (a part of the laboratory "What does “it” look at?")."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from inspector.learn import toy
from inspector.learn.softmax import parse
from inspector.text import Progress
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.progress import attempt
from inspector.ui.screens.common import number


def draw() -> None:
    """Draw this part: fields for the numbers, their product, and the weights."""
    picture, fields = st.columns([3, 2], gap="large")
    with fields:
        for kind, name in (("q", "query"), ("k", "key"), ("v", "value")):
            for word, place in zip(toy.KEYS, st.columns(2), strict=True):
                field = f"{kind}_{word}"
                st.session_state.setdefault(field, _text(field))
                place.text_input(f"{name} of “{word}”", key=field, max_chars=400)
        st.button("Reset", on_click=_reset)

    def make(_: Progress) -> tuple[dict[str, list[float]], toy.Toy]:
        vectors = {field: parse(st.session_state[field], what=field) for field in toy.VECTORS}
        return vectors, toy.compute_toy(vectors)

    with picture:
        found = attempt(make)
        if found is None:
            return
        vectors, made = found
        _product(vectors, made)
    _weights(made)


def _text(field: str) -> str:
    """Write a vector as one types it."""
    return ", ".join(f"{each:g}" for each in toy.VECTORS[field])


def _reset() -> None:
    """Go back to the numbers of the start."""
    for field in toy.VECTORS:
        st.session_state[field] = _text(field)


def _product(vectors: dict[str, list[float]], made: toy.Toy) -> None:
    """Draw query, key and their product."""
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
    """Show the scores, the weights and the context vector."""
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
        f"Written examples often assume a weight of {toy.ASSUMED:.2f} here. The softmax over these two "
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
    st.caption("The context vector: both values, each times its weight, added up. Computed by plain loops.")
