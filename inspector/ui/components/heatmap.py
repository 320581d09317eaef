"""A picture of numbers goes in; a canvas with token labels, crosshair and exact readings comes out.

Weights and scores of one head (square cells, grey where masked) and vectors (a row per token) are drawn by
the same component; heatmap.js is its other half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import streamlit as st

from inspector.metrics import Kind, Picture
from inspector.ui.components.payload import encode, pack

_HERE = files("inspector.ui.components")
_HTML = """
<div class="map">
  <canvas tabindex="0" role="application" aria-roledescription="map of numbers" data-testid="map"></canvas>
  <div class="tip" data-testid="tip" hidden></div>
  <p class="readout" aria-live="polite" data-testid="readout"></p>
  <div class="legend" data-testid="legend"></div>
  <div class="strip" data-testid="strip" hidden></div>
</div>
"""
_mount = st.components.v2.component(
    "attention_inspector_heatmap",
    html=_HTML,
    css=(_HERE / "heatmap.css").read_text(encoding="utf-8"),
    js=(_HERE / "common.js").read_text(encoding="utf-8") + (_HERE / "heatmap.js").read_text(encoding="utf-8"),
)

STRIP_UP_TO = 400  # tokens that are also written out below the picture

_READ = "Point at a cell, or focus the picture and use the arrow keys: its exact number appears here."


def attention_map(
    picture: Picture,
    tokens: Sequence[str],
    *,
    kind: Kind,
    scale: str,
    label: str,
    key: str,
    threshold: float = 0.0,
    selected: tuple[int, int] | None = None,
    join: int | None = None,
    note: str = "",
    on_pick: Callable[[int, int], None] | None = None,
) -> None:
    """One head's numbers: rows are query tokens, columns key tokens.

    threshold: smaller numbers are not painted. selected: the locked cell. join: from this token on the model wrote
    the text itself. note: what was done to the numbers, added to the legend. on_pick(row, column): before the rerun of
    a click, (-1, -1) when a cell is let go.
    """
    k = picture.pool
    pooled = f"largest of {k} × {k} " if k > 1 else ""

    def picked() -> None:
        pick = st.session_state[key].get("pick")
        # From the browser, so looked at before it is believed.
        if on_pick and isinstance(pick, list) and len(pick) == 2 and all(isinstance(number, int) for number in pick):
            on_pick(pick[0] * k if pick[0] > 0 else pick[0], pick[1] * k if pick[1] > 0 else pick[1])

    header: dict[str, object] = {
        "rows": list(tokens),
        "columns": list(tokens),
        "pool": [k, k],
        "cell": "square",
        "max_height": 640,
        "row_name": "query token" if k == 1 else "query tokens",
        "column_name": "key token" if k == 1 else "key tokens",
        "masked": "masked: cannot look there",
        "masked_reading": "masked: this query token cannot look at this key token",
        "hint": _READ,
        "label": label,
        "selected": None if selected is None else [selected[0] // k, selected[1] // k],
        "picks": on_pick is not None,
        "threshold": threshold,
        "strip": k == 1 and len(tokens) <= STRIP_UP_TO and kind != "scaled_scores",
        "join": None if join is None else join / k,
    }
    if kind == "weighted_values":
        header |= {
            "palette": "sequential",
            "scale": scale,
            "top": _limit(picture),
            "value_name": f"{pooled}weight × value length",
            "legend": {"linear": "weight × value length", "sqrt": "weight × value length (square root)",
                       "log": "weight × value length (log)"}[scale] + note,
        }  # fmt: skip
    elif kind == "weights":
        header |= {
            "palette": "sequential",
            "scale": scale,
            "value_name": f"{pooled}attention weight" + ("s" if k > 1 else ""),
            "legend": {"linear": "weight", "sqrt": "weight (square root)", "log": "weight (log)"}[scale] + note,
        }
    else:
        header |= {
            "palette": "diverging",
            "scale": "linear",
            "limit": _limit(picture),
            "value_name": f"{pooled}scaled score" + ("s" if k > 1 else ""),
            "legend": "scaled score",
        }
    _show(header, picture, key, picked)


def exact_map(
    values: npt.NDArray[np.float32], rows: Sequence[str], columns: Sequence[str], *, kind: Kind, scale: str, key: str
) -> None:
    """A part of one head's map, cell by cell; rows and columns are named by position and token."""
    picture = Picture(values, 1, len(rows))
    header: dict[str, object] = {
        "rows": list(rows),
        "columns": list(columns),
        "pool": [1, 1],
        "bare": True,
        "cell": "square",
        "max_height": 560,
        "row_name": "query token",
        "column_name": "key token",
        "masked": "masked: cannot look there",
        "masked_reading": "masked: this query token cannot look at this key token",
        "hint": _READ,
        "label": "Exact cells around the one that was clicked",
        "palette": "diverging" if kind == "scaled_scores" else "sequential",
        "scale": "linear" if kind == "scaled_scores" else scale,
        "limit": _limit(picture),
        "value_name": {"weights": "attention weight", "scaled_scores": "scaled score"}.get(
            kind, "weight × value length"
        ),
        "legend": "",
    }
    if kind == "weighted_values":
        header["top"] = _limit(picture)
    _show(header, picture, key)


def similarity_map(values: npt.NDArray[np.float32], tokens: Sequence[str], *, name: str, key: str) -> None:
    """A square of numbers between -1 and 1, every token with every token."""
    header: dict[str, object] = {
        "rows": list(tokens), "columns": list(tokens), "pool": [1, 1], "bare": True, "cell": "square",
        "max_height": 430, "row_name": "token", "column_name": "token", "masked_reading": "", "hint": _READ,
        "label": name, "palette": "diverging", "scale": "linear", "limit": 1.0, "value_name": name, "legend": "cosine",
    }  # fmt: skip
    _show(header, Picture(values, 1, len(tokens)), key)


def vector_map(picture: Picture, tokens: Sequence[str], *, name: str, limit: float, key: str) -> None:
    """One kind of vector for all tokens: a row per token, a column per dimension, colours around zero.

    `limit` is the number at both ends of the colour scale, so that pictures side by side can share one.
    """
    k = picture.pool
    header: dict[str, object] = {
        "rows": list(tokens),
        "columns": None,
        "pool": [k, 1],
        "cell": "free",
        "max_height": 520,
        "palette": "diverging",
        "scale": "linear",
        "limit": limit,
        "row_name": "token" if k == 1 else "tokens",
        "column_name": "dimension",
        "value_name": name if k == 1 else f"{name}, farthest from zero",
        "legend": "",
        "masked_reading": "",
        "hint": "Point at a cell: its exact number appears here.",
        "label": f"{name} of each token, a column per dimension",
    }
    _show(header, picture, key)


def _limit(picture: Picture) -> float:
    """The largest distance from zero; 1 where there is nothing to see, so that nobody divides by zero."""
    finite = picture.values[np.isfinite(picture.values)]
    return float(np.abs(finite).max(initial=0.0)) or 1.0


def _show(header: dict[str, object], picture: Picture, key: str, on_pick: Callable[[], None] | None = None) -> None:
    packing, numbers = pack(picture.values)
    header |= {"shape": list(picture.values.shape), "packing": packing}
    # A test (and anybody debugging) can tell from the canvas which message it has painted.
    said = repr(header).encode() + numbers.tobytes()
    header["version"] = hashlib.blake2b(said, digest_size=8).hexdigest()
    _mount(data=encode(header, numbers), key=key, on_pick_change=on_pick or (lambda: None))
