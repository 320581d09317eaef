"""Draw the commonest mistakes of attention on the prompt on screen, each with its picture: part of the page Verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui.markdown import plain
from inspector.ui.progress import attempt
from inspector.ui.screens.own_pictures import draw_angles, draw_row
from inspector.ui.server import judged

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.judging.gallery import Shown
    from inspector.judging.report import Judgement
    from inspector.text import Progress
    from inspector.ui.progress import Current

_CHOSEN = "gallery_mistake"


def show_gallery(shown: Current, judge: Callable[[Judgement | None], None], forget: Callable[[], None]) -> None:
    """Draw the choice of a mistake, what it does on this prompt, and a button that has it judged.

    Args:
        shown: the prompt on screen.
        judge: shows a judgement.
        forget: lets go of the judgement before.
    """
    exhibits = {one.name: one for one in judged.exhibits(shown.request)}
    if not exhibits:
        return
    st.subheader("The commonest mistakes, made on purpose", anchor=False)
    name = st.selectbox("A mistake", list(exhibits), key=_CHOSEN, on_change=forget)

    def make(say: Progress) -> dict[str, Shown]:
        return judged.shown_mistakes(shown.request, say)

    every = attempt(make)
    if every is None:
        return
    found = every[name]
    st.markdown(f"{plain(exhibits[name].story)} Here: {plain(found.what)}.")
    if found.yours:
        draw_angles(
            {"with the mistake": found.yours, "the model's": found.model}, found.of, found.layer, key="gallery_angles"
        )
    labels = shown.trace.tokens.labels
    draw_row(
        {"with the mistake": found.your_row, "the model's": found.model_row},
        labels,
        f"What token {found.token} {plain(repr(labels[found.token]))} looks at, layer {found.layer}, head {found.head}",
        key="gallery_row",
    )
    st.button("What would the judge say?", key="judge_gallery", on_click=forget)
    if st.session_state.get("judge_gallery"):
        judge(attempt(lambda say: judged.judge_exhibit(shown.request, name, say), on_cancel=forget))
