"""Read an uploaded trace file, and refuse what no screen could show.

A visitor may upload anything. Reading it runs no code (safetensors holds numbers and text), and what the file says of
itself is compared with what is in it before a screen believes it.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

import inspector
from inspector.errors import InspectorError
from inspector.loading.weight_checks import all_finite
from inspector.model.cost import HALVES
from inspector.trace.file import FORMAT, WITH_FEATURES
from inspector.ui.upload_facts import refuse_header, wrong_facts

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
    refuse_header(content, name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uploaded.safetensors"
        try:
            path.write_bytes(content)
            wrong = _facts_wrong(path)
            if not wrong:
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


def _facts_wrong(path: Path) -> str:
    """Say what is wrong with what the file says of itself; empty: nothing, or `open_trace` will say it."""
    with suppress(SafetensorError, ValueError, KeyError, TypeError), safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {})["trace"])
        if facts["format"] in (FORMAT, WITH_FEATURES):
            return wrong_facts(facts)
    return ""


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
    logits = trace.last_logits
    if logits is not None and (logits.ndim != 2 or len(logits) != 1 or not logits.is_floating_point()):
        return f"its logits are {logits.dtype} {tuple(logits.shape)}"
    if logits is not None and bool(logits.isnan().any()):
        return "its logits contain NaN"
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
    if wrong := _others_wrong(stored, n):
        return wrong
    if not stored.unexplained:
        last = slice(n - 1, n)  # one row tells whether mask, sinks and biases fit; all of them could take minutes
        row, allowed = trace.weights(index, queries=last), trace.allowed(index, queries=last)
        if tuple(row.shape) != (info.heads, 1, n) or tuple(allowed.shape) != (info.heads, 1, n):
            return "its mask or its sinks do not fit its vectors"
    return ""


def _others_wrong(stored: Layer, n: int) -> str:
    """Say what does not fit of what a layer stores beside queries, keys and values; empty: nothing was found."""
    info = stored.info
    heads = (1, info.heads)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "mask": [(n, n), (info.heads, n, n)],
        "sinks": [(info.heads,), (info.heads, n)],
        "bias": [(h, t, n) for h in heads for t in (1, n)],
        "edited_context": [(info.heads, n, info.d_value)],
    }
    found = dict(stored.tensors())
    found |= dict(zip(("query_pre", "key_pre"), stored.before or (), strict=False))
    shapes |= {"query_pre": [(info.heads, n, info.d_head)], "key_pre": [(info.kv_heads, n, info.d_head)]}
    for name, tensor in found.items():
        if name in ("query", "key", "value"):
            continue  # they are known to fit
        shape = tuple(tensor.shape)
        fits = shape in shapes[name] if name in shapes else len(shape) == 2 and shape[0] == n
        if not fits or tensor.is_floating_point() == (name == "mask"):
            return f"its {name} is {tensor.dtype} {shape}"
        if name == "mask" and (tensor.dtype != torch.bool or not bool(tensor.any(-1).all())):
            return "its mask is no table of yes and no with a key for each query"
        if not all_finite(tensor):
            return f"its {name} contains infinite numbers or NaN"
    return ""
