"""Draw what a mistake does: angles per plane beside the model's line, and a row of weights beside the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from inspector.ui.components.chart import show_chart

ANGLES = "How far each plane of a {} turns from token to token"


def draw_angles(whose: Mapping[str, Sequence[float]], of: str, layer: int, *, key: str) -> None:
    """Draw measured angles beside the model's: a wrong base is another slope, another pairing is scatter.

    Args:
        whose: name -> the angle of each plane, in radians a token.
        of: "query" or "key".
        layer: which layer's.
        key: names the picture on the page.
    """
    frame = pd.DataFrame(
        [
            {"whose": name, "plane": plane, "radians a token": abs(angle)}
            for name, values in whose.items()
            for plane, angle in enumerate(values)
            if abs(angle) > 1e-9
        ]
    )
    title = ANGLES.format(of)
    still = [name for name, values in whose.items() if all(abs(angle) <= 1e-9 for angle in values)]
    unturned = f" {still[0].capitalize()}: no plane turns." if still else ""
    st.markdown(
        f"**{title}**, layer {layer}. Unscaled RoPE is a straight line here, the steeper the larger its base; "
        f"what is turned in other pairs of dimensions is scattered.{unturned}"
    )
    each = alt.Scale(domain=list(whose))  # so that colours stay where one of them has nothing to draw
    chart = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X("plane:Q", scale=alt.Scale(nice=False)),
            y=alt.Y("radians a token:Q", scale=alt.Scale(type="log")),
            color=alt.Color("whose:N", scale=each, legend=alt.Legend(title=None, orient="top")),
            strokeDash=alt.StrokeDash("whose:N", scale=each, legend=None),
        )
    )
    show_chart(chart, frame, title=title, key=key)


def draw_row(whose: Mapping[str, Sequence[float]], labels: Sequence[str], title: str, *, key: str) -> None:
    """Draw one token's weights for each key token, somebody's beside the model's.

    Args:
        whose: name -> the weight of each key token.
        labels: the key tokens.
        title: what it shows.
        key: names the picture on the page.
    """
    frame = pd.DataFrame(
        [
            {"whose": name, "token": f"{place} {label}", "weight": weight}
            for name, row in whose.items()
            for place, (label, weight) in enumerate(zip(labels, row, strict=False))
        ]
    )
    st.markdown(f"**{title}**")
    each = alt.Scale(domain=list(whose))  # so that colours stay where one of them has nothing to draw
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("token:N", sort=None, title="key token"),
            y=alt.Y("weight:Q", title="attention weight"),
            xOffset=alt.XOffset("whose:N", scale=each),
            color=alt.Color("whose:N", scale=each, legend=alt.Legend(title=None, orient="top")),
            tooltip=["whose:N", "token:N", alt.Tooltip("weight:Q", format=".4f")],
        )
    )
    show_chart(chart, frame, title=title, key=key)
