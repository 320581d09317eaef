"""Read dump.json, the optional file in which a dump says what its arrays are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.text import SCHEMA, few
from reimpl.choices import RopeStyle

NAME = "dump.json"
MOST_BYTES = 2**20  # of dump.json: more than a hundred thousand token ids
MOST_LAYERS = 10_000
# How an array of queries, keys, values or context vectors may lie, the first axis first.
LAYOUTS = ("[h, n, d]", "[n, h, d]", "[n, h*d]")
DTYPES = ("float32", "float64", "float16", "bfloat16")
PAIRINGS = ("halves", "pairs")


@dataclass(frozen=True)
class DumpSettings:
    """What a dump says of itself; None where it leaves something out, and every guess is then by shape.

    Attributes:
        schema: the version of these fields.
        ids: the token ids that were run.
        dtype: what the numbers were computed in; an .npy of 16-bit integers holds these numbers where it is bfloat16.
        layout: one of LAYOUTS, for queries, keys, values and context vectors.
        pairing: which dimensions of a query or key are rotated together in the dump, its halves or its neighbours.
        layers: the attention layers that the dump has, as the model counts them, from 0.
    """

    schema: int = SCHEMA
    ids: tuple[int, ...] | None = None
    dtype: str | None = None
    layout: str | None = None
    pairing: RopeStyle | None = None
    layers: tuple[int, ...] | None = None


def settings_of(dump: Path) -> DumpSettings:
    """Read the dump.json of a dump.

    Args:
        dump: its folder, or its one file, which dump.json stands beside.

    Returns:
        What it says; nothing where there is none.

    Raises:
        InspectorError: it is no JSON object of known fields with values that they can have.
    """
    path = (dump if dump.is_dir() else dump.parent) / NAME
    if not path.is_file():
        return DumpSettings()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InspectorError(
                f"{path} has {path.stat().st_size:,} bytes and may have {MOST_BYTES:,}: it says what the arrays are, "
                "and holds none."
            )
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InspectorError(f"{path} is no JSON that can be read ({error}): mend it, or leave it out.") from None
    known = [field.name for field in fields(DumpSettings)]
    if not isinstance(said, dict):
        raise InspectorError(f"{path} holds no object: write one with fields among {', '.join(known)}.")
    if unknown := sorted(set(said) - set(known)):
        raise InspectorError(
            f"{path} has the field {few(unknown)}, which is not known: it may have {', '.join(known)}."
        )
    return _checked(path, said)


def _checked(path: Path, said: dict[str, Any]) -> DumpSettings:
    """Return the fields, each of a kind that it can have."""
    if said.get("schema", SCHEMA) != SCHEMA:
        raise InspectorError(f"{path} has the schema {said['schema']!r:.40}, and this version reads {SCHEMA}.")
    layout = said.get("layout")
    plain = re.sub(r"\s*([,*·×])\s*", lambda found: ", " if found[1] == "," else "*", str(layout))
    return DumpSettings(
        ids=_numbers(path, "ids", said.get("ids"), below=2**31),
        dtype=_one_of(path, "dtype", said.get("dtype"), DTYPES),
        layout=None if layout is None else _one_of(path, "layout", plain, LAYOUTS),
        pairing=_pairing(path, said.get("pairing")),
        layers=_numbers(path, "layers", said.get("layers"), below=MOST_LAYERS),
    )


def _pairing(path: Path, found: object) -> RopeStyle | None:
    """Return which dimensions are rotated together, if it is said."""
    said = _one_of(path, "pairing", found, PAIRINGS)
    return None if said is None else "halves" if said == "halves" else "pairs"


def _one_of(path: Path, field: str, value: Any, choices: Iterable[str]) -> str | None:
    """Return one of the choices, or None where nothing was said."""
    if value is None or value in choices:
        return value  # type: ignore[no-any-return]  # None or one of the strings
    raise InspectorError(f"{path} has {field} {value!r:.60}: choose {', '.join(choices)}.")


def _numbers(path: Path, field: str, value: Any, *, below: int) -> tuple[int, ...] | None:
    """Return a list of whole numbers, or None where nothing was said."""
    if value is None:
        return None
    right = isinstance(value, list) and all(type(each) is int and 0 <= each < below for each in value)
    if not right or not value:
        raise InspectorError(f"{path} has {field} {value!r:.60}: give a list of whole numbers from 0 to {below - 1:,}.")
    if field == "layers" and len(set(value)) < len(value):
        raise InspectorError(f"{path} names a layer twice in {field}: {value!r:.60}.")
    return tuple(value)
