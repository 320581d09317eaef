"""Show small pictures of every head on one canvas, on which a head is chosen.

The pictures are one byte a cell (inspector.analysis.thumbnails.Thumbnails): 277 kB for 270 heads at any prompt length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from inspector.analysis.thumbnails import Thumbnails
from inspector.ui.components.mounting import mounted_canvas, picked_pair
from inspector.views import headers

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo

_mount = mounted_canvas("grid")


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
    """Show every head's small picture, layers across and heads downwards.

    Args:
        thumbnails: the pictures.
        layers: the trace's layers.
        selected: the chosen layer and head.
        scale: of the colours: linear, sqrt or log.
        on_pick: called with layer and head before the rerun of a choice.
        key: names the component.
        order: (layer, head, what to read of it), to show these one after the other instead.
        ordered_by: the name of that order.
    """

    def picked() -> None:
        if pick := picked_pair(key):
            on_pick(*pick)

    header = headers.grid_header(thumbnails, layers, selected=selected, scale=scale, order=order, ordered_by=ordered_by)
    _mount(data=headers.grid_payload(header, thumbnails), key=key, on_pick_change=picked)
