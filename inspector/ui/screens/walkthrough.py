"""Follow one query token through one head, station by station, with the model's numbers: the screen Walkthrough."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from inspector.learn.stations import STATIONS
from inspector.ui import state
from inspector.ui.components.rail import step_rail
from inspector.ui.markdown import plain
from inspector.ui.progress import current
from inspector.ui.screens import common
from inspector.ui.screens.labs import frame
from inspector.ui.screens.labs.frame import word
from inspector.ui.screens.labs.table import BY_NAME, HOME, TRY
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


SENTENCE = "Follow one query token through one head, from its text to the next layer. Every number is the model's."


def show() -> None:
    """Draw the screen for the prompt on screen."""
    frame.style()
    lede = st.container()
    shown = current()
    if shown is None:
        return
    chosen = frame.with_pair(shown, common.selection(shown))
    trace, layer, head = shown.trace, chosen.layer, chosen.head
    if chosen.station == ORDER[0]:
        lede.markdown(SENTENCE)
    _rail(chosen.station)
    number, title = ORDER.index(chosen.station) + 1, STATIONS[chosen.station]
    st.title(f"{number}. {title}", anchor=False)
    if trace.stored[layer].unexplained:
        st.warning(plain(f"Weights of layer {layer} cannot be shown: {trace.stored[layer].unexplained}."))
    picture, beside = st.columns([5, 3], gap="large")
    formula, words = beside.container(), beside.container()
    pair = f"“{plain(word(trace, chosen.query))}”"
    pair += f" → “{plain(word(trace, chosen.key))}”" if chosen.key >= 0 else ""
    with frame.choices(shown, f"{pair} · layer {layer}, head {head}"):
        query, key, row = common.pair_pickers(trace, chosen)
    with picture:
        DRAW[chosen.station](At(shown, layer, head, query, key, row, formula, words))
    with words:
        laboratory = BY_NAME[TRY[chosen.station]]
        frame.link(laboratory, f"Try it: {laboratory.title}", icon=f":material/{laboratory.icon}:")
    if chosen.station == ORDER[-1]:
        _ending(word(trace, query), layer, head)


def _rail(station: str) -> None:
    """Draw Back, a dot for each station, and Next. Alt with the arrow keys does the same."""
    at = ORDER.index(station)

    def go(to: str) -> None:
        state.select(station=to)

    with st.container(horizontal=True, vertical_alignment="center", key="rail"):
        st.button(
            "Back", key="station_back", icon=":material/arrow_back:", disabled=at == 0, shortcut="Alt+Left",
            on_click=go, args=(ORDER[max(0, at - 1)],),
        )  # fmt: skip
        step_rail(list(STATIONS.values()), at, key="steps", on_pick=lambda step: go(ORDER[step]))
        st.button(
            "Next", key="station_next", icon=":material/arrow_forward:", disabled=at == len(ORDER) - 1, type="primary",
            shortcut="Alt+Right", on_click=go, args=(ORDER[min(len(ORDER) - 1, at + 1)],),
        )  # fmt: skip


def _ending(token: str, layer: int, head: int) -> None:
    """Say what was learned, and where to go on."""
    with st.container(border=True, key="ending"):
        st.header("What you have seen", anchor=False)
        st.markdown(
            f"You followed “{plain(token)}” through layer {layer}, head {head}:\n\n"
            "- Its **query** met every **key** it may look at: scores.\n"
            "- Scaled, masked and through the **softmax**, scores became **weights** that add up to 1.\n"
            "- By these weights, **values** were added up to a **context vector**.\n"
            "- **W_o** put all heads together, and the sum was **added** to the token's vector.\n\n"
            "The same happens for every token, in every head of every layer. Where next?"
        )
        with st.container(horizontal=True, gap="medium"):
            for name in ("it_and_cat", "softmax", "mask_and_heads"):
                frame.link(BY_NAME[name], BY_NAME[name].title, icon=f":material/{BY_NAME[name].icon}:")
            frame.link(HOME, "All questions", icon=f":material/{HOME.icon}:")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
