"""Write tables and numbers as results.md has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def large(count: float, unit: str = "B") -> str:
    """Write a number of bytes (or of operations) for people, in powers of ten.

    Args:
        count: the number.
        unit: of it.

    Returns:
        The text.
    """
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {prefix}{unit}"
    return f"{count:.0f} {unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a Markdown table that can be read as text as well, words to the left and numbers to the right.

    Args:
        head: the columns' names.
        rows: the cells.

    Returns:
        The table's lines.
    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    words = [not any(character.isdigit() for row in rows for character in row[i][:1]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = (c.ljust(w) if word else c.rjust(w) for c, w, word in zip(row, widths, words, strict=True))
        return f"| {' | '.join(cells)} |"

    rule = "|".join(f"{'-' * (w + 1)}{'-' if word else ':'}" for w, word in zip(widths, words, strict=True))
    return [line(head), f"|{rule}|", *map(line, rows), ""]


def seconds(value: float | None) -> str:
    """Write seconds.

    Args:
        value: the seconds; None: not measured.

    Returns:
        The text.
    """
    return "" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def ratio(value: float | None, unit: float | None) -> str:
    """Write a ratio.

    Args:
        value: what is divided; None: not measured.
        unit: what it is divided by.

    Returns:
        The text.
    """
    if value is None or not unit:
        return ""
    return f"{value / unit:.2f}" if value / unit >= 0.1 else f"{value / unit:.2g}"


def failed(title: str, part: dict[str, Any]) -> list[str]:
    """Write what stands in the place of a table that could not be made.

    Args:
        title: its heading.
        part: what was measured of it, which says why.

    Returns:
        The lines.
    """
    return [f"## {title}", "", f"Not measured: {part['failed']}.", ""]
