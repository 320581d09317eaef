"""Show one query and one key rotated by RoPE, plane by plane: "How does RoPE encode distance?".

Below, their score at every distance; what is left when RoPE is switched off; and vectors of one's own can be typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import pandas as pd
import streamlit as st

from inspector.analysis import score_breakdown
from inspector.learn import position
from inspector.ui.components.chart import show_chart
from inspector.ui.components.clock import rope_clock
from inspector.ui.components.strips import rounded
from inspector.ui.components.verdict import show_verdict
from inspector.ui.markdown import count, plain
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label, number, quoted
from inspector.ui.screens.labs import frame, order

if TYPE_CHECKING:
    from inspector.text import Progress
    from inspector.trace.trace import Trace

NAME = "position"
COLOURS = alt.Scale(domain=["query", "key"], range=["#d97a2b", "#3584d4"])
PLANE = "position_plane"
ARROWS = "Query and key in one plane, before and after rotation; the numbers stand below"
TYPED = ("1 0 0.5 0.5", "1 0 0.5 -0.5")  # shown until the visitor types


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "RoPE turns a query and a key two dimensions at a time, each plane at its own speed, by position times speed. "
        "What they are turned against each other depends on their distance alone, and so does their score.",
    )
    if page is None:
        return
    shown, chosen = page[0], frame.with_pair(*page)
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    fields = frame.choices(shown, f"Layer {layer}, head {head} · query and key")
    with fields:
        query, key, _ = common.pair_pickers(trace, chosen)

    def make(report: Progress) -> pd.DataFrame:
        report("Reading the vectors before RoPE and how fast each plane turns", None)
        return position.turned_planes(trace, layer, head, query, key)

    planes = attempt(make, may_lack=True)
    if planes is not None:
        score = score_breakdown.pair_steps(trace, layer, head, query, key).score
        names = frame.word(trace, query), frame.word(trace, key)
        rope_clock(planes, score=score, query=query, key=key, names=names, name="clock")
        left, right = st.columns(2, gap="large")
        with left:
            _plane(trace, planes, query, key)
        with right:
            _distance(trace, layer, head, query, key)
        with st.expander("All tokens moved on together: every score of the row"):
            order.shift(trace, layer, head, query)
    with st.expander("Without RoPE and without the mask, the order of tokens is lost"):
        order.shuffle(shown, layer)
    with st.expander("Your own query and key"):
        _typed()
    common.terms("RoPE", "query vector", "key vector", "attention score", "mask")
    frame.end(NAME)


# -- one plane ---------------------------------------------------------------------------------------------------


def _plane(trace: Trace, planes: pd.DataFrame, query: int, key: int) -> None:
    """Draw one plane of the pair, before and after rotation."""
    st.markdown(f"## {quoted(trace, query)} and {quoted(trace, key)}, in one plane")
    if st.session_state.get(PLANE) not in planes.index:
        st.session_state[PLANE] = int(planes["position"].abs().idxmax())
    place = st.container(horizontal=True, gap="medium")
    at = st.select_slider(
        "Plane, from the fastest to the slowest",
        list(planes.index),
        format_func=lambda row: f"{planes['plane'][row]} · once in {rounded(planes['wavelength'][row])} tokens",
        key=PLANE,
    )
    one = planes.loc[at]
    with place:
        st.altair_chart(_arrows(one).properties(description=ARROWS), width="content", key="arrows")
        with st.container(width=220, key="plane_numbers"):
            _plane_numbers(one, query - key)
    with st.expander("Numbers of this plane, and of all planes"):
        st.dataframe(_plane_table(trace, one, query, key), hide_index=True, width="content")
        st.dataframe(planes, hide_index=True, height=min(420, 37 + 35 * len(planes)))


def _plane_numbers(one: pd.Series, distance: int) -> None:
    """Write the plane's numbers."""
    rounding = 1e-6 * max(abs(one["share"]), abs(one["content"]))
    for title, value, meaning in (
        ("share of the score", one["share"], "The product of the two solid arrows: x · x + y · y."),
        ("unturned", one["content"], "The product of the two dashed arrows: both tokens at one position."),
        ("from position", one["position"], "The share less that: what turning makes of it."),
    ):
        st.metric(title, frame.small(value, rounding), help=meaning)
    st.caption(
        f"{count(distance, 'token')} apart, at {number(one['degrees_per_token'])}° a token: turned by "
        f"{number(distance * one['degrees_per_token'])}° against each other. Dashed: before rotation."
    )


