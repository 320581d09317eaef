"""Read edits as the command line spells them: KIND[:WHAT][@PLACE], such as zero:23.3 or "cut:-1>4@10-19"."""

from __future__ import annotations

import re

from inspector.capture.edits import Edit
from inspector.errors import InspectorError
from inspector.lab.attention_edits import cut, mask, rope, scale_off, temperature, zero_value
from inspector.lab.edit_arguments import Values
from inspector.lab.head_edits import freeze, mean, patch, scale, zero

Numbers = list[int] | None
Source = Values | None

# How each kind is spelt: what it means, and what stands after the colon ("" nothing, or a place).
SPELLINGS: dict[str, tuple[str, str]] = {
    "zero": ("head outputs set to zero", "PLACE"),
    "scale": ("head outputs multiplied", "FACTOR"),
    "mean": ("head outputs replaced by the mean over --source", "PLACE"),
    "patch": ("context, query, key, value or weights replaced by those of --source", "VECTORS"),
    "freeze": ("weights held as in --source", "PLACE"),
    "cut": ("edges cut before the softmax", "[QUERIES>]KEYS"),
    "drop": ("weights set to zero after the softmax", "[QUERIES>]KEYS"),
    "value": ("value vectors set to zero", "KEYS"),
    "rope-off": ("rotation switched off", "PLACE"),
    "rope-base": ("another base of RoPE", "BASE"),
    "rope-shift": ("all tokens moved along", "TOKENS"),
    "mask-off": ("mask switched off", "PLACE"),
    "window": ("mask narrowed to a window", "TOKENS"),
    "temperature": ("scores multiplied", "FACTOR"),
    "scale-off": ("scores not scaled", "PLACE"),
}
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def read_edit(text: str, source: Source = None) -> Edit:
    """Read one edit.

    Args:
        text: KIND[:WHAT][@PLACE]. PLACE is LAYERS or LAYERS.HEADS, each of numbers, ranges and lists ("10-19", "1,3")
            or "*" for all; WHAT depends on the kind, and where it would be a place, "zero:23.3" is "zero@23.3".
        source: where patches, means and frozen weights take their values from.

    Returns:
        The edit.

    Raises:
        InspectorError: it cannot be read.
    """
    match = re.fullmatch(r"([a-z-]+)(?::([^@]*))?(?:@(.*))?", text.strip())
    if match is None or match[1] not in SPELLINGS:
        raise InspectorError(f"{text!r:.60} is no edit: write KIND[:WHAT][@PLACE] with one of {', '.join(SPELLINGS)}.")
    kind, what, place = match[1], match[2], match[3]
    wants = SPELLINGS[kind][1]
    if wants == "PLACE" and place is None:
        what, place = None, what
    if (what is None) != (wants == "PLACE"):
        raise InspectorError(f"{text!r:.60} cannot be read: {kind} is written {form_of(kind)}.")
    layers, heads = _place(place, text)
    return _made(kind, what or "", layers, heads, source, text)


def form_of(kind: str) -> str:
    """Return how an edit of a kind is written, such as "zero:LAYERS.HEADS".

    Args:
        kind: one of SPELLINGS.
    """
    wants = SPELLINGS[kind][1]
    form = f"{kind}:LAYERS.HEADS" if wants == "PLACE" else f"{kind}:{wants}@LAYERS.HEADS"
    return form.removesuffix(".HEADS") if kind.startswith("rope") else form  # RoPE is edited in whole layers


def _made(kind: str, what: str, layers: Numbers, heads: Numbers, source: Source, text: str) -> Edit:
    if kind in ("zero", "scale-off"):
        return (zero if kind == "zero" else scale_off)(layers, heads)
    if kind == "mask-off":
        return mask(layers, heads, off=True)
    if kind in ("cut", "drop"):
        query, arrow, key = what.rpartition(">")
        queries = _numbers(query, text) if arrow else None
        keys = _numbers(key, text)
        return cut(query=queries, key=keys, layers=layers, heads=heads, renormalise=kind == "cut")
    if kind == "value":
        return zero_value(_numbers(what, text), layers, heads)
    if kind in ("mean", "patch", "freeze"):
        if source is None:
            raise InspectorError(f"{text!r:.60} needs a prompt to take values from: give --source.")
        if kind == "patch":
            return patch(source, layers, heads, what=what)  # type: ignore[arg-type]  # refused there, with the choices
        return (mean if kind == "mean" else freeze)(source, layers, heads)
    if kind.startswith("rope"):
        return _rope(kind, what, layers, heads, text)
    number = _number(what, text)
    if kind == "window":
        return mask(layers, heads, window=_whole(what, text))
    return (scale if kind == "scale" else temperature)(number, layers, heads)


def _rope(kind: str, what: str, layers: Numbers, heads: Numbers, text: str) -> Edit:
    if heads is not None:
        raise InspectorError(f"{text!r:.60} names heads, and RoPE is edited in whole layers: name layers alone.")
    if kind == "rope-off":
        return rope(layers, off=True)
    number = _number(what, text)
    return rope(layers, base=number) if kind == "rope-base" else rope(layers, shift=_whole(what, text))


def _place(place: str | None, text: str) -> tuple[Numbers, Numbers]:
    if not place:
        return None, None
    layers, _, heads = place.partition(".")
    return _numbers(layers, text), _numbers(heads, text) if heads else None


def _numbers(part: str, text: str) -> Numbers:
    """Return the numbers of "10-19,23" or "-1"; None of "*"."""
    if part.strip() == "*":
        return None
    found: list[int] = []
    for item in part.split(","):
        match = re.fullmatch(r"\s*(-?\d+)(?:-(\d+))?\s*", item)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise InspectorError(
                f"{text!r:.60} cannot be read: for {part!r:.30} give numbers (1,3) or a range (10-19)."
            )
        found += range(int(match[1]), int(match[2]) + 1) if match[2] else [int(match[1])]
    return found


def _whole(part: str, text: str) -> int:
    number = _number(part, text)
    if number != int(number):
        raise InspectorError(f"{text!r:.60} cannot be read: {part!r:.30} is no whole number.")
    return int(number)


def _number(part: str, text: str) -> float:
    if not _NUMBER.fullmatch(part.strip()):
        raise InspectorError(f"{text!r:.60} cannot be read: {part!r:.30} is no number.")
    return float(part)
