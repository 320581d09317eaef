"""Put what a canvas shows into a table: the numbers of a map, or of strips and bars, each row and column named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from inspector.views.header_types import MapHeader, StripsHeader

Numbers = npt.NDArray[np.float32]


def map_names(header: MapHeader) -> tuple[list[str], list[str]]:
    """Return what a map's rows and columns are called, as its readings call them.

    Args:
        header: the map's.

    Returns:
        The names of the rows and of the columns: position and token, or the positions that a pooled cell stands for.
    """
    rows, columns = header["shape"]
    across = header["columns"]
    names = [str(at) for at in range(columns)] if across is None else across
    if header["bare"]:
        return list(header["rows"]), list(names)
    of_columns = names if across is None else _pooled(names, header["pool"][1], columns)
    return _pooled(header["rows"], header["pool"][0], rows), of_columns


def map_frame(header: MapHeader, values: Numbers) -> pd.DataFrame:
    """Return a map's numbers, a row for each of its rows.

    Args:
        header: the map's.
        values: its numbers, [rows, columns], NaN where masked.

    Returns:
        A frame whose first column names the rows, the others the map's columns.
    """
    rows, columns = map_names(header | {"shape": list(values.shape)})
    frame = pd.DataFrame(values, columns=distinct(columns))
    name = header["row_name"]
    frame.insert(0, name if name not in frame.columns else f"{name} (row)", rows)
    return frame


def strips_frame(header: StripsHeader, values: Numbers) -> pd.DataFrame:
    """Return the numbers of strips and bars, a row for each of their columns.

    Args:
        header: of strips and bars.
        values: their numbers, [series, columns], NaN for none.

    Returns:
        A frame with a name, a column for each series, and a note where there are notes.
    """
    frame = pd.DataFrame(values.T, columns=distinct(header["series"]))
    frame.insert(0, "column", header["names"])
    if header["notes"] is not None:
        frame["note"] = header["notes"]
    return frame


def _pooled(labels: Sequence[str], pool: int, count: int) -> list[str]:
    """Name cells that stand for `pool` labels each."""
    if pool == 1:
        return [f"{at} {label}" for at, label in enumerate(labels)]
    return [f"{at * pool}–{min((at + 1) * pool, len(labels)) - 1}" for at in range(count)]


def distinct(names: Sequence[str]) -> list[str]:
    """Return names of which no two are the same: what comes again gets a number.

    Args:
        names: any names.

    Returns:
        As many, in their order.
    """
    found: dict[str, int] = {}
    distinct = []
    for name in names:
        found[name] = found.get(name, 0) + 1
        distinct.append(name if found[name] == 1 else f"{name} ({found[name]})")
    return distinct