def _arrows(one: pd.Series) -> alt.LayerChart | alt.FacetChart:
    """Draw query and key in this plane, before and after, from the origin; both axes to the same scale."""
    frame = pd.DataFrame(
        [
            {"vector": name, "when": f"{when} RoPE", "x": one[f"{name}_{when}_x"], "y": one[f"{name}_{when}_y"]}
            for name in ("query", "key")
            for when in ("before", "after")
        ]
    ).assign(zero=0.0)
    reach = 1.25 * float((frame["x"] ** 2 + frame["y"] ** 2).max() ** 0.5) or 1.0
    first, second = str(one["dimensions"]).split(", ")
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    base = alt.Chart(frame).encode(
        x=alt.X("x:Q", title=f"dimension {first}", scale=scale),
        y=alt.Y("y:Q", title=f"dimension {second}", scale=scale),
        color=alt.Color("vector:N", scale=COLOURS, legend=None),
        tooltip=["vector", "when", alt.Tooltip("x", format=".5f"), alt.Tooltip("y", format=".5f")],
    )
    dashes = alt.Scale(domain=["before RoPE", "after RoPE"], range=[[4, 4], [1, 0]])
    shafts = base.mark_rule(strokeWidth=2.5).encode(
        x2="zero", y2="zero", strokeDash=alt.StrokeDash("when:N", scale=dashes, legend=None)
    )
    tips = base.mark_point(filled=True, size=90).encode(
        opacity=alt.condition(alt.datum["when"] == "after RoPE", alt.value(1), alt.value(0.55))
    )
    past = 1 + 0.14 * reach / (frame["x"] ** 2 + frame["y"] ** 2).pow(0.5).clip(lower=1e-9)
    beyond = frame.assign(x=past * frame["x"], y=past * frame["y"])  # names stand past the tips, off the arrows
    names = alt.Chart(beyond).mark_text(fontSize=13).encode(
        x="x:Q", y="y:Q", text="vector:N", color=alt.Color("vector:N", scale=COLOURS, legend=None)
    )  # fmt: skip
    origin = alt.Chart(pd.DataFrame({"x": [0.0], "y": [0.0]})).mark_point(color="gray", size=30).encode(x="x", y="y")
    return alt.layer(shafts, tips, names, origin).properties(width=260, height=260)  # square: an angle looks as it is


def _plane_table(trace: Trace, one: pd.Series, query: int, key: int) -> pd.DataFrame:
    """Return how far query and key are turned in this plane."""
    rows = []
    for name, at in (("query", query), ("key", key)):
        rows.append(
            {
                "vector": name,
                "token": label(trace, at),
                "position × speed": f"{at} × {number(one['degrees_per_token'])}°",
                "modulo 360": f"{number(one[f'{name}_angle'])}°",
                "before": f"{number(one[f'{name}_before_x'])}, {number(one[f'{name}_before_y'])}",
                "after": f"{number(one[f'{name}_after_x'])}, {number(one[f'{name}_after_y'])}",
            }
        )
    return pd.DataFrame(rows)


# -- every distance ----------------------------------------------------------------------------------------------


def _distance(trace: Trace, layer: int, head: int, query: int, key: int) -> None:
    """Draw the pair's score at every distance."""
    st.markdown("## Their score at every distance")
    place = st.container()
    furthest = st.slider("Up to a distance of so many tokens", 16, 2048, 256, step=16, key="position_furthest")
    found = attempt(lambda _: position.by_distance(trace, layer, head, query, key, furthest=furthest))
    if found is None:
        return
    if found.note:
        st.info(plain(found.note), icon=":material/info:")
    show_chart(
        _curve(found.frame, found.real),
        found.frame,
        title="The pair's score at every distance",
        key="distance_curve",
        place=place,
    )
    real = found.frame["score"][found.frame["distance"] == found.real].iloc[0]
    with frame.proof("At this pair's own distance, the curve has the model's score", found.check):
        show_verdict(
            found.check,
            f"The curve at this pair's own distance of {found.real}, {number(real)}, against the trace's score",
        )


def _curve(frame: pd.DataFrame, real: int | None) -> alt.LayerChart | alt.FacetChart:
    """Draw the score by distance, the pair's own distance marked."""
    base = alt.Chart(frame).encode(
        x=alt.X("distance:Q", title="distance in tokens", scale=alt.Scale(nice=False)),
        y=alt.Y("score:Q", title="score, query · key after RoPE"),
        tooltip=["distance", alt.Tooltip("score", format=".6g")],
    )
    marks = [base.mark_line(color="#3584d4", strokeWidth=1.8), base.mark_point(opacity=0, size=60)]
    if real is not None:
        here = base.transform_filter(alt.datum["distance"] == real)
        upright = alt.Chart(pd.DataFrame({"distance": [real]})).mark_rule(color="#d97a2b", strokeDash=[4, 4])
        marks += [
            upright.encode(x="distance:Q"),
            here.mark_point(color="#d97a2b", filled=True, size=110, opacity=1),
        ]
    return alt.layer(*marks).properties(height=260)


# -- typed numbers -----------------------------------------------------------------------------------------------


@st.fragment  # what is typed here changes nothing above
def _typed() -> None:
    """Draw the score of vectors that the visitor types."""
    st.caption(
        "2, 4, 6 or 8 numbers each. Dimensions 0 and 1 turn together, 2 and 3, and so on; plane i turns by "
        "base^(−2i / dimensions) radians a token."
    )
    with st.container(horizontal=True):
        query = st.text_input("Query vector", TYPED[0], key="position_typed_query", width=230, max_chars=200)
        key = st.text_input("Key vector", TYPED[1], key="position_typed_key", width=230, max_chars=200)
        theta = st.number_input("Base (theta)", 1.0, 1e9, 10000.0, key="position_theta", format="%g", width=170)
        furthest = st.slider("Up to a distance of", 16, 2048, 128, step=16, key="position_typed_furthest", width=230)
    found = attempt(
        lambda _: position.typed_by_distance(
            position.typed_vector(query, "query vector"),
            position.typed_vector(key, "key vector"),
            theta=theta,
            furthest=furthest,
        )
    )
    if found is None:
        return
    show_chart(_curve(found, None), found, title="The typed vectors' score at every distance", key="typed_curve")
    st.caption(f"At distance 0 nothing is turned: the score is the dot product as typed, {number(found['score'][0])}.")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
