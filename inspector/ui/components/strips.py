"""Numbers that stand in line go in; a canvas of aligned strips and bars comes out, with one cursor and exact readings.

`aligned` draws any such picture. Of the page Pair: query, key and product by dimension, one query token's row of
weights by key token, and the score by rotation frequency. strips.js is its other half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import streamlit as st

from inspector.views.payload import encode

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_HERE = files("inspector.ui.components")
_HTML = """
<div class="columns">
  <canvas tabindex="0" role="application" aria-roledescription="picture of numbers"></canvas>
  <div class="tip" hidden></div>
  <p class="readout" aria-live="polite"></p>
</div>
"""
_mount = st.components.v2.component(
    "attention_inspector_strips",
    html=_HTML,
    css=(_HERE / "heatmap.css").read_text(encoding="utf-8") + (_HERE / "strips.css").read_text(encoding="utf-8"),
    js=(_HERE / "common.js").read_text(encoding="utf-8") + (_HERE / "strips.js").read_text(encoding="utf-8"),
)

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
) -> None:
    """Panels one below the other, a column for each of `names`.

    axis: what stands below each column, upright where `turned` (token texts). notes: a line more in its reading.
    marked: the chosen column. on_pick(column): before the rerun of a click or Enter. label: for screen readers.
    """

    def picked() -> None:
        pick = st.session_state[key].get("pick")
        if on_pick and isinstance(pick, int) and 0 <= pick < len(names):  # from the browser, so looked at first
            on_pick(pick)

    values = np.stack([np.asarray(panel.values, dtype=np.float32) for panel in panels])
    header: dict[str, Any] = {
        "test_id": key,
        "axis": list(axis),
        "axis_name": axis_name,
        "turned": turned,
        "names": list(names),
        "notes": list(notes) or None,
        "marked": marked,
        "panels": [
            {"kind": panel.kind, "title": panel.title, "rows": [at], "limit": panel.limit or _limit(values[at])}
            | ({"scale": panel.scale} if panel.scale else {"upward": not bool((values[at] < 0).any())})
            for at, panel in enumerate(panels)
        ],
        "series": [{"name": panel.series} for panel in panels],
        "hint": "Hover, or use the arrow keys, for exact values"
        + ("; a click or Enter chooses it." if on_pick else "."),
        "label": label,
    }
    if on_pick:
        header["picks"] = list(range(len(names)))
    _show(header, values, key, on_pick_change=picked)


def product_strips(frame: pd.DataFrame, *, query: str, key: str, total: str, when: str, name: str) -> None:
    """Query, key and their product as three strips of colour, a column per dimension.

    `frame` as score_breakdown.dimensions gives it; query and key are the tokens' labels, `total` what the product adds
    up to, `when` " after RoPE" or the like.
    """
    kinds = ("query", "key", "product")
    values = frame[list(kinds)].to_numpy(dtype=np.float32).T
    limits = [_limit(row) for row in values]
    titles = [
        f"query vector{when}: {query}",
        f"× key vector{when}: {key}",
        f"= elementwise product, adds up to {total}",
    ]
    partner, notes = [-1] * len(frame), [""] * len(frame)
    if "plane" in frame:
        for plane, pair in frame[frame["plane"].notna()].groupby("plane")["dimension"]:
            for one, other in zip(pair, reversed(pair.to_list()), strict=True):
                partner[one] = other
                notes[one] = f"plane {plane}, with dimension {other}"
        notes = [note or "not rotated" for note in notes]
    _show(
        {
            "test_id": "product",
            "axis": [str(d) for d in frame["dimension"]],
            "axis_name": "dimension",
            "names": [f"dimension {d}" for d in frame["dimension"]],
            "notes": notes,
            "partner": partner,
            "panels": [
                {"kind": "strip", "title": title, "rows": [at], "limit": limit}
                for at, (title, limit) in enumerate(zip(titles, limits, strict=True))
            ],
            "series": [{"name": name} for name in kinds],
            "hint": "Hover, or use the arrow keys, for exact values.",
            "label": "Query vector, key vector and their elementwise product, a column per dimension",
        },
        values,
        name,
    )


def weight_row(
    frame: pd.DataFrame, *, chosen: int, scale: str, sink: bool, on_pick: Callable[[int], None], name: str
) -> None:
    """One query token's attention weights and scaled scores, a column per key token it may look at.

    `frame` as score_breakdown.row gives it, without masked keys. `on_pick(position)` before the rerun of a choice.
    """

    def picked() -> None:
        pick = st.session_state[name].get("pick")
        if isinstance(pick, int) and pick in positions:  # from the browser, so looked at before it is believed
            on_pick(pick)

    positions = frame["position"].to_list()
    labels = [f"{position} {token}" for position, token in zip(positions, frame["token"], strict=True)]
    weights, scores = (frame[column].to_numpy(dtype=np.float32) for column in ("weight", "scaled score"))
    panels: list[dict[str, Any]] = []
    if np.isfinite(weights).all():
        panels.append({"kind": "bars", "title": "attention weight", "rows": [0], "limit": 1.0, "scale": scale})
        if scale != "linear":
            panels[0]["title"] += {"sqrt": " (heights: square root)", "log": " (heights: logarithm)"}[scale]
        if sink:
            labels.append(SINK)
            weights = np.append(weights, np.float32(1 - frame["weight"].sum()))
            scores = np.append(scores, np.float32(np.nan))
    panels.append(
        {"kind": "bars", "title": "scaled score, what the softmax sees", "rows": [1], "limit": _limit(scores)}
        | {"upward": not bool((scores < 0).any())}
    )
    _show(
        {
            "test_id": "row",
            "axis": labels,
            "axis_name": "",
            "turned": True,
            "names": [f"key token {label}" if label != SINK else "attention sink" for label in labels],
            "picks": positions,
            "marked": positions.index(chosen) if chosen in positions else -1,
            "panels": panels,
            "series": [{"name": "attention weight"}, {"name": "scaled score"}],
            "hint": "Hover over a key token for its numbers; click it, or press Enter, to choose it.",
            "label": "Attention weights of this query token, a column per key token: arrow keys move, Enter chooses.",
        },
        np.stack([weights, scores]),
        name,
        on_pick_change=picked,
    )


def plane_bars(frame: pd.DataFrame, name: str) -> None:
    """Each plane's share of the score, and of it content and position; `frame` as score_breakdown.planes gives it."""
    values = frame[["share", "content", "position"]].to_numpy(dtype=np.float32).T
    labels, names, notes = [], [], []
    for one in frame.itertuples():
        turns = np.isfinite(one.wavelength)
        labels.append(rounded(one.wavelength) if turns else "∞")
        names.append(f"plane {one.plane} (dimensions {one.dimensions})" if turns else str(one.dimensions))
        notes.append(
            f"wavelength {rounded(one.wavelength)} tokens · turned by {one.angle_degrees:,.4g}°" if turns else ""
        )
    _show(
        {
            "test_id": "planes",
            "axis": labels,
            "axis_name": "wavelength in tokens, fast planes first",
            "names": names,
            "notes": notes,
            "panels": [
                {"kind": "bars", "title": "share of the score", "rows": [0], "limit": _limit(values[0])},
                {
                    "kind": "bars",
                    "title": "of that: content",
                    "also": "position",
                    "rows": [1, 2],
                    "limit": _limit(values[1:]),
                },
            ],
            "series": [{"name": kind} for kind in ("share", "content", "position")],
            "hint": "Hover, or use the arrow keys, for exact values.",
            "label": "Share of the score of each plane, from short to long wavelengths, and its content and position",
        },
        values,
        name,
    )


def rounded(number: float) -> str:
    """6.28, 160, 8,380: three significant digits, without an exponent."""
    return f"{number:.3g}" if abs(number) < 999.5 else f"{float(f'{number:.3g}'):,.0f}"


def _limit(values: npt.NDArray[np.float32]) -> float:
    """The largest distance from zero; 1 where there is nothing to see, so that nobody divides by zero."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0


def _show(header: dict[str, Any], values: npt.NDArray[np.float32], key: str, **callbacks: Callable[[], None]) -> None:
    header |= {"count": values.shape[1]}
    said = repr(header).encode() + values.tobytes()
    header["version"] = hashlib.blake2b(said, digest_size=8).hexdigest()
    _mount(data=encode(header, values), key=key, **callbacks)
