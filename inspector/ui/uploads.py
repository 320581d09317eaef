"""Read an uploaded trace file, and refuse what no screen could show.

A visitor may upload anything. Reading it runs no code (safetensors holds numbers and text), and what the file says of
itself is compared with what is in it before a screen believes it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import inspector
from inspector.errors import InspectorError
from inspector.loading.weight_checks import all_finite
from inspector.model.cost import HALVES
from reimpl.spec import MaskRule

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.capture.records import Layer

MOST_MB = 200  # an upload lies in the server's memory
MOST_TOKENS = 32_768  # a picture of more takes minutes


def read(content: bytes, name: str) -> Trace:
    """Read the trace in these bytes.

    Args:
        content: the file's bytes.
        name: what the file was called, for sentences.

    Returns:
        The trace.

    Raises:
        InspectorError: where it is no trace that can be shown, or cannot be read now.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uploaded.safetensors"
        try:
            path.write_bytes(content)
            trace = inspector.open_trace(path)
            wrong = _wrong(trace, f"“{name}”")
        except InspectorError as error:
            raise InspectorError(str(error).replace(str(path), f"“{name}”")) from None
        except OSError as error:
            raise InspectorError(
                f"“{name}” could not be put in this server's temporary folder ({error.strerror or error}): free space "
                "there, then open it again."
            ) from None
        except Exception as error:  # whatever a made-up file leads to
            wrong = f"{type(error).__name__}: {error}"
    if wrong:
        raise InspectorError(f"“{name}” is not a trace that this app can show ({wrong}); save the trace again.")
    return trace


def _wrong(trace: Trace, name: str) -> str:
    """Say what does not fit together in this trace; empty: nothing was found."""
    tokens = trace.tokens
    texts = [*tokens.labels, *tokens.texts, trace.model_name]
    if not trace.stored or not 1 <= trace.n <= MOST_TOKENS:
        return f"{len(trace.stored)} layers and {trace.n} tokens; at least one and at most {MOST_TOKENS:,} can be shown"
    if not all(isinstance(text, str) for text in texts) or not isinstance(trace.prompt, str | None):
        return "its words are not text"
    try:
        json.dumps(trace.facts(), ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        return "its words contain half of a surrogate pair, which is no text"
    if not len(tokens.ids) == len(tokens.labels) == len(tokens.texts):
        return "its tokens' ids and labels differ in number"
    if not isinstance(trace.source, dict) or not 0 <= trace.prompt_length <= trace.n:
        return "it does not say where its numbers come from"
    if len(trace.stored_layers) < len(trace.stored):
        raise InspectorError(
            f"{name} contains {len(trace.stored_layers)} of {len(trace.stored)} layers, and this app shows whole "
            "traces: open it in Python, or capture the prompt again without --layers."
        )
    if trace.precision is not None and trace.precision not in HALVES:
        return "it does not say how its vectors were rounded"
    for index, stored in enumerate(trace.stored):
        if wrong := _layer_wrong(trace, index, stored):
            return f"layer {index}: {wrong}"
    return ""


def _layer_wrong(trace: Trace, index: int, stored: Layer) -> str:
    """Say what does not fit together in one layer; empty: nothing was found."""
    info, n = stored.info, trace.n
    if info.index != index or not isinstance(info.name, str) or not isinstance(stored.unexplained, str):
        return "it is numbered or named wrongly"
    if not (info.kv_heads >= 1 and info.heads % info.kv_heads == 0 and info.d_head >= 1):
        return f"{info.heads} heads cannot share {info.kv_heads}"
    vectors = {"query": stored.query, "key": stored.key, "value": stored.value}
    shapes = {name: tuple(tensor.shape) for name, tensor in vectors.items()}
    expected = {
        "query": (info.heads, n, info.d_head),
        "key": (info.kv_heads, n, info.d_head),
        "value": (info.kv_heads, n, info.d_value),
    }
    if shapes != expected or not all(tensor.is_floating_point() for tensor in vectors.values()):
        return f"its vectors are {shapes}, not {expected}"
    if broken := [name for name, tensor in vectors.items() if not all_finite(tensor)]:
        return f"its {broken[0]} vectors contain infinite numbers or NaN"
    if not stored.unexplained:
        last = slice(n - 1, n)  # one row tells whether mask, sinks and biases fit; all of them could take minutes
        row, allowed = trace.weights(index, queries=last), trace.allowed(index, queries=last)
        square = isinstance(stored.mask, MaskRule) or tuple(stored.mask.shape[-2:]) == (n, n)
        if tuple(row.shape) != (info.heads, 1, n) or tuple(allowed.shape) != (info.heads, 1, n) or not square:
            return "its mask or its sinks do not fit its vectors"
    return ""
