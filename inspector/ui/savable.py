"""List what can be saved of the page on screen: each of its pictures, the chosen head's map, and all heads.

A file's maker runs on a thread without a visitor. Streamlit keeps it longer than the page: it refers to the
request, and asks for the trace when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from inspector import views
from inspector.ui import shown_pictures
from inspector.ui.components import frame
from inspector.ui.server import explore, pictures, traces
from inspector.views.canvas_figures import map_figure, strips_figure
from inspector.views.canvas_tables import distinct, map_frame, strips_frame
from inspector.views.figures import KINDS
from inspector.views.tables import MOST_PAIRS

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analysis.maps import Kind
    from inspector.ui.progress import Current
    from inspector.ui.state import Request, Selection

LONGEST = 60  # characters of a picture's name in a file's


@dataclass(frozen=True)
class Savable:
    """One thing that can be saved, in the forms that it has.

    Attributes:
        title: its name in the panel.
        what: its name in a file's name.
        head: the layer and head that it is of; None: of more, or of none.
        figure: makes its picture, dark or light; None: it has none.
        frame: makes its table; None: it has none.
        table: the table's name in a file's name; empty: as the picture's.
        html: makes its whole page, dark or light, where it is one already; None: it is none.
        parquet: whether its table is offered as Parquet too.
    """

    title: str
    what: str
    head: tuple[int, int] | None = None
    figure: Callable[[bool], views.Figure] | None = None
    frame: Callable[[], pd.DataFrame] | None = None
    table: str = ""
    html: Callable[[bool], str] | None = None
    parquet: bool = False


def list_savable(shown: Current, chosen: Selection, *, page: str, verification: str) -> list[Savable]:
    """Return what can be saved, what is on screen first.

    Args:
        shown: the prompt on screen.
        chosen: the selection.
        page: the page's title.
        verification: a report's summary, to stand beneath heads' own weights, which are what it compared; empty: none.

    Returns:
        Pictures of the page, the chosen head's map and all heads.
    """
    here = f"{page}: layer {chosen.layer}, head {chosen.head}"
    found = [_of_page(shown.request, picture, here) for picture in shown_pictures.pictures()]
    if not shown.trace.stored[chosen.layer].unexplained:
        found.append(_of_head(shown.request, chosen, verification))
    if not any(stored.unexplained for stored in shown.trace.stored):
        found.append(_of_all_heads(shown, chosen, verification))
    return [replace(offer, title=title) for offer, title in zip(found, distinct([o.title for o in found]), strict=True)]


def _of_page(request: Request, picture: shown_pictures.Picture, here: str) -> Savable:
    """Return what can be saved of one picture of the page."""
    title = picture.title[:1].upper() + picture.title[1:]
    words = "".join(letter if letter.isalnum() else " " for letter in f"{here.partition(':')[0]} {picture.title}")
    what = "-".join(words.lower().split())[:LONGEST].strip("-")
    if isinstance(picture, shown_pictures.Chart):
        return Savable(title, what, frame=lambda: picture.frame)
    if isinstance(picture, shown_pictures.Page):
        return Savable(title, what, html=lambda dark: frame.in_theme(picture.html, dark=dark))
    figure: Any = strips_figure if isinstance(picture, shown_pictures.Strips) else map_figure
    table: Any = strips_frame if isinstance(picture, shown_pictures.Strips) else map_frame

    def drawn(dark: bool) -> views.Figure:
        note = f"{here}. {picture.note}".rstrip(". ")
        made: views.Figure = figure(
            traces.trace(request), picture.header, picture.values, title=title, note=note, dark=dark
        )
        return made

    return Savable(title, what, figure=drawn, frame=lambda: table(picture.header, picture.values))


def _of_head(request: Request, chosen: Selection, verification: str) -> Savable:
    """Return the chosen head's map as it is shown: its numbers, its scale, with or without the first token."""
    layer, head = chosen.layer, chosen.head
    kind: Kind = next((known for known in KINDS if known == chosen.show), "weights")
    without = chosen.sink == "without" and kind != "scaled_scores"

    def figure(dark: bool) -> views.Figure:
        look: dict[str, Any] = {"kind": kind, "scale": chosen.scale, "dark": dark, "without_first": without}
        return views.head_figure(traces.trace(request), layer, head, **look, verification=verification)

    return Savable(
        f"Layer {layer}, head {head}: {KINDS[kind]}",
        kind.replace("_", "-") + ("-without-first-token" if without else ""),
        (layer, head),
        figure,
        lambda: views.frame(traces.trace(request), layer, head, most_pairs=MOST_PAIRS),
        table="pairs",
        parquet=True,
    )


def _of_all_heads(shown: Current, chosen: Selection, verification: str) -> Savable:
    """Return all heads' small pictures as they are shown, and what each head does as a table."""
    request, without = shown.request, chosen.sink == "without"

    def figure(dark: bool) -> views.Figure:
        small = explore.without_first_token(request) if without else pictures.thumbnails(request)
        look: dict[str, Any] = {"scale": chosen.scale, "dark": dark, "selected": (chosen.layer, chosen.head)}
        return views.grid_figure(
            traces.trace(request), **look, without_first=without, verification=verification, pictures=small
        )

    return Savable(
        "All heads",
        "all-heads" + ("-without-first-token" if without else ""),
        figure=figure,
        frame=lambda: pictures.scores_of_heads(request),
        table="measures-of-all-heads",
    )
