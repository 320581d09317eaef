"""Build the headers of the grid of heads and of a page in a frame."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from inspector.views.header_types import FrameHeader, GridHeader, Scale
from inspector.views.payload import encode

if TYPE_CHECKING:
    from inspector.analysis.thumbnails import Thumbnails
    from inspector.capture.records import LayerInfo


def grid_header(
    pictures: Thumbnails,
    layers: Sequence[LayerInfo],
    *,
    selected: tuple[int, int],
    scale: str,
    order: Sequence[tuple[int, int, str]] | None = None,
    ordered_by: str = "layers",
) -> GridHeader:
    """Return the header of all heads' small pictures.

    Args:
        pictures: a picture of every head.
        layers: the trace's layers.
        selected: the chosen layer and head.
        scale: of the colours: linear, sqrt or log.
        order: (layer, head, what to read of it), to show these one after the other; None: by layer.
        ordered_by: the name of the order.

    Returns:
        A header whose numbers are the pictures' pixels.
    """
    return {
        "heads": [layer.heads for layer in layers],
        "groups": [layer.kv_heads for layer in layers],
        "notes": [f" · window of {layer.window} tokens" if layer.window else "" for layer in layers],
        "side": pictures.pixels.shape[-1],
        "selected": list(selected),
        "scale": cast(Scale, scale),
        "pictures": hashlib.blake2b(pictures.pixels.tobytes(), digest_size=8).hexdigest(),
        "label": "Attention weights of every head: arrow keys move between heads, Enter selects one.",
        "order": None if order is None else [list(place) for place in order],
        "ordered_by": ordered_by,
    }


def grid_payload(header: GridHeader, pictures: Thumbnails) -> bytes:
    """Return the message of all heads' small pictures.

    Args:
        header: of these pictures.
        pictures: a picture of every head.

    Returns:
        The bytes that grid.js decodes.
    """
    return encode(cast(dict[str, Any], header), pictures.pixels)


def frame_payload(page: str, *, title: str, height: int, width: int) -> bytes:
    """Return the message of a page of HTML, with its size in pixels.

    Args:
        page: the HTML.
        title: what a screen reader calls the frame.
        height: in pixels.
        width: in pixels, at most.

    Returns:
        The bytes that frame.js decodes.
    """
    header: FrameHeader = {"title": title, "height": height, "width": width}
    return encode(cast(dict[str, Any], header), np.frombuffer(page.encode(), dtype=np.uint8))
