"""Write edits as data for JSON, and read them back: an unknown field is refused, and so is a negative position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from inspector.capture.edits import Edit, Source
from inspector.errors import InspectorError
from inspector.text import SCHEMA, few


def edits_to_data(edits: Iterable[Edit]) -> dict[str, Any]:
    """Return edits ready for JSON, `{"schema": 1, "edits": [...]}`.

    Args:
        edits: none of them with a negative position.

    Returns:
        What `edits_from_data` reads.

    Raises:
        InspectorError: a position is negative, and would mean another token in another prompt.
    """
    edits = tuple(edits)
    for edit in edits:
        if edit.unresolved:
            raise InspectorError(
                f"An edit ({edit}) counts positions from the end of a prompt, which on paper would be another token of "
                "another prompt: take the edits of a trace or report, whose positions are resolved."
            )
    return {"schema": SCHEMA, "edits": [edit.to_data() for edit in edits]}


def edits_from_data(data: Any) -> tuple[Edit, ...]:
    """Read edits as JSON has them.

    Args:
        data: what `edits_to_data` gave, from JSON.

    Returns:
        The edits.

    Raises:
        InspectorError: it is of another schema, or a field is unknown or cannot be.
    """
    if not isinstance(data, Mapping) or set(data) != {"schema", "edits"} or not isinstance(data["edits"], list):
        raise InspectorError('Edits on paper are an object {"schema": 1, "edits": [...]} and nothing else: give one.')
    if not _is_whole(data["schema"]) or data["schema"] != SCHEMA:
        raise InspectorError(f"These edits are of schema {data['schema']!r:.20}; this version reads schema {SCHEMA}.")
    return tuple(_edit(item) for item in data["edits"])


def _edit(item: Any) -> Edit:
    if not isinstance(item, Mapping) or "kind" not in item:
        raise InspectorError(f"An edit on paper is an object with a kind, and this is {item!r:.40}: give one.")
    _known(item, {one.name for one in fields(Edit)}, "An edit")
    values: dict[str, Any] = {}
    for name, value in item.items():
        values[name] = _source(value) if name == "source" else _value(name, value)
    edit = Edit(**values)
    if edit.unresolved:
        raise InspectorError(f"An edit on paper ({edit}) has a negative position: count from the first token, 0.")
    return edit


_TEXTS = ("kind", "when", "what")
_LISTS = ("layers", "heads", "queries", "keys", "positions", "source_positions", "planes")
_WHOLE = ("shift", "window")


def _value(name: str, value: Any) -> Any:
    """Return a field's value, refused unless it is of the field's type."""
    if name in _TEXTS and isinstance(value, str):
        return value
    if name == "by_position" and isinstance(value, bool):
        return value
    if name in _LISTS and isinstance(value, list) and value and all(_is_whole(item) for item in value):
        return tuple(value)
    if name in _WHOLE and _is_whole(value):
        return value
    if name in ("strength", "factor", "base") and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise InspectorError(f"An edit's {name} cannot be {value!r:.40}: see docs/lab.md for what it may be.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _source(value: Any) -> Source:
    if not isinstance(value, Mapping):
        raise InspectorError(f"An edit's source is an object, and this is {value!r:.40}: give prompts, or a trace.")
    _known(value, {one.name for one in fields(Source)}, "An edit's source")
    if set(value) in ({"trace", "sha256"}, {"means", "sha256"}) and all(
        isinstance(text, str) and text for text in value.values()
    ):
        return Source(**value)
    prompts = value.get("prompts")
    listed = prompts if isinstance(prompts, list) else []
    good = bool(listed) and all(isinstance(ids, list) and ids and all(map(_is_whole, ids)) for ids in listed)
    if set(value) != {"prompts"} or not good:
        raise InspectorError(
            "An edit's source has prompts (lists of token ids), or a file (a trace, or means) with its sha256."
        )
    return Source(prompts=tuple(tuple(ids) for ids in listed))


def _known(found: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(str(name) for name in set(found) - known):
        raise InspectorError(f"{what} has {few(unknown)}, which this version does not know: leave it out.")
