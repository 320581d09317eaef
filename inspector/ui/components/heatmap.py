"""Show a table of numbers on a canvas with labels, crosshair and exact readings.

Weights and scores of one head (square cells, grey where masked) and vectors (a row per token) are drawn by the same
canvas, views/js/heatmap.js.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from inspector.analysis.maps import Kind, Picture
from inspector.ui import shown_pictures
from inspector.ui.components.mounting import mounted_canvas, said_by
from inspector.views import map_headers
from inspector.views.header_types import MapHeader

_mount = mounted_canvas("heatmap")


def attention_map(picture: Picture, tokens: Sequence[str], *, kind: Kind, scale: str, label: str, key: str) -> None:
    """Show one head's numbers: rows are query tokens, columns key tokens.

    Args:
        picture: the numbers, pooled where the prompt is long.
        tokens: the prompt's labels.
        kind: weights, scaled_scores or weighted_values.
        scale: of weights: linear, sqrt or log.
        label: what the map is of, for screen readers.
        key: names the component.
    """
    header = map_headers.map_header(picture, tokens, kind=kind, scale=scale, label=label)
    if not np.isnan(picture.values).any():
        header["masked"] = ""  # nothing is: no word of it in the legend
    _show(header, picture.values, key)


def exact_map(
    values: npt.NDArray[np.float32], rows: Sequence[str], columns: Sequence[str], *, kind: Kind, scale: str, key: str
) -> None:
    """Show a part of one head's map, cell by cell.

    Args:
        values: the numbers, [rows, columns].
        rows: positions and tokens of the rows.
        columns: positions and tokens of the columns.
        kind: weights, scaled_scores or weighted_values.
        scale: of weights: linear, sqrt or log.
        key: names the component.
    """
    _show(map_headers.exact_header(values, rows, columns, kind=kind, scale=scale), values, key)


def similarity_map(values: npt.NDArray[np.float32], tokens: Sequence[str], *, name: str, key: str) -> None:
    """Show a square of numbers between -1 and 1, every token with every token.

    Args:
        values: the numbers, [n, n].
        tokens: the prompt's labels.
        name: what a reading calls a number.
        key: names the component.
    """
    _show(map_headers.similarity_header(values, tokens, name=name), values, key)


def vector_map(picture: Picture, tokens: Sequence[str], *, name: str, limit: float, key: str) -> None:
    """Show one kind of vector of all tokens: a row per token, a column per dimension, colours around zero.

    Args:
        picture: the numbers, [tokens or pools of them, dimensions].
        tokens: the prompt's labels.
        name: what a reading calls a number.
        limit: the number at both ends of the colours, so that pictures side by side can share one.
        key: names the component.
    """
    _show(map_headers.vector_header(picture, tokens, name=name, limit=limit), picture.values, key)


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
    note: str = "",
    selected: tuple[int, int] | None = None,
    on_pick: Callable[[int, int], None] | None = None,
) -> None:
    """Show any table of numbers, NaN for masked.

    Args:
        values: the numbers, [rows, columns].
        name: what a reading calls a number.
        row_name: what a reading calls a row.
        column_name: what a reading calls a column.
        key: names the component.
        rows: what each row is called (None: its number).
        columns: what each column is called (None: its number).
        limit: the number at both ends of the colours (None: the largest).
        square: whether cells are square.
        scale: of shares from 0 to 1, "linear", "sqrt" or "log"; else colours go around zero.
        legend: what the colours are of.
        max_height: of the map, in pixels.
        note: for a saved figure: what the numbers are of, where that is more than the text on screen.
        selected: the row and column that are chosen; None: none.
        on_pick: called with row and column before the rerun of a click or Enter; None: nothing can be chosen.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    header = map_headers.matrix_header(
        values,
        name=name,
        row_name=row_name,
        column_name=column_name,
        rows=rows,
        columns=columns,
        limit=limit,
        square=square,
        scale=scale,
        legend=legend,
        max_height=max_height,
    )
    if on_pick is not None:
        header["picks"], header["hint"] = True, "Hover for exact values; a click or Enter chooses."
    header["selected"] = None if selected is None else list(selected)

    def picked() -> None:
        pick = said_by(key, "pick")
        if on_pick is None or not isinstance(pick, list) or len(pick) != 2:
            return
        row, column = pick
        if all(isinstance(at, int) and 0 <= at < size for at, size in zip(pick, values.shape, strict=True)):
            on_pick(row, column)

    _show(header, values, key, note, picked)


def _show(
    header: MapHeader,
    values: npt.NDArray[np.float32],
    key: str,
    note: str = "",
    picked: Callable[[], None] = lambda: None,
) -> None:
    """Show a table; what is chosen in it is told."""
    shown_pictures.keep(key, shown_pictures.Map(header["label"], header, values, note))
    _mount(data=map_headers.map_payload(header, values), key=key, on_pick_change=picked)
