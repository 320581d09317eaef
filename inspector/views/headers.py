"""Build the header of every canvas's message: what its numbers are called, how they are coloured, what may be chosen.

The types here and those of views/js/types.d.ts have the same names; tests/test_scripts.py compares them. A header goes
with its numbers through payload.encode, in the app and in a saved page alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import numpy as np
import numpy.typing as npt

from inspector.views.payload import (
    HINT,
    MASKED_NOTE,
    MASKED_READING,
    SCALE_NOTES,
    STRIP_UP_TO,
    WEIGHT,
    WEIGHTED,
    encode,
    pack,
)
from inspector.views.payload import limit as limit_of

if TYPE_CHECKING:
    from inspector.analysis.maps import Kind, Picture, Thumbnails
    from inspector.capture.records import LayerInfo

Numbers = npt.NDArray[np.float32]
Scale = Literal["linear", "sqrt", "log"]


class MapHeader(TypedDict):
    """What heatmap.js is told of one table of numbers.

    rows, columns: labels (columns None: numbered). pool: how many labels one cell stands for. bare: labels say their
    position themselves. cell: square, or free to fill the width. limit: the number at both ends of diverging colours.
    top: the number of the strongest sequential colour (None: 1). threshold: smaller numbers are painted as zero. join:
    from this row on the model wrote the tokens itself. packing: "lower" where only the lower triangle travels.
    """

    rows: list[str]
    columns: list[str] | None
    pool: list[int]
    bare: bool
    cell: Literal["square", "free"]
    max_height: int
    row_name: str
    column_name: str
    value_name: str
    palette: Literal["sequential", "diverging"]
    scale: Scale
    limit: float
    top: float | None
    legend: str
    masked: str
    masked_reading: str
    hint: str
    label: str
    selected: list[int] | None
    picks: bool
    threshold: float
    strip: bool
    join: float | None
    shape: list[int]
    packing: Literal["lower", "full"]
    version: str


class GridHeader(TypedDict):
    """What grid.js is told of all heads' small pictures.

    heads, groups: query and key/value heads of each layer. side: cells along one side of a picture. pictures: a name
    of these pictures, which are painted once. order: (layer, head, reading) one after the other instead of by layer.
    """

    heads: list[int]
    groups: list[int]
    notes: list[str]
    side: int
    selected: list[int]
    scale: Scale
    pictures: str
    label: str
    order: list[list[Any]] | None
    ordered_by: str


class StripsPanel(TypedDict):
    """One strip of colour, or one row of bars: `rows` of the numbers, two of them where `also` names the second.

    limit: the number at full colour or height. scale: of shares from 0 to 1, else "". upward: nothing is below zero.
    """

    kind: Literal["strip", "bars"]
    title: str
    also: str
    rows: list[int]
    limit: float
    scale: Literal["", "linear", "sqrt", "log"]
    upward: bool


class StripsHeader(TypedDict):
    """What strips.js is told of numbers in line: panels over the same `count` columns, one name and label for each.

    partner: the column marked beside each (-1: none). marked: the chosen one. picks: what a choice of each sends.
    """

    test_id: str
    axis: list[str]
    axis_name: str
    turned: bool
    names: list[str]
    notes: list[str] | None
    partner: list[int] | None
    marked: int
    picks: list[int] | None
    panels: list[StripsPanel]
    series: list[str]
    hint: str
    label: str
    count: int
    version: str


class FrameHeader(TypedDict):
    """What frame.js is told of a page in a frame."""

    title: str
    height: int
    width: int


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
    """Return the header of a part of one head's map, [rows, columns], whose labels say their positions themselves."""
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
    """Return the header of a square of cosines, every token with every token; `name` is what a reading calls one."""
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
    header["hint"] = "Point at a cell: its exact number appears here."
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
    """Return the message of one table, [rows, columns]; `version` (else a digest of it all) names it on the canvas."""
    packing, numbers = pack(values)
    header = header | {"shape": list(values.shape), "packing": cast(Literal["lower", "full"], packing)}
    return encode(cast(dict[str, Any], header | {"version": version or _digest(header, numbers)}), numbers)


