"""One head's map or all heads' small pictures go in; header and bytes for a canvas come out, in the app
(inspector/ui/components) and in a saved page alike, so that both show the same.

Streamlit hands raw bytes to a component only as its top-level `data`, so header and numbers travel together:
[u32 little-endian header length][JSON header, padded with spaces to 4 bytes][numbers].
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from inspector.analysis.maps import Kind, Picture, Thumbnails
    from inspector.capture.records import LayerInfo

WEIGHT, WEIGHTED = "weight", "weight × value length"
SCALE_NOTES = {"linear": "", "sqrt": " (square root)", "log": " (log)"}
MASKED_NOTE = "masked: cannot look there"
MASKED_READING = "masked: this query token cannot look at this key token"
HINT = "Hover, or use the arrow keys, for exact values; click to lock."
STRIP_UP_TO = 400  # tokens that are also written out below the picture


def encode(header: dict[str, Any], numbers: npt.NDArray[Any]) -> bytes:
    """The bytes a canvas decodes. The header's JSON stays ASCII, so characters and bytes agree."""
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # so that a Float32Array can lie directly on what follows
    little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
    return struct.pack("<I", len(text)) + text + np.ascontiguousarray(little).tobytes()


def decode(payload: bytes, dtype: npt.DTypeLike) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """The reverse of `encode`, for tests: header and flat numbers."""
    (length,) = struct.unpack_from("<I", payload)
    header = json.loads(payload[4 : 4 + length])
    return header, np.frombuffer(payload, dtype=np.dtype(dtype).newbyteorder("<"), offset=4 + length)


def pack(values: npt.NDArray[np.float32]) -> tuple[str, npt.NDArray[np.float32]]:
    """A square map without its upper triangle where that is all NaN (causal attention): half the bytes,
    and every number still exact in float32."""
    rows, columns = values.shape
    lower = np.tri(rows, columns, dtype=bool)
    if rows == columns and not (np.isfinite(values) & ~lower).any():
        return "lower", values[lower]
    return "full", values.ravel()


def map_header(
    picture: Picture,
    tokens: Sequence[str],
    *,
    kind: Kind,
    scale: str,
    label: str,
    note: str = "",
    join: int | None = None,
) -> dict[str, Any]:
    """What heatmap.js is told about one head's map, its numbers' packing and shape apart.

    note: what was done to the numbers, added to the legend. join: from this token on the model wrote the text itself.
    """
    k = picture.pool
    pooled = f"largest of {k} × {k} " if k > 1 else ""
    header: dict[str, Any] = {
        "rows": list(tokens),
        "columns": list(tokens),
        "pool": [k, k],
        "cell": "square",
        "max_height": 640,
        "row_name": "query token" if k == 1 else "query tokens",
        "column_name": "key token" if k == 1 else "key tokens",
        "masked": MASKED_NOTE,
        "masked_reading": MASKED_READING,
        "hint": HINT,
        "label": label,
        "selected": None,
        "picks": False,
        "threshold": 0.0,
        "strip": k == 1 and len(tokens) <= STRIP_UP_TO and kind != "scaled_scores",
        "join": None if join is None else join / k,
    }
    if kind == "weighted_values":
        header |= {
            "palette": "sequential",
            "scale": scale,
            "top": limit(picture.values),
            "value_name": f"{pooled}{WEIGHTED}",
            "legend": WEIGHTED + SCALE_NOTES[scale] + note,
        }
    elif kind == "weights":
        header |= {
            "palette": "sequential",
            "scale": scale,
            "value_name": f"{pooled}attention weight" + ("s" if k > 1 else ""),
            "legend": WEIGHT + SCALE_NOTES[scale] + note,
        }
    else:
        header |= {
            "palette": "diverging",
            "scale": "linear",
            "limit": limit(picture.values),
            "value_name": f"{pooled}scaled score" + ("s" if k > 1 else ""),
            "legend": "scaled score",
        }
    return header


def map_payload(header: dict[str, Any], values: npt.NDArray[np.float32]) -> bytes:
    """Header and numbers of one map as heatmap.js decodes them."""
    packing, numbers = pack(values)
    return encode({**header, "shape": list(values.shape), "packing": packing, "version": "saved"}, numbers)


def grid_header(
    pictures: Thumbnails, layers: Sequence[LayerInfo], *, selected: tuple[int, int], scale: str, label: str
) -> dict[str, Any]:
    """What grid.js is told about all heads' small pictures. `pictures`: which these are, painted once."""
    return {
        "heads": [layer.heads for layer in layers],
        "groups": [layer.kv_heads for layer in layers],
        "notes": [f" · window of {layer.window} tokens" if layer.window else "" for layer in layers],
        "side": pictures.pixels.shape[-1],
        "selected": list(selected),
        "scale": scale,
        "pictures": hashlib.blake2b(pictures.pixels.tobytes(), digest_size=8).hexdigest(),
        "label": label,
    }


def limit(values: npt.NDArray[np.float32]) -> float:
    """The largest distance from zero; 1 where there is nothing to see, so that nobody divides by zero."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
