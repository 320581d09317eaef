"""Short forms of texts, and how long work reports its progress."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from inspector.errors import InspectorError

SCHEMA = 1  # of every JSON output: docs/json.md describes the fields, and says when this number is raised

# Called by long work while it lasts, with a message and the fraction done (0 to 1, or None where it is not known).
Progress = Callable[[str, float | None], None]


def no_progress(message: str, fraction: float | None) -> None:
    """Report progress to nobody."""


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's message, without its full stop and of at most 300 characters.

    Args:
        error: a library's error, whose words are to stand inside a sentence of ours.

    Returns:
        The sentence, or the error's type where it has no message.
    """
    # "e.g. this" and "i.e. that" end no sentence.
    text = re.split(r"[.!?:]?\s*\n|(?<!e\.g)(?<!i\.e)[.!?]\s", str(error).strip() + "\n")[0]
    return (text or type(error).__name__)[:300]


def few(names: list[str]) -> str:
    """Join the first three names with commas, and say how many more there are.

    Args:
        names: any number of names.

    Returns:
        Such as "a, b, c and 2 more".
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def spans(numbers: Iterable[int], to: str = "-") -> str:
    """Write numbers with their runs shortened: "10-19, 23".

    Args:
        numbers: in order; negative ones stand by themselves.
        to: what stands between the ends of a run.

    Returns:
        The text.
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1 and number > 0:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join(to.join(map(str, run)) for run in runs)


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
