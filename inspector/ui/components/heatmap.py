"""A picture of numbers goes in; a canvas with token labels, crosshair and exact readings comes out.

Weights and scores of one head (square cells, grey where masked) and vectors (a row per token) are drawn by
the same component; heatmap.js is its other half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from inspector.analysis.maps import Kind, Picture
from inspector.views.payload import HINT, MASKED_NOTE, MASKED_READING, WEIGHTED, encode, map_header, pack
from inspector.views.payload import limit as limit_of
from inspector.views.standalone import SKELETONS

_HERE = files("inspector.ui.components")
_mount = st.components.v2.component(
    "attention_inspector_heatmap",
    html=SKELETONS["heatmap"],
    css=(_HERE / "heatmap.css").read_text(encoding="utf-8"),
    js=(_HERE / "common.js").read_text(encoding="utf-8") + (_HERE / "heatmap.js").read_text(encoding="utf-8"),
)


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

    def picked() -> None:
        pick = st.session_state[key].get("pick")
        # From the browser, so looked at before it is believed.
        if on_pick and isinstance(pick, list) and len(pick) == 2 and all(isinstance(number, int) for number in pick):
            on_pick(pick[0] * k if pick[0] > 0 else pick[0], pick[1] * k if pick[1] > 0 else pick[1])

    header = map_header(picture, tokens, kind=kind, scale=scale, label=label, note=note, join=join) | {
        "selected": None if selected is None else [selected[0] // k, selected[1] // k],
        "picks": on_pick is not None,
        "threshold": threshold,
    }
    if not np.isnan(picture.values).any():
        header["masked"] = ""  # nothing is: no word of it in the legend
    _show(header, picture, key, picked)


def exact_map(
    values: npt.NDArray[np.float32], rows: Sequence[str], columns: Sequence[str], *, kind: Kind, scale: str, key: str
) -> None:
    """A part of one head's map, cell by cell; rows and columns are named by position and token."""
    picture = Picture(values, 1, len(rows))
    header: dict[str, Any] = {
        "rows": list(rows),
        "columns": list(columns),
        "pool": [1, 1],
        "bare": True,
        "cell": "square",
        "max_height": 560,
        "row_name": "query token",
        "column_name": "key token",
        "masked": MASKED_NOTE,
        "masked_reading": MASKED_READING,
        "hint": HINT,
        "label": "Exact cells around the one that was clicked",
        "palette": "diverging" if kind == "scaled_scores" else "sequential",
        "scale": "linear" if kind == "scaled_scores" else scale,
        "limit": limit_of(picture.values),
        "value_name": {"weights": "attention weight", "scaled_scores": "scaled score"}.get(kind, WEIGHTED),
        "legend": "",
    }
    if kind == "weighted_values":
        header["top"] = limit_of(picture.values)
    _show(header, picture, key)


def similarity_map(values: npt.NDArray[np.float32], tokens: Sequence[str], *, name: str, key: str) -> None:
    """A square of numbers between -1 and 1, every token with every token."""
    header: dict[str, Any] = {
        "rows": list(tokens), "columns": list(tokens), "pool": [1, 1], "bare": True, "cell": "square",
        "max_height": 430, "row_name": "token", "column_name": "token", "masked_reading": "", "hint": HINT,
        "label": name, "palette": "diverging", "scale": "linear", "limit": 1.0, "value_name": name, "legend": "cosine",
    }  # fmt: skip
    _show(header, Picture(values, 1, len(tokens)), key)


def vector_map(picture: Picture, tokens: Sequence[str], *, name: str, limit: float, key: str) -> None:
    """One kind of vector for all tokens: a row per token, a column per dimension, colours around zero.

    `limit` is the number at both ends of the colour scale, so that pictures side by side can share one.
    """
    k = picture.pool
    header: dict[str, Any] = {
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
        "hint": "Hover for exact values.",
        "label": f"{name} of each token, a column per dimension",
    }
    _show(header, picture, key)


def matrix_map(
    values: npt.NDArray[np.float32],
    *,
    name: str,
    row_name: str,
    column_name: str,
    key: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    limit: float | None = None,
    square: bool = False,
    scale: str = "",
    legend: str = "",
    max_height: int = 360,
) -> None:
    """Any table of numbers, NaN for masked. `name` is what a reading calls a number.

    rows, columns: what each is called (None: its number). limit: the number at both ends of the colours (None: the
    largest). scale: of shares from 0 to 1, "linear", "sqrt" or "log"; else colours go around zero.
    """
    header: dict[str, Any] = {
        "rows": list(rows) if rows is not None else [str(row) for row in range(values.shape[0])],
        "columns": None if columns is None else list(columns),
        "pool": [1, 1],
        "bare": True,
        "cell": "square" if square else "free",
        "max_height": max_height,
        "palette": "sequential" if scale else "diverging",
        "scale": scale or "linear",
        "limit": limit_of(values) if limit is None else limit,
        "row_name": row_name,
        "column_name": column_name,
        "value_name": name,
        "legend": legend,
        "masked": MASKED_NOTE if np.isnan(values).any() else "",
        "masked_reading": MASKED_READING,
        "hint": HINT,
        "label": f"{name}: a row per {row_name}, a column per {column_name}",
    }
    _show(header, Picture(np.ascontiguousarray(values, dtype=np.float32), 1, len(values)), key)


def _show(header: dict[str, Any], picture: Picture, key: str, on_pick: Callable[[], None] | None = None) -> None:
    packing, numbers = pack(picture.values)
    header |= {"shape": list(picture.values.shape), "packing": packing}
    # A test (and anybody debugging) can tell from the canvas which message it has painted.
    said = repr(header).encode() + numbers.tobytes()
    header["version"] = hashlib.blake2b(said, digest_size=8).hexdigest()
    _mount(data=encode(header, numbers), key=key, on_pick_change=on_pick or (lambda: None))
