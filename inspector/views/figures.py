"""Figures of a trace to keep: one head's map, or every head as a small picture.

    inspector.views.head_figure(trace, 3, 5).save("head.pdf")       # or .svg, .png, .html
    inspector.views.head_figure(trace, 3, 5, ax=axes)               # into axes of matplotlib's
    inspector.views.grid_figure(trace)                              # in a notebook: shows itself

SVG, PDF and PNG are for papers and slides; matplotlib draws them, and is imported when the first is made. The HTML file
is the app's own picture with exact readings under the pointer and the arrow keys; it opens anywhere and asks no host
for anything. All numbers are the trace's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from inspector.analysis import maps
from inspector.analysis.thumbnails import Thumbnails, draw_thumbnails
from inspector.errors import InspectorError
from inspector.trace.whole_numbers import shown, whole_number
from inspector.views import colours, pages
from inspector.views.captions import Captions
from inspector.views.colours import Scale
from inspector.views.figure_forms import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from inspector.trace.trace import Trace
    from inspector.views.static_files import Drawing
    from inspector.views.static_grid import HeadGrid
    from inspector.views.static_map import HeadMap

# Kind -> what a figure is of.
KINDS: dict[maps.Kind, str] = {
    "weights": "attention weights",
    "scaled_scores": "scaled scores",
    "weighted_values": "attention weight × value length",
}
WITHOUT_FIRST = "without the first token's column, the rest of each row scaled up to the row's sum"
DRAWN_UP_TO = 128  # cells a side in static figures; what is longer is pooled, as the app pools beyond 1024
FONT_SIZE = 9.0  # points
_WIDTHS, _FONT_SIZES = (1, 60), (3, 60)  # inches and points that a static figure may have


def head_figure(
    trace: Trace,
    layer: int,
    head: int,
    *,
    kind: maps.Kind = "weights",
    scale: Scale = "sqrt",
    dark: bool = False,
    without_first: bool = False,
    verification: str = "",
    width: float | None = None,
    font_size: float | None = None,
    ax: Axes | None = None,
    colorbar: bool = False,
) -> Figure:
    """Draw one head's attention weights, scaled scores, or weights times the lengths of the values they bring.

    Grey cells are masked. In static figures a prompt of more than 128 tokens is pooled (each cell the largest of
    k x k, and the picture says so), in HTML one of more than 1024.

    Args:
        trace: whose numbers are drawn.
        layer: from 0.
        head: a query head, from 0.
        kind: "weights", "scaled_scores" or "weighted_values".
        scale: how colours spread over weights: "linear", "sqrt" or "log".
        dark: draw light on dark.
        without_first: leave out the first token's column and scale up the rest of each row to the row's sum (scaled
            scores stand for themselves and stay as they are).
        verification: a report's `summary()`, to stand beneath.
        width: of the static figure, in inches; None: as wide as it needs.
        font_size: of the static figure's labels, in points; None: 9, or in `ax` what matplotlib is set to.
        ax: axes of matplotlib's, into which the map and its labels are drawn at once, without title or legend. Tokens
            are at whole numbers of both axes.
        colorbar: add a colour bar beside `ax`.

    Returns:
        The figure, which is drawn when it is first asked for a form.

    Raises:
        InspectorError: there is no such head, or another argument cannot be used.
    """
    if whole_number(head) is None:
        raise InspectorError(
            f"head={shown(head)} is no number of a head: give one, from 0, or draw all by grid_figure."
        )
    trace.query(layer, head)  # refuses, in a sentence, a head that does not exist
    _refuse(kind, scale, width, font_size, colorbar and ax is None)
    without_first = without_first and kind != "scaled_scores"
    title = f"Layer {layer}, head {head}: {KINDS[kind]}"
    captions = Captions(trace, title, verification=verification, note=WITHOUT_FIRST if without_first else "")

    def page() -> str:
        return pages.head_page(
            trace, layer, head, captions, kind=kind, scale=scale, without_first=without_first, dark=dark
        )

    def draw() -> Drawing:
        from inspector.views import static_map

        return static_map.figure(head_map(), captions, width=width, font_size=font_size or FONT_SIZE)

    def head_map() -> HeadMap:
        from inspector.views.static_map import HeadMap

        found = maps.picture(trace, layer, head, kind=kind, without_first=without_first, exact_up_to=DRAWN_UP_TO)
        return HeadMap(found, trace.tokens.labels, kind, scale, _theme(dark))

    if ax is not None:
        from inspector.views import into_axes

        into_axes.head(ax, head_map(), font_size=font_size, colorbar=colorbar)
    return Figure(title, 900, draw, page)


def grid_figure(
    trace: Trace,
    *,
    scale: Scale = "sqrt",
    dark: bool = False,
    selected: tuple[int, int] = (0, 0),
    without_first: bool = False,
    verification: str = "",
    pictures: Thumbnails | None = None,
    width: float | None = None,
    font_size: float | None = None,
    ax: Axes | None = None,
    colorbar: bool = False,
) -> Figure:
    """Draw every head's attention weights as a small picture, layers across, heads downwards.

    In the HTML file a click shows a head in full with exact numbers, where all heads' numbers take no more than 8 MB
    (270 heads: about 120 tokens).

    Args:
        trace: whose numbers are drawn.
        scale: how colours spread over weights: "linear", "sqrt" or "log".
        dark: draw light on dark.
        selected: (layer, head) that the HTML page shows in full at first.
        without_first: leave out the first token's column and scale up the rest of each row to the row's sum.
        verification: a report's `summary()`, to stand beneath.
        pictures: `thumbnails.draw_thumbnails(trace, without_first=...)`, if it is at hand already.
        width: of the static figure, in inches; None: as wide as it needs.
        font_size: of the static figure's texts, in points; None: 9, or in `ax` what matplotlib is set to.
        ax: axes of matplotlib's, into which the small pictures are drawn at once, without title or legend.
        colorbar: add a colour bar beside `ax`.

    Returns:
        The figure, which is drawn when it is first asked for a form.

    Raises:
        InspectorError: an argument cannot be used.
    """
    _refuse("weights", scale, width, font_size, colorbar and ax is None)
    title = f"Attention weights of all {sum(layer.heads for layer in trace.layers)} heads"
    notes = [WITHOUT_FIRST if without_first else "", "" if pictures is None else pictures.said()]
    captions = Captions(trace, title, verification=verification, note="; ".join(filter(None, notes)))

    def small() -> Thumbnails:
        for layer in trace.stored if pictures is None else ():
            if layer.unexplained:
                trace.weights(layer.info.index, queries=slice(0, 1))  # says why this cannot be drawn
        return draw_thumbnails(trace, without_first=without_first) if pictures is None else pictures

    def page() -> str:
        look: dict[str, Any] = {"scale": scale, "selected": selected, "without_first": without_first, "dark": dark}
        return pages.grid_page(trace, small(), captions, **look)

    def draw() -> Drawing:
        from inspector.views import static_grid

        return static_grid.figure(grid(), captions, width=width, font_size=font_size or FONT_SIZE)

    def grid() -> HeadGrid:
        from inspector.views.static_grid import HeadGrid

        return HeadGrid(small(), trace.layers, scale, _theme(dark))

    if ax is not None:
        from inspector.views import into_axes

        into_axes.grid(ax, grid(), font_size=font_size, colorbar=colorbar)
    return Figure(title, 1300 if pages.holds_details(trace) else 700, draw, page)


def _theme(dark: bool) -> colours.Theme:
    """Return the colours of one shade."""
    return colours.DARK if dark else colours.LIGHT


def _refuse(kind: str, scale: str, width: float | None, font_size: float | None, bar_of_nothing: bool) -> None:
    """Refuse what cannot be drawn, each with what can."""
    if kind not in KINDS:
        raise InspectorError(f'kind="{kind}" is not drawn; choose one of {", ".join(KINDS)}.')
    if scale not in get_args(Scale):
        raise InspectorError(f'scale="{scale}" is not known; choose one of {", ".join(get_args(Scale))}.')
    for name, said, unit, (least, most) in (
        ("width", width, "inches", _WIDTHS),
        ("font_size", font_size, "points", _FONT_SIZES),
    ):
        if said is not None and not least <= said <= most:
            raise InspectorError(f"{name}={said:g} cannot be drawn; choose {least} to {most} {unit}.")
    if bar_of_nothing:
        raise InspectorError("colorbar=True is for ax=, which was not passed; a figure of its own always has a legend.")
