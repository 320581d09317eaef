"""Words that several parts of the program share: short forms of texts, and how progress is reported."""

from __future__ import annotations

import re
from collections.abc import Callable

# What long work calls while it lasts: (message, fraction done between 0 and 1, or None where it is not known).
Progress = Callable[[str, float | None], None]


def no_progress(message: str, fraction: float | None) -> None:
    """Report progress to nobody."""


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of a library's message, without its full stop, to stand in a sentence of ours."""
    # "e.g. this" and "i.e. that" end no sentence.
    text = re.split(r"[.!?:]?\s*\n|(?<!e\.g)(?<!i\.e)[.!?]\s", str(error).strip() + "\n")[0]
    return (text or type(error).__name__)[:300]


def few(names: list[str]) -> str:
    """Name the first three, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
