"""Build the header of numbers in line: panels of strips or bars over the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from inspector.views.header_types import StripsHeader, StripsPanel
from inspector.views.payload import digest, encode
from inspector.views.payload import limit as limit_of

Numbers = npt.NDArray[np.float32]


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

    Returns:
        The panel.
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

    Returns:
        A header whose numbers are [series, columns].
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
    """Return the message of numbers in line, [series, columns].

    Args:
        header: of these numbers.
        values: the numbers, [series, columns].

    Returns:
        The bytes that strips.js decodes.
    """
    header = header | {"count": values.shape[1]}
    return encode(cast(dict[str, Any], header | {"version": digest(header, values)}), values)
