"""Explain how one query token comes to look at one key token, step by step: the screen Pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import rope_planes, score_breakdown
from inspector.capture.edits import Edit
from inspector.errors import InspectorError
from inspector.ui import state
from inspector.ui.components.strips import plane_bars, product_strips, weight_row
from inspector.ui.edits import write_edits
from inspector.ui.markdown import count, plain
from inspector.ui.pages import file_of
from inspector.ui.progress import attempt
from inspector.ui.screens import common
from inspector.ui.screens.common import label, number, quoted

if TYPE_CHECKING:
    import pandas as pd

    from inspector.text import Progress
    from inspector.trace.trace import Trace

AFTER, BEFORE = "After RoPE", "Before RoPE"


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "One query token looks at one key token: multiply their query vector and key vector dimension by dimension and "
        "add up, and you have the score; times the scale, and compared by a softmax with the scores of all keys this "
        "query may look at, it is the attention weight.",
        title="Pair",
    )
    if page is None:
        return
    shown, chosen = page
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    st.header(f"Layer {layer}, head {head}", anchor=False)
    query, key, row = common.pair_pickers(trace, chosen)
    seen = row[row["allowed"]]
    st.caption(common.sharing(trace.layers[layer], head))
    if st.button("What if this edge were cut?", key="cut_pair", help="The query cannot look at the key then."):
        edit = Edit(kind="cut", layers=(layer,), heads=(head,), queries=(query,), keys=(key,))
        state.change_edits(write_edits([edit]))
        st.switch_page(file_of("Change"))

    before = _before_rope(trace, layer)

    def make(report: Progress) -> tuple[score_breakdown.PairSteps, pd.DataFrame]:
        report("Reading the vectors", None)
        steps = score_breakdown.pair_steps(trace, layer, head, query, key, before_rope=before)
        return steps, rope_planes.dimensions(trace, layer, steps, rope=steps.query_before is None)

    found = attempt(make)
    if found is None:
        return
    steps, frame = found
    if before and steps.query_before is None:
        st.info(plain(steps.no_before), icon=":material/info:")
    _vectors(trace, layer, steps, frame)
    _numbers_left_to_right(steps, biased=trace.layers[layer].bias)
    _softmax(trace, layer, seen, steps, chosen)
    _frequencies(trace, layer, head, steps)


def _before_rope(trace: Trace, layer: int) -> bool:
    """Ask whether to show the vectors before rotation, where there are such."""
    rope = trace.layers[layer].rope
    if rope is None:
        st.info("This layer's rotation cannot be switched off: its vectors are shown after it.", icon=":material/info:")
    elif not rope:
        st.info("This layer does not use RoPE: queries and keys are compared as they are.", icon=":material/info:")
    else:
        which = st.segmented_control("Vectors", [AFTER, BEFORE], default=AFTER, required=True, key="rotation")
        return bool(which == BEFORE)
    return False


def _vectors(trace: Trace, layer: int, steps: score_breakdown.PairSteps, frame: pd.DataFrame) -> None:
    """Draw query, key and their product, a column per dimension."""
    after = steps.query_before is None
    labels = trace.tokens.labels
    total = float(frame["product"].sum())
    product_strips(
        frame,
        query=f"{steps.query_position} {labels[steps.query_position]}",
        key=f"{steps.key_position} {labels[steps.key_position]}",
        total=number(total),
        when=(" after RoPE" if after else " before RoPE") if trace.layers[layer].rope else "",
        name="product",
    )
    with st.expander("Numbers: a row per dimension"):
        numbers = {name: st.column_config.NumberColumn(format="%.6f") for name in ("query", "key", "product")}
        st.dataframe(frame, hide_index=True, height=min(420, 37 + 35 * len(frame)), column_config=numbers)
    if not after:
        st.caption(
            f"Before RoPE the product adds up to {number(total)}; the score uses the vectors after RoPE, turned by "
            f"their positions, which are {count(abs(steps.distance), 'token')} apart: {number(steps.score)}."
        )


def _numbers_left_to_right(steps: score_breakdown.PairSteps, *, biased: bool) -> None:
    """Show score, scale, scaled score, softmax and weight: one field each, in the order of computation."""
    fields = [
        ("Score", number(steps.score), "The sum of the elementwise product after RoPE: query · key."),
        ("× scale", number(steps.scale), "One number for the whole layer, usually 1 / √d_head."),
        ("= scaled score", number(steps.scaled), "Score times scale."),
    ]
    if steps.softcap is not None:
        fields.append(
            ("soft-capped", number(steps.capped), f"{steps.softcap:g} · tanh(scaled score / {steps.softcap:g}).")
        )
    if biased:
        fields.append(("+ bias", number(steps.bias), "What this model adds to the score of this pair."))
        fields.append(("= with bias", number(steps.scaled_score), "What the softmax sees."))
    fields.append(
        (
            f"softmax over {count(steps.keys, 'key')}",
            f"{number(steps.exponential)} / {number(steps.total)}",
            f"e^(this score − {number(steps.largest)}, the row's largest), divided by the sum of the same over all "
            "keys this query may look at.",
        )
    )
    if not steps.no_weight:
        fields.append(("= attention weight", number(steps.weight), "How much of the value vector is passed on."))
    with st.container(horizontal=True, gap="small", key="steps"):
        for title, value, meaning in fields:
            st.metric(title, value, help=meaning, border=True, width="content")
    if steps.no_weight:
        st.warning(plain(steps.no_weight), icon=":material/warning:")


def _softmax(
    trace: Trace, layer: int, seen: pd.DataFrame, steps: score_breakdown.PairSteps, chosen: state.Selection
) -> None:
    """Show all keys that the query may look at, with their scores and weights."""
    info = trace.layers[layer]
    st.markdown(f"### All keys that query token {quoted(trace, steps.query_position)} may look at")
    left, right = st.columns(2, gap="large")
    with left:
        weight_row(
            seen,
            query=label(trace, steps.query_position),
            chosen=steps.key_position,
            scale=chosen.scale,
            sink=info.sinks,
            on_pick=lambda position: state.select(key=position),
            name="row",
        )
        if info.sinks:
            st.caption("This head has an attention sink of its own: the weights add up to less than 1.")
    with right:
        table = seen.assign(
            key=[label(trace, position) for position in seen["position"]],
            chosen=["●" if position == steps.key_position else "" for position in seen["position"]],
        )
        numbers = {
            name: st.column_config.NumberColumn(format=form, width=width)
            for name, form, width in (  # together as wide as a telephone
                ("score", "%.3f", 72),
                ("scaled score", "%.4f", 96),
                ("weight", "%.4g", 84),
            )
        }
        st.dataframe(
            table,
            hide_index=True,
            height=min(380, 37 + 35 * len(table)),
            column_order=["chosen", "key", "score", "scaled score", "weight"],
            column_config={
                "chosen": st.column_config.TextColumn("●", width=26),
                "key": st.column_config.TextColumn("key token"),
                **numbers,
            },
        )


def _frequencies(trace: Trace, layer: int, head: int, steps: score_breakdown.PairSteps) -> None:
    """Split the score by rotation frequency."""
    st.markdown("### Score by rotation frequency")

    def make(report: Progress) -> pd.DataFrame | str:
        report("Reading the vectors before RoPE and how fast each plane turns", None)
        try:
            return rope_planes.planes(trace, layer, head, steps.query_position, steps.key_position)
        except InspectorError as error:
            return str(error)  # no failure: the layer has no planes, or they are not known

    found = attempt(make)
    if found is None:
        return
    if isinstance(found, str):
        st.info(plain(found), icon=":material/info:")
        return
    share, content, position = (float(found[name].sum()) for name in ("share", "content", "position"))
    st.caption(
        "RoPE turns dimensions two by two; such a plane turns once in its wavelength. The shares add up to the score, "
        f"{number(share)}: **content**, what they would be with both tokens at the same position, {number(content)}, "
        f"and **position**, what turning by their distance of {count(abs(steps.distance), 'token')} makes of it, "
        f"{number(position if steps.distance else 0.0)}."  # at one position only rounding is left of it
    )
    plane_bars(found, "planes")
    st.dataframe(
        found,
        hide_index=True,
        height=min(380, 37 + 35 * len(found)),
        column_config={
            "plane": st.column_config.NumberColumn(width=60),
            "dimensions": st.column_config.TextColumn(width=110),
            "wavelength": st.column_config.NumberColumn("wavelength, tokens", format="%.1f"),
            "angle_degrees": st.column_config.NumberColumn("angle", format="%.3f°"),
            **{name: st.column_config.NumberColumn(format="%.5f") for name in ("share", "content", "position")},
        },
    )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
