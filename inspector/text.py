"""Words that several parts of the program share: short forms of texts, and how progress is reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from inspector.errors import InspectorError

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


def refuse_other(value: object, choices: Iterable[object], name: str) -> None:
    """Refuse a value that is none of the choices of a `Literal`.

    Args:
        value: what was passed.
        choices: what may be passed, as `typing.get_args(SomeLiteral)` gives it.
        name: what is chosen, as it stands in the sentence: "kind of picture".

    Raises:
        InspectorError: the value is none of the choices; the sentence names both.
    """
    known = [str(choice) for choice in choices]
    if value not in known:
        listed = " or ".join(filter(None, [", ".join(known[:-1]), known[-1]]))
        raise InspectorError(f"There is no {name} {value!r}: choose {listed}.")
