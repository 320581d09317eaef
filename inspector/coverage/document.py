"""Render docs/architectures.md from the rows of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from inspector.coverage.examination import TOKENS
from inspector.coverage.published import PUBLISHED, SEEN
from inspector.coverage.rows import Row
from inspector.coverage.sweep import summary
from inspector.verification.report import versions

HEADING = """# The decoder types of the library

Made by `make coverage`: a tiny model with random weights of each decoder type that the installed transformers has was
saved, loaded, traced on {tokens} tokens and verified, stage by stage and with planted mistakes, on {day} (transformers
{transformers}, torch {torch}, Python {python}).

*How to read a line*: **captured** gives the number of attention layers that were recorded, **verified** says that our
reimplementation, read from the checkpoint's files, gave the library's numbers at every stage within its tolerance and
that every planted mistake was noticed, **largest difference** is that of any element at any stage in float32, and
**mistakes** are those noticed of those planted. *As NAME* in the remarks: a tiny model of NAME's config, as
`inspector/coverage/published/` has it, sizes shrunk, was loaded and verified as well. *Seen published*: its fields
stand as they were found in the public repository that the end of this page names. *From memory*: it was not compared
with the published file. A type without such a remark was read from defaults only.

{totals}

{published}
"""

PLACES = """
## Where the published configs were seen

Copies of each checkpoint's `config.json` in public repositories: the file, or a test or table that has its fields. They
stand here as there, but for the image and audio parts, cut to a few, and how weights are quantised, left out.
"""

COLUMNS = ("type", "RoPE", "captured", "verified", "largest difference", "mistakes", "remarks")


def render_document(rows: Sequence[Row], *, day: date | None = None) -> str:
    """Render the whole document, in Markdown.

    Args:
        rows: what was found of each type.
        day: the date to name; None: today.

    Returns:
        The text.
    """
    found = {
        "tokens": TOKENS,
        "day": (day or date.today()).isoformat(),
        "totals": summary(rows),
        "published": published_summary(rows),
    }
    heading = HEADING.format(**found, **versions())
    ruled = [_line(COLUMNS), _line("---" for _ in COLUMNS)]
    return "\n".join([heading, *ruled, *(_line(_cells(row)) for row in rows), *render_places()])


def render_places() -> list[str]:
    """List the published configs, each with its type and where it was seen, in Markdown.

    Returns:
        Lines of text.
    """
    rows = [(name, f"`{PUBLISHED[name]['model_type']}`", where) for name, where in SEEN.items()]
    return [PLACES, *(_line(cells) for cells in (("config", "type", "where"), ("---",) * 3, *rows))]


def published_summary(rows: Sequence[Row]) -> str:
    """Say how many verified types were read from a checkpoint's config too, and which from defaults alone.

    Args:
        rows: what was found of each type.

    Returns:
        Two sentences.
    """
    done = [row for row in rows if row.reimplemented]
    seen = sum(row.published in SEEN for row in done)
    remembered = sum(bool(row.published) for row in done) - seen
    alone = ", ".join(f"`{row.model_type}`" for row in done if not row.published)
    return (
        f"{seen} verified types were also read from a checkpoint's config that was seen published, "
        f"{remembered} from one written down from memory. From defaults only: {alone or 'none'}."
    )


def _cells(row: Row) -> tuple[str, ...]:
    """Return one row's cells."""
    return (
        f"`{row.model_type}`",
        "yes" if row.rope else "no",
        f"{row.layers} layers" if row.captured else "no",
        "yes" if row.reimplemented else "no",
        "" if row.largest is None else f"{row.largest:.3g}",
        f"{row.caught} of {row.planted}" if row.planted else "",
        _remarks(row),
    )


def _remarks(row: Row) -> str:
    """Return what else is to be said of one type, in sentences."""
    parts = [
        f"Its text model is `{row.alias_of}`'s." if row.alias_of else "",
        "" if row.known else "New since the survey.",
        f"In place of one softmax: {row.otherwise}." if row.otherwise else "",
        f"Not drawn: {row.unexplained}." if row.unexplained else "",
        _as_published(row),
        row.reason,
        f"Missed: {', '.join(row.missed)}." if row.missed else "",
    ]
    return " ".join(part for part in parts if part)


def _as_published(row: Row) -> str:
    """Name the config that a verified type was read from too."""
    if not (row.published and row.reimplemented):
        return ""
    return f"As {row.published} ({'seen published' if row.published in SEEN else 'from memory'})."


def _line(cells: Iterable[str]) -> str:
    """Return one line of a table: nothing in a cell can end the cell or the line, or be read as HTML."""
    escaped = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return "| " + " | ".join(escaped) + " |"
