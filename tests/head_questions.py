"""Questions for one head's exact numbers, as the Explore screen asks them, from a few words."""

from __future__ import annotations

from typing import Any

from inspector.views.head_question import VERSION, HeadQuestion, read_question

NAME = "0123456789abcdef"


def sent(text: str, name: str = NAME) -> dict[str, Any]:
    """What a browser sends for words such as "13.8 weights sqrt with tokens"."""
    place, show, scale, sink, unit = text.split(" ")
    layer, head = map(int, place.split("."))
    where = {"version": VERSION, "id": name, "turn": 0, "layer": layer, "head": head}
    return {**where, "show": show, "scale": scale, "sink": sink, "unit": unit}


def asked(text: str, name: str = NAME) -> HeadQuestion:
    """The question that the server reads from them."""
    return read_question(sent(text, name))
