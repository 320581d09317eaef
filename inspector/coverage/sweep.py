"""Find out of every decoder type whether it is captured, reimplemented and verified, and if not, why."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace

from inspector.coverage import tiny
from inspector.coverage.children import in_children
from inspector.coverage.rows import Row
from inspector.coverage.tiny import Entry
from inspector.errors import InspectorError


def sweep_types(
    names: Iterable[str] | None = None, *, jobs: int = 2, on_done: Callable[[Row], object] | None = None
) -> list[Row]:
    """Examine decoder types, each in a process of its own.

    Args:
        names: the types' names; None: all that the installed transformers has.
        jobs: how many are examined at once.
        on_done: called with each row when it is there.

    Returns:
        A row for each of these types, in their order.

    Raises:
        InspectorError: a name is no decoder type.
    """
    installed = tiny.types()
    wanted = list(dict.fromkeys(installed if names is None else names))
    for name in wanted:
        if name not in installed:
            raise InspectorError(unknown_type(name, installed))
    standing_for: dict[str, list[Entry]] = {}  # what is examined -> the wanted entries whose row this gives
    for entry in (installed[name] for name in wanted):
        standing_for.setdefault(entry.alias_of or entry.name, []).append(entry)
    rows: dict[str, Row] = {}
    for found in in_children(standing_for, jobs=jobs):
        for entry in standing_for[found.model_type]:
            rows[entry.name] = _under_the_name(entry, found)
            if on_done:
                on_done(rows[entry.name])
    return [rows[name] for name in wanted]


def summary(rows: Iterable[Row]) -> str:
    """Say the totals in one sentence.

    Args:
        rows: what was found of each type.

    Returns:
        The sentence, and a second one where there are types that the survey does not know.
    """
    rows = list(rows)
    captured, rope = [row for row in rows if row.captured], [row for row in rows if row.rope]
    done = [row for row in rope if row.reimplemented]
    text = (
        f"{len(rows)} decoder type{'s' * (len(rows) != 1)}: {len(captured)} captured; {len(rope)} with RoPE, of which "
        f"{len(done)} are reimplemented and verified ({sum(row.caught for row in done)} of "
        f"{sum(row.planted for row in done)} planted mistakes caught)."
    )
    if unknown := [row.model_type for row in rows if not row.known]:
        text += f" New since the survey, so that nothing is known of their sizes: {', '.join(unknown)}."
    return text


def unknown_type(name: str, installed: Iterable[str]) -> str:
    """Return the sentence about a name that is no decoder type.

    Args:
        name: what was asked for.
        installed: the names there are.

    Returns:
        The sentence, with names that are near.
    """
    near = difflib.get_close_matches(name, list(installed), n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else "leave the name out to examine all."
    return f"'{name}' is no decoder type of the installed transformers: {advice}"


def _under_the_name(entry: Entry, row: Row) -> Row:
    """Return a row under the name of another type that has the same text model."""
    if entry.name == row.model_type:
        return row
    return replace(row, model_type=entry.name, class_name=entry.class_name, alias_of=row.model_type)
