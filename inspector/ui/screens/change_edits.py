"""Draw the list of edits on the page Change, and what adds one to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from inspector.analysis import score_breakdown
from inspector.capture.edits import Edit, Source
from inspector.errors import InspectorError
from inspector.loading.source import PACKAGED
from inspector.ui import state
from inspector.ui.edits import NONE, read_edits, write_edits
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import plain
from inspector.ui.screens import common

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from inspector.ui.progress import Current

HEAD, LAYER, ALL = "This head", "This layer", "All layers"


def edits_shown(shown: Current, chosen: state.Selection) -> str:
    """Return the edits on paper that the page runs.

    Args:
        shown: the prompt on screen.
        chosen: the selection.

    Returns:
        The visitor's. Where there are none yet: those that an example has something to show with, as long as its own
        head is chosen; else the chosen head, gone.
    """
    if chosen.edits:
        return chosen.edits
    if shown.request.model == PACKAGED:
        for example in EXAMPLES:
            if example.prompt == shown.request.prompt and example.gone and example.where == (chosen.layer, chosen.head):
                layer, heads = example.gone
                return write_edits([Edit(kind="zero", layers=(layer,), heads=heads)])
    return write_edits([Edit(kind="zero", layers=(chosen.layer,), heads=(chosen.head,))])


def list_of_edits(paper: str) -> None:
    """Draw the list: each edit's words with a button that takes it out, and buttons to go back and to empty it.

    Args:
        paper: the edits that are run.
    """
    if refused := state.refused_edits():
        st.error(plain(refused), icon=":material/warning:")
    edits = read_edits(paper)
    for number, edit in enumerate(edits):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{number + 1}. {plain(in_words(edit))}", width="content")
            rest = write_edits(edits[:number] + edits[number + 1 :])
            st.button(
                "Remove", key=f"remove_edit_{number}", help=f"Take edit {number + 1} out", type="tertiary",
                on_click=state.change_edits, args=(rest,),
            )  # fmt: skip
    with st.container(horizontal=True):
        st.button("Undo", key="undo_edits", on_click=state.undo_edits, disabled=not state.can_undo_edits())
        st.button("Clear", key="clear_edits", on_click=state.change_edits, args=(NONE,), disabled=not edits)


def in_words(edit: Edit) -> str:
    """Say in plain words what an edit does.

    Args:
        edit: an edit.

    Returns:
        Words that begin a sentence; a scale or a base with its number.
    """
    words = str(edit)
    return words[:1].upper() + words[1:]


def controls(shown: Current, chosen: state.Selection, paper: str) -> None:
    """Draw what chooses a place, and a button for each usual edit of it.

    Args:
        shown: the prompt on screen.
        chosen: the selection.
        paper: the edits that are run.
    """
    trace = shown.trace
    with st.container(horizontal=True, vertical_alignment="bottom", key="edit_place"):
        query, key = _places(trace, chosen)
        where = st.segmented_control("Where", [HEAD, LAYER, ALL], default=HEAD, required=True, key="edit_where")
    place: dict[str, Any] = {}  # layers and heads, as far as they are named
    if where != ALL:
        place["layers"] = (chosen.layer,)
    if where == HEAD:
        place["heads"] = (chosen.head,)
    rotated = {name: numbers for name, numbers in place.items() if name == "layers"}
    ids = trace.tokens.ids

    def offer(label: str, make: Callable[[], Edit], *, meaning: str, possible: bool = True) -> None:
        add = lambda: add_edit(paper, make)  # noqa: E731
        name = f"add_{label.lower().replace(' ', '_')}"
        st.button(label, key=name, help=meaning, on_click=add, disabled=not possible)

    with st.container(horizontal=True, key="offered_edits"):
        offer("Head gone", lambda: Edit(kind="zero", **place), meaning="Its output is 0 for every token.")
        offer(
            "Head's mean",
            lambda: Edit(kind="mean", source=Source(prompts=(ids,)), **place),
            meaning="Its output is the same for every token: the mean over this text's tokens from the second on.",
            possible=trace.n > 1,
        )
        offer(
            "Cut this edge",
            lambda: Edit(kind="cut", queries=(query,), keys=(key,), **place),
            meaning="The query token does not look at the key token; its other keys share that weight.",
        )
        offer(
            "Hide first token",
            lambda: Edit(kind="cut", keys=(0,), **place),
            meaning="No later token looks at the first one; other keys share its weight.",
            possible=trace.n > 1,
        )
        offer(
            "Drop first token",
            lambda: Edit(kind="drop", keys=(0,), **place),
            meaning="The first token's weights are set to 0 after the softmax: their share is missing.",
            possible=trace.n > 1,
        )
        offer("RoPE off", lambda: Edit(kind="rope_off", **rotated), meaning="Nothing rotates; of whole layers.")
        offer("Mask off", lambda: Edit(kind="mask_off", **place), meaning="Every token may look at every other.")
        offer("Scale off", lambda: Edit(kind="scale_off", **place), meaning="Scores are not divided by √d_head.")
        with st.popover("More"):
            window = st.number_input("Window, tokens", 1, max(1, trace.n), min(4, trace.n), key="edit_window")
            offer(
                "Add window",
                lambda: Edit(kind="window", window=int(window), **place),
                meaning="A token looks at so many tokens back, itself counted.",
            )
            factor = st.number_input("Factor", value=2.0, step=0.5, key="edit_factor")
            offer(
                "Multiply output",
                lambda: Edit(kind="scale", factor=float(factor), **place),
                meaning="The head's output times the factor.",
            )
            offer(
                "Multiply scores",
                lambda: Edit(kind="temperature", factor=float(factor), **place),
                meaning="Above 1 attention is sharper, at 0 even.",
            )
            base = st.number_input("RoPE base", 1.0, 1e9, 10_000.0, key="edit_base")
            offer(
                "Change RoPE base",
                lambda: Edit(kind="rope_base", base=float(base), **rotated),
                meaning="Planes turn at the speeds of another base; of whole layers.",
            )
            offer(
                "Drop key token",
                lambda: Edit(kind="drop", keys=(key,), **place),
                meaning="All weights of the chosen key token are set to 0 after the softmax.",
            )


def add_edit(paper: str, make: Callable[[], Edit]) -> None:
    """Add an edit to the list; one that is there already is not added twice.

    Args:
        paper: the list.
        make: makes the edit.
    """
    try:
        edits = read_edits(paper)
        edit = make()
    except InspectorError as refused:
        state.refuse_edits(str(refused))
        return
    if edit not in edits:
        state.change_edits(write_edits((*edits, edit)))


def _places(trace: Trace, chosen: state.Selection) -> tuple[int, int]:
    """Draw fields for the head and the edge; return the edge's query and key."""
    query = chosen.query if chosen.query >= 0 else trace.n - 1
    row = score_breakdown.row(trace, chosen.layer, chosen.head, query)
    seen = row["position"][row["allowed"]].to_list()
    key = chosen.key if chosen.key in seen else score_breakdown.strongest_key(row)
    common.head_pickers(trace.layers, chosen)
    reference = weakref.ref(trace)

    def take_query(position: int) -> None:
        if reference() is not None:
            state.select(query=position, key=-1)

    common.token_picker("Query token", "query_field", range(trace.n), query, trace, take_query)
    common.token_picker("Key token", "key_field", seen, key, trace, lambda position: state.select(key=position))
    return query, key
