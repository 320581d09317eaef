"""Draw the upper part of the screen Heads: the grid of every head, by layer or sorted by what the heads do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis import maps
from inspector.analysis.head_scores import BY_NAME, FARTHEST, find, ordered
from inspector.ui import state
from inspector.ui.components.grid import head_grid
from inspector.ui.markdown import plain, short
from inspector.ui.progress import Current, attempt
from inspector.ui.server import pictures

if TYPE_CHECKING:
    from inspector.analysis.thumbnails import Thumbnails
    from inspector.capture.records import LayerInfo

BEST = 60  # heads shown when they are sorted
REDRAWN_SECONDS = 4.0  # between two looks at what has been drawn in the background

_NOT_FOUND, _CLICKED = "order_not_found", "clicked_in_the_grid"

Order = list[tuple[int, int, str]]  # layer, head, what to read at it


def draw(shown: Current, chosen: state.Selection, thumbnails: Thumbnails) -> None:
    """Draw the grid, by layer or sorted, and the field that sorts it.

    Args:
        shown: the prompt on screen.
        chosen: the selection; its head is marked.
        thumbnails: every head's small picture.
    """
    order = _order(shown, chosen)
    _order_field(chosen)
    if order is not None and shown.trace.n > maps.EXACT_UP_TO:
        st.caption(f"The prompt is long: heads are sorted by what {pictures.SAMPLE} of its query tokens do.")
    if thumbnails.left:
        _grid_being_drawn(shown.request, thumbnails, shown.trace.layers, chosen, order)
    else:
        if thumbnails.failed:
            st.caption(f"The prompt is long: small pictures are {thumbnails.said()}.")
        _grid(thumbnails, shown.trace.layers, chosen, order)


def forget_click() -> None:
    """Forget that the grid was clicked: the whole page runs now, not the grid alone."""
    st.session_state.pop(_CLICKED, None)


def _order(shown: Current, chosen: state.Selection) -> Order | None:
    """Return the heads with the best scores, each with its score in words; None where they stand by layer."""
    if chosen.order == "layers":
        return None
    frame = attempt(lambda report: pictures.scores_of_heads(shown.request, report))
    if frame is None:
        return None
    measure = BY_NAME[chosen.order]
    best = ordered(frame, measure).head(BEST)
    return [
        (int(row.layer), int(row.head), f"{measure.name} {value:.4g}")
        for row, value in zip(best.itertuples(), best[measure.name], strict=True)
    ]


@st.fragment(run_every=REDRAWN_SECONDS)
def _grid_being_drawn(
    request: state.Request,
    thumbnails: Thumbnails,
    layers: Sequence[LayerInfo],
    chosen: state.Selection,
    order: Order | None,
) -> None:
    """Draw the grid of a long prompt: from a sample at once, from all its rows as the background gets to them.

    Streamlit keeps these arguments as long as the page: a trace is none of them.
    """
    if st.session_state.pop(_CLICKED, False):
        st.rerun()  # the rest of the page is another head's now
    found = pictures.thumbnails_so_far(request)
    if found is not None and not found.left:
        st.rerun()  # all are there: nothing to wait for any more
    said = "The others follow by themselves."
    if found is None:  # and it is not run again unasked: another's prompt would have to go for it in turn
        said = "This prompt had to make room for others: what you choose next runs it again."
    thumbnails = found or thumbnails
    st.caption(f"The prompt is long: small pictures are {thumbnails.said()}. {said}")
    _grid(thumbnails, layers, chosen, order)


def _grid(thumbnails: Thumbnails, layers: Sequence[LayerInfo], chosen: state.Selection, order: Order | None) -> None:
    """Draw the grid; a click selects a head."""

    def pick(layer: int, head: int) -> None:
        state.select(layer=layer, head=head)
        st.session_state[_CLICKED] = True

    head_grid(
        thumbnails,
        layers,
        selected=(chosen.layer, chosen.head),
        scale=chosen.scale,
        on_pick=pick,
        key="grid",
        order=order,
        ordered_by=chosen.order,
    )


def _order_field(chosen: state.Selection) -> None:
    """Draw the field that sorts the heads, and what it sorts them by."""
    st.session_state["order_field"] = state.ORDERS[chosen.order]

    def take() -> None:
        said = st.session_state["order_field"] or ""
        measure = find(said)
        if measure is not None:
            state.select(order=measure.name)
        elif said in ("", state.ORDERS["layers"]):
            state.select(order="layers")
        else:
            st.session_state[_NOT_FOUND] = said

    st.selectbox(
        "Sort heads by",
        list(state.ORDERS.values()),
        key="order_field",
        on_change=take,
        accept_new_options=True,
        help='What the heads do with this prompt. You may also type, such as "2 tokens back".',
    )
    if unknown := st.session_state.pop(_NOT_FOUND, None):
        st.caption(
            f"Nothing is measured under “{plain(short(unknown))}”: choose from the list, or type a distance such as "
            f"“3 tokens back” (1 to {FARTHEST})."
        )
    elif chosen.order != "layers":
        st.caption(
            f"**{BY_NAME[chosen.order].title}**: {BY_NAME[chosen.order].meaning}. "
            f"The first {BEST}; above each its layer.head."
        )
