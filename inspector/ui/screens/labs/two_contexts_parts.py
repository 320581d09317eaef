"""Draw one word in two prompts: distances, attention rows and vectors (parts of "Does context change a word?")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import streamlit as st

from inspector.learn import context_controls, contexts
from inspector.ui import state
from inspector.ui.components.chart import show_chart
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.markdown import count, plain, short
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.screens.labs.frame import small

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

TWO, SAME_PLACE, POSITION = "the two prompts", "cut to the same position", "position alone"
COLOURS = {TWO: "#3584d4", SAME_PLACE: "#8fc1ec", POSITION: "#8a94a3"}


@dataclass(frozen=True)
class Pair:
    """The two prompts as they ran, where the word stands in each, and every distance by layer."""

    first: Trace
    at: contexts.Place
    second: Trace
    other: contexts.Place
    residuals: pd.DataFrame
    inputs: pd.DataFrame
    control: pd.DataFrame
    moved: pd.DataFrame | None
    cut: tuple[pd.DataFrame, int, tuple[str, str]] | None
    why: str  # why one of the last two is missing


def where(pair: Pair) -> None:
    """Say which tokens are compared, and what that means for their embeddings.

    Args:
        pair: the two prompts.
    """
    words = []
    for number, trace, place in (("first", pair.first, pair.at), ("second", pair.second, pair.other)):
        label, token = trace.tokens.labels[place.last], trace.tokens.ids[place.last]
        of = (
            f", the last of the word's {count(place.last - place.first + 1, 'token')}"
            if place.last > place.first
            else ""
        )
        words.append(f"token {place.last} of the {number} prompt, **{plain(label)}** (id {token}){of}")
    same = pair.first.tokens.ids[pair.at.last] == pair.second.tokens.ids[pair.other.last]
    distance, differing = pair.residuals.loc[0, "distance"], int(pair.residuals.loc[0, "differing"])
    if pair.first.layers[0].block > 0:
        verdict = (
            f"This model's first attention stands in block {pair.first.layers[0].block}: what differs at layer 0, "
            f"{common.number(distance)}, the blocks before it made."
        )
    elif same and differing == 0:
        verdict = "The same token, so the same embedding: distance 0 at layer 0, number by number."
    elif same:
        verdict = f"The same token, yet {differing} numbers differ at layer 0: this model adds positions to embeddings."
    else:
        verdict = (
            f"Two different tokens of the vocabulary (a space in front, or a capital, makes another token): their "
            f"embeddings differ from the start, by {common.number(distance)}."
        )
    st.markdown(f"Compared are {words[0]} and {words[1]}. {verdict}")


def chart(pair: Pair) -> None:
    """Draw distance or cosine by layer: the two prompts, the word at one position in both, and position alone.

    Args:
        pair: the two prompts.
    """
    measures = {"distance": "Relative distance", "cosine": "Cosine similarity"}
    which = st.segmented_control(
        "Of the residual entering each layer", list(measures), format_func=measures.__getitem__, default="distance",
        required=True, key="contexts_measure",
    )  # fmt: skip
    lines = {TWO: pair.residuals, SAME_PLACE: pair.cut[0] if pair.cut else None, POSITION: pair.moved}
    found = {name: frame for name, frame in lines.items() if frame is not None}
    frame = pd.concat([frame.assign(what=name) for name, frame in found.items()])
    chart = (
        alt.Chart(frame)
        .mark_line(point=True, strokeWidth=2.5)
        .encode(
            x=alt.X("layer", title="layer", scale=alt.Scale(nice=False)),
            y=alt.Y(which, title=measures[which].lower()),
            color=alt.Color(
                "what",
                scale=alt.Scale(domain=list(found), range=[COLOURS[name] for name in found]),
                legend=alt.Legend(title=None, orient="bottom", columns=3, labelLimit=300),
            ),
            tooltip=["what", "layer", alt.Tooltip("distance", format=".6g"), alt.Tooltip("cosine", format=".6f")],
        )
        .properties(height=340)
    )
    picture, numbers = st.columns([4, 1], gap="large", vertical_alignment="center")
    title = f"{measures[which]} of the residual entering each layer"
    show_chart(chart, frame, title=title, key="contexts_chart", place=picture)
    far = pair.residuals.loc[pair.residuals["distance"].idxmax()]
    control = pair.control["distance"].max()
    rounding = context_controls.rounding(pair.first)
    with numbers:
        st.metric(f"Farthest apart, entering layer {int(far['layer'])}", common.number(far["distance"]))
        if pair.moved is not None:
            moved = float(pair.moved["distance"].max())
            st.metric("Position alone, at most", small(moved, rounding))
        st.metric("Control: one prompt run twice", small(float(control), rounding))
    st.caption(
        "Relative distance: |a − b| divided by the mean of |a| and |b|; 0 for equal vectors, 2 for opposite ones."
    )


def position_alone(pair: Pair) -> None:
    """Say what of the difference is the word's position.

    Args:
        pair: the two prompts.
    """
    st.markdown("**Control:** the first prompt against a second run of it, at every layer.")
    at, other = pair.at.last, pair.other.last
    words = []
    if pair.moved is not None:
        by, most = abs(other - at) or 1, pair.moved["distance"].max()
        start = f"**Position alone:** the first prompt unchanged, but {count(by, 'position')} later: its vector"
        if most <= context_controls.rounding(pair.first):
            who = "RoPE's scores" if any(info.rope for info in pair.first.layers) else "Scores here"
            words.append(
                f"{start} is the same but for rounding. {who} feel only how far apart two "
                "tokens are; what matters is which tokens stand before the word, and how many."
            )
        else:
            words.append(f"{start} moves by up to {common.number(most)}: in this model the position itself counts.")
    if pair.cut is not None:
        _, position, texts = pair.cut
        words.append(
            f"**The same position:** both prompts cut at the beginning so that the word stands at position {position} "
            f"(instead of {at} and {other}): “{plain(short(texts[0]))}” and “{plain(short(texts[1]))}”. What was cut "
            "was context too."
        )
    elif pair.moved is not None:
        words.append(f"The word stands at position {at} in both prompts: nothing need be cut to compare it there.")
    if pair.why:
        words.append(plain(pair.why))
    for text in words:
        st.markdown(text)


def rows(pair: Pair, chosen: state.Selection) -> None:
    """Draw the word's attention row in each prompt: the same head, other tokens to look at.

    Args:
        pair: the two prompts.
        chosen: the selection; its layer and head are shown.
    """
    places = st.columns(2, gap="large")
    for place, number, trace, at in (
        (places[0], "first", pair.first, pair.at.last),
        (places[1], "second", pair.second, pair.other.last),
    ):
        with place:
            row = _row(trace, at, chosen)
            if row is None:
                return
            labels = [f"{position} {token}" for position, token in zip(row["position"], row["token"], strict=True)]
            aligned(
                [
                    Panel(
                        "bars",
                        f"attention weight, {number} prompt",
                        row["weight"],
                        "attention weight",
                        1.0,
                        chosen.scale,
                    )
                ],
                names=[f"key token {label}" for label in labels],
                axis=labels,
                label=f"Attention weights of the word in the {number} prompt, a column per key token",
                key=f"contexts_row_{number}",
                turned=True,
                marked=at,
            )
    st.caption(f"Layer {chosen.layer}, head {chosen.head}. Heights are {_heights(chosen.scale)}; readings are exact.")


def _row(trace: Trace, at: int, chosen: state.Selection) -> pd.DataFrame | None:
    """Return the word's row; None, with the reason on screen, where there is none."""
    return attempt(lambda _: contexts.row(trace, at, chosen.layer, chosen.head))


