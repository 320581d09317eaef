"""Write a table as CSV in two forms: exact, for programs; and for spreadsheets, which take some texts for formulas."""

from __future__ import annotations

import re

import pandas as pd

# Where a spreadsheet begins to read a formula: a text's first letter, or one that follows what some of them take for
# the end of a cell, whatever the quotes around it. Full-width signs count as the plain ones in some languages.
_FORMULA = re.compile("(^|[;,|\t\r\n])(?=[=+\\-@\t\r＝＋－＠])")


def exact(frame: pd.DataFrame) -> bytes:
    """Write a table as it is: every text as the model has it, every number with all its digits.

    Args:
        frame: the table; its index is left out.

    Returns:
        CSV in UTF-8.
    """
    text: str = frame.to_csv(index=False)
    return text.encode()


def for_spreadsheets(frame: pd.DataFrame) -> bytes:
    """Write a table so that no spreadsheet takes a token for a formula: such a text gets an apostrophe in front.

    Args:
        frame: the table; its index is left out.

    Returns:
        CSV in UTF-8 with the mark by which spreadsheets know it. Numbers stay numbers, with all their digits.
    """
    texts = {name: column.map(_harmless) for name, column in frame.items() if not _numeric(column)}
    guarded = frame.assign(**texts).rename(columns=_harmless)
    text: str = guarded.to_csv(index=False, lineterminator="\r\n")
    return text.encode("utf-8-sig")


def _numeric(column: pd.Series) -> bool:
    """Return whether all of a column is numbers, which begin no formula, or true and false."""
    return bool(pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def _harmless(value: object) -> object:
    """Put an apostrophe in front of what a spreadsheet would read as a formula."""
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
