"""Follow one query token through one head, station by station, with the model's numbers: the screen Walkthrough."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from inspector.learn.stations import STATIONS
from inspector.ui import state
from inspector.ui.markdown import plain
from inspector.ui.screens import common
from inspector.ui.screens.stations import to_next_layer, to_output, to_vectors, to_weights
from inspector.ui.screens.stations.at import At

DRAW: dict[str, Callable[[At], None]] = {
    "tokens": to_vectors.tokens,
    "input": to_vectors.attention_input,
    "matrices": to_vectors.matrices,
    "vectors": to_vectors.vectors,
    "rope": to_vectors.rope,
    "pair": to_weights.pair,
    "scores": to_weights.scores,
    "scaling": to_weights.scaling,
    "mask": to_weights.mask,
    "softmax": to_weights.softmax,
    "values": to_output.values,
    "context": to_output.context,
    "heads": to_output.heads,
    "output": to_output.output,
    "residual": to_next_layer.residual,
    "next": to_next_layer.following,
}
ORDER = list(STATIONS)


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "Follow one query token through one head, a step at a time, from its text to the next layer. Every number is "
        "the model's; formula, shapes and picture stand together. Words below a picture say what they mean when you "
        "point at them."
    )
    if page is None:
        return
    shown, chosen = page
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    query, key, row = common.pair_pickers(trace, chosen)
    _steps(chosen.station)
    st.subheader(f"{ORDER.index(chosen.station) + 1}. {STATIONS[chosen.station]}", anchor=False)
    if trace.stored[layer].unexplained:
        st.warning(plain(f"Weights of layer {layer} cannot be shown: {trace.stored[layer].unexplained}."))
    DRAW[chosen.station](At(shown, layer, head, query, key, row))


def _steps(station: str) -> None:
    """Draw Back, Next and the list of stations. Alt with the arrow keys does the same."""
    at = ORDER.index(station)
    st.session_state["station_field"] = station

    def go(to: str) -> None:
        state.select(station=to)

    with st.container(horizontal=True, vertical_alignment="bottom", key="stations"):
        st.button(
            "Back", key="station_back", icon=":material/arrow_back:", disabled=at == 0, shortcut="Alt+Left",
            on_click=go, args=(ORDER[max(0, at - 1)],),
        )  # fmt: skip
        st.button(
            "Next", key="station_next", icon=":material/arrow_forward:", disabled=at == len(ORDER) - 1, type="primary",
            shortcut="Alt+Right", on_click=go, args=(ORDER[min(len(ORDER) - 1, at + 1)],),
        )  # fmt: skip
        st.selectbox(
            "Station", ORDER, key="station_field", width=330,
            format_func=lambda name: f"{ORDER.index(name) + 1} of {len(ORDER)}: {STATIONS[name]}",
            on_change=lambda: go(st.session_state["station_field"]),
        )  # fmt: skip
    st.progress((at + 1) / len(ORDER))


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
