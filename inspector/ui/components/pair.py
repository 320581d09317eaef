"""Numbers that stand in line go in; a canvas of aligned strips and bars comes out, with one cursor and exact readings.

One component draws the three pictures of the page Pair: query, key and product by dimension, one query token's row of
weights by key token, and the score by rotation frequency. pair.js is its other half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

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
    "attention_inspector_pair",
    html=_HTML,
    css=(_HERE / "heatmap.css").read_text(encoding="utf-8") + (_HERE / "pair.css").read_text(encoding="utf-8"),
    js=(_HERE / "common.js").read_text(encoding="utf-8") + (_HERE / "pair.js").read_text(encoding="utf-8"),
)

SINK = "sink"


def product_strips(frame: pd.DataFrame, *, query: str, key: str, total: str, when: str, name: str) -> None:
    """Query, key and their product as three strips of colour, a column per dimension.

    `frame` as inspector.pairs.dimensions gives it; query and key are the tokens' labels, `total` what the product adds
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
            "hint": "Point at a dimension, or focus the picture and use the arrow keys: its exact numbers appear here.",
            "label": "Query vector, key vector and their elementwise product, a column per dimension",
        },
        values,
        name,
    )


def weight_row(
    frame: pd.DataFrame, *, chosen: int, scale: str, sink: bool, on_pick: Callable[[int], None], name: str
) -> None:
    """One query token's attention weights and scaled scores, a column per key token it may look at.

    `frame` as inspector.pairs.row gives it, without masked keys. `on_pick(position)` before the rerun of a choice.
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
            "hint": "Point at a key token to read its numbers; click it, or press Enter, to choose it.",
            "label": "Attention weights of this query token, a column per key token: arrow keys move, Enter chooses.",
        },
        np.stack([weights, scores]),
        name,
        on_pick_change=picked,
    )


def plane_bars(frame: pd.DataFrame, name: str) -> None:
    """Each plane's share of the score, and of it content and position; `frame` as inspector.pairs.planes gives it."""
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
            "hint": "Point at a plane, or focus the picture and use the arrow keys: its exact numbers appear here.",
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
