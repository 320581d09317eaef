"""Run many texts as batches of equal length: grouped as they come, none padded, handed out in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from inspector.errors import InspectorError
from inspector.trace.whole_numbers import shown, whole_number

T = TypeVar("T")
ROWS = 8  # texts a batch: from there on a longer one gains little (docs/batches.md)
AHEAD = 4  # batches' worth of texts that are read ahead, to find some of equal length
Group = list[tuple[int, T]]  # texts of equal length with their numbers


def equal_lengths(items: Iterable[T], length: Callable[[T], int], rows: int) -> Iterator[list[Group[T]]]:
    """Read texts ahead, some at a time, and group those of equal length.

    Args:
        items: the texts, in any form; read as they are needed.
        length: how many tokens one has.
        rows: texts of a group, at most.

    Yields:
        The groups of each stretch that was read, each text with its number from 0; together they hold all.
    """
    numbered = enumerate(items)
    while stretch := list(islice(numbered, AHEAD * rows)):
        by_length: dict[int, Group[T]] = {}
        for number, item in stretch:
            by_length.setdefault(length(item), []).append((number, item))
        yield [group[start : start + rows] for group in by_length.values() for start in range(0, len(group), rows)]


def listed_prompts(prompts: Any) -> Iterable[Any]:
    """Refuse what is one prompt, or no list of prompts.

    Args:
        prompts: what was passed as many prompts.

    Returns:
        The same.

    Raises:
        InspectorError: it is a single text, a list of token ids, or nothing that can be gone through.
    """
    if isinstance(prompts, str | bytes | dict) or not isinstance(prompts, Iterable):
        raise InspectorError(
            f"traces needs many prompts and was given {type(prompts).__name__}: give a list of texts, or of lists of "
            "token ids; trace takes one prompt."
        )
    if isinstance(prompts, Sequence) and prompts and whole_number(prompts[0]) is not None:
        raise InspectorError(
            "traces needs many prompts and was given token ids of one: put them in a list of lists, or call trace."
        )
    return prompts


def batch_rows(batch: Any) -> int:
    """Return how many texts a batch may have.

    Args:
        batch: what was passed.

    Returns:
        The number.

    Raises:
        InspectorError: it is no whole number from 1 on.
    """
    number = whole_number(batch)
    if number is None or number < 1:
        raise InspectorError(f"batch={shown(batch)} is no number of texts: give a whole number from 1 on.")
    return number