def grid_header(
    pictures: Thumbnails,
    layers: Sequence[LayerInfo],
    *,
    selected: tuple[int, int],
    scale: str,
    order: Sequence[tuple[int, int, str]] | None = None,
    ordered_by: str = "layers",
) -> GridHeader:
    """Return the header of all heads' small pictures.

    Args:
        pictures: a picture of every head.
        layers: the trace's layers.
        selected: the chosen layer and head.
        scale: of the colours: linear, sqrt or log.
        order: (layer, head, what to read of it), to show these one after the other; None: by layer.
        ordered_by: the name of the order.
    """
    return {
        "heads": [layer.heads for layer in layers],
        "groups": [layer.kv_heads for layer in layers],
        "notes": [f" · window of {layer.window} tokens" if layer.window else "" for layer in layers],
        "side": pictures.pixels.shape[-1],
        "selected": list(selected),
        "scale": cast(Scale, scale),
        "pictures": hashlib.blake2b(pictures.pixels.tobytes(), digest_size=8).hexdigest(),
        "label": "Attention weights of every head: arrow keys move between heads, Enter selects one.",
        "order": None if order is None else [list(place) for place in order],
        "ordered_by": ordered_by,
    }


def grid_payload(header: GridHeader, pictures: Thumbnails) -> bytes:
    """Return the message of all heads' small pictures."""
    return encode(cast(dict[str, Any], header), pictures.pixels)


def panel(
    kind: Literal["strip", "bars"],
    title: str,
    values: Numbers,
    *,
    rows: Sequence[int],
    also: str = "",
    scale: str = "",
    limit: float | None = None,
    centred: bool = False,
) -> StripsPanel:
    """Return one panel of numbers in line.

    Args:
        kind: a strip of colour, or bars.
        title: what stands above it.
        values: all panels' numbers, [rows, columns].
        rows: which of them are this panel's.
        also: the name of a second row of bars.
        scale: of shares from 0 to 1: linear, sqrt or log.
        limit: the number at full colour or height (None: the largest).
        centred: whether zero stands in the middle even where nothing is below it.
    """
    own = values[list(rows)]
    return {
        "kind": kind,
        "title": title,
        "also": also,
        "rows": list(rows),
        "limit": limit or limit_of(own),
        "scale": cast(Literal["", "linear", "sqrt", "log"], scale),
        "upward": not centred and not bool((own < 0).any()),
    }


def strips_header(
    panels: Sequence[StripsPanel],
    *,
    test_id: str,
    names: Sequence[str],
    axis: Sequence[str],
    series: Sequence[str],
    label: str,
    hint: str,
    axis_name: str = "",
    turned: bool = False,
    notes: Sequence[str] = (),
    partner: Sequence[int] | None = None,
    marked: int = -1,
    picks: Sequence[int] | None = None,
) -> StripsHeader:
    """Return the header of numbers in line.

    Args:
        panels: one below the other.
        test_id: what the canvas is called in the page.
        names: what a reading calls each column.
        axis: what stands below each column.
        series: what a reading calls each row of the numbers.
        label: what the picture is of, for screen readers.
        hint: the reading while nothing is pointed at.
        axis_name: what stands below the axis.
        turned: whether the axis's labels stand upright.
        notes: a line more in each column's reading, or none.
        partner: the column marked beside each; -1 for none.
        marked: the chosen column; -1 for none.
        picks: what a choice of each column sends; None where nothing is chosen.
    """
    return {
        "test_id": test_id,
        "axis": list(axis),
        "axis_name": axis_name,
        "turned": turned,
        "names": list(names),
        "notes": list(notes) or None,
        "partner": None if partner is None else list(partner),
        "marked": marked,
        "picks": None if picks is None else list(picks),
        "panels": list(panels),
        "series": list(series),
        "hint": hint,
        "label": label,
        "count": len(names),
        "version": "",
    }


def strips_payload(header: StripsHeader, values: Numbers) -> bytes:
    """Return the message of numbers in line, [series, columns]."""
    header = header | {"count": values.shape[1]}
    return encode(cast(dict[str, Any], header | {"version": _digest(header, values)}), values)


def frame_payload(page: str, *, title: str, height: int, width: int) -> bytes:
    """Return the message of a page of HTML, with its size in pixels."""
    header: FrameHeader = {"title": title, "height": height, "width": width}
    return encode(cast(dict[str, Any], header), np.frombuffer(page.encode(), dtype=np.uint8))


def _digest(header: MapHeader | StripsHeader, numbers: Numbers) -> str:
    """Return a name for a message: a test (and anybody debugging) can tell from the canvas which one it has painted."""
    return hashlib.blake2b(repr(header).encode() + numbers.tobytes(), digest_size=8).hexdigest()
