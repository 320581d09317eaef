"""Small pictures of every head go in; one canvas on which a head is chosen comes out.

The pictures are one byte a cell (inspector.analysis.maps.Thumbnails): 277 kB for 270 heads at any prompt length.
grid.js is the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import streamlit as st

from inspector.analysis.maps import Thumbnails
from inspector.views.payload import encode, grid_header
from inspector.views.standalone import SKELETONS

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo

_HERE = files("inspector.views") / "js"
_mount = st.components.v2.component(
    "attention_inspector_grid",
    html=SKELETONS["grid"],
    css=(_HERE / "grid.css").read_text(encoding="utf-8"),
    js=(_HERE / "common.js").read_text(encoding="utf-8") + (_HERE / "grid.js").read_text(encoding="utf-8"),
)


def head_grid(
    thumbnails: Thumbnails,
    layers: Sequence[LayerInfo],
    *,
    selected: tuple[int, int],
    scale: str,
    on_pick: Callable[[int, int], None],
    key: str,
    order: Sequence[tuple[int, int, str]] | None = None,
    ordered_by: str = "layers",
) -> None:
    """All heads, layers across and heads downwards; `on_pick(layer, head)` before the rerun of a choice.

    order: instead, one after the other: (layer, head, what to read at it), named `ordered_by`.
    """

    def picked() -> None:
        pick = st.session_state[key].get("pick")
        # From the browser, so looked at before it is believed.
        if isinstance(pick, list) and len(pick) == 2 and all(isinstance(number, int) for number in pick):
            on_pick(pick[0], pick[1])

    label = "Attention weights of every head: arrow keys move between heads, Enter selects one."
    header = grid_header(thumbnails, layers, selected=selected, scale=scale, label=label) | {
        "order": None if order is None else [list(place) for place in order],
        "ordered_by": ordered_by,
    }
    _mount(data=encode(header, thumbnails.pixels), key=key, on_pick_change=picked)