def _heights(scale: str) -> str:
    """Say what bars of this scale show."""
    return {"linear": "the weights", "sqrt": "square roots of the weights", "log": "logarithms of the weights"}[scale]


def vectors(pair: Pair, chosen: state.Selection) -> None:
    """Compare the word's query, key and value in one head.

    Args:
        pair: the two prompts.
        chosen: the selection; its layer and head are shown.
    """
    st.markdown(f"**The word's vectors in layer {chosen.layer}, head {chosen.head}**")
    frame = attempt(
        lambda _: contexts.vectors(pair.first, pair.at.last, pair.second, pair.other.last, chosen.layer, chosen.head)
    )
    if frame is not None:
        st.dataframe(frame, hide_index=True, column_config=_config())


def numbers(pair: Pair) -> None:
    """List every distance, layer by layer.

    Args:
        pair: the two prompts.
    """
    st.markdown("**Layer by layer: the exact numbers**")
    columns = ["cosine", "distance", "differing"]
    frame = pair.residuals.rename(columns={name: f"residual {name}" for name in columns})
    frame = frame.merge(pair.inputs.rename(columns={name: f"input {name}" for name in columns}), on="layer")
    if pair.cut is not None:
        frame["same position"] = pair.cut[0]["distance"]
    if pair.moved is not None:
        frame["position alone"] = pair.moved["distance"]
    frame["control"] = pair.control["distance"]
    st.dataframe(frame, hide_index=True, column_config=_config())
    st.caption(
        "Residual: what enters the layer's block. Input: the same after the block's norm, the attention input. "
        "Differing: how many of the vector's numbers differ at all. The last columns are the residual's distances."
    )


def _config() -> dict[str, Any]:
    """Return how the columns are written."""
    number = {
        name: st.column_config.NumberColumn(format="%.6f")
        for kind in ("", "residual ", "input ")
        for name in (f"{kind}cosine", f"{kind}distance")
    }
    small = {
        name: st.column_config.NumberColumn(format="%.6g") for name in ("same position", "position alone", "control")
    }
    return number | small
