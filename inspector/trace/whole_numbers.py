"""Tell whole numbers of any library from what is none, and name a wrong value in an error's sentence."""

from __future__ import annotations

import operator
from typing import Any


def whole_number(value: Any) -> int | None:
    """Return a whole number of any library as an int; None of anything else, True and False included.

    Args:
        value: anything.

    Returns:
        The number, or None.
    """
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def shown(value: Any) -> str:
    """Return the first characters of a value's repr, on one line.

    Args:
        value: anything.

    Returns:
        At most 40 characters.
    """
    return " ".join(repr(value).split())[:40]
