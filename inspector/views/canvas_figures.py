"""Make a figure of whatever a canvas of the app shows: a map of numbers, or strips and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inspector.views import colours, map_headers, standalone, strips_headers
from inspector.views.captions import Captions
from inspector.views.figure_forms import Figure
from inspector.views.figures import FONT_SIZE
from inspector.views.header_types import MapHeader, StripsHeader

if TYPE_CHECKING:
    from inspector.trace.trace import Trace
    from inspector.views.static_files import Drawing

Numbers = npt.NDArray[np.float32]


def map_figure(
    trace: Trace,
    header: MapHeader,
    values: Numbers,
    *,
    title: str,
    note: str = "",
    dark: bool = False,
    verification: str = "",
) -> Figure:
    """Make a figure of a map, its colours and labels as on screen.

    Args:
        trace: whose numbers they are.
        header: the map's.
        values: its numbers, [rows, columns], NaN where masked.
        title: what it shows.
        note: what was done to the numbers.
        dark: draw light on dark.
        verification: a report's `summary()`, to stand beneath.

    Returns:
        The figure, which is drawn when it is first asked for a form.
    """
    captions = Captions(trace, title, verification=verification, note=note)

    def page() -> str:
        return standalone.page(
            **_around(captions, dark),
            component="heatmap",
            payload=map_headers.map_payload(_unchosen(header), values, version="saved"),
        )

    def draw() -> Drawing:
        from inspector.views import static_table

        table = static_table.Table(header, values, _theme(dark))
        return static_table.figure(table, captions, font_size=FONT_SIZE)

    return Figure(title, 900, draw, page)


def strips_figure(
    trace: Trace,
    header: StripsHeader,
    values: Numbers,
    *,
    title: str,
    note: str = "",
    dark: bool = False,
    verification: str = "",
) -> Figure:
    """Make a figure of strips and bars, their colours and labels as on screen.

    Args:
        trace: whose numbers they are.
        header: of strips and bars.
        values: their numbers, [series, columns], NaN for none.
        title: what they show.
        note: what was done to the numbers.
        dark: draw light on dark.
        verification: a report's `summary()`, to stand beneath.

    Returns:
        The figure, which is drawn when it is first asked for a form.
    """
    captions = Captions(trace, title, verification=verification, note=note)

    def page() -> str:
        hint = "Hover, or use the arrow keys, for exact values."
        own: StripsHeader = header | {"picks": None, "hint": hint}
        return standalone.page(
            **_around(captions, dark), component="strips", payload=strips_headers.strips_payload(own, values)
        )

    def draw() -> Drawing:
        from inspector.views import static_strips

        strips = static_strips.Strips(header, values, _theme(dark))
        return static_strips.figure(strips, captions, font_size=FONT_SIZE)

    return Figure(title, 600, draw, page)


def _around(captions: Captions, dark: bool) -> dict[str, Any]:
    """Return what stands around the canvas of a page."""
    return {"title": captions.title, "facts": captions.facts, "footer": captions.footer, "dark": dark}


def _unchosen(header: MapHeader) -> MapHeader:
    """Return a header whose page tells nobody of a choice."""
    return header | {"picks": False}


def _theme(dark: bool) -> colours.Theme:
    """Return the colours of one shade."""
    return colours.DARK if dark else colours.LIGHT
