"""Pack a canvas's header and numbers into one message, for the app and for a saved page alike.

Streamlit hands raw bytes to a component only as its top-level `data`, so header and numbers travel together:
[u32 little-endian header length][JSON header, padded with spaces to 4 bytes][numbers].
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

WEIGHT, WEIGHTED = "weight", "weight × value length"
SCALE_NOTES = {"linear": "", "sqrt": " (square-root scale)", "log": " (log scale)"}
MASKED_NOTE = "masked: cannot look there"
MASKED_READING = "masked: this query token cannot look at this key token"
HINT = "Hover, or use the arrow keys, for exact values; click to lock."
STRIP_UP_TO = 400  # tokens that are also written out below the picture


def encode(header: dict[str, Any], numbers: npt.NDArray[Any]) -> bytes:
    """Encode a header and numbers as the bytes that a canvas decodes.

    The header's JSON stays ASCII, so characters and bytes agree.
    """
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # so that a Float32Array can lie directly on what follows
    little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
    return struct.pack("<I", len(text)) + text + np.ascontiguousarray(little).tobytes()


def decode(payload: bytes, dtype: npt.DTypeLike) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    """Decode header and flat numbers again; tests ask for it."""
    (length,) = struct.unpack_from("<I", payload)
    header = json.loads(payload[4 : 4 + length])
    return header, np.frombuffer(payload, dtype=np.dtype(dtype).newbyteorder("<"), offset=4 + length)


def pack(values: npt.NDArray[np.float32]) -> tuple[str, npt.NDArray[np.float32]]:
    """Leave out the upper triangle of a square map where that is all NaN, as in causal attention.

    That is half the bytes, and every number is still exact in float32. Returns how it was packed ("lower" or "full")
    and the numbers, row after row.
    """
    rows, columns = values.shape
    lower = np.tri(rows, columns, dtype=bool)
    if rows == columns and not (np.isfinite(values) & ~lower).any():
        return "lower", values[lower]
    return "full", values.ravel()


def limit(values: npt.NDArray[np.float32]) -> float:
    """Return the largest distance from zero; 1 where all are zero, so that nobody divides by it."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0


def digest(header: Mapping[str, Any], numbers: npt.NDArray[Any]) -> str:
    """Return a name for a message, by which a test (and anybody debugging) tells from the canvas what it has painted.

    Args:
        header: the message's.
        numbers: the message's, of any shape.

    Returns:
        Sixteen hexadecimal digits.
    """
    return hashlib.blake2b(repr(header).encode() + numbers.tobytes(), digest_size=8).hexdigest()
