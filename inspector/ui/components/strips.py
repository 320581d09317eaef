"""Show numbers in line on a canvas of aligned strips and bars, with one cursor and exact readings.

`aligned` draws any such picture. Of the page Pair: query, key and product by dimension, one query token's row of
weights by key token, and the score by rotation frequency. The canvas is views/js/strips.js.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from inspector.ui import shown_pictures
from inspector.ui.components.mounting import mounted_canvas, picked_number
from inspector.views.strips_headers import panel, strips_header, strips_payload

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from inspector.views.header_types import StripsHeader

_mount = mounted_canvas("strips")

SINK = "sink"


@dataclass(frozen=True)
class Panel:
    """One strip of colour, or one row of bars, over the same columns as the panels above and below it.

    values: one number a column, NaN for none. series: what a reading calls them. limit: the number at full colour or
    full height (None: the largest). scale: of bars that are shares, 0 to 1: "linear", "sqrt" or "log".
    """

    kind: Literal["strip", "bars"]
    title: str
    values: npt.ArrayLike
    series: str
    limit: float | None = None
    scale: str = ""


def aligned(
    panels: Sequence[Panel],
    *,
    names: Sequence[str],
    axis: Sequence[str],
    label: str,
    key: str,
    axis_name: str = "",
    turned: bool = False,
    notes: Sequence[str] = (),
    marked: int = -1,
    on_pick: Callable[[int], None] | None = None,
    note: str = "",
) -> None:
    """Show panels one below the other, over the same columns.

    Args:
        panels: what to draw.
        names: what a reading calls each column.
        axis: what stands below each column.
        label: what the picture is of, for screen readers.
        key: names the component, and the canvas in the page.
        axis_name: what stands below the axis.
        turned: whether the axis's labels stand upright (token texts).
        notes: a line more in each column's reading.
        marked: the chosen column; -1 for none.
        on_pick: called with a column before the rerun of a click or Enter.
        note: for a saved figure: what the numbers are of, where that is more than the text on screen.
    """

    def picked() -> None:
        pick = picked_number(key)
        if on_pick and pick is not None and 0 <= pick < len(names):
            on_pick(pick)

    values = np.stack([np.asarray(each.values, dtype=np.float32) for each in panels])
    header = strips_header(
        [
            panel(each.kind, each.title, values, rows=[at], scale=each.scale, limit=each.limit)
            for at, each in enumerate(panels)
        ],
        test_id=key,
        axis=axis,
        axis_name=axis_name,
        turned=turned,
        names=names,
        notes=notes,
        marked=marked,
        series=[each.series for each in panels],
        hint="Hover, or use the arrow keys, for exact values" + ("; a click or Enter chooses it." if on_pick else "."),
        label=label,
        picks=range(len(names)) if on_pick else None,
    )
    title = label.removesuffix(", a column per token").partition(": ")[0]
    _show(header, values, key, title, picked, note)


def product_strips(frame: pd.DataFrame, *, query: str, key: str, total: str, when: str, name: str) -> None:
    """Show query, key and their product as three strips of colour, a column per dimension.

    Args:
        frame: as rope_planes.dimensions gives it.
        query: the query token's label.
        key: the key token's label.
        total: what the product adds up to.
        when: " after RoPE" or the like.
        name: names the component.
    """
    kinds = ["query", "key", "product"]
    values = frame[kinds].to_numpy(dtype=np.float32).T
    titles = (
        f"query vector{when}: {query}",
        f"× key vector{when}: {key}",
        f"= elementwise product, adds up to {total}",
    )
    partner, notes = [-1] * len(frame), [""] * len(frame)
    if "plane" in frame:
        for plane, pair in frame[frame["plane"].notna()].groupby("plane")["dimension"]:
            for one, other in zip(pair, reversed(pair.to_list()), strict=True):
                partner[one] = other
                notes[one] = f"plane {plane}, with dimension {other}"
        notes = [note or "not rotated" for note in notes]
    header = strips_header(
        [panel("strip", title, values, rows=[at]) for at, title in enumerate(titles)],
        test_id="product",
        axis=[str(d) for d in frame["dimension"]],
        axis_name="dimension",
        names=[f"dimension {d}" for d in frame["dimension"]],
        notes=notes,
        partner=partner,
        series=kinds,
        hint="Hover, or use the arrow keys, for exact values.",
        label="Query vector, key vector and their elementwise product, a column per dimension",
    )
    _show(header, values, name, f"Query × key{when}, by dimension")


def weight_row(
    frame: pd.DataFrame, *, query: str, chosen: int, scale: str, sink: bool, on_pick: Callable[[int], None], name: str
) -> None:
    """Show one query token's attention weights and scaled scores, a column per key token it may look at.

    Args:
        frame: as score_breakdown.row gives it, without masked keys.
        query: the query token's label.
        chosen: the chosen key's position.
        scale: of the weights' bars: linear, sqrt or log.
        sink: whether a column is added for the attention sink's share.
        on_pick: called with a position before the rerun of a choice.
        name: names the component.
    """

    def picked() -> None:
        pick = picked_number(name)
        if pick is not None and pick in positions:
            on_pick(pick)

    positions: list[int] = frame["position"].to_list()
    labels = [f"{position} {token}" for position, token in zip(positions, frame["token"], strict=True)]
    weights, scores = (frame[column].to_numpy(dtype=np.float32) for column in ("weight", "scaled score"))
    shown = bool(np.isfinite(weights).all())
    if shown and sink:
        labels.append(SINK)
        weights = np.append(weights, np.float32(1 - frame["weight"].sum()))
        scores = np.append(scores, np.float32(np.nan))
    values = np.stack([weights, scores])
    heights = {"linear": "", "sqrt": " (heights: square root)", "log": " (heights: logarithm)"}[scale]
    panels = [panel("bars", f"attention weight{heights}", values, rows=[0], scale=scale, limit=1.0)] if shown else []
    panels.append(panel("bars", "scaled score, what the softmax sees", values, rows=[1]))
    header = strips_header(
        panels,
        test_id="row",
        axis=labels,
        turned=True,
        names=[f"key token {label}" if label != SINK else "attention sink" for label in labels],
        picks=positions,
        marked=positions.index(chosen) if chosen in positions else -1,
        series=["attention weight", "scaled score"],
        hint="Hover over a key token for its numbers; click it, or press Enter, to choose it.",
        label=f"Attention weights of query token {query}, a column per key token; arrow keys move, Enter chooses",
    )
    _show(header, values, name, f"Attention weights of query token {query}", picked)


def plane_bars(frame: pd.DataFrame, name: str) -> None:
    """Show each plane's share of the score, and of it content and position.

    Args:
        frame: as rope_planes.planes gives it.
        name: names the component.
    """
    series = ["share", "content", "position"]
    values = frame[series].to_numpy(dtype=np.float32).T
    labels, names, notes = [], [], []
    for one in frame.itertuples():
        turns = np.isfinite(one.wavelength)
        labels.append(rounded(one.wavelength) if turns else "∞")
        names.append(f"plane {one.plane} (dimensions {one.dimensions})" if turns else str(one.dimensions))
        notes.append(
            f"wavelength {rounded(one.wavelength)} tokens · turned by {one.angle_degrees:,.4g}°" if turns else ""
        )
    header = strips_header(
        [
            panel("bars", "share of the score", values, rows=[0], centred=True),
            panel("bars", "of that: content", values, rows=[1, 2], also="position", centred=True),
        ],
        test_id="planes",
        axis=labels,
        axis_name="wavelength in tokens, fast planes first",
        names=names,
        notes=notes,
        series=series,
        hint="Hover, or use the arrow keys, for exact values.",
        label="Share of the score of each plane, from short to long wavelengths, and its content and position",
    )
    _show(header, values, name, "Share of the score by rotation frequency")


def rounded(number: float) -> str:
    """Return a number with three significant digits and without an exponent: 6.28, 160, 8,380.

    Args:
        number: any.

    Returns:
        The text.
    """
    return f"{number:.3g}" if abs(number) < 999.5 else f"{float(f'{number:.3g}'):,.0f}"


def _show(
    header: StripsHeader,
    values: npt.NDArray[np.float32],
    key: str,
    title: str,
    picked: Callable[[], None] = lambda: None,
    note: str = "",
) -> None:
    """Show panels, `title` for Export; `picked` is called before the rerun of a choice."""
    shown_pictures.keep(key, shown_pictures.Strips(title, header, values, note))
    _mount(data=strips_payload(header, values), key=key, on_pick_change=picked)
