"""Build the header of a table of numbers: a head's map, a part of it, cosines, vectors, any matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from inspector.views.header_types import MapHeader, Scale
from inspector.views.payload import (
    HINT,
    MASKED_NOTE,
    MASKED_READING,
    SCALE_NOTES,
    STRIP_UP_TO,
    WEIGHT,
    WEIGHTED,
    digest,
    encode,
    pack,
)
from inspector.views.payload import limit as limit_of

if TYPE_CHECKING:
    from inspector.analysis.maps import Kind, Picture

Numbers = npt.NDArray[np.float32]


def map_header(
    picture: Picture,
    tokens: Sequence[str],
    *,
    kind: Kind,
    scale: str,
    label: str,
    note: str = "",
    join: int | None = None,
) -> MapHeader:
    """Return the header of one head's map.

    Args:
        picture: the numbers, pooled where the prompt is long.
        tokens: the prompt's labels.
        kind: weights, scaled_scores or weighted_values.
        scale: of weights: linear, sqrt or log.
        label: what the map is of, for screen readers.
        note: what was done to the numbers, added to the legend.
        join: from this token on the model wrote the text itself.

    Returns:
        A header whose numbers are the picture's values.
    """
    k = picture.pool
    pooled = f"largest of {k} × {k} " if k > 1 else ""
    many = "s" if k > 1 else ""
    header = _table(
        picture.values,
        rows=tokens,
        columns=tokens,
        cell="square",
        max_height=640,
        row_name=f"query token{many}",
        column_name=f"key token{many}",
        value_name=f"{pooled}attention weight{many}",
        label=label,
        limit=1.0 if kind == "weights" else None,
    )
    header["pool"], header["bare"] = [k, k], False
    header["strip"] = k == 1 and len(tokens) <= STRIP_UP_TO and kind != "scaled_scores"
    header["join"] = None if join is None else join / k
    header["masked"] = MASKED_NOTE
    if kind == "scaled_scores":
        return header | {"value_name": f"{pooled}scaled score{many}", "legend": "scaled score"}
    header["palette"], header["scale"] = "sequential", cast(Scale, scale)
    header["legend"] = WEIGHT + SCALE_NOTES[scale] + note
    if kind == "weighted_values":
        header["top"], header["value_name"] = limit_of(picture.values), f"{pooled}{WEIGHTED}"
        header["legend"] = WEIGHTED + SCALE_NOTES[scale] + note
    return header


def exact_header(values: Numbers, rows: Sequence[str], columns: Sequence[str], *, kind: Kind, scale: str) -> MapHeader:
    """Return the header of a part of one head's map, whose labels say their positions themselves.

    Args:
        values: the numbers, [rows, columns].
        rows: position and token of each row.
        columns: position and token of each column.
        kind: weights, scaled_scores or weighted_values.
        scale: of weights: linear, sqrt or log.

    Returns:
        A header whose numbers are the values.
    """
    header = _table(
        values,
        rows=rows,
        columns=columns,
        cell="square",
        max_height=560,
        row_name="query token",
        column_name="key token",
        value_name={"weights": "attention weight", "scaled_scores": "scaled score"}.get(kind, WEIGHTED),
        label="Exact cells around the one that was clicked",
    )
    header["masked"] = MASKED_NOTE
    if kind != "scaled_scores":
        header["palette"], header["scale"] = "sequential", cast(Scale, scale)
    if kind == "weighted_values":
        header["top"] = limit_of(values)
    return header


def similarity_header(values: Numbers, tokens: Sequence[str], *, name: str) -> MapHeader:
    """Return the header of a square of cosines, every token with every token.

    Args:
        values: the cosines, [n, n].
        tokens: the prompt's labels.
        name: what a reading calls a number.

    Returns:
        A header whose numbers are the values.
    """
    header = _table(
        values,
        rows=tokens,
        columns=tokens,
        cell="square",
        max_height=430,
        row_name="token",
        column_name="token",
        value_name=name,
        label=name,
        limit=1.0,
    )
    header["legend"] = "cosine"
    return header


def vector_header(picture: Picture, tokens: Sequence[str], *, name: str, limit: float) -> MapHeader:
    """Return the header of one kind of vector, a row per token and a column per dimension.

    Args:
        picture: the numbers, [tokens or pools of them, dimensions].
        tokens: the prompt's labels.
        name: what a reading calls a number.
        limit: the number at both ends of the colours, so that pictures side by side can share one.

    Returns:
        A header whose numbers are the picture's values.
    """
    k = picture.pool
    header = _table(
        picture.values,
        rows=tokens,
        columns=None,
        cell="free",
        max_height=520,
        row_name="token" if k == 1 else "tokens",
        column_name="dimension",
        value_name=name if k == 1 else f"{name}, farthest from zero",
        label=f"{name} of each token, a column per dimension",
        limit=limit,
    )
    header["pool"], header["bare"] = [k, 1], False
    header["hint"] = "Hover for exact values."
    return header


def matrix_header(
    values: Numbers,
    *,
    name: str,
    row_name: str,
    column_name: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    limit: float | None = None,
    square: bool = False,
    scale: str = "",
    legend: str = "",
    max_height: int = 360,
) -> MapHeader:
    """Return the header of any table of numbers, [rows, columns], NaN for masked.

    Args:
        values: the numbers.
        name: what a reading calls a number.
        row_name: what a reading calls a row.
        column_name: what a reading calls a column.
        rows: what each row is called (None: its number).
        columns: what each column is called (None: its number).
        limit: the number at both ends of the colours (None: the largest).
        square: whether cells are square.
        scale: of shares from 0 to 1, "linear", "sqrt" or "log"; else colours go around zero.
        legend: what the colours are of.
        max_height: of the map, in pixels.

    Returns:
        A header whose numbers are the values.
    """
    header = _table(
        values,
        rows=[str(row) for row in range(values.shape[0])] if rows is None else rows,
        columns=columns,
        cell="square" if square else "free",
        max_height=max_height,
        row_name=row_name,
        column_name=column_name,
        value_name=name,
        label=f"{name}: a row per {row_name}, a column per {column_name}",
        limit=limit,
    )
    header["legend"] = legend
    if scale:
        header["palette"], header["scale"] = "sequential", cast(Scale, scale)
    header["masked"] = MASKED_NOTE if np.isnan(values).any() else ""
    return header


def _table(
    values: Numbers,
    *,
    rows: Sequence[str],
    columns: Sequence[str] | None,
    cell: Literal["square", "free"],
    max_height: int,
    row_name: str,
    column_name: str,
    value_name: str,
    label: str,
    limit: float | None = None,
) -> MapHeader:
    """Return a header with colours around zero, nothing to choose, and every field that most tables share."""
    return {
        "rows": list(rows),
        "columns": None if columns is None else list(columns),
        "pool": [1, 1],
        "bare": True,
        "cell": cell,
        "max_height": max_height,
        "row_name": row_name,
        "column_name": column_name,
        "value_name": value_name,
        "palette": "diverging",
        "scale": "linear",
        "limit": limit_of(values) if limit is None else limit,
        "top": None,
        "legend": "",
        "masked": "",
        "masked_reading": MASKED_READING,
        "hint": HINT,
        "label": label,
        "selected": None,
        "picks": False,
        "threshold": 0.0,
        "strip": False,
        "join": None,
        "shape": list(values.shape),
        "packing": "full",
        "version": "",
    }


def map_payload(header: MapHeader, values: Numbers, *, version: str = "") -> bytes:
    """Return the message of one table.

    Args:
        header: of these numbers.
        values: the numbers, [rows, columns].
        version: the message's name on the canvas; empty: a digest of it all.

    Returns:
        The bytes that heatmap.js decodes.
    """
    header, numbers = packed(header, values, version=version)
    return encode(cast(dict[str, Any], header), numbers)


def packed(header: MapHeader, values: Numbers, *, version: str = "") -> tuple[MapHeader, Numbers]:
    """Return a header that says how its numbers are packed, and the numbers in the order in which they travel.

    Args:
        header: of these numbers.
        values: the numbers, [rows, columns].
        version: the message's name on the canvas; empty: a digest of it all.

    Returns:
        The header and the numbers, row after row.
    """
    packing, numbers = pack(values)
    header = header | {"shape": list(values.shape), "packing": cast(Literal["lower", "full"], packing)}
    return header | {"version": version or digest(header, numbers)}, numbers
