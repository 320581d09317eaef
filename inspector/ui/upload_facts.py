"""Check what an uploaded trace file says of itself, exactly: types, ranges and how much of it there is.

It is JSON that anybody may have written. Eight megabytes of empty lists would take hundreds in memory, and a head count
of 2.0 or a window of "a" would be noticed only where a page computes with it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.trace.prompt_file import MOST_BYTES
from reimpl.spec import MaskRule

MOST_HEADER = 8 * 2**20  # bytes: 32,768 tokens with ids, labels and texts take about two million
MOST_PARTS = 1_000_000  # values and lists in it: each takes some 60 bytes once it is read
MOST_TEXT = 1000  # characters of a name, and of the sentence why a layer's weights are not known
MOST_LABEL = 10_000  # characters of a token, each of which may be written as its code
MOST_LAYERS, MOST_HEADS, MOST_OF_ALL = 1000, 10_000, 100_000  # the last: heads of all layers together
MOST_WIDTH = 100_000
MOST_POSITION = 10**9
MOST_ID = 2**31

_Is = Callable[[Any], bool]
_AGAIN = "save the trace again."


def refuse_header(content: bytes, name: str) -> None:
    """Refuse a file whose description of itself is too long to be a trace's, before it is read.

    Args:
        content: the file's bytes.
        name: what the file was called, for the sentence.

    Raises:
        InspectorError: naming what it has and what is read.
    """
    length = int.from_bytes(content[:8], "little")
    if MOST_HEADER < length <= len(content):  # a longer one is no such file, and is refused where it is opened
        raise InspectorError(
            f"“{name}” describes itself in {length:,} bytes, and at most {MOST_HEADER:,} are read: {_AGAIN}"
        )
    header = content[8 : 8 + length]
    parts = sum(header.count(sign) for sign in (b"[", b"{", b","))
    if parts > MOST_PARTS:
        raise InspectorError(
            f"“{name}” describes itself in about {parts:,} values, and at most {MOST_PARTS:,} are read: {_AGAIN}"
        )


def wrong_facts(facts: Mapping[str, Any]) -> str:
    """Say what a trace file's facts have that no trace has.

    Args:
        facts: what stands in the file's header, as JSON was read.

    Returns:
        Which of them is not as it must be; empty: all are.
    """
    if unknown := sorted(set(facts) - set(_FACTS) - {"edits"}):
        return f"it has {str(unknown[0])[:40]!r}, which this version does not know"
    if missing := [key for key in _FACTS if key not in facts and key != "features"]:
        return f"it has no {missing[0]!r}"
    if odd := [key for key, fits in _FACTS.items() if key in facts and not fits(facts[key])]:
        return f"its {odd[0]!r} is not what a trace has there"
    layers = facts["layers"]
    if sum(layer["heads"] for layer in layers) > MOST_OF_ALL:
        return f"it has more than {MOST_OF_ALL:,} heads"
    if not len(layers) == len(facts["masks"]) == len(facts["unexplained"]):
        return "its layers, their masks and what is not known of them differ in number"
    return ""


def bytes_of(value: object) -> int:
    """Return the bytes that facts take in memory.

    Args:
        value: strings, numbers, tuples, lists and mappings.

    Returns:
        The bytes of all of it, what stands in it twice counted twice.
    """
    total = sys.getsizeof(value)
    if isinstance(value, Mapping):
        total += sum(bytes_of(key) + bytes_of(item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        total += sum(map(bytes_of, value))
    return total


# -- what each fact may be -------------------------------------------------------------------------------


def _whole(low: int, high: int) -> _Is:
    """Accept a whole number in a range, written as one: 2.0 and true are none."""
    return lambda value: type(value) is int and low <= value <= high


def _number(value: object) -> bool:
    """Accept a finite number of a usual size."""
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e9  # type: ignore[arg-type]


def _text(most: int) -> _Is:
    """Accept text of at most so many characters."""
    return lambda value: isinstance(value, str) and len(value) <= most


def _none_or(fits: _Is) -> _Is:
    """Accept None, or what fits."""
    return lambda value: value is None or fits(value)


def _each(fits: _Is, most: int) -> _Is:
    """Accept a list of at most so many values, each of which fits."""
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(fits, value))


def _record(known: Mapping[str, _Is]) -> _Is:
    """Accept an object with these fields and no others, each of which fits."""

    def is_one(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and set(value) == set(known)
            and all(known[key](item) for key, item in value.items())
        )

    return is_one


def _yes_or_no(value: object) -> bool:
    return isinstance(value, bool)


def _above_zero(value: Any) -> bool:
    return _number(value) and value > 0


_reach = _none_or(_whole(1, MOST_POSITION))
_head_count, _width, _count = _whole(1, MOST_HEADS), _whole(1, MOST_WIDTH), _whole(0, MOST_HEADS)
_LAYER: dict[str, _Is] = {
    "index": _count, "name": _text(MOST_TEXT), "block": _count, "repeat": _count,
    "heads": _head_count, "kv_heads": _head_count, "d_head": _width, "d_value": _width,
    "window": _reach, "chunk": _reach, "scale": _number, "softcap": _none_or(_above_zero),
    "sinks": _yes_or_no, "bias": _yes_or_no, "rope": _none_or(_yes_or_no),
}  # fmt: skip
_RULE: dict[str, _Is] = {"window": _reach, "chunk": _reach, "given": _yes_or_no, "both_sides": _yes_or_no}
_FACT = _none_or(lambda value: _text(MOST_TEXT)(value) or _yes_or_no(value) or _number(value))
_TOKENS = MOST_HEADER  # how many are shown is judged where the trace is
_FACTS: dict[str, _Is] = {
    "format": _text(MOST_TEXT),
    "features": _each(_text(MOST_TEXT), 10),
    "source": lambda value: isinstance(value, dict) and len(value) <= 50 and all(map(_FACT, value.values())),
    "model": _text(MOST_TEXT),
    "prompt": _none_or(_text(MOST_BYTES)),
    "prompt_length": _whole(0, MOST_POSITION),
    "precision": _none_or(_text(MOST_TEXT)),
    "dtype": _none_or(_text(MOST_TEXT)),
    "tokens": _record(
        {
            "ids": _each(_whole(0, MOST_ID), _TOKENS),
            "labels": _each(_text(MOST_LABEL), _TOKENS),
            "texts": _each(_text(MOST_LABEL), _TOKENS),
        }
    ),
    "layers": _each(_record(_LAYER), MOST_LAYERS),
    "unexplained": _each(_text(MOST_TEXT), MOST_LAYERS),
    "masks": _each(_record({"rule": _none_or(_record(_RULE))}), MOST_LAYERS),
    "token_first": _each(_text(MOST_TEXT), 20 * MOST_LAYERS),
}  # fmt: skip

# A field that is new in a record and has no line above would refuse every trace.
_UNCHECKED = {one.name for one in fields(LayerInfo)} ^ set(_LAYER) | {one.name for one in fields(MaskRule)} ^ set(_RULE)
if _UNCHECKED:
    raise TypeError(f"no check of {sorted(_UNCHECKED)}")
