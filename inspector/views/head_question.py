"""Read the Explore screen's question for one head's exact numbers: it comes over the network, and may be anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from inspector.errors import InspectorError
from inspector.views.header_types import HeadAsked

if TYPE_CHECKING:
    from inspector.analysis.maps import Kind

VERSION = 1  # of the question's fields, as in views/js/explore_ask.js; raised when they change
SHOWS = {
    "weights": "Attention weights",
    "scaled_scores": "Scaled scores",
    "weighted_values": "Weight × value length",
}
SCALES = {"linear": "Linear", "sqrt": "Square root", "log": "Logarithm"}
SINKS = {"with": "First token shown", "without": "First token hidden"}
UNITS = {"tokens": "Tokens", "words": "Whole words"}
MOST_HEADS = 10_000  # in a layer, and layers: whether there is such a head is judged where it is looked up
MOST_TURNS = 10**9

_NAME = re.compile(r"[0-9a-f]{16}")
_ODD = re.compile(r"[^\w -]", re.ASCII)
_AGAIN = "reload the page."
_CHOICES = {"show": SHOWS, "scale": SCALES, "sink": SINKS, "unit": UNITS}
_NUMBERS = {"layer": MOST_HEADS, "head": MOST_HEADS, "turn": MOST_TURNS}
FIELDS = ("version", "id", *_NUMBERS, *_CHOICES)


@dataclass(frozen=True)
class HeadQuestion:
    """Which head's exact numbers a browser asks for. All but version are the fields of views/js/types.d.ts.

    Attributes:
        id: of the message that the browser shows.
        layer: counts attention layers from 0.
        head: the query head, from 0.
        show: which numbers.
        scale: of the colours.
        sink: "without" where the first token's column is left out and the rest scaled up.
        unit: whether rows and columns are tokens or words.
        turn: tells a question from the same one asked again; it goes back with the answer.
    """

    id: str
    layer: int
    head: int
    show: Kind
    scale: str
    sink: str
    unit: str
    turn: int

    @property
    def asked(self) -> HeadAsked:
        """What is asked for, as it goes back with the answer."""
        fields = asdict(self)
        return cast(HeadAsked, {name: fields[name] for name in HeadAsked.__annotations__})


def read_question(said: object) -> HeadQuestion:
    """Read a browser's question.

    Args:
        said: what the browser sent; it may be anything.

    Returns:
        The question.

    Raises:
        InspectorError: it is no question; the sentence says which field is not as it must be.
    """
    if not isinstance(said, dict):
        raise InspectorError(f"A question for a head must be an object and was {_type(said)}: {_AGAIN}")
    if said.get("version") != VERSION or type(said["version"]) is not int:
        raise InspectorError(
            f"This page asks for a head in form {_written(said.get('version'))} and the server knows form {VERSION}: "
            f"{_AGAIN}"
        )
    if set(said) != set(FIELDS):
        odd = sorted(_written(name) for name in set(said) ^ set(FIELDS))
        raise InspectorError(
            f"A question for a head has the {len(FIELDS)} fields {_listed(FIELDS)}; missing or unknown: "
            f"{_listed(odd[:3])}: {_AGAIN}"
        )
    if not isinstance(said["id"], str) or not _NAME.fullmatch(said["id"]):
        raise InspectorError(f"A question's id must be 16 hexadecimal digits and was {_written(said['id'])}: {_AGAIN}")
    for name, end in _NUMBERS.items():
        if type(said[name]) is not int or not 0 <= said[name] < end:
            raise InspectorError(
                f"A question's {name} must be a whole number from 0 to {end - 1:,} and was {_written(said[name])}: "
                f"{_AGAIN}"
            )
    for name, known in _CHOICES.items():
        if not isinstance(said[name], str) or said[name] not in known:
            raise InspectorError(
                f"A question's {name} must be one of {_listed(known)} and was {_written(said[name])}: {_AGAIN}"
            )
    fields: dict[str, Any] = {name: said[name] for name in FIELDS if name != "version"}
    return HeadQuestion(**fields)


def _listed(names: Iterable[str]) -> str:
    """Join names with commas."""
    return ", ".join(names)


def _type(said: object) -> str:
    """Name what was sent instead of an object, in a word that JavaScript has too."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(said), "nothing" if said is None else "something else")


def _written(value: object) -> str:
    """Write a value that was sent, cut short: no more of it than a sentence holds, and no sign that ends one."""
    if isinstance(value, str):
        plain = _ODD.sub("?", value[:100])
        line = " ".join(plain.split())
        return f'"{line if len(line) <= 40 else line[:39].rstrip() + "…"}"'
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else "a number of many digits"
    return "a fraction" if isinstance(value, float) else _type(value)
