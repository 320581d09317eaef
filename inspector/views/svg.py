"""Finish an SVG that matplotlib wrote: token text as it is, each cell's number in it, and nothing that leaks.

matplotlib's style element would apply to a whole web page that the picture stands in, and its ids would meet those of
other pictures. Both go.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FAMILY = "'DejaVu Sans', system-ui, 'Noto Sans', sans-serif"
CELLS = "cells"  # the id of the group whose shapes are the cells that have readings
_XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Reading:
    """One cell's place, its number to the last bit, and a sentence that says it."""

    row: int
    column: int
    value: str
    said: str


def finished(svg: str, texts: Mapping[str, str], readings: Sequence[Reading], *, title: str, description: str) -> str:
    """Return the document as it is saved.

    Args:
        svg: as matplotlib wrote it, text as text.
        texts: what the texts say, by the id of their groups; matplotlib drew only what its fonts have.
        readings: of the shapes in the group `CELLS`, in their order; none: that group has no readings.
        title: of the document.
        description: of the document.

    Returns:
        The document: elements svg, title, desc, g, path, text, image and nothing else.
    """
    root = ET.fromstring(svg)  # noqa: S314 - matplotlib's own
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if (link := element.attrib.pop(f"{{{_XLINK}}}href", None)) is not None:
            element.set("xlink:href", re.sub(r"\s", "", link))
    for child in [child for child in root if child.tag in ("metadata", "defs")]:
        root.remove(child)
    for group in root.iter("g"):
        name = group.get("id", "")
        if name in texts:
            for text in group.iter("text"):
                _as_it_is(text, texts[name])
        if name == CELLS and readings:
            _number(group, readings)
    for element in root.iter():
        element.attrib.pop("id", None)
    for name, said in (("desc", description), ("title", title)):
        told = ET.Element(name)
        told.text = said
        root.insert(0, told)
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "xmlns:xlink": _XLINK,
        **{name: value for name, value in root.attrib.items() if name in ("width", "height", "viewBox")},
        "font-family": FAMILY,
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
        "role": "img",
    }
    return ET.tostring(root, encoding="unicode") + "\n"


def _as_it_is(text: ET.Element, said: str) -> None:
    """Let a text say all its letters, its own spaces too, in whichever fonts the reader has."""
    text.text = said
    text.set("xml:space", "preserve")
    text.set("style", re.sub(r"font-family: [^;]*;? ?", "", text.get("style", "")))


def _number(cells: ET.Element, readings: Sequence[Reading]) -> None:
    """Give each cell its number, and a title that a browser shows under the pointer."""
    cells.set("shape-rendering", "crispEdges")
    for shape, reading in zip(cells.iter("path"), readings, strict=True):
        shape.attrib = {
            "d": re.sub(r"\s+", " ", shape.get("d", "")).strip(),
            "fill": shape.get("style", "").partition("fill: ")[2].partition(";")[0],
            "data-row": str(reading.row),
            "data-column": str(reading.column),
            "data-value": reading.value,
        }
        ET.SubElement(shape, "title").text = reading.said
