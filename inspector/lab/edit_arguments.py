"""Read what edits are made with: layers, heads and tokens as numbers, and where values come from."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from inspector.capture.edits import Source
from inspector.errors import InspectorError
from inspector.trace.trace import Trace
from inspector.trace.whole_numbers import shown, whole_number

MEANS = "means.safetensors"  # in an atlas's folder
Numbers = int | Iterable[int] | None
Values = Trace | str | Path | Sequence[int] | Tensor  # a trace, a saved one's file, or a prompt's token ids


def numbers(given: Numbers) -> tuple[int, ...] | None:
    """Return layers, heads or tokens as edits hold them.

    Args:
        given: a whole number, or some of them; None: all.

    Returns:
        The numbers, None for all.

    Raises:
        InspectorError: it is none of these.
    """
    if given is None:
        return None
    number = whole_number(given)
    if number is not None:
        return (number,)
    try:
        listed = [whole_number(item) for item in given]  # type: ignore[union-attr]
    except TypeError:
        listed = [None]
    found = [item for item in listed if item is not None]
    if not found or len(found) != len(listed) or isinstance(given, str):
        raise InspectorError(f"{shown(given)} names no layers, heads or tokens: give a whole number, or some of them.")
    return tuple(found)


def is_number(item: object) -> bool:
    """Whether something is a whole number of any library."""
    return whole_number(item) is not None


def means_of(place: str | Path) -> Source | None:
    """Name an atlas's mean vectors as a source.

    Args:
        place: the atlas's folder, or its means.safetensors.

    Returns:
        The source; None where it is neither, such as a saved trace.
    """
    try:
        path = Path(place) / MEANS if Path(place).is_dir() else Path(place)
        if path.name != MEANS or not path.is_file():
            return None
    except OSError:  # a text that is too long for a file's name
        return None
    return Source(means=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def source_of(given: Values | None) -> Source:
    """Name where values come from.

    Args:
        given: a trace, a saved one's file, or a prompt's token ids; None: the second prompt of a pair.

    Returns:
        The source.

    Raises:
        InspectorError: it is none of these, or a trace made under edits.
    """
    if given is None:
        return Source()
    if isinstance(given, Trace):
        if given.edits:
            raise InspectorError("A trace made under edits cannot be a source of values: take one without edits.")
        return Source(prompts=(given.tokens.ids,))
    if isinstance(given, str | Path):
        path, found = Path(given), False
        with contextlib.suppress(OSError):  # a text that is too long for a file's name
            found = path.is_file()
        if not found:
            raise InspectorError(
                f"{str(given)[:80]!r} is no file of a saved trace: give one, or the trace of a prompt."
            )
        return Source(trace=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    ids = numbers(given)
    return Source(prompts=(ids or (),))
