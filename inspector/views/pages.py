"""Make the HTML pages of figures: one head's map, or all heads with every head's exact numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from inspector.analysis import maps
from inspector.analysis.thumbnails import Thumbnails
from inspector.views import headers, map_headers, standalone
from inspector.views import payload as data
from inspector.views.captions import Captions
from inspector.views.colours import Scale

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

DETAIL_BYTES = 8 * 2**20  # of exact numbers in one page of all heads; beyond it holds the small pictures alone


def head_page(
    trace: Trace,
    layer: int,
    head: int,
    captions: Captions,
    *,
    kind: maps.Kind,
    scale: Scale,
    without_first: bool,
    dark: bool,
) -> str:
    """Return one head's page: the app's canvas with exact readings."""
    found = maps.picture(trace, layer, head, kind=kind, without_first=without_first)
    join = trace.prompt_length if trace.prompt_length < trace.n else None
    note = _note(without_first)
    labels = trace.tokens.labels
    header = map_headers.map_header(found, labels, kind=kind, scale=scale, label=captions.title, note=note, join=join)
    return standalone.page(
        title=captions.title,
        facts=[*captions.facts, ("Head", f"layer {layer}, head {head} ({trace.layers[layer].name})")],
        footer=captions.footer,
        component="heatmap",
        payload=map_headers.map_payload(header, found.values, version="saved"),
        dark=dark,
    )


def grid_page(
    trace: Trace,
    pictures: Thumbnails,
    captions: Captions,
    *,
    scale: Scale,
    selected: tuple[int, int],
    without_first: bool,
    dark: bool,
) -> str:
    """Return the page of all heads: a click shows a head in full, where all heads' numbers find room."""
    details = _details(trace, scale, without_first=without_first)
    hint = "click one, or choose it with the arrow keys and Enter, to see it below"
    if details is None:
        hint = "the prompt is too long for every head's exact numbers in one file: save one head for those"
    header = headers.grid_header(pictures, trace.layers, selected=selected, scale=scale)
    return standalone.page(
        title=captions.title,
        facts=[*captions.facts, ("Heads", f"layers across, heads downwards; {hint}")],
        footer=captions.footer,
        component="grid",
        payload=headers.grid_payload(header, pictures),
        dark=dark,
        details=details,
        selected=selected,
    )


def _note(without_first: bool) -> str:
    """Return what stands behind the legend's name."""
    return ", without the first token" if without_first else ""


def holds_details(trace: Trace) -> bool:
    """Say whether one page has room for all heads' exact numbers."""
    return sum(layer.heads for layer in trace.layers) * trace.n * (trace.n + 1) * 2 <= DETAIL_BYTES


def _details(trace: Trace, scale: Scale, *, without_first: bool) -> standalone.Details | None:
    """Return every head's exact weights, for the page of all heads; None where they would be too many."""
    if not holds_details(trace):
        return None
    places: list[list[tuple[str, int, int]]] = []
    numbers = bytearray()
    header: Mapping[str, object] = {}
    for layer, info in enumerate(trace.layers):
        row = []
        for head in range(info.heads):
            picture = maps.picture(trace, layer, head, without_first=without_first, exact_up_to=max(1, trace.n))
            header = map_headers.map_header(
                picture, trace.tokens.labels, kind="weights", scale=scale, label="", note=_note(without_first)
            )
            packing, values = data.pack(picture.values)
            start = len(numbers)
            numbers += np.ascontiguousarray(values.astype("<f4")).tobytes()
            row.append((packing, start, len(numbers)))
        places.append(row)
    return standalone.Details(header, bytes(numbers), places)
